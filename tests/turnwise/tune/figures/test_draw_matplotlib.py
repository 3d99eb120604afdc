"""Figures on paper, by what is in them."""

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from turnwise.report.run_record import CallLine, TurnLine
from turnwise.tune.figures import (
    Basis,
    ChainStep,
    Cost,
    calls_by_node_of,
    calls_over_turns_of,
    search_tree_of,
    steps_between,
    timeline_of,
    to_matplotlib,
    tradeoff_of,
    waterfall_of,
)
from turnwise.tune.figures.palette import PICK, node_colours


def _texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_names_of_outside_are_never_obeyed(hostile) -> None:
    """No text is a formula, also where the reader's own settings would run TeX."""
    with mpl.rc_context({"text.usetex": True, "font.size": 40}):
        figure = to_matplotlib(hostile)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert any("\\$" in text.get_text() for text in texts)
    for text in texts:
        assert text.get_usetex() is False
        assert text._preprocess_math(text.get_text())[1] is False


def test_a_tradeoff_has_points_bars_and_front(row) -> None:
    """Hollow where estimated, paler where unlikely, and a bar wherever one is given."""
    rows = [row("a", asked=2, quality=0.2), row("b", asked=4, quality=0.4, is_reply_exact=False)]
    found = tradeoff_of(rows, quality={"a": (0.2, 0.1, 0.4)}, knob="cap", knee="a",
                        knob_values={"a": "2", "b": "4"}, recommended="b",
                        chance_on_front={"a": 1.0, "b": 0.2})  # fmt: skip
    figure = to_matplotlib(found)
    axes = figure.axes[0]
    first, second = axes.containers
    assert first.has_yerr is True
    assert second.has_yerr is False
    assert first.lines[2][0].get_segments()[0].tolist() == [[2, 0.1], [2, 0.4]]
    assert to_hex(second.lines[0].get_markerfacecolor()) == "#ffffff"
    assert second.lines[0].get_alpha() == pytest.approx(0.4)
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["Pareto front"].get_xydata().tolist() == [[2, 0.2], [4, 0.2], [4, 0.4]]
    assert lines["knee"].get_xydata().tolist() == [[2, 0.2]]
    assert lines["recommended"].get_xydata().tolist() == [[4, 0.4]]
    assert axes.get_xlabel() == "calls a turn"
    texts = _texts(figure)
    assert "Quality against calls a turn  (simulated)" in texts
    assert {"a", "b", "2", "4", "not all recorded"} <= set(texts)
    assert any("1 turn of 1 conversation" in text for text in texts)


def test_of_many_settings_those_that_matter_are_named(row) -> None:
    """A hundred labels are no label."""
    rows = [row(f"s{n}", asked=5 + n % 7, quality=0.1 + 0.001 * n) for n in range(100)]
    axes = to_matplotlib(tradeoff_of(rows, recommended="s20")).axes[0]
    drawn = {text.get_text() for text in axes.texts}
    assert "s20" in drawn
    assert len(drawn) < 15


def test_unknown_usd_is_words_without_a_point(row) -> None:
    """Nothing is drawn at 0."""
    axes = to_matplotlib(tradeoff_of([row("a")], cost=Cost.USD)).axes[0]
    assert not axes.containers
    assert not axes.lines
    assert "USD is not known" in axes.texts[0].get_text()


def test_stacks_begin_where_the_one_before_ended(row) -> None:
    """Each node in its colour, what is not recorded hatched, the whole as a number."""
    rows = [row("a", asked=5, asked_by_node={"x": 3, "y": 2}, missing_calls=1), row("b")]
    axes = to_matplotlib(calls_by_node_of(rows, totals={"a": (5, 4, 6)})).axes[0]
    bars = {c.get_label(): c for c in axes.containers if hasattr(c, "patches")}
    assert [(bars[n][0].get_x(), bars[n][0].get_width()) for n in ("x", "y")] == [(0, 3), (3, 2)]
    assert to_hex(bars["x"][0].get_facecolor()) == node_colours(["x", "y"])["x"].lower()
    assert bars["not recorded"][0].get_hatch()
    assert bars["not recorded"][0].get_x() == 4
    assert [text.get_text() for text in axes.texts] == ["5.0", "3.0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_calls_over_turns_have_a_bar_a_turn() -> None:
    """Ticks are turn numbers."""
    calls = [CallLine(conversation="c", turn=turn, node="x", role="main", purpose="plan",
                      outcome="served") for turn in (4, 4, 6)]  # fmt: skip
    turns = [TurnLine(conversation_id="c", turn=turn) for turn in (4, 5, 6)]
    axes = to_matplotlib(calls_over_turns_of(calls, turns, "c")).axes[0]
    assert [bar.get_height() for bar in axes.containers[0]] == [2, 0, 1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "5", "6"]


def test_a_waterfall_steps_down_and_up() -> None:
    """Bars hang from level to level; a saving says minus."""
    chain = [ChainStep(change, calls) for change, calls in zip(
        steps_between({"a": 1, "b": 1}, {"a": 2, "b": 2}), (5.0, 6.0), strict=True)]  # fmt: skip
    found = waterfall_of(("from", 8.0), chain, ("to", 6.0), Basis(2, 1, is_simulated=False))
    axes = to_matplotlib(found).axes[0]
    widths = [(bar.get_x(), bar.get_width()) for c in axes.containers for bar in c]
    assert widths == [(0, 8), (0, 6), (8, -3), (5, 1)]
    assert [text.get_text() for text in axes.texts] == ["8.00", "6.00", "−3.00", "+1.00"]


def test_a_trees_pick_is_ringed() -> None:
    """Boxes stand where the record says, with score and visits."""
    tree = [{"id": "a", "parent_id": None, "reply": "hello", "posterior_mean": 0.5, "visits": 3},
            {"id": "b", "parent_id": None, "reply": "hi", "is_dropped": True}]  # fmt: skip
    axes = to_matplotlib(search_tree_of({"tree": tree, "best_id": "a"})).axes[0]
    boxes = [container[0] for container in axes.containers]
    assert [to_hex(box.get_edgecolor()) == PICK.lower() for box in boxes] == [False, True, False]
    assert boxes[2].get_linestyle() == "--"
    words = {text.get_text() for text in axes.texts}
    assert {"pick: reply", "0.50  ·  3 visits", "not judged  ·  0 visits", "hello"} <= words


def test_a_timelines_bars_are_marked(call) -> None:
    """Hatched where speculative, framed where repaired, a cross where refused."""
    rows = [call(1, is_speculative=True), call(2, repair=1), call(3, outcome="refused")]
    axes = to_matplotlib(timeline_of(rows, reply_at=2)).axes[0]
    first, second = (container[0] for container in axes.containers)
    assert (first.get_hatch(), second.get_hatch()) == ("////", None)
    assert to_hex(second.get_edgecolor()) == PICK.lower()
    assert [line.get_marker() for line in axes.lines] == ["x", "None"]
    assert {"expand", "reply out"} <= {text.get_text() for text in axes.texts}


def test_a_letter_without_a_font_is_no_warning() -> None:
    """Where no font has it a box is drawn; the file's reader may have it."""
    tree = [{"id": "a", "parent_id": None, "reply": "你好，今天怎么样"}]
    figure = to_matplotlib(search_tree_of({"tree": tree}, where="谈话"))
    assert "你好，今天怎么样" in _texts(figure)


def test_empty_figures_say_so() -> None:
    """No rows, no calls: words instead of empty axes."""
    for found in (tradeoff_of([]), calls_by_node_of([]), timeline_of([])):
        assert to_matplotlib(found).axes[0].texts[0].get_text()

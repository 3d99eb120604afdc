"""The chart of each record, by the data in its specification."""

from collections.abc import Iterator
from typing import Any

import altair as alt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.report.run_record import CallLine, TurnLine
from callwise.tuning.figures import (
    ChainStep,
    CostAxis,
    FigureBasis,
    calls_by_node_of,
    calls_over_turns_of,
    steps_between,
    timeline_of,
    to_vega,
    tradeoff_of,
    waterfall_of,
)
from callwise.tuning.figures.chart import chart_of, plain_line
from callwise.tuning.figures.palette import KNEE, PAPER, PICK, node_colours


def _values(chart: dict[str, Any], mark: str, *fields: str) -> Iterator[dict[str, Any]]:
    """Give the values of each layer of a mark whose values have these fields."""
    for layer in chart["hconcat"][0]["layer"]:
        for value in layer["data"]["values"]:
            if layer["mark"]["type"] == mark and set(fields) <= set(value):
                yield value


def _legend(chart: dict[str, Any]) -> set[str]:
    return {value["label"] for layer in chart["hconcat"][1]["layer"]
            for value in layer["data"]["values"]}  # fmt: skip


def _row_names(chart: dict[str, Any]) -> list[Any]:
    return next(each["value"] for each in chart["params"] if each["name"] == "row_names")


def _strings(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for value in part.values():
            yield from _strings(value)
    elif isinstance(part, list):
        for value in part:
            yield from _strings(value)
    elif isinstance(part, str):
        yield part


def test_a_name_is_never_a_field_or_an_expression(hostile) -> None:
    """Names are values of data, titles and parameters; Vega evaluates none of these."""
    chart = to_vega(hostile)
    assert any("<b>$" in text for text in _strings(chart))
    views = [layer for view in chart["hconcat"] for layer in view["layer"]]
    for layer in views:
        axes = (channel.get("axis") or {} for channel in layer["encoding"].values()
                if isinstance(channel, dict))  # fmt: skip
        for axis in axes:
            axis.pop("title", None)
        assert not any("<b>" in text for text in _strings([layer["mark"], layer["encoding"]]))
        assert "transform" not in layer
    assert not any(
        "<b>" in key for layer in views for row in layer["data"]["values"] for key in row
    )


def test_every_chart_fits_the_schema(hostile) -> None:
    """Altair, which reads Vega-Lite's own schema, accepts each."""
    chart = to_vega(hostile)
    chart["$schema"] = alt.SCHEMA_URL
    alt.Chart.from_dict(chart)


def test_a_tradeoff_has_points_intervals_front_and_marks(row) -> None:
    """Hollow where estimated, a mark for each value, and an interval wherever one is given."""
    rows = [row("a", asked=2, quality=0.2), row("b", asked=4, quality=0.4, is_reply_exact=False)]
    found = tradeoff_of(rows, quality={"a": (0.2, 0.1, 0.4)}, knob="cap", knee="a",
                        knob_values={"a": "2", "b": "4"}, recommended="b",
                        chance_on_front={"a": 1.0, "b": 0.2})  # fmt: skip
    chart = to_vega(found)
    front = [(value["x"], value["y"]) for value in _values(chart, "line")]
    assert front == [(2, 0.2), (4, 0.2), (4, 0.4)]
    (interval,) = _values(chart, "errorbar")
    assert (interval["x"], interval["low"], interval["high"]) == (2, 0.1, 0.4)
    first, second = _values(chart, "point", "setting")
    assert (first["x"], first["y"], second["x"], second["y"]) == (2, 0.2, 4, 0.4)
    assert first["fill"] == first["stroke"] == interval["color"]
    assert second["fill"] == PAPER != second["stroke"]
    assert (first["turns"], first["quality"], first["chance on the front"]) == (
        1, "0.20 (0.10 to 0.40)", "100 %",
    )  # fmt: skip
    knee, recommended = _values(chart, "point", "name")
    assert (knee["x"], knee["y"], knee["stroke"]) == (2, 0.2, KNEE)
    assert (recommended["x"], recommended["y"], recommended["stroke"]) == (4, 0.4, PICK)
    encoding = chart["hconcat"][0]["layer"][0]["encoding"]
    assert encoding["x"]["axis"]["title"] == "calls per turn (fewer is better)"
    assert encoding["y"]["axis"]["title"] == (
        "quality in within-prompt SD, -2 to 2 (higher is better)"
    )
    assert chart["title"]["text"] == "Quality against calls per turn  (simulated)"
    assert "1 turn of 1 conversation" in chart["title"]["subtitle"][0]
    assert {value["text"] for value in _values(chart, "text")} == {"a, 100 %", "b, 20 %"}
    assert {"cap", "2", "4", "Pareto front", "not all recorded", "knee", "recommended"} == _legend(
        chart
    )


def test_a_setting_has_its_chance_on_the_front_in_its_label(row) -> None:
    """In per cent; colour and mark are those of the knob's value alone."""
    chances = {"a": 1.0, "b": 0.2}
    found = tradeoff_of([row("a", asked=2), row("b", asked=4)], chance_on_front=chances)
    chart = to_vega(found)
    assert len({value["stroke"] for value in _values(chart, "point", "setting")}) == 1
    assert {"a, 100 %", "b, 20 %"} <= {value["text"] for value in _values(chart, "text", "text")}
    assert "Per cent: the chance that a setting is on the front." in found.caption


def test_of_many_settings_those_that_matter_are_named(row) -> None:
    """A hundred labels are no label."""
    rows = [row(f"s{n}", asked=5 + n % 7, quality=0.1 + 0.001 * n) for n in range(100)]
    chart = to_vega(tradeoff_of(rows, recommended="s20"))
    drawn = {value["text"] for value in _values(chart, "text")}
    assert "s20" in drawn
    assert len(drawn) < 15


def test_a_number_and_its_per_cent_are_on_one_line() -> None:
    """A caption is broken between words, not in front of a per cent sign."""
    caption = "The bars are intervals of 95 % over conversations. " * 20
    lines = chart_of("t", caption, [], height=1, is_simulated=False)["title"]["subtitle"]
    assert len(lines) > 3
    assert not any(line.startswith("%") for line in lines)
    assert "95 %" in lines[0]


def test_unknown_usd_is_words_without_a_point(row) -> None:
    """Nothing is drawn at 0."""
    (layer,) = to_vega(tradeoff_of([row("a")], cost=CostAxis.USD))["hconcat"][0]["layer"]
    assert layer["mark"]["type"] == "text"
    assert "USD is not known" in layer["data"]["values"][0]["line"]


def test_stacks_begin_where_the_one_before_ended(row) -> None:
    """Each node in its colour, unrecorded calls dashed, the whole as a number with its interval."""
    rows = [row("a", asked=5, asked_by_node={"x": 3, "y": 2}, missing_calls=1), row("b")]
    chart = to_vega(calls_by_node_of(rows, totals={"a": (5, 4, 6)}))
    first = [value for value in _values(chart, "bar", "node") if value["setting"] == "a"]
    spans = {value["node"]: (value["x"], value["x2"]) for value in first}
    assert (spans["x"], spans["y"]) == ((0, 3), (3, 5))
    assert first[0]["fill"] == node_colours(["x", "y"])["x"]
    assert (first[0]["turns"], first[0]["in all"]) == (1, "5.00 (4.00 to 6.00)")
    (missing,) = _values(chart, "bar", "missing")
    assert (missing["setting"], missing["x"], missing["x2"]) == ("a", 4, 5)
    assert missing["dash"]
    (interval,) = _values(chart, "errorbar")
    assert (interval["low"], interval["high"], interval["y"]) == (4, 6, 0)
    assert [value["text"] for value in _values(chart, "text")] == ["5.0", "3.0"]
    assert _row_names(chart) == ["a", "b"]
    assert "not recorded" in _legend(chart)


def test_settings_of_one_shortened_name_have_a_row_each(row) -> None:
    """A row is a number, so names that are cut to the same text do not merge."""
    rows = [row("x" * 60 + end) for end in "ab"]
    chart = to_vega(calls_by_node_of(rows))
    assert len(set(_row_names(chart))) == 1
    assert [value["y"] for value in _values(chart, "text")] == [0, 1]


def test_calls_over_turns_have_a_bar_for_each_turn() -> None:
    """Ticks are turn numbers."""
    calls = [CallLine(conversation="c", turn=turn, node="x", role="main", purpose="plan",
                      outcome="served") for turn in (4, 4, 6)]  # fmt: skip
    turns = [TurnLine(conversation_id="c", turn=turn) for turn in (4, 5, 6)]
    chart = to_vega(calls_over_turns_of(calls, turns, "c"))
    assert [(value["y"], value["y2"]) for value in _values(chart, "bar")] == [
        (0, 2),
        (0, 0),
        (0, 1),
    ]
    assert chart["params"] == [
        {"name": "turn_places", "value": [0, 1, 2]},
        {"name": "turn_names", "value": ["4", "5", "6"]},
    ]


def test_a_waterfall_steps_down_and_up() -> None:
    """Bars hang from level to level; a saving has a minus."""
    chain = [ChainStep(change, calls) for change, calls in zip(
        steps_between({"a": 1, "b": 1}, {"a": 2, "b": 2}), (5.0, 6.0), strict=True)]  # fmt: skip
    found = waterfall_of(("from", 8.0), chain, ("to", 6.0), FigureBasis(2, 1, is_simulated=False))
    chart = to_vega(found)
    spans = [(value["x"], value["x2"]) for value in _values(chart, "bar")]
    assert spans == [(0, 8), (0, 6), (8, 5), (5, 6)]
    assert [value["text"] for value in _values(chart, "text")] == ["8.00", "−3.00", "+1.00", "6.00"]
    assert _row_names(chart) == [["from"], ["a", "1 → 2"], ["b", "1 → 2"], ["to"]]
    assert [value["x"] for value in _values(chart, "rule")] == [8, 5, 6]


def test_a_timelines_bars_are_marked(call) -> None:
    """Dashed where speculative, framed where repaired, a cross where refused."""
    rows = [call(1, is_speculative=True), call(2, repair=1), call(3, outcome="refused")]
    chart = to_vega(timeline_of(rows, reply_at=2))
    first, second = _values(chart, "bar")
    assert (first["x"], first["x2"], second["x"], second["x2"]) == (0, 1, 1, 2)
    assert (bool(first["dash"]), bool(second["dash"])) == (True, False)
    assert (first["stroke"] == PICK, second["stroke"] == PICK) == (False, True)
    (cross,) = _values(chart, "point")
    assert (cross["x"], cross["outcome"]) == (3, "refused")
    assert {"expand", "reply out"} <= {value["text"] for value in _values(chart, "text")}


def test_empty_figures_say_so() -> None:
    """No rows, no calls: words instead of empty axes."""
    for found in (tradeoff_of([]), calls_by_node_of([]), timeline_of([])):
        (layer,) = to_vega(found)["hconcat"][0]["layer"]
        assert layer["data"]["values"][0]["line"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("two\nlines\t and\x00 a null", "two lines and a null"),
        ("turned \u202eback", "turned back"),
        ("half \ud800 a sign", "half \ufffd a sign"),
        ("x" * 50, "x" * 39 + "…"),
        ("好" * 20, "好" * 20),
        ("好" * 21, "好" * 19 + "…"),
        ("", ""),
    ],
)
def test_a_text_becomes_one_line(text: str, line: str) -> None:
    """Nothing in it changes the cursor, turns the text, or breaks a file."""
    assert plain_line(text) == line


def test_a_cut_is_marked_even_where_the_rest_is_blank() -> None:
    """A text that goes on far to the right ends in an ellipsis."""
    assert plain_line("a" + " " * 5000 + "b", 10) == "a…"


@settings(deadline=None)
@given(st.text(), st.integers(1, 30))
def test_a_line_is_never_wider_than_it_may_be(text: str, width: int) -> None:
    """One line, no wider, whatever it was; and every file can contain it."""
    line = plain_line(text, width)
    assert len(line) <= width
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")

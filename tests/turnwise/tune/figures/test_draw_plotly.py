"""Figures on a screen, by what is in them."""

import json
import re

import pytest

from turnwise.tune.figures import (
    Cost,
    calls_by_node_of,
    timeline_of,
    to_plotly,
    tradeoff_of,
)


def _texts(part):
    """Give every text that plotly could draw, wherever it stands in a figure."""
    if isinstance(part, dict):
        for value in part.values():
            yield from _texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _texts(value)
    elif isinstance(part, str):
        yield part


def test_names_of_outside_are_never_obeyed(hostile) -> None:
    """No tag but our own, no formula, and no template that would fill in a name."""
    figure = json.loads(to_plotly(hostile).to_json())
    figure["layout"].pop("template", None)
    texts = list(_texts(figure))
    assert any("&lt;b&gt;&#36;" in text for text in texts)
    for text in texts:
        assert "$" not in text
        tags = set(re.findall(r"<[^>]*>", text))
        assert all(re.fullmatch(r"</?(b|i|br|span)( style=\"[a-z0-9:;#-]*\")?>", t) for t in tags)
    assert not any(key.endswith("template") for trace in figure["data"] for key in trace)


def test_a_tradeoff_has_bars_front_and_marks(row) -> None:
    """A trace a value of the knob, hollow where estimated, paler where unlikely."""
    rows = [row("a", asked=2, quality=0.2), row("b", asked=4, quality=0.4, is_reply_exact=False)]
    found = tradeoff_of(rows, quality={"a": (0.2, 0.1, 0.4)}, knob="cap", knee="a",
                        knob_values={"a": "2", "b": "4"}, recommended="b",
                        chance_on_front={"a": 1.0, "b": 0.2})  # fmt: skip
    figure = to_plotly(found)
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["Pareto front"].x) == [2, 4, 4]
    assert list(by_name["Pareto front"].y) == [0.2, 0.2, 0.4]
    assert by_name["2"].error_y.array[0] == pytest.approx(0.2)
    assert by_name["2"].error_y.arrayminus[0] == pytest.approx(0.1)
    assert (by_name["2"].opacity, by_name["4"].opacity) == (1.0, 0.4)
    assert by_name["4"].marker.color[0] == "#ffffff" != by_name["2"].marker.color[0]
    assert (by_name["knee"].x[0], by_name["recommended"].x[0]) == (2, 4)
    hover = by_name["2"].hovertext[0]
    assert all(words in hover for words in ("<b>a</b>", "0.20 (0.10 to 0.40)", "n = 1 turns"))
    assert figure.layout.xaxis.title.text == "calls a turn"
    assert "(truth:simulated)" in figure.layout.yaxis.title.text
    assert "simulated" in figure.layout.title.text
    assert "1 turn of 1 conversation" in figure.layout.title.subtitle.text


def test_unknown_usd_is_words_without_a_point(row) -> None:
    """Nothing is drawn at 0."""
    figure = to_plotly(tradeoff_of([row("a")], cost=Cost.USD))
    assert len(figure.data) == 0
    assert "USD is not known" in figure.layout.annotations[0].text


def test_stacks_begin_where_the_one_before_ended(row) -> None:
    """The parts of a bar sum to the whole."""
    rows = [row("a", asked=5, asked_by_node={"x": 3, "y": 2}, missing_calls=1)]
    figure = to_plotly(calls_by_node_of(rows, totals={"a": (5, 4, 6)}))
    by_name = {trace.name: trace for trace in figure.data}
    assert [(by_name[n].base[0], by_name[n].x[0]) for n in ("x", "y")] == [(0, 3), (3, 2)]
    assert (by_name["not recorded"].base[0], by_name["not recorded"].x[0]) == (4, 1)
    assert by_name["not recorded"].marker.pattern.shape == "/"
    assert by_name["interval"].error_x.array[0] == 1
    assert "n = 1 turns" in by_name["x"].hovertext[0]


def test_a_timelines_bars_are_marked(call) -> None:
    """Hatched where speculative, framed where repaired, a cross where refused."""
    rows = [call(1, is_speculative=True), call(2, repair=1), call(3, outcome="refused")]
    bars, crosses = to_plotly(timeline_of(rows, reply_at=2)).data
    assert (list(bars.base), list(bars.x)) == ([0, 1], [1, 1])
    assert list(bars.marker.pattern.shape) == ["/", ""]
    assert list(bars.marker.line.width) == [1, 3]
    assert (list(crosses.x), crosses.marker.symbol) == ([3], "x")


def test_empty_figures_say_so() -> None:
    """No rows, no calls: words instead of empty axes."""
    for found in (tradeoff_of([]), calls_by_node_of([]), timeline_of([])):
        assert to_plotly(found).layout.annotations[0].text

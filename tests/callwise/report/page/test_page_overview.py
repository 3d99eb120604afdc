"""The first view: which node and turn cost most, and how two runs differ."""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from callwise.report import page
from callwise.report.node_hues import NODE_HUES
from callwise.report.page.page_data import gather
from callwise.report.page.page_html import page_of
from callwise.report.page.page_overview import node_hues
from callwise.report.page.page_ranking import (
    MEASURES,
    cost_of,
    difference_words,
    ranked_nodes,
    shares,
)
from callwise.report.page.page_tables import percent
from callwise.tuning.figures.palette import node_colours

RunMaker = Callable[..., Path]

REFUSED = {"outcome": "refused", "requests": 0, "attempts": 0}
UNREADABLE = {"is_unreadable": True, "error": "InvalidAnswer: none"}


def _text(html: str, of: str) -> str:
    """Return the text of a part of the page."""
    found = re.search(of, html, re.DOTALL)
    assert found, of
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[1])).strip()


def _answers(html: str) -> str:
    return _text(html, r'<dl class="answers">(.*?)</dl>')


def test_nodes_are_ranked_with_their_shares(make_run: RunMaker) -> None:
    """The node with most calls is first and named on top, with its share of each measure."""
    run = make_run(turns=[{"calls": ({}, {}, {}, {}, {})}])
    nodes = ranked_nodes(gather(run).record.rows)
    assert list(nodes) == ["lats_search", "detection"]
    assert shares(nodes, MEASURES[0]) == {"lats_search": 0.6, "detection": 0.4}
    html, _ = page_of(run)
    assert "Node with most calls lats_search 60% of calls, 60% of tokens, 60% of seconds" in (
        _answers(html)
    )
    table = _text(html, r'<section class="table" id="table-nodes">(.*?)</section>')
    assert table.index("lats_search 60% 3") < table.index("detection 40% 2")


def test_the_worst_turn_is_named_and_linked(make_run: RunMaker) -> None:
    """Most calls, and most trouble where it is another turn."""
    html, _ = page_of(make_run(turns=[{"calls": (UNREADABLE, {})}, {"calls": ({}, {}, {}, {})}]))
    answers = _answers(html)
    assert "Turn with most calls one, turn 1 4 calls, 446 tokens, 6 seconds, 1 USD" in answers
    assert "the mean turn has 3 calls" in answers
    assert "most trouble: one, turn 0 (1 unreadable)" in answers
    assert 'href="#turn/one/1"' in html


def test_turns_of_as_many_calls_are_ranked_by_tokens(make_run: RunMaker) -> None:
    """Where every turn has as many calls, the card says so and not that one has most."""
    html, _ = page_of(make_run(turns=[{}, {"calls": ({}, {}, {"output_tokens": 900})}]))
    answers = _answers(html)
    assert "all turns have as many calls; this one comes first by tokens: 3 calls" in answers
    assert 'href="#turn/one/1"' in html
    assert "the mean turn" not in answers


def test_refused_calls_are_none_of_the_calls(make_run: RunMaker) -> None:
    """Under a cap the page counts what was asked and sent; what was refused is a trouble."""
    run = make_run(turns=[{"calls": ({}, {}, REFUSED)}])
    assert cost_of(gather(run).record.rows).calls == 2
    assert "2 calls" in _answers(page_of(run)[0])
    assert "(1 refused)" in _answers(page_of(run)[0])


def test_an_unknown_cost_is_not_a_share(make_run: RunMaker) -> None:
    """A node with a call of unknown cost makes all shares of USD unknown; they are not 0."""
    run = make_run(turns=[{"calls": ({"usd": None}, {}, {})}])
    nodes = ranked_nodes(gather(run).record.rows)
    assert set(shares(nodes, MEASURES[3]).values()) == {None}
    none = page_of(make_run("none", turns=[{"calls": ({"usd": None},)}]))[0]
    assert "Not known: USD." in none


def test_the_direction_of_a_difference_is_in_its_words(make_run: RunMaker) -> None:
    """Both runs by node and by turn: how many more or fewer than the other, by its name."""
    mine = make_run("mine", turns=[{}, {"calls": ({}, {}, {}, {}, {})}])
    other = make_run("base", turns=[{}, {"calls": ({}, {})}])
    html, _ = page_of(mine, other)
    answers = _answers(html)
    assert "3 more calls than base dearer in calls: mine; 8 against 5" in answers
    assert "most of all in lats_search: 2 more" in answers
    nodes = _text(html, r'id="table-compared-nodes">(.*?)</section>')
    assert "5 3 2 more than base" in nodes
    turns = _text(html, r'id="table-compared-turns">(.*?)</section>')
    assert turns.index("one, turn 1 5 2 3 more than base") < turns.index("one, turn 0 3 3 as many")
    back = _answers(page_of(other, mine)[0])
    assert "3 fewer calls than mine dearer in calls: mine" in back


def test_what_two_runs_set_differently_is_on_top(make_run: RunMaker) -> None:
    """The first card names three knobs with both values, and how many more differ."""
    knobs = {"a": 1, "b": "<b>", "search": {"max_calls": 11, "policy": "listwise"}, "z": True}
    mine = make_run("mine", manifest={"knobs": {"preset": "balanced", **knobs}})
    six = {"preset": "balanced", **knobs, "search": {"max_calls": 6, "policy": "listwise"}}
    html, _ = page_of(mine, make_run("six", manifest={"knobs": six}))
    assert "set differently: search.max_calls 11 against 6;" in _answers(html)
    many = make_run("many", manifest={"knobs": {"preset": "frugal", "b": "<i>", "z": False}})
    html, _ = page_of(mine, many)
    assert (
        "preset balanced against frugal, a 1 against -, b &lt;b&gt; against &lt;i&gt;, and 3 more;"
    ) in _answers(html)
    assert "set differently" not in _answers(page_of(mine, make_run("as", manifest={"knobs": {
        "preset": "balanced", **knobs}}))[0])  # fmt: skip


def test_a_node_has_the_colour_of_every_figure(make_run: RunMaker) -> None:
    """Its hue on the page is that of the figures; nodes are in the order of first asking."""
    names = ["evolver", "detection", "lats_search", "evolver", "lats_search"]
    run = make_run(turns=[{"calls": [{"node": name} for name in names]}])
    hues = node_hues(gather(run), None)
    assert list(hues) == ["evolver", "detection", "lats_search"]
    figures = node_colours(names)
    assert {name: NODE_HUES[place].lower() for name, place in hues.items()} == {
        name: figures[name].lower() for name in hues
    }
    style = (files(page) / "assets" / "page.css").read_text(encoding="utf-8")
    for place, hue in enumerate(NODE_HUES):
        assert f".node-{place} {{ --role: {hue.lower()};" in style
    own = re.findall(r"--(?:mine|others): (#\w+)", style)
    assert len(own) == 6
    assert not {*own} & {hue.lower() for hue in NODE_HUES}


def test_the_nodes_of_fewest_calls_share_a_colour(make_run: RunMaker) -> None:
    """Eight have one each, and the others follow them in every list."""
    calls = [{"node": f"n{n}"} for n in range(10) for _ in range(1 if n < 2 else 2)]
    hues = node_hues(gather(make_run(turns=[{"calls": calls}])), None)
    assert list(hues) == [f"n{n}" for n in (*range(2, 10), 0, 1)]
    assert sorted(hues.values()) == [*range(8), 8, 8]


def test_one_call_more_is_one_call(make_run: RunMaker) -> None:
    """Numbers agree with their nouns, and equal runs are equal."""
    one, two = make_run("a", turns=[{"calls": ({},)}]), make_run("b", turns=[{"calls": ({}, {})}])
    assert "1 more call than a" in _answers(page_of(two, one)[0])
    same = _answers(page_of(one, make_run("c", turns=[{"calls": ({},)}]))[0])
    assert "as many calls as c both ask as many calls" in same


def test_figures_for_people() -> None:
    """Shares are per cent, what is not known has no difference."""
    assert [percent(share) for share in (None, 0.0, 0.0663, 0.0996, 0.668, 1)] == [
        "", "0.0%", "6.6%", "10%", "67%", "100%",
    ]  # fmt: skip
    calls, _, seconds, _ = MEASURES
    assert difference_words(1, None, calls) == "unknown"
    assert difference_words(1, 3, calls) == "2 fewer"
    assert difference_words(0.1 + 0.2, 0.3, seconds) == "equal"
    assert difference_words(1.5, 3.0, seconds) == "1.5 less"


def test_names_of_a_run_are_no_markup(make_run: RunMaker) -> None:
    """A node, a conversation and a run with markup in their names are text on the first view."""
    call: dict[str, Any] = {"node": "<img src=x onerror=alert(1)>"}
    turns = [{"conversation_id": "</script><b>", "calls": (call,)}]
    html, _ = page_of(make_run("<i>", turns=turns), make_run("<u>", turns=turns))
    for tag in ("<img", "<i>", "<u>", "</script><b>"):
        assert tag not in html.partition("<script")[0]

"""A search as text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.classic_uct import ClassicUct
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_text import render_tree


def test_a_search_that_has_not_begun_is_one_line(context):
    """There is no tree to draw."""
    search = ClassicUct(SearchKnobs(), context)
    assert render_tree(search.result()) == "under way: 0 calls, 0 rounds, 0 replies"


def test_missing_figures_are_dashes_and_replies_are_one_short_line(context):
    """An unjudged reply has no score, rather than 0."""
    search = ClassicUct(SearchKnobs(), context)
    (plan,) = search.ask()
    drafts = Drafts(drafts=(Draft(reply="One line\nand another, rather long"),))
    search.tell(plan.action_id, drafts)
    line = render_tree(search.result(), max_chars=12).splitlines()[1]
    assert line.startswith("* no strategy  visits 0  mean --  judge --  rule 0.")
    assert line.endswith("  One line an…")


def test_every_reply_of_a_finished_search_has_its_line(scripted, drive, context):
    """With one star, and the second look at the end."""
    search = ClassicUct(SearchKnobs(), context)
    drive(search, scripted())
    lines = render_tree(search.result()).splitlines()
    assert len(lines) == 1 + 9 + 1
    assert sum("* " in line for line in lines) == 1
    assert lines[-1].startswith("the pick, judged again: 0.")


def _searched(**texts):
    """A search of two calls: two candidates, both judged, one with checks."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=2, generate_k=2))
    (action,) = search.ask()
    drafts = tuple(
        Draft.model_construct(reply=reply, strategy_tag=texts.get("tag", "tag"), payload={})
        for reply in texts.get("replies", ("First reply.", "你好，今天怎么样"))
    )
    search.tell(action.action_id, Drafts(drafts))
    for action in search.ask():
        first, *rest = action.node_ids
        said = {node_id: Verdict(score=0.4) for node_id in rest}
        checks = {"kind": True, "short": False}
        reason = texts.get("reason", "Plain and warm.")
        said[first] = Verdict(score=0.8, checks=checks, reason=reason)
        search.tell(action.action_id, Verdicts(said))
    assert search.ask() == []
    return search.result()


def test_a_candidate_is_a_line_of_figures_and_words():
    """Belief, judge calls, cost, checks, tag, reply and the judge's words."""
    head, start, *lines, chance = render_tree(_searched()).splitlines()
    assert head == "cap: 2 calls, 2 rounds, 2 candidates"
    assert start == "start"
    best = next(line for line in lines if "* " in line)
    assert best[3:].startswith("* 0.6")
    assert "  judged 1  cost 1.00  checks 1/2  tag  " in best
    assert best.endswith("  [judge: Plain and warm.]")
    assert chance.startswith("chance that * is the best of these: 0.")


def test_a_posterior_search_that_has_not_begun_is_one_line():
    """There is no candidate to draw."""
    result = PosteriorSearch(SearchKnobs(policy="auto")).result()
    assert render_tree(result) == "under way: 0 calls, 0 rounds, 0 candidates"


@given(text=st.text())
def test_no_text_can_add_a_line_or_a_control_character(text):
    """With any text of a model, a candidate is one line of printable characters."""
    result = _searched(replies=(f"a{text}", f"b{text}"), tag=text, reason=text)
    drawn = render_tree(result)
    assert len(drawn.splitlines()) == len(result.tree) + 3
    assert all(unicodedata.category(char) not in {"Cc", "Cs"} for char in drawn.replace("\n", ""))


def test_a_tree_of_any_depth_is_drawn():
    """Nothing recurses, so a search of a thousand generations is no danger."""
    result = _searched()
    tree = result.tree
    node = result.best
    for place in range(1500):
        node = tree.add(node, Draft(reply=f"reply {place}"))
    assert len(render_tree(result).splitlines()) == 1500 + 2 + 3


def test_max_chars_is_at_least_1():
    """Cutting to nothing is refused."""
    with pytest.raises(ValueError, match="max_chars is at least 1, got 0"):
        render_tree(_searched(), max_chars=0)

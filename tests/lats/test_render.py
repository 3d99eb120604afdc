"""A search as text."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.answers import Draft, Drafts
from lats.classic_uct import ClassicUct
from lats.render import render_tree
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.shown import ShownNode, ShownTree, shown_from_json


def test_a_search_that_has_not_begun_is_one_line(context):
    """There is no tree to draw."""
    search = ClassicUct(SearchKnobs(), context)
    assert render_tree(search.result()) == "under way: 0 calls, 0 rounds, 0 replies"


def test_missing_figures_are_dashes_and_replies_are_one_short_line(context):
    """An unjudged reply has no score, rather than 0."""
    search = ClassicUct(SearchKnobs(), context)
    (plan,) = search.ask()
    drafts = Drafts(drafts=(Draft(reply="One line\nand another, rather long"),))
    search.tell(plan.proposal_id, drafts)
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


DRAWN = Path(__file__).parent / "drawn"


def _small() -> ShownTree:
    return shown_from_json(json.loads((DRAWN / "small.json").read_text(encoding="utf-8")))


def test_a_small_posterior_tree_is_drawn_as_kept():
    """Belief, looks, cost, tag, reply and the judge's words, a candidate a line."""
    assert render_tree(_small()) + "\n" == (DRAWN / "small.txt").read_text(encoding="utf-8")


def test_a_posterior_search_that_has_not_begun_is_one_line():
    """There is no candidate to draw."""
    result = PosteriorSearch(SearchKnobs(policy="auto")).result()
    assert render_tree(result) == "under way: 0 calls, 0 rounds, 0 candidates"


@given(text=st.text())
def test_no_text_can_add_a_line_or_a_control_character(text):
    """Whatever a model wrote, a candidate is one line of characters that are shown."""
    small = _small()
    hostile = tuple(
        node if node.is_start else replace(node, reply=text, strategy_tag=text, reason=text)
        for node in small.nodes
    )
    drawn = render_tree(replace(small, nodes=hostile))
    assert len(drawn.splitlines()) == len(small.nodes) + 2
    assert all(unicodedata.category(char) not in {"Cc", "Cs"} for char in drawn.replace("\n", ""))


def test_a_tree_of_any_depth_is_drawn():
    """Nothing recurses, so a record of a thousand generations is no danger."""
    nodes = tuple(
        ShownNode(str(place), str(place - 1) if place else None, place, "", "x")
        for place in range(1500)
    )
    assert len(render_tree(replace(_small(), nodes=nodes)).splitlines()) == 1502


def test_a_line_needs_room_for_a_character():
    """Cutting to nothing is refused."""
    with pytest.raises(ValueError, match="max_chars is at least 1, got 0"):
        render_tree(_small(), max_chars=0)

"""Two runs compared."""

from collections.abc import Callable
from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError
from callwise.report.page.page_comparison import compared_tables, pair
from callwise.report.page.page_data import gather
from callwise.report.page.page_html import document_of, page_of

RunMaker = Callable[..., Path]

OTHER = [
    {"reply": "Else.", "calls": ({}, {}), "rounds": {"reply": 2, "turn": 2}},
    {},
    {"conversation_id": "two"},
]


def test_turns_pair_by_conversation_and_number(make_run: RunMaker) -> None:
    """A paired turn has its differences by figure and by node; an unpaired one has no other."""
    run = gather(make_run("mine", turns=[{}, {}, {}]))
    other = gather(make_run("other", turns=OTHER))
    turns = document_of(run, pair(run, other))["runs"][0]["turns"]
    assert [turn["other"] for turn in turns] == [0, 1, None]
    assert turns[0]["differences"]["kinds"] == ["reply", "calls", "tokens", "usd", "rounds"]
    assert turns[0]["differences"]["figures"][0] == ("asked", 3, 2, 1)
    assert turns[0]["differences"]["nodes"][1][:4] == ("lats_search", 2, 1, 1)
    assert turns[1]["differences"]["kinds"] == []
    assert "differences" not in turns[2]


def test_tables_are_over_the_paired_turns(make_run: RunMaker) -> None:
    """Figures of turns that only one run has are in no comparison; a notice names them."""
    one, two = make_run("mine", turns=[{}, {}, {}]), make_run("other", turns=OTHER)
    run, other = gather(one), gather(two)
    tables = {table.name: table for table in compared_tables(pair(run, other))}
    assert tables["compared"].rows[0] == ("asked", 6, 5, 1)
    by_node = {row[0]: row[1:4] for row in tables["compared_by_node"].rows}
    assert by_node == {"detection": (2, 2, 0), "lats_search": (4, 3, 1)}
    html, written = page_of(one, two)
    assert written.paired_turns == 2
    assert "2 turns pair, of 3 here and 3 in the other run" in html


def test_knobs_and_prompts_that_differ_are_listed(make_run: RunMaker) -> None:
    """Equal knobs are left out, one that only one run has is open in the other."""
    prompts = {"prompts": {"judge": "aa", "reply": "bb"}}
    run = gather(make_run("mine", manifest=prompts))
    knobs = {"preset": "toy", "search": {"rollouts": 2, "seed": None}}
    other = gather(make_run("other", manifest={"knobs": knobs, "prompts": {"judge": "cc"}}))
    tables = {table.name: table.rows for table in compared_tables(pair(run, other))}
    assert tables["knobs_differ"] == (("search.rollouts", "4", "2"), ("search.seed", "-", "None"))
    assert tables["prompts_differ"] == (("judge", "aa", "cc"), ("reply", "bb", "-"))


def test_a_user_who_said_something_else_is_told(make_run: RunMaker) -> None:
    """A pair by number alone may be of other conversations; the page warns of it."""
    html, _ = page_of(make_run("mine"), make_run("other", turns=[{"user_text": "No."}, {}]))
    assert "In 1 paired turns the user wrote something else" in html


def test_runs_without_a_common_turn_are_an_error(make_run: RunMaker) -> None:
    """The error names both runs and what they are of."""
    mine = make_run("mine")
    other = make_run("other", turns=[{"conversation_id": name} for name in "abcde"])
    with pytest.raises(ConfigError, match=r"no turn of .*other pairs .*'a', 'b', 'c' and 2 more"):
        page_of(mine, other)

"""Nodes that ask together, by the knobs and the calls that are left."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.budget.limits import Limits
from callwise.calls.errors import ConfigError
from graph.app import app
from graph.fusing import (
    Fusion,
    calls_at_start,
    fusing_as_set,
    fusing_for,
    is_limited,
    needed_calls,
    steps_down,
)
from graph.knob_groups import FuseKnobs, MemoryKnobs, ProcessorKnobs
from graph.settings import BudgetKnobs, PipelineSettings
from lats.search_knobs import SearchKnobs

CAPS = st.none() | st.integers(0, 20)

FUSE = st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()).map(
    lambda knobs: FuseKnobs(
        thinking=knobs[0], bookkeeping=knobs[1], reply=knobs[0] and knobs[2], wind_down=knobs[3]
    )
)

SETTINGS = st.builds(
    PipelineSettings,
    fuse=FUSE,
    search=st.builds(SearchKnobs, max_calls=CAPS),
    processor=st.builds(ProcessorKnobs, llm=st.sampled_from(["auto", "always", "never"])),
    memory=st.builds(MemoryKnobs, dense=st.booleans(), retrieve_k=st.integers(0, 2)),
    budget=st.builds(
        BudgetKnobs,
        turn=st.builds(Limits, max_calls=CAPS, max_requests=CAPS),
        search=st.builds(Limits, max_calls=CAPS),
    ),
)


def _form(fusing: Fusion) -> str:
    """Return how the calls before the search are asked: by what is fused of them."""
    if fusing.reply:
        return "instant"
    return "fused" if fusing.thinking else "separate"


RANKS = {"separate": 0, "fused": 1, "instant": 2}

WINDING = PipelineSettings(fuse=FuseKnobs(wind_down=True))


def _what(fusing: Fusion) -> list[str]:
    return [row.what for row in fusing.wound_down]


@pytest.mark.parametrize(
    ("calls_left", "form", "what"),
    [
        (None, "separate", []),
        (9, "separate", []),
        (8, "fused", ["fused_thinking", "fused_bookkeeping"]),
        (4, "fused", ["fused_thinking", "fused_bookkeeping"]),
        (3, "instant", ["fused_thinking", "fused_bookkeeping", "fused_reply"]),
        (2, "instant", ["fused_thinking", "fused_bookkeeping", "fused_reply"]),
        (1, "instant", ["fused_thinking", "fused_reply"]),
        (0, "instant", ["fused_thinking", "fused_reply"]),
    ],
)
def test_it_gives_way_step_by_step(calls_left: int | None, form: str, what: list[str]) -> None:
    """Nine calls suffice for a turn with the least search, four where fused, two where instant."""
    fusing = fusing_for(WINDING, calls_left)
    assert (_form(fusing), _what(fusing)) == (form, what)


def test_it_says_why() -> None:
    """The calls that were left and those that were needed."""
    (row, _) = fusing_for(WINDING, 7).wound_down
    assert row.reason == "7 of the 9 calls that it needs at least were left"


def test_a_smaller_search_comes_first() -> None:
    """The search gives way before anything is fused, and its own words are taken."""
    fusing = fusing_for(WINDING, 7)
    knobs = SearchKnobs(policy="listwise", max_calls=7, refine=True)
    order = ["fewer_judge_calls", "fewer_refinements", "fewer_candidates"]
    one_less, all_less = order[:1], order
    for planned, fewer in ((6, one_less), (5, order[::2]), (2, all_less), (1, all_less)):
        search = {"wound_down": {"planned": planned, "knobs": 7}}
        rows = steps_down(fusing, search, knobs)
        assert [row.what for row in rows] == [*fewer, *_what(fusing)]
    assert rows[0].reason == "0 of 4: the search had 1 of the 7 calls of its cap"
    for search in ({"wound_down": None}, {}):
        assert steps_down(fusing, search, knobs) == fusing.wound_down


def test_what_is_fused_anyway_was_not_given_up() -> None:
    """Only what goes beyond the knobs is wound down."""
    settings = PipelineSettings(fuse=FuseKnobs(thinking=True, bookkeeping=True, wind_down=True))
    assert _what(fusing_for(settings, 5)) == []
    assert _what(fusing_for(settings, 3)) == ["fused_reply"]


def test_a_search_with_a_smaller_cap_needs_less() -> None:
    """Its cap, or its budget's, is all that it could ask."""
    capped = PipelineSettings(search=SearchKnobs(max_calls=3))
    limited = PipelineSettings(budget=BudgetKnobs(search=Limits(max_calls=2)))
    needs = [
        needed_calls(each, Fusion(), search_calls=4)
        for each in (PipelineSettings(), capped, limited)
    ]
    assert needs == [9, 8, 7]


def test_calls_that_always_come_are_counted() -> None:
    """A processor that always asks, and both embeddings of a dense memory."""
    settings = PipelineSettings(
        processor=ProcessorKnobs(llm="always"), memory=MemoryKnobs(dense=True)
    )
    assert needed_calls(settings, Fusion(), search_calls=4) == 9 + 1 + 2


@given(SETTINGS, CAPS)
def test_without_the_knob_or_a_limit_nothing_changes(
    settings: PipelineSettings, left: int | None
) -> None:
    """The knobs alone decide where winding down is off, or nothing limits the calls."""
    as_set = fusing_as_set(settings)
    assert fusing_for(settings, None) == as_set
    if not settings.fuse.wind_down:
        assert fusing_for(settings, left) == as_set
        assert not is_limited(settings)


@given(SETTINGS, st.integers(0, 30))
def test_winding_down_only_ever_fuses(settings: PipelineSettings, calls_left: int) -> None:
    """What the knobs fuse stays so, a reply never comes without thoughts, and rows say it all."""
    as_set, fusing = fusing_as_set(settings), fusing_for(settings, calls_left)
    assert fusing.thinking >= as_set.thinking
    assert fusing.bookkeeping >= as_set.bookkeeping
    assert fusing.reply >= as_set.reply
    assert fusing.thinking or not fusing.reply
    changed = {
        "fused_thinking": fusing.thinking != as_set.thinking,
        "fused_bookkeeping": fusing.bookkeeping != as_set.bookkeeping,
        "fused_reply": fusing.reply != as_set.reply,
    }
    assert set(_what(fusing)) == {what for what, is_changed in changed.items() if is_changed}


@given(SETTINGS)
def test_fewer_calls_never_fuse_less(settings: PipelineSettings) -> None:
    """As fewer calls are left, no less is fused, and no more than needed."""
    forms = [fusing_for(settings, left) for left in range(30, -1, -1)]
    for more, less in pairwise(forms):
        assert RANKS[_form(less)] >= RANKS[_form(more)]
    for left, fusing in zip(range(30, -1, -1), forms, strict=True):
        if not fusing.reply and settings.fuse.wind_down:
            assert needed_calls(settings, fusing, search_calls=2) <= left


@given(SETTINGS)
def test_a_fused_turn_never_needs_more(settings: PipelineSettings) -> None:
    """Each step down saves calls."""
    apart, fused = Fusion(), Fusion(thinking=True, bookkeeping=True)
    instant = Fusion(thinking=True, bookkeeping=True, reply=True)
    needs = [needed_calls(settings, each, search_calls=2) for each in (apart, fused, instant)]
    assert needs == sorted(needs, reverse=True)


def test_the_calls_at_the_start_are_the_tightest_limit() -> None:
    """Of run, conversation and turn, in calls or in requests."""
    budget = BudgetKnobs(
        run=Limits(max_calls=50), conversation=Limits(max_requests=9), turn=Limits(max_calls=12)
    )
    assert calls_at_start(PipelineSettings(budget=budget)) == 9
    assert calls_at_start(PipelineSettings(budget=BudgetKnobs(turn=Limits(max_tokens=9)))) is None


@pytest.mark.parametrize("knobs", [{"reply": True}, {"reply": True, "bookkeeping": True}])
def test_a_reply_without_thoughts_is_refused(knobs: dict[str, Any]) -> None:
    """The error names both knobs and the way out, in code and on the command line."""
    with pytest.raises(ValidationError, match=r"fuse\.reply=true needs fuse\.thinking=true"):
        FuseKnobs(**knobs)
    overrides = [f"fuse.{name}=true" for name in knobs]
    with pytest.raises(ConfigError, match=r"set both, or leave fuse\.reply false"):
        app.settings("classic", overrides)

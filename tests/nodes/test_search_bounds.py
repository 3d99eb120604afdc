"""What bounds a search, and how the budget's advisory is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import ActionKind
from lats.policy import RemainingCalls
from lats.search_knobs import SearchKnobs
from nodes.lats_search import SearchBounds, remaining_calls, repairs_within, search_bounds
from turnwise.calls.call import Role
from turnwise.calls.client import Advisory


@pytest.mark.parametrize(
    ("max_calls", "limits", "expected"),
    [
        (None, (None, None), 6),
        (4, (None, None), 4),
        (4, (3, None), 3),
        (4, (9, 2), 2),
        (None, (9, None), 6),
        (0, (None, None), 0),
        (4, (0, None), 0),
    ],
)
def test_the_scope_has_the_least_of_all_caps(max_calls, limits, expected):
    """The knobs' own, or the policy's default, and those that the scope has anyway."""
    knobs = SearchKnobs(policy="auto", max_calls=max_calls)
    bounds = search_bounds(knobs, max_calls=limits[0], max_requests=limits[1], held_calls=1)
    assert bounds == SearchBounds(expected, 1)


def test_the_classic_search_keeps_the_limits_as_they_are():
    """Its cap counts proposals."""
    knobs = SearchKnobs(max_calls=3)
    assert search_bounds(knobs, max_calls=5, held_calls=1) == SearchBounds(None, 1)


def test_nothing_limits_nothing():
    """Whatever is held back."""
    assert remaining_calls(Advisory()) == RemainingCalls()
    assert remaining_calls(Advisory(), SearchBounds(None, 1), is_first=True) == RemainingCalls()


@pytest.mark.parametrize(
    ("advisory", "room"),
    [
        (Advisory(calls_left=5, requests_left=3), RemainingCalls(3)),
        (Advisory(calls_left=5, tokens_left=0), RemainingCalls(0)),
        (Advisory(calls_left=5, usd_left=0.0), RemainingCalls(0)),
        (Advisory(tokens_left=100, usd_left=0.5), RemainingCalls()),
        (Advisory(seconds_left=0.0), RemainingCalls(0, is_late=True)),
        (Advisory(calls_left=5, seconds_left=-1.0), RemainingCalls(0, is_late=True)),
        (Advisory(seconds_left=0.1), RemainingCalls()),
        (
            Advisory(calls_left=9, calls_left_by_role=((Role.JUDGE, 2), (Role.MAIN, 0))),
            RemainingCalls(9, 0, 2),
        ),
    ],
)
def test_an_advisory_is_read_in_calls(advisory, room):
    """The tightest counts; what is used up leaves none; late is late."""
    assert remaining_calls(advisory) == room


@pytest.mark.parametrize(
    ("advisory", "bounds", "room"),
    [
        (Advisory(calls_left=5), SearchBounds(6, 1), RemainingCalls(6)),
        (Advisory(calls_left=5), SearchBounds(6, 0), RemainingCalls(5)),
        (Advisory(calls_left=3), SearchBounds(3, 1), RemainingCalls(3)),
        (Advisory(calls_left=0), SearchBounds(6, 0), RemainingCalls(1)),
        (Advisory(seconds_left=0.0), SearchBounds(6, 1), RemainingCalls(1)),
        (Advisory(tokens_left=0), SearchBounds(6, 1), RemainingCalls(1)),
        (
            Advisory(calls_left_by_role=((Role.MAIN, 0),)),
            SearchBounds(6, 1),
            RemainingCalls(None, 1),
        ),
        (Advisory(calls_left=0), SearchBounds(0, 1), RemainingCalls(0)),
    ],
)
def test_the_first_round_may_use_what_is_held_back_for_the_reply(advisory, bounds, room):
    """On top of what is left, and never more than the scope takes. One call at least."""
    assert remaining_calls(advisory, bounds, is_first=True) == room


@given(
    calls=st.none() | st.integers(0, 9),
    requests=st.none() | st.integers(0, 9),
    cap=st.none() | st.integers(0, 9),
    held=st.integers(0, 1),
    is_first=st.booleans(),
)
def test_room_is_never_more_than_is_left(calls, requests, cap, held, is_first):
    """But for the reply's own call."""
    advisory = Advisory(calls_left=calls, requests_left=requests)
    room = remaining_calls(advisory, SearchBounds(cap, held), is_first=is_first)
    left = [limit for limit in (calls, requests) if limit is not None]
    assert (room.max_calls is None) == (not left)
    if left and room.max_calls is not None:
        assert room.max_calls <= min(left) + is_first
        assert not is_first or cap is None or room.max_calls <= cap


@pytest.mark.parametrize(
    ("room", "max_repairs", "repairs"),
    [
        (RemainingCalls(), 2, [2, 2, 2]),
        (RemainingCalls(), 0, [0, 0, 0]),
        (RemainingCalls(3), 2, [0, 0, 0]),
        (RemainingCalls(4), 2, [1, 0, 0]),
        (RemainingCalls(7), 2, [2, 1, 1]),
        (RemainingCalls(9, max_judge_calls=1), 2, [2, 0, 2]),
        (RemainingCalls(9, max_proposer_calls=3), 1, [1, 1, 0]),
    ],
)
def test_repairs_come_out_of_what_a_round_leaves(room, max_repairs, repairs):
    """In all and by side, the first of every call before the second of any."""
    kinds = [ActionKind.GENERATE, ActionKind.JUDGE_LIST, ActionKind.GENERATE]
    assert repairs_within(room, kinds, max_repairs=max_repairs) == repairs

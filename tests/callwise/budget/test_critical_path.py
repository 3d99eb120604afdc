"""Rounds and seconds follow structure, never interleaving."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.critical_path import (
    ORIGIN,
    CriticalPath,
    CriticalPathPoint,
    scheduled_seconds,
)


def ended(path: CriticalPath, name: str, rounds: int, after: tuple[str, ...] | None = None) -> None:
    """Open a child, let it take some rounds of a second each, and close it."""
    child = path.open_child(after)
    start = child.position
    child.advance_to(CriticalPathPoint(start.round + rounds, start.seconds + rounds))
    path.close_child(name, child, is_named=True)


def test_children_follow_each_other_by_default():
    """Without `after`, a child starts at its parent's position."""
    path = CriticalPath(ORIGIN)
    ended(path, "a", 2)
    ended(path, "b", 3)
    assert path.length == CriticalPathPoint(5, 5.0)
    assert path.end_of("a") == CriticalPathPoint(2, 2.0)


def test_parallel_siblings_do_not_see_each_other():
    """With an explicit `after`, a sibling that happened to end first does not count."""
    path = CriticalPath(ORIGIN)
    ended(path, "loader", 1)
    ended(path, "detection", 4, after=("loader",))
    ended(path, "retriever", 1, after=("loader",))
    ended(path, "join", 1, after=("detection", "retriever"))
    assert path.end_of("retriever") == CriticalPathPoint(2, 2.0)
    assert path.end_of("join") == path.length == CriticalPathPoint(6, 6.0)


def test_after_nothing_starts_at_the_start():
    """An empty `after` waits for nothing, though the parent has moved on."""
    path = CriticalPath(CriticalPathPoint(7, 7.0))
    ended(path, "a", 3)
    ended(path, "b", 1, after=())
    assert path.end_of("b") == CriticalPathPoint(1, 1.0)


def test_a_node_that_ran_twice_ended_at_its_last_end():
    """The end of a name is the furthest end of any child of that name."""
    path = CriticalPath(ORIGIN)
    ended(path, "a", 3)
    ended(path, "a", 1, after=())
    assert path.end_of("a").round == 3


def test_an_unknown_name_says_which_have_ended():
    """A node that has not ended is named, with those that have."""
    path = CriticalPath(ORIGIN)
    ended(path, "a", 1)
    with pytest.raises(LookupError, match=r"'b' has not ended here; ended so far: a"):
        path.open_child(("b",))
    with pytest.raises(LookupError):
        path.end_of("b")


def test_a_position_never_goes_back():
    """Each coordinate keeps its furthest value."""
    path = CriticalPath(ORIGIN)
    path.advance_to(CriticalPathPoint(2, 1.0))
    path.advance_to(CriticalPathPoint(1, 5.0))
    path.advance_to(CriticalPathPoint(0, 0.0))
    assert path.position == CriticalPathPoint(2, 5.0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), max_size=12), st.integers(1, 12))
def test_a_schedule_is_between_its_limits(durations, places):
    """No schedule beats the longest call or the mean load, and none beats doing it in line."""
    seconds = scheduled_seconds(durations, max_concurrency=places)
    assert seconds >= max([*durations, sum(durations) / places], default=0) - 1e-9
    assert seconds <= sum(durations) + 1e-9


def test_a_free_place_is_used_at_once():
    """A long call does not hold up those behind it."""
    assert scheduled_seconds([10, 1, 1, 1], max_concurrency=2) == 10
    assert scheduled_seconds([], max_concurrency=3) == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 50), max_size=20), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_length_does_not_depend_on_where_it_started(durations, here, there):
    """The same calls have the same length to the last bit, early in a run or late."""
    lengths = set()
    for start_seconds in (here, there):
        path = CriticalPath(CriticalPathPoint(3, round(start_seconds, 6)))
        for duration in durations:
            path.advance_to(path.position.after(1, duration))
        lengths.add(path.length)
    assert len(lengths) == 1

"""The logical critical path of a scope: rounds, and the seconds they would take.

Problem: a replay answers instantly and a simulated model on a virtual clock too, so
what happened to overlap has no trace of what had to wait for what.

Choice: rounds come from structure. A scope has a position. A call starts where its
scope is and, on its end, pushes the scope's position to its own end if that is
further. Calls asked together start together. A child scope starts where its parent
is, or, with `after`, where the named siblings ended; closing it pushes its
parent. So parallel siblings with an explicit `after` do not see each other's end.

Rejected: deriving rounds from start and end times. It gives another answer on a
loaded machine, and 1 for everything in a replay.

Durations count in whole microseconds, so that the length of a path is the same to the
last bit wherever on its parent's path it started, and so at any concurrency.

Calls of several threads advance a path, so a lock is held meanwhile.

Invariant: a position never goes back.
"""

import heapq
import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ORIGIN", "CriticalPath", "CriticalPathPoint", "CriticalPathTrack", "scheduled_seconds"]


class CriticalPathPoint(NamedTuple):
    """A point on a path.

    Args:
        round: calls that had to be waited for one after the other. Starts at 0.
        seconds: the time that they took, or would have taken.
    """

    round: int
    seconds: float

    def after(self, rounds: int, duration_seconds: float) -> "CriticalPathPoint":
        """Return where a call that starts here ends, to the microsecond."""
        return CriticalPathPoint(self.round + rounds, self.seconds + round(duration_seconds, 6))

    def later(self, other: "CriticalPathPoint") -> "CriticalPathPoint":
        """Return the further of both, each coordinate on its own."""
        return CriticalPathPoint(max(self.round, other.round), max(self.seconds, other.seconds))


_advancing = threading.RLock()
"""Held while a position changes. Re-entrant: the garbage collector may end a call meanwhile."""

if hasattr(os, "register_at_fork"):  # a forked process must not find it held for ever
    os.register_at_fork(
        before=_advancing.acquire,
        after_in_parent=_advancing.release,
        after_in_child=_advancing.release,
    )

ORIGIN = CriticalPathPoint(0, 0.0)
"""Start of the root scope."""


class CriticalPath:
    """Start and position of one scope in the coordinates of the root, and its children's ends."""

    __slots__ = ("_ends", "position", "start")

    def __init__(self, start: CriticalPathPoint) -> None:
        self.start = self.position = start
        self._ends: dict[str, CriticalPathPoint] = {}

    @property
    def length(self) -> CriticalPathPoint:
        """Rounds and seconds from its start to where it is."""
        return self._since_start(self.position)

    def advance_to(self, end: CriticalPathPoint) -> None:
        """Move to `end` where that is further."""
        with _advancing:
            here = self.position
            if end[0] >= here[0] and end[1] >= here[1]:
                self.position = end
            elif end[0] > here[0] or end[1] > here[1]:
                self.position = here.later(end)

    def open_child(self, after: Sequence[str] | None) -> "CriticalPath":
        """Return the path of a child.

        Args:
            after: names of the children that it had to wait for; empty for none of
                them; None for everything that this path has reached so far.

        Raises:
            LookupError: when a named child has not ended.
        """
        if after is None:
            return CriticalPath(self.position)
        start = self.start
        for name in after:
            start = start.later(self._end(name))
        return CriticalPath(start)

    def close_child(self, name: str, child: "CriticalPath", *, is_named: bool) -> None:
        """Move to where a child ended, and remember its end when it `is_named`."""
        end = child.position
        self.advance_to(end)
        if is_named:
            with _advancing:
                known = self._ends.get(name)
                self._ends[name] = end if known is None else known.later(end)

    def end_of(self, name: str) -> CriticalPathPoint:
        """Return rounds and seconds from the start of this path to the end of a child.

        Raises:
            LookupError: when no child of this name has ended.
        """
        return self._since_start(self._end(name))

    def _end(self, name: str) -> CriticalPathPoint:
        try:
            return self._ends[name]
        except KeyError:
            ended = ", ".join(self._ends) or "none"
            raise LookupError(f"node {name!r} has not ended here; ended so far: {ended}") from None

    def _since_start(self, position: CriticalPathPoint) -> CriticalPathPoint:
        seconds = round(position.seconds - self.start.seconds, 6)
        return CriticalPathPoint(position.round - self.start.round, seconds)


class CriticalPathTrack:
    """Position of one chain of calls on the path: of a call, and its repairs after it."""

    __slots__ = ("position", "start")

    def __init__(self, start: CriticalPathPoint) -> None:
        self.start = self.position = start


def scheduled_seconds(durations_seconds: Sequence[float], *, max_concurrency: int) -> float:
    """Return how long calls take when each starts as soon as a place is free.

    They start in order. Depends on the durations only, never on which of them
    happened to be observed first.

    Args:
        max_concurrency: places; at least 1.
    """
    free_at = [0.0] * min(max_concurrency, len(durations_seconds))
    for duration in durations_seconds:
        heapq.heapreplace(free_at, free_at[0] + duration)
    return max(free_at, default=0.0)

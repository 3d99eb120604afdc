"""When a plan's calls would start and end: rounds, and seconds at a latency and a rate.

A round is a call's place in its longest chain of waiting: the schedule of calls that
take 1 and meet no limit. For seconds, every request takes the same time, and starts
when the calls before it have ended and the rate has a slot; slots are `60 / rpm`
seconds apart and go to whoever is ready first.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from turnwise.plan.flat import FlatPlan

__all__ = ["Moments", "rounds", "seconds"]


@dataclass(frozen=True, slots=True)
class Moments:
    """When the reply is out, and when the turn is over, from the turn's start.

    Args:
        reply: rounds or seconds until the reply.
        turn: rounds or seconds until everything has ended; at least `reply`.
    """

    reply: float
    turn: float


def _ends(plan: FlatPlan, latency_seconds: float, slot_seconds: float) -> list[float]:
    """Return when each call ends."""
    ends = [0.0] * len(plan.tasks)
    open_waits = [len(task.after) for task in plan.tasks]
    waiting: list[list[int]] = [[] for _ in plan.tasks]
    for place, task in enumerate(plan.tasks):
        for other in task.after:
            waiting[other].append(place)
    ready = [(0.0, place) for place, waits in enumerate(open_waits) if not waits]
    heapq.heapify(ready)
    next_slot = 0.0
    # What becomes ready is never ready before what made it so: the heap stays in order.
    while ready:
        ready_at, place = heapq.heappop(ready)
        start = max(ready_at, next_slot)
        next_slot = start + slot_seconds
        ends[place] = start + latency_seconds
        for follower in waiting[place]:
            open_waits[follower] -= 1
            if not open_waits[follower]:
                after = plan.tasks[follower].after
                heapq.heappush(ready, (max(ends[other] for other in after), follower))
    return ends


def _moments(plan: FlatPlan, ends: Sequence[float], reply_part: str) -> Moments:
    turn = max(ends, default=0.0)
    reply_ends = plan.ends.get(reply_part)
    if reply_ends is None:
        return Moments(turn, turn)
    return Moments(max((ends[place] for place in reply_ends), default=0.0), turn)


def rounds(plan: FlatPlan, *, reply_part: str) -> Moments:
    """Return the longest chains of calls: whole numbers.

    Args:
        plan: the plan.
        reply_part: the part of its network after which the reply is out; where there
            is none, the reply is out at the end.
    """
    return _moments(plan, _ends(plan, 1.0, 0.0), reply_part)


def seconds(
    plan: FlatPlan, *, reply_part: str, latency_seconds: float, rpm: float | None = None
) -> Moments:
    """Return how long the calls take, without retries and without overhead.

    Args:
        plan: the plan.
        reply_part: see `rounds`.
        latency_seconds: of every request; at least 0.
        rpm: requests a minute that may start; None for no limit.

    Raises:
        ValueError: for a negative latency, or a rate of 0 or less.
    """
    if not latency_seconds >= 0:
        raise ValueError(f"latency_seconds is at least 0, got {latency_seconds}")
    if rpm is not None and not rpm > 0:
        raise ValueError(f"rpm is above 0, got {rpm}")
    slot_seconds = 0.0 if rpm is None else 60.0 / rpm
    return _moments(plan, _ends(plan, latency_seconds, slot_seconds), reply_part)

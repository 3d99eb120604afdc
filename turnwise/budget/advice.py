"""How much room is left, so that a pipeline winds down instead of falling off."""

import math

from turnwise.budget.bounds import Bounds
from turnwise.budget.path import Position
from turnwise.budget.usage import PICODOLLARS
from turnwise.calls.asker import Advisory
from turnwise.calls.vocabulary import Role

__all__ = ["advise"]


def _whole(left: float) -> int | None:
    return None if left == math.inf else int(left)


def advise(bounds: Bounds, position: Position, *, by_path: bool = False) -> Advisory:
    """Return the tightest of all limits that bind here, leases taken off.

    Reservations of calls in flight are taken off too, so more may be left once those
    have settled. A pipeline that is to be replayed steers by calls: they are the same in
    every replay, at every moment; time is not, nor what is reserved for calls in flight.

    Args:
        bounds: what binds the scope.
        position: where on its path it stands.
        by_path: tell the time that is left from the path, not the clock.
    """
    calls = requests = tokens = picodollars = math.inf
    for room in bounds.common_rooms():
        left = room.left
        calls = min(calls, left[0])
        requests = min(requests, left[1])
        tokens = min(tokens, left[2])
        picodollars = min(picodollars, left[3])
    by_role: dict[Role, float] = {}
    for room in bounds.role_rooms():
        if room.role is not None:
            left = room.left
            known = by_role.get(room.role, math.inf)
            by_role[room.role] = min(known, left[0], left[1])
    seconds_left = bounds.seconds_left(position, by_path=by_path)
    if seconds_left == 0:
        calls = 0
    return Advisory(
        calls_left=_whole(calls),
        requests_left=_whole(requests),
        tokens_left=_whole(tokens),
        usd_left=None if picodollars == math.inf else picodollars / PICODOLLARS,
        seconds_left=seconds_left,
        calls_left_by_role=tuple(
            (role, int(left)) for role, left in sorted(by_role.items()) if left != math.inf
        ),
    )

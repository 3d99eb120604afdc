"""What bounds one search: its knobs' cap as its scope's, and the budget's advisory as its room.

The search counts proposals. What a scope counts is more: repairs are calls, and retries are
requests. So for the cap to hold with all of them, the search's scope has it as its own
limit, and the search reads before each round how much of that is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lats.knobs import SearchKnobs
from lats.proposal import Kind, Side, side_of
from lats.room import Room
from lats.search_state import DEFAULT_CAP
from turnwise.calls.call import Role
from turnwise.calls.client import Advisory

__all__ = ["UNBOUNDED", "SearchBounds", "repairs_within", "room_of", "search_bounds"]


@dataclass(frozen=True, slots=True)
class SearchBounds:
    """What of a search's limits the advisory does not tell.

    Args:
        max_calls: most calls, and most requests, of the search's scope, repairs and retries
            included; None where it has no limit of its own.
        held_calls: calls held back for the reply that the advisory leaves out and the
            search's first call draws on; 0 or 1.
    """

    max_calls: int | None = None
    held_calls: int = 0


UNBOUNDED = SearchBounds()
"""A search whose only limits are its knobs and what the advisory tells."""


def search_bounds(
    knobs: SearchKnobs,
    *,
    max_calls: int | None = None,
    max_requests: int | None = None,
    held_calls: int = 0,
) -> SearchBounds:
    """Return what is to bound a search.

    The scope is to be opened with `max_calls` of the result both as its `max_calls` and as
    its `max_requests`, where it is not None. `classic_uct` is left to the limits as they
    are: its cap counts proposals.

    Args:
        knobs: of the search.
        max_calls: limit that the search's scope has anyway; None is no limit.
        max_requests: likewise.
        held_calls: see `SearchBounds`.
    """
    if knobs.policy == "classic_uct":
        return SearchBounds(held_calls=held_calls)
    cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    caps = (cap, max_calls, max_requests)
    return SearchBounds(min(each for each in caps if each is not None), held_calls)


def room_of(
    advisory: Advisory, bounds: SearchBounds = UNBOUNDED, *, is_first: bool = False
) -> Room:
    """Return the budget's advisory as the search reads it: in calls.

    Args:
        advisory: of the search's scope.
        bounds: what it does not tell.
        is_first: whether the search has asked nothing yet. Then at least one call fits:
            the reply must come, and whether it may is for the budget to say.
    """
    is_late = advisory.seconds_left is not None and advisory.seconds_left <= 0
    limits = [advisory.calls_left, advisory.requests_left]
    if is_late or _is_spent(advisory.tokens_left) or _is_spent(advisory.usd_left):
        limits.append(0)
    calls = min((left for left in limits if left is not None), default=None)
    by_role = dict(advisory.calls_left_by_role)
    proposer, judge = by_role.get(Role.MAIN), by_role.get(Role.JUDGE)
    if not is_first:
        return Room(calls, proposer, judge, is_late=is_late)
    calls = None if calls is None else max(calls + bounds.held_calls, 1)
    if calls is not None and bounds.max_calls is not None:
        calls = min(calls, bounds.max_calls)
    proposer = None if proposer is None else max(proposer + bounds.held_calls, 1)
    return Room(calls, proposer, judge)


def repairs_within(room: Room, kinds: Sequence[Kind], *, max_repairs: int) -> list[int]:
    """Return how many repairs each call of a round may have, so that all of them fit.

    Every call is given its first repair before any is given its second.

    Args:
        room: before the round.
        kinds: of its proposals, each one call.
        max_repairs: most of one call; at least 0.
    """
    sides = [side_of(kind) for kind in kinds]
    repairs = [0] * len(kinds)
    proposer, judge = sides.count(Side.PROPOSER), sides.count(Side.JUDGE)
    for _ in range(max_repairs):
        for place, side in enumerate(sides):
            more = (proposer + (side is Side.PROPOSER), judge + (side is Side.JUDGE))
            if room.fits(proposer=more[0], judge=more[1]):
                proposer, judge = more
                repairs[place] += 1
    return repairs


def _is_spent(left: float | None) -> bool:
    return left is not None and left <= 0

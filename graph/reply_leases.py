"""Holding back what the reply needs, before anything else may be spent.

A turn that runs out of budget must still end in a reply. So as soon as the turn's size
is known, its scope holds back one call for the reply: the one that the search begins with,
its first draft; or, where one call replies without a search, that call. Everything else in the
turn sees that much less. A fused call that brought no reply has spent what was held, so
it is held again for the search, before the bookkeeping's.

Where there is room for more than the bare reply, the calls of the bookkeeping are
held back as well: then it is the search that winds down, which can, and not what the
agent remembers. So a turn that is short of calls gives up, in this order: further
rollouts, the bookkeeping, the notes before the search, and the reply never. What it may
fuse before that is `graph.fusing`'s.

Where time is limited, some of it is held back for the first draft in the same way.
"""

import math

from callwise.budget.scope import Scope
from callwise.budget.usage import PICODOLLARS
from callwise.calls.call import Call, Role
from graph.engine import Engine
from graph.fusing import Fusion, bookkeeping_calls, thinking_calls
from graph.state import TurnState
from nodes.fused_calls import FUSED_REPLY
from nodes.question import BOOKKEEPING_LEASE
from nodes.search.action_calls import REPLY_LEASE, reply_call
from nodes.search_material import SearchMaterial

__all__ = [
    "NOTES_TOKENS",
    "calls_left",
    "held_reply_calls",
    "hold_again",
    "hold_bookkeeping",
    "hold_reply",
]

NOTES_TOKENS = 1_500
"""Held back for what the nodes before the reply's call add to its prompt: the monologue,
the plan's goals, and a few memories."""


def calls_left(scope: Scope) -> int | None:
    """Return the calls, or requests if fewer, that a scope leaves; None without a limit."""
    left = [min(room.left[:2]) for room in scope.scope_limits.common_quotas()]
    least = min(left, default=math.inf)
    return None if least == math.inf else int(least)


def _reply_call(engine: Engine, state: TurnState, fusing: Fusion) -> Call:
    """Return the call that brings the reply, as far as it is known when the turn begins.

    What the nodes before the search will add is in `NOTES_TOKENS`.
    """
    if fusing.reply:
        return FUSED_REPLY.call(state)
    return reply_call(engine.settings.search, SearchMaterial(state))


def hold_reply(engine: Engine, scope: Scope, state: TurnState, fusing: Fusion) -> None:
    """Hold back one call of the role `main`, with its tokens and their price.

    Args:
        engine: whose endpoints and prices count.
        scope: the turn's scope.
        state: what the turn knows, the loader's part at least.
        fusing: which call brings the reply.
    """
    if not scope.scope_limits.quotas(Role.MAIN) and not scope.scope_limits.is_timed:
        return  # nothing is limited, so there is nothing to hold back from
    endpoint = engine.endpoints[Role.MAIN]
    estimate = engine.budgeter.estimate(_reply_call(engine, state, fusing))
    prices = endpoint.prices
    notes_usd = prices.usd(NOTES_TOKENS, 0) if prices is not None else 0.0
    scope.hold(
        REPLY_LEASE,
        tokens=estimate.tokens + NOTES_TOKENS,
        usd=estimate.picodollars / PICODOLLARS + notes_usd,
        seconds=engine.settings.reply.held_seconds if scope.scope_limits.is_timed else 0.0,
        role=Role.MAIN,
    )


def _calls_before_bookkeeping(fusing: Fusion) -> int:
    """Return the calls that a turn should have beside reply and bookkeeping.

    Those before the search, and the root's judge; a fused reply is all of them.
    """
    return 0 if fusing.reply else thinking_calls(fusing) + 1


def held_reply_calls(scope: Scope) -> int:
    """Return the calls that a turn's scope still holds back for the reply: 0 or 1."""
    return sum(lease.calls for lease in scope.scope_limits.leases() if lease.name == REPLY_LEASE)


def hold_bookkeeping(scope: Scope, fusing: Fusion) -> None:
    """Hold back the bookkeeping's calls, where a turn has room for more than a bare reply.

    Only calls are held: what bookkeeping spends in tokens is small beside the search.

    Args:
        scope: the turn's scope; the reply's call is held already.
        fusing: how many calls the bookkeeping is, and how many come before it.
    """
    left, calls = calls_left(scope), bookkeeping_calls(fusing)
    if left is not None and left >= _calls_before_bookkeeping(fusing) + calls:
        scope.hold(BOOKKEEPING_LEASE, calls=calls)


def hold_again(engine: Engine, scope: Scope, state: TurnState) -> None:
    """Hold back a call for the search's first draft, after a fused call without a reply.

    The bookkeeping gives way to it, and holds what is left then.

    Args:
        engine: whose endpoints and prices count.
        scope: the turn's scope.
        state: what the turn knows.
    """
    scope.release(BOOKKEEPING_LEASE)
    scope.release(REPLY_LEASE)
    apart = Fusion(bookkeeping=state.fusing.bookkeeping)
    hold_reply(engine, scope, state, apart)
    hold_bookkeeping(scope, apart)

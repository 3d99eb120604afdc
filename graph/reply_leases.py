"""Leases that hold back what the reply needs, before anything else may be spent.

A turn that runs out of budget must still end in a reply. So as soon as the turn's size
is known, its scope reserves one call for the reply: the one that the search begins with,
its first draft; or, where one call replies without a search, that call. Everything else in the
turn has that much less. A fused call that brought no reply has spent its lease, so a call
is held back again for the search, before the bookkeeping's.

Where more than the bare reply fits, the calls of the bookkeeping are held back as well: then
it is the search that winds down, which can, and not the agent's memory. So a turn that is
short of calls gives up, in this order: further rollouts, the bookkeeping, the notes before the
search, and the reply never. What it may fuse before that is decided in `graph.fusing`.

Where time is limited, some of it is held back for the first draft in the same way.
"""

import math

from callwise.budget.scope import Scope
from callwise.budget.usage import PICODOLLARS
from callwise.calls.call import Role
from graph.engine import Engine
from graph.fusing import Fusion
from graph.state import TurnState
from nodes.fused_calls import FUSED_REPLY
from nodes.question import BOOKKEEPING_LEASE
from nodes.search.action_calls import REPLY_LEASE, reply_call

__all__ = ["NOTES_TOKENS", "calls_left", "held_reply_calls", "hold_again", "hold_leases"]

NOTES_TOKENS = 1_500
"""Held back for the additions of earlier nodes to the prompt of the reply's call: the monologue,
the plan's goals, and a few memories."""


def calls_left(scope: Scope) -> int | None:
    """Return the calls, or requests if fewer, that a scope leaves; None without a limit."""
    left = [min(quota.left[:2]) for quota in scope.scope_limits.common_quotas()]
    least = min(left, default=math.inf)
    return None if least == math.inf else int(least)


def held_reply_calls(scope: Scope) -> int:
    """Return the calls that a turn's scope still reserves for the reply: 0 or 1."""
    return sum(lease.calls for lease in scope.scope_limits.leases() if lease.name == REPLY_LEASE)


def hold_leases(engine: Engine, scope: Scope, state: TurnState, fusing: Fusion) -> None:
    """Hold back one call of the role `main` for the reply, and the bookkeeping's calls.

    The reply's call is held with its tokens and their price, as far as it is known when the turn
    begins; where a policy chooses its model, at the dearest. The bookkeeping's are held where more
    fits than a bare reply: only calls, since its tokens are few compared with the search's.

    Args:
        state: of the turn, the loader's part at least.
        fusing: which call brings the reply, and how many calls the bookkeeping is.
    """
    if not scope.scope_limits.quotas(Role.MAIN) and not scope.scope_limits.is_timed:
        return  # nothing is limited, so there is nothing to hold back from
    call = FUSED_REPLY.call(state) if fusing.reply else reply_call(engine.settings.search, state)
    estimate = engine.budgeter.estimate(call)
    prices = [each.prices for each in engine.budgeter.answering.endpoints_of(call)]
    notes_usd = max(each.usd(NOTES_TOKENS, 0) if each is not None else 0.0 for each in prices)
    scope.hold(
        REPLY_LEASE,
        tokens=estimate.tokens + NOTES_TOKENS,
        usd=estimate.picodollars / PICODOLLARS + notes_usd,
        seconds=engine.settings.reply.held_seconds if scope.scope_limits.is_timed else 0.0,
        role=Role.MAIN,
    )
    # The calls before the search, and the root's judge; a fused reply is all of them.
    before = 0 if fusing.reply else fusing.thinking_calls + 1
    left, calls = calls_left(scope), fusing.bookkeeping_calls
    if left is not None and left >= before + calls:
        scope.hold(BOOKKEEPING_LEASE, calls=calls)


def hold_again(engine: Engine, scope: Scope, state: TurnState) -> None:
    """Hold back a call for the search's first draft, after a fused call without a reply.

    What is left then is reserved for the bookkeeping.
    """
    scope.release(BOOKKEEPING_LEASE)
    scope.release(REPLY_LEASE)
    hold_leases(engine, scope, state, Fusion(bookkeeping=state.fusing.bookkeeping))

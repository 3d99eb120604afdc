"""Holding back what the reply needs, before anything else may be spent.

A turn that runs out of budget must still end in a reply. So as soon as the turn's size
is known, its scope holds back one call for the search's root plan: the first draft of
the reply. Everything else in the turn sees that much less.

Where there is room for more than the bare reply, the two calls of the bookkeeping are
held back as well: then it is the search that winds down, which can, and not what the
agent remembers. So a turn that is short of calls gives up, in this order: further
rollouts, the bookkeeping, the notes before the search, and the reply never.

Where time is limited, some of it is held back for the first draft in the same way.
"""

from graph.engine import Engine
from lats.proposal import PlanRoot
from lats.tree import Tree
from nodes.loader import LoadedTurn
from nodes.records import Persona
from nodes.search_calls import REPLY_LEASE, call_for
from nodes.search_material import SearchMaterial
from turnwise.budget.room import PICODOLLARS
from turnwise.budget.scope import Scope
from turnwise.calls.vocabulary import Role

__all__ = ["BOOKKEEPING_LEASE", "NOTES_TOKENS", "hold_bookkeeping", "hold_reply"]

BOOKKEEPING_LEASE = "bookkeeping"
"""The name that the evolver's and the memory manager's calls draw on."""

BOOKKEEPING_CALLS = 2

CALLS_BEFORE_BOOKKEEPING = 4
"""Calls that a turn should have beside reply and bookkeeping before it holds any back for
the bookkeeping: detection, monologue, reasoner, and the root's judge."""

NOTES_TOKENS = 1_500
"""Held back for what the nodes before the search add to the root plan's prompt: the
monologue, the plan's goals, and a few memories."""


def hold_reply(
    engine: Engine, scope: Scope, user_text: str, loaded: LoadedTurn, persona: Persona
) -> None:
    """Hold back one call of the role `main`, with its tokens and their price.

    Args:
        engine: whose endpoints and prices count.
        scope: the turn's scope.
        user_text: what the user wrote.
        loaded: the conversation so far.
        persona: who answers.
    """
    if not scope.bounds.rooms(Role.MAIN) and not scope.bounds.is_timed:
        return  # nothing is limited, so there is nothing to hold back from
    material = SearchMaterial(
        language=loaded.language,
        user_text=user_text,
        persona=persona,
        history=loaded.history,
        summary=loaded.summary,
    )
    endpoint = engine.endpoints[Role.MAIN]
    estimate = engine.budgeter.estimate(call_for(PlanRoot(), Tree(), material))
    prices = endpoint.prices
    notes_usd = prices.usd(NOTES_TOKENS, 0) if prices is not None else 0.0
    scope.hold(
        REPLY_LEASE,
        tokens=estimate.tokens + NOTES_TOKENS,
        usd=estimate.picodollars / PICODOLLARS + notes_usd,
        seconds=engine.settings.reply.held_seconds if scope.bounds.is_timed else 0.0,
        role=Role.MAIN,
    )


def hold_bookkeeping(scope: Scope) -> None:
    """Hold back the bookkeeping's calls, where a turn has room for more than a bare reply.

    Only calls are held: what bookkeeping spends in tokens is small beside the search.
    """
    left = [min(room.left[:2]) for room in scope.bounds.common_rooms()]  # calls, requests
    if left and min(left) >= CALLS_BEFORE_BOOKKEEPING + BOOKKEEPING_CALLS:
        scope.hold(BOOKKEEPING_LEASE, calls=BOOKKEEPING_CALLS)

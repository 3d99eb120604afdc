"""Holding back what the reply needs, before anything else may be spent.

A turn that runs out of budget must still end in a reply. So as soon as the turn's size
is known, its scope holds back one call for the search's root plan: the first draft of
the reply. Everything else in the turn sees that much less.
"""

from graph.engine import Engine
from lats.proposal import PlanRoot
from lats.tree import Tree
from nodes.loader import LoadedTurn
from nodes.records import Persona
from nodes.search_calls import REPLY_LEASE, call_for
from nodes.search_material import SearchMaterial
from turnwise.budget.estimate import Estimator
from turnwise.budget.room import PICODOLLARS
from turnwise.budget.scope import Scope
from turnwise.calls.vocabulary import Role

__all__ = ["NOTES_TOKENS", "hold_reply"]

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
    if not scope.bounds.rooms(Role.MAIN):
        return  # nothing is limited, so there is nothing to hold back from
    material = SearchMaterial(
        language=loaded.language,
        user_text=user_text,
        persona=persona,
        history=loaded.history,
        summary=loaded.summary,
    )
    endpoint = engine.endpoints[Role.MAIN]
    estimate = Estimator().estimate(call_for(PlanRoot(), Tree(), material), endpoint)
    prices = endpoint.prices
    notes_usd = prices.usd(NOTES_TOKENS, 0) if prices is not None else 0.0
    scope.hold(
        REPLY_LEASE,
        tokens=estimate.tokens + NOTES_TOKENS,
        usd=estimate.picodollars / PICODOLLARS + notes_usd,
        role=Role.MAIN,
    )

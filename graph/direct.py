"""The same steps in the same order without LangGraph around them, for a strict replay.

A replay of a recording waits for nothing, needs no checkpoint and is cut nowhere, so all
that LangGraph would add to it is its own time; `benchmarks/replay_rate.py` measures both. The
table of nodes, the steps, the scopes and the state are those of the graph; a test holds that
both give the same bytes.
"""

from collections.abc import Mapping
from typing import Any

from graph.context import TurnContext
from graph.order import predecessors
from graph.state import TurnState, collect_degraded
from graph.steps import STEPS, run_step
from turnwise.budget.scope import ScopeKind

__all__ = ["run_directly"]

_FIELDS = frozenset(TurnState.model_fields)


async def run_directly(given: Mapping[str, Any], context: TurnContext) -> TurnState:
    """Return the state at the end of a turn whose scope is open.

    Args:
        given: what a caller of the graph gives.
        context: the turn's context. Its knobs say who waits for whom, which decides the
            rounds and, apart from fused calls, not the order here.

    Raises:
        LookupError: when the turn's scope is not open.
    """
    state = TurnState.model_validate(dict(given))
    turn = context.engine.turn(state.identity)
    if turn is None:
        raise LookupError(f"no turn of {state.conversation_id!r} is open")
    settings = context.engine.settings
    for name, befores in predecessors(overlap=settings.overlap, fuse=settings.fuse).items():
        with turn.open(ScopeKind.NODE, name, after=befores):
            update = dict(await run_step(name, STEPS[name], state, context))
        if not update.keys() <= _FIELDS:
            raise KeyError(f"node {name!r} returned {sorted(update.keys() - _FIELDS)}")
        if "degraded" in update:
            update["degraded"] = collect_degraded(state.degraded, update["degraded"])
        state = state.model_copy(update=update)
    return state

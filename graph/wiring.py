"""The reply graph: fifteen nodes and who waits for whom, compiled for LangGraph.

Node functions get the budgeter, the memory and the knobs from the run's context, not
from globals. LangGraph's own retries stay off: a retried node would ask all of its
calls again; retrying one call is the budgeter's work, and counted.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel

from graph.context import TurnContext
from graph.order import NODES, predecessors
from graph.settings import FuseKnobs
from graph.state import TurnState
from graph.steps import STEPS, Step, run_step

__all__ = ["ContextMaker", "ReplyGraph", "build_graph"]

ReplyGraph = CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]
ContextMaker = Callable[[], Awaitable[TurnContext]]
"""Returns the context of nodes that a graph server runs."""


def _plain(value: Any) -> Any:
    """Return a node's output as plain JSON values, the only thing that channels hold."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _identity(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, str]:
    """Return whose turn it is as far as a graph server's input does not say.

    A thread is then a conversation, and a user, of its own; so is a run without a thread.
    """
    info = runtime.execution_info
    name = (info.thread_id or info.run_id) if info else None
    missing = {"conversation_id", "user_id"} - state.model_fields_set
    return dict.fromkeys(sorted(missing), name) if name else {}


def _node(
    name: str,
    step: Step,
    waits_for: tuple[str, ...],
    *,
    served: ContextMaker | None,
    is_kept: bool,
) -> Any:
    """Return a step as LangGraph runs it; its type there is LangGraph's own affair."""
    known = frozenset(TurnState.model_fields)

    async def run(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        context = runtime.context if served is None else await served()
        given = _identity(state, runtime) if served is not None and name == NODES[0] else {}
        if given:
            state = state.model_copy(update=given)
        async with context.node(state, name, after=waits_for):
            update: Mapping[str, Any] = {**given, **await run_step(name, step, state, context)}
        if served is not None and name == NODES[-1]:
            context.engine.close_turn(state.conversation_id)
        unknown = update.keys() - known
        if unknown:  # LangGraph would drop these without a word
            raise KeyError(f"node {name!r} returned {sorted(unknown)}, which the state lacks")
        return {field: _plain(value) if is_kept else value for field, value in update.items()}

    run.__name__ = name
    return run


def build_graph(
    *,
    overlap: bool,
    fuse: FuseKnobs | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    served: ContextMaker | None = None,
) -> ReplyGraph:
    """Return the compiled reply graph.

    Args:
        overlap: run nodes side by side where the data allow.
        fuse: which nodes ask together; None for none. Decides who waits for whom.
        checkpointer: keeps the state of a conversation between processes, if wanted.
        served: gives nodes their context where a graph server runs them; None takes it
            from the run (`context=` of `ainvoke`).
    """
    waits = predecessors(overlap=overlap, fuse=fuse or FuseKnobs())
    # What no checkpointer will ever write may stay the records that it is.
    is_kept = checkpointer is not None or served is not None
    graph = StateGraph(TurnState, context_schema=None if served else TurnContext)
    for name in waits:
        graph.add_node(name, _node(name, STEPS[name], waits[name], served=served, is_kept=is_kept))
        before = waits[name] or (START,)
        graph.add_edge(before[0] if len(before) == 1 else list(before), name)
    graph.add_edge(NODES[-1], END)
    return graph.compile(checkpointer=checkpointer, name="turnwise")

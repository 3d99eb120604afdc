"""The reply graph: fifteen nodes and who waits for whom, compiled for LangGraph.

Node functions get the budgeter, the memory and the knobs from the run's context, not
from globals. LangGraph's own retries stay off: a retried node would ask all of its
calls again; retrying one call is the budgeter's work, and counted.
"""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from langchain_core.messages import BaseMessage
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
from graph.thread import ThreadInput, ThreadState, answered, asked, given_by, shown, turn_of

__all__ = ["ContextMaker", "ReplyGraph", "build_graph"]

ReplyGraph = CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]
ContextMaker = Callable[[], Awaitable[TurnContext]]
"""Returns the context of nodes that a graph server runs."""


def _plain(value: Any) -> Any:
    """Return a node's output as plain JSON values, the only thing that channels hold."""
    if isinstance(value, BaseMessage):
        return value  # what servers and their clients read
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


async def _update(
    name: str, step: Step, waits_for: tuple[str, ...], state: TurnState, context: TurnContext
) -> dict[str, Any]:
    """Return a node's update of the state, asked for in the node's scope."""
    async with context.node(state, name, after=waits_for):
        update = dict(await run_step(name, step, state, context))
    unknown = update.keys() - TurnState.model_fields.keys()
    if unknown:  # LangGraph would drop these without a word
        raise KeyError(f"node {name!r} returned {sorted(unknown)}, which the state lacks")
    return update


def _node(name: str, step: Step, waits_for: tuple[str, ...], *, is_kept: bool) -> Any:
    """Return a step as LangGraph runs it; its type there is LangGraph's own affair."""

    async def run(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        update = await _update(name, step, waits_for, state, runtime.context)
        return {field: _plain(value) if is_kept else value for field, value in update.items()}

    run.__name__ = name
    return run


def _served_node(
    name: str, step: Step, waits_for: tuple[str, ...], make_context: ContextMaker
) -> Any:
    """Return a step as a graph server runs it, on the state of a thread."""

    async def run(state: ThreadState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        context = await make_context()
        engine, info = context.engine, runtime.execution_info
        given = state.given
        if name == NODES[0] or given is None:
            given = given_by(state, info, agent_id=engine.settings.agent_id)
        owner = given.identity.agent_user
        if name == NODES[0]:
            await engine.enter(owner, given.run, patience_seconds=engine.patience_seconds)
        try:
            update = await _update(name, step, waits_for, turn_of(state, given), context)
        except BaseException:
            engine.leave(owner, given.run)
            raise
        if name == NODES[0]:
            given = given.model_copy(update={"persona": update.pop("persona")})
            update |= {"given": given, "messages": asked(state, given)}
        elif name == NODES[-1]:
            update |= shown(given)
            engine.close_turn(given.identity)
            engine.leave(owner, given.run)
            if info is not None and info.thread_id is None:
                engine.close_conversation(given.identity)
        if update.get("reply"):
            update["messages"] = answered(update["reply"])
        return {field: _plain(value) for field, value in update.items()}

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
    is_kept = checkpointer is not None
    graph: StateGraph[Any, Any, Any, Any]
    if served is None:
        graph = StateGraph(TurnState, context_schema=TurnContext)
    else:
        graph = StateGraph(ThreadState, input_schema=ThreadInput)
    for name in waits:
        if served is None:
            node = _node(name, STEPS[name], waits[name], is_kept=is_kept)
        else:
            node = _served_node(name, STEPS[name], waits[name], served)
        graph.add_node(name, node)
        before = waits[name] or (START,)
        graph.add_edge(before[0] if len(before) == 1 else list(before), name)
    graph.add_edge(NODES[-1], END)
    return graph.compile(checkpointer=checkpointer, name="turnwise")

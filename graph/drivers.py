"""One step of a turn, the order of all steps, and their drivers: LangGraph and a plain loop.

Live runs, checkpoints and graph servers need LangGraph. A strict replay waits for nothing, keeps
no checkpoint and is cut nowhere, so a loop runs the same steps in the same order; a test checks
that both give the same bytes. LangGraph's own retries are off: a retried node would ask all of
its calls again, and the budgeter retries, and counts, each call.

Fused calls move two nodes. A call that replies has to see the memories, so retrieval comes
before detection. A call that does all the bookkeeping leaves the memory manager its part, so the
memory manager waits for the evolver where they would else run side by side. Where a turn may be
wound down to such calls, both are so in every turn: the graph is compiled once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import to_jsonable_python

from callwise.budget.scope import ScopeKind
from callwise.calls.errors import CallError, CassetteMiss, RunStopped
from callwise.calls.step_times import times_kept
from callwise.memory import StoreFailed
from graph.engine import Engine, TurnContext
from graph.knob_groups import FuseKnobs
from graph.own_nodes import OwnNode, placed, steps_of
from graph.pipeline_llm import clips_noted
from graph.reply_stream import failed_behind
from graph.state import TurnState, collect_degraded
from graph.steps import STEPS, Step
from nodes.cleaning import cleaning
from nodes.prompt import own_texts

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

__all__ = [
    "NODES",
    "ReplyGraph",
    "build_graph",
    "compiled",
    "plain_values",
    "predecessors",
    "run_directly",
    "run_step",
]

ReplyGraph: TypeAlias = "CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]"

_FIELDS = frozenset(TurnState.model_fields)

_REPLY_FIELDS = frozenset({"reply", "bubbles"})
"""Fields of the state that no node behind the final validator changes."""

NODES: tuple[str, ...] = tuple(STEPS)
"""All nodes in the order in which they run when nothing overlaps or is fused."""

_OVERLAPPED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Retrieval needs the user's words only, so it runs side by side with detection.
        "memory_retriever": ("loader",),
        "style": ("reasoner",),
        "lats_search": ("style", "memory_retriever"),
        # Both read the finished turn and neither reads the other.
        "memory_manager": ("final_validator",),
        "memory_writer": ("stage_manager", "memory_manager"),
    }
)


def predecessors(
    *, overlap: bool, fuse: FuseKnobs | None = None, nodes: Sequence[OwnNode] = ()
) -> dict[str, tuple[str, ...]]:
    """Return for each node the nodes that it waits for, in an order to run them one by one.

    The graph's edges, the budgeter's rounds and the docs' picture are made from it.

    Args:
        overlap: whether nodes run side by side where the data allow.
        fuse: which nodes ask together, or may have to; None for none.
        nodes: those that a program has added.
    """
    fuse = fuse or FuseKnobs()
    names, retrieves_first = list(NODES), fuse.reply or fuse.wind_down
    if retrieves_first:
        names.remove("memory_retriever")
        names.insert(names.index("detection"), "memory_retriever")
    waits: dict[str, tuple[str, ...]] = {names[0]: ()}
    for before, node in pairwise(names):
        waits[node] = (before,)
    if overlap:
        waits |= _OVERLAPPED
        if retrieves_first:
            waits["lats_search"] = ("style",)
        if fuse.bookkeeping or fuse.wind_down:
            waits["memory_manager"] = ("evolver",)
    return placed(waits, nodes)


@contextmanager
def _of_the_settings(engine: Engine) -> Iterator[None]:
    """Let a node's prompts be as the settings have them, and count the times of its steps."""
    with (
        own_texts(engine.texts),
        cleaning(engine.settings.preprocess.cleanings),
        times_kept(engine.step_times),
    ):
        yield


async def run_step(
    name: str, step: Step, waits_for: tuple[str, ...], state: TurnState, context: TurnContext
) -> dict[str, Any]:
    """Return a node's update of the state, made in the node's scope.

    Where the reply is shown and its turn goes on behind it, a fatal error of a call, or of the
    memory, ends this node alone: the turn's record lists it, and the reply remains.

    Raises:
        KeyError: when the step returns a field that the state lacks.
        ValueError: when it changes a reply that is shown already.
    """
    turn = await context.engine.turn_scope(state, name, waits_for)
    scope = turn.open(ScopeKind.NODE, name, after=waits_for)
    is_behind = context.shown is not None and context.shown.is_whole
    with scope, _of_the_settings(context.engine), clips_noted(name) as clips:
        try:
            update = dict(await step(state, context))
        except (CallError, StoreFailed) as error:
            if not is_behind or isinstance(error, CassetteMiss | RunStopped):
                raise
            update = {"degraded": [failed_behind(name, error)]}
    if is_behind and not update.keys().isdisjoint(_REPLY_FIELDS):
        raise ValueError(
            f"node {name!r} changes the reply after it was shown: let it follow 'processor', or "
            "another node before 'final_validator'"
        )
    if clips:  # parts that its prompts had to leave out
        update["degraded"] = [*(update.get("degraded") or ()), *clips]
    if not update.keys() <= _FIELDS:  # LangGraph would drop these silently
        unknown = sorted(update.keys() - _FIELDS)
        raise KeyError(f"node {name!r} returned {unknown}, which the state lacks")
    return update


async def run_directly(given: Mapping[str, Any], context: TurnContext) -> TurnState:
    """Return the state at the end of a turn whose scope is open, run by a plain loop.

    Raises:
        LookupError: when the turn's scope is not open.
    """
    state = TurnState.model_validate(dict(given))
    if context.engine.turn(state.identity) is None:
        raise LookupError(f"no turn of {state.conversation_id!r} is open")
    settings, nodes = context.engine.settings, context.engine.nodes
    steps = steps_of(nodes)
    waits = predecessors(overlap=settings.overlap, fuse=settings.fuse, nodes=nodes)
    for name, waits_for in waits.items():
        update = await run_step(name, steps[name], waits_for, state, context)
        if "degraded" in update:
            update["degraded"] = collect_degraded(state.degraded, update["degraded"])
        state = state.model_copy(update=update)
    return state


def plain_values(update: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node's output as plain JSON values, the only values of kept channels."""
    plain: dict[str, Any] = to_jsonable_python(update)
    return plain


def _node(name: str, step: Step, waits_for: tuple[str, ...], *, is_kept: bool) -> Any:
    """Return a step as LangGraph runs it; its type there is internal to LangGraph."""
    from langgraph.runtime import Runtime  # noqa: PLC0415 - heavy

    async def run(state: TurnState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        update = await run_step(name, step, waits_for, state, runtime.context)
        return plain_values(update) if is_kept else update

    return run


def compiled(
    graph: "StateGraph[Any, Any, Any, Any]",
    node: Callable[[str, tuple[str, ...]], Any],
    *,
    overlap: bool,
    fuse: FuseKnobs | None = None,
    checkpointer: "BaseCheckpointSaver[str] | None" = None,
    nodes: Sequence[OwnNode] = (),
) -> "CompiledStateGraph[Any, Any, Any, Any]":
    """Return a graph with all nodes, each waiting for those before it; see `predecessors`.

    Args:
        graph: has the schema of the state, and nothing else yet.
        node: returns a node of LangGraph by its name and the nodes that it waits for.
        checkpointer: keeps the state of a conversation between processes, if wanted.
        nodes: those that a program has added.
    """
    from langgraph.graph import END, START  # noqa: PLC0415 - heavy

    for name, waits_for in predecessors(overlap=overlap, fuse=fuse, nodes=nodes).items():
        run = node(name, waits_for)
        run.__name__ = name
        graph.add_node(name, run)
        before = waits_for or (START,)
        graph.add_edge(before[0] if len(before) == 1 else list(before), name)
    graph.add_edge(NODES[-1], END)
    return graph.compile(checkpointer=checkpointer, name="callwise")


def build_graph(
    *,
    overlap: bool,
    fuse: FuseKnobs | None = None,
    checkpointer: "BaseCheckpointSaver[str] | None" = None,
    nodes: Sequence[OwnNode] = (),
) -> ReplyGraph:
    """Return the reply graph, which takes each turn's context from its run; see `compiled`.

    One that keeps no checkpoints has no state, so sessions share it, but for one with own nodes.
    """
    if checkpointer is None and not nodes:
        return _shared_graph(overlap, fuse)
    return _built_graph(overlap, fuse, checkpointer, nodes)


@lru_cache(maxsize=8)
def _shared_graph(overlap: bool, fuse: FuseKnobs | None) -> ReplyGraph:
    return _built_graph(overlap, fuse, None, ())


def _built_graph(
    overlap: bool,
    fuse: FuseKnobs | None,
    checkpointer: "BaseCheckpointSaver[str] | None",
    nodes: Sequence[OwnNode],
) -> ReplyGraph:
    from langgraph.graph import StateGraph  # noqa: PLC0415 - heavy

    def node(name: str, waits_for: tuple[str, ...]) -> Any:
        # Values that no checkpointer will ever write may remain records.
        return _node(name, steps[name], waits_for, is_kept=checkpointer is not None)

    steps = steps_of(nodes)
    graph = StateGraph(TurnState, context_schema=TurnContext)
    return compiled(graph, node, overlap=overlap, fuse=fuse, checkpointer=checkpointer, nodes=nodes)

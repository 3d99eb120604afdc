"""The graph as `langgraph dev` and other graph servers load it: `graph/langgraph_app.py:graph`.

A server runs nodes with no session around them and refuses blocking calls in them. So
the engine is made in a thread when the process's first node needs it, and kept. The
preset is TURNWISE_PRESET (default `classic`); memory lives in the folder TURNWISE_HOME
(default `turnwise-runs/served`). The server brings the checkpointer.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from graph.app import app
from graph.context import TurnContext
from graph.drivers import compiled, plain_values, run_step
from graph.engine import endpoints_of, make_engine
from graph.order import NODES
from graph.settings import FuseKnobs
from graph.steps import STEPS
from graph.thread import ThreadInput, ThreadState, answered, asked, given_by, shown, turn_of
from nodes.prompt import load_prompts
from turnwise.memory.over_store import open_book
from turnwise.memory.sqlite_store import SqliteMemoryStore

__all__ = ["ServedContext", "graph", "thread_graph"]


ContextMaker = Callable[[], Awaitable[TurnContext]]
"""Returns the context of nodes that a graph server runs."""


class ServedContext:
    """Gives every node of this process the same engine, made on first use."""

    def __init__(self, preset: str, home: Path) -> None:
        self._settings = app.settings(preset)
        self._home = home
        self._lock = asyncio.Lock()
        self._context: TurnContext | None = None
        self._store: SqliteMemoryStore | None = None

    @property
    def overlap(self) -> bool:
        """Whether nodes run side by side."""
        return self._settings.overlap

    @property
    def fuse(self) -> FuseKnobs:
        """Which nodes ask together."""
        return self._settings.fuse

    def _make(self) -> TurnContext:
        """Open everything that reads files or loads libraries. Blocks."""
        load_prompts()
        self._home.mkdir(parents=True, exist_ok=True)
        endpoints = endpoints_of(self._settings)
        store = self._store = SqliteMemoryStore(self._home / "memory.sqlite")
        # A server runs for weeks: rows go to no list. Its counts stand in the scopes.
        engine = make_engine(
            self._settings, endpoints, open_book(store), recorder=None, cache=None, sinks=()
        )
        return TurnContext(engine)

    async def __call__(self) -> TurnContext:
        """Return the process's context."""
        async with self._lock:
            if self._context is None:
                self._context = await asyncio.to_thread(self._make)
        return self._context

    async def aclose(self) -> None:
        """Close the engine and its memory, where they were opened. A server never does."""
        async with self._lock:
            context, self._context = self._context, None
            if context is not None:
                await context.engine.budgeter.aclose()
                context.engine.close()
            if self._store is not None:
                self._store.close()


def _node(name: str, waits_for: tuple[str, ...], make_context: ContextMaker) -> Any:
    """Return a step as a graph server runs it, on the state of a thread."""
    is_first, is_last = name == NODES[0], name == NODES[-1]

    async def run(state: ThreadState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        context = await make_context()
        engine, info = context.engine, runtime.execution_info
        given = state.given
        if is_first or given is None:
            given = given_by(state, info, agent_id=engine.settings.agent_id)
        owner = given.identity.agent_user
        if is_first:
            await engine.enter(owner, given.run, patience_seconds=engine.patience_seconds)
        try:
            update = await run_step(name, STEPS[name], waits_for, turn_of(state, given), context)
        except BaseException:
            engine.leave(owner, given.run)
            raise
        messages: list[BaseMessage] = []
        if is_first:
            given = given.model_copy(update={"persona": update.pop("persona")})
            update["given"] = given
            messages = asked(state, given)
        elif is_last:
            update |= shown(given)
            engine.close_turn(given.identity)
            engine.leave(owner, given.run)
            if info is not None and info.thread_id is None:
                engine.close_conversation(given.identity)
        if update.get("reply"):
            messages = answered(update["reply"])
        return {**plain_values(update), **({"messages": messages} if messages else {})}

    return run


def thread_graph(
    make_context: ContextMaker,
    *,
    overlap: bool,
    fuse: FuseKnobs | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph as a server runs it: on threads, its context made by the nodes."""
    return compiled(
        StateGraph(ThreadState, input_schema=ThreadInput),
        lambda name, waits_for: _node(name, waits_for, make_context),
        overlap=overlap,
        fuse=fuse,
        checkpointer=checkpointer,
    )


_served = ServedContext(
    os.environ.get("TURNWISE_PRESET", "classic"),
    Path(os.environ.get("TURNWISE_HOME", "turnwise-runs/served")),
)
graph = thread_graph(_served, overlap=_served.overlap, fuse=_served.fuse)

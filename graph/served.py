"""The graph as `langgraph dev` and other graph servers load it: `graph/served.py:graph`.

A server runs nodes with no session around them and refuses blocking calls in them. So
the engine is made in a thread when the process's first node needs it, and kept. The
preset is TURNWISE_PRESET (default `classic`); memory lives in the folder TURNWISE_HOME
(default `turnwise-runs/served`). The server brings the checkpointer.
"""

import asyncio
import os
from pathlib import Path

from graph.answering import endpoints_of
from graph.app import app
from graph.context import TurnContext
from graph.opening import make_engine
from graph.settings import FuseKnobs
from graph.wiring import build_graph
from nodes.prompt import load_prompts
from turnwise.memory.conversation_memory import ConversationMemory
from turnwise.memory.sqlite_backend import SqliteBackend

__all__ = ["ServedContext", "graph"]


class ServedContext:
    """Gives every node of this process the same engine, made on first use."""

    def __init__(self, preset: str, home: Path) -> None:
        self._settings = app.settings(preset)
        self._home = home
        self._lock = asyncio.Lock()
        self._context: TurnContext | None = None
        self._store: SqliteBackend | None = None

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
        store = self._store = SqliteBackend(self._home / "memory.sqlite")
        # A server runs for weeks: rows go to no list. Its counts stand in the scopes.
        engine = make_engine(
            self._settings,
            endpoints,
            ConversationMemory(store),
            recorder=None,
            cache=None,
            sinks=(),
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


_served = ServedContext(
    os.environ.get("TURNWISE_PRESET", "classic"),
    Path(os.environ.get("TURNWISE_HOME", "turnwise-runs/served")),
)
graph = build_graph(overlap=_served.overlap, fuse=_served.fuse, served=_served)

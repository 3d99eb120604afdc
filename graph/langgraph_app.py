"""Graph for `langgraph dev` and other graph servers: `graph/langgraph_app.py:graph`.

A server runs nodes with no session around them and refuses blocking calls in them. So
the engine is made in a thread when the process's first node needs it, and kept. The
preset is CALLWISE_PRESET (default `classic`); memory is in the folder CALLWISE_HOME
(default `callwise-runs/served`). The server brings the checkpointer. Clients that stream the mode
`custom` are given each bubble of the reply as soon as it is final.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import StreamWriter

from callwise.budget.layers.cache import ReplyCache
from callwise.calls.errors import ConfigError
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from graph.app import app
from graph.drivers import NODES, compiled, plain_values, run_step
from graph.endpoints import endpoints_of
from graph.engine import Engine, TurnContext, cache_of, make_engine, similar_of, warm
from graph.knob_groups import FuseKnobs
from graph.reply_stream import ShownReply
from graph.steps import STEPS
from graph.thread_state import Given, ThreadInput, ThreadState, given_by, turn_of
from graph.tracing import traces_of
from nodes.prompt import load_prompts
from nodes.records import Bubble

if TYPE_CHECKING:
    from callwise.report.traces import Traces

__all__ = [
    "GraphServerContext",
    "graph",
    "thread_graph",
]

_LOGGER = logging.getLogger(__name__)

ContextMaker = Callable[[], Awaitable[TurnContext]]
"""Returns the context of nodes that a graph server runs."""


class GraphServerContext:
    """Gives every node of this process the same engine, made on first use."""

    def __init__(self, preset: str, home: Path) -> None:
        self.settings = app.settings(preset)
        self._home = home
        self._lock = asyncio.Lock()
        self._context: TurnContext | None = None
        self._store: SqliteBackend | None = None
        self._cache: ReplyCache | None = None
        self._traces: Traces | None = None

    def _make(self) -> TurnContext:
        """Open everything that reads files or loads libraries. Blocks.

        Raises:
            ConfigError: for settings that split; and as `make_engine` does.
        """
        if self.settings.experiment is not None:
            raise ConfigError(
                "an experiment is split by a session (`callwise run`, `chat`, `replay`), and not "
                "by a graph server: serve the settings of one arm"
            )
        load_prompts()
        self._home.mkdir(parents=True, exist_ok=True)
        store = self._store = SqliteBackend(self._home / "memory.sqlite")
        # A server runs for weeks: rows go to no list. Its counts are in the scopes.
        memory = ConversationMemory(
            store,
            max_results=self.settings.memory.retrieval_entries,
            result_seconds=self.settings.cache.ttl_seconds.vector_search,
        )
        self._cache = cache_of(self.settings, is_offline=False)
        engine = make_engine(
            self.settings,
            endpoints_of(self.settings),
            memory,
            cache=self._cache,
            similar=similar_of(self.settings, is_own=True),
        )
        self._traces = traces_of(self.settings, notify=_LOGGER.warning)
        if self._traces is not None:
            self._traces.watch(engine.budgeter)
        return TurnContext(engine)

    async def __call__(self) -> TurnContext:
        """Return the process's context."""
        async with self._lock:
            if self._context is None:
                context = await asyncio.to_thread(self._make)
                await warm(self._cache, self.settings, context.engine.endpoints)
                self._context = context
        return self._context

    async def aclose(self) -> None:
        """Close the engine and its memory, where they were opened. A server never does."""
        async with self._lock:
            context, self._context = self._context, None
            if context is not None:
                await context.engine.budgeter.aclose()
                context.engine.close()
            if self._traces is not None:
                await self._traces.aclose()
            if self._store is not None:
                self._store.close()


def _write_bubble(write: StreamWriter, index: int, bubble: Bubble) -> None:
    """Give a bubble that is final to clients that stream `custom`."""
    write({"index": index, "bubble": bubble.model_dump()})


class _BrokenOffTurns(AsyncCallbackHandler):
    """Ends the turns of runs that end early: by an error, or because their client has left.

    Between two nodes no code of a turn is under way that could notice it. LangGraph reports the
    end of each run to its callbacks, once the run's nodes have come to rest: also where its stream
    is closed or cancelled. A run that pauses for its client has not broken off.
    """

    def __init__(self) -> None:
        self._above: dict[UUID, UUID | None] = {}
        self._turns: dict[UUID, Callable[[], None]] = {}

    def note(self, config: RunnableConfig, engine: Engine, given: Given) -> None:
        """Note the turn that a run has, once the run may have it."""
        manager = config.get("callbacks")
        run = manager.parent_run_id if isinstance(manager, BaseCallbackManager) else None
        while run in self._above and (above := self._above[run]) in self._above:
            run = above
        if run is not None:
            held = engine.turn_order.held(given.identity.agent_user)
            held = held if held is not None and held.run == given.run else None
            self._turns[run] = partial(engine.break_off, given.identity, held)

    async def on_chain_start(
        self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        """Note the run that another one is part of; see `note`."""
        self._above[run_id] = parent_run_id

    async def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Forget a run that is complete or pauses."""
        self._above.pop(run_id, None)
        self._turns.pop(run_id, None)

    async def on_chain_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Break off the turn of a run that has ended early."""
        self._above.pop(run_id, None)
        if (break_off := self._turns.pop(run_id, None)) is not None:
            break_off()


def _node(
    name: str, waits_for: tuple[str, ...], make_context: ContextMaker, turns: _BrokenOffTurns
) -> Any:
    """Return a step as a graph server runs it, on the state of a thread."""
    is_first, is_last = name == NODES[0], name == NODES[-1]

    async def run(
        state: ThreadState, config: RunnableConfig, runtime: Runtime[TurnContext]
    ) -> dict[str, Any]:
        context = await make_context()
        engine, info = context.engine, runtime.execution_info
        given = state.given
        if is_first or given is None:
            given = given_by(state, info, agent_id=engine.settings.agent_id)
        write = partial(_write_bubble, runtime.stream_writer)
        shown = ShownReply(write, tuple(state.early_bubbles))
        context = replace(context, shown=shown)
        owner = given.identity.agent_user
        if is_first:
            await engine.turn_order.enter(
                owner, given.run, patience_seconds=engine.patience_seconds
            )
        turns.note(config, engine, given)
        update = await run_step(name, STEPS[name], waits_for, turn_of(state, given), context)
        messages: list[BaseMessage] = []
        if is_first:
            given = given.model_copy(update={"persona": update.pop("persona")})
            update["given"] = given
            if not any(message.id == given.message_id for message in state.messages):
                messages = [HumanMessage(given.user_text, id=given.message_id)]
        elif is_last:
            # The thread's values show the input of its turn.
            update |= given.identity._asdict()
            update |= {"user_text": given.user_text, "time": given.time, "persona": given.persona}
            engine.close_turn(given.identity)
            engine.turn_order.leave(owner, given.run)
            await engine.check_similar()
            if info is not None and info.thread_id is None:
                engine.close_conversation(given.identity)
        if update.get("reply"):
            messages = [AIMessage(update["reply"])]
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
    turns = _BrokenOffTurns()
    graph = compiled(
        StateGraph(ThreadState, input_schema=ThreadInput),
        lambda name, waits_for: _node(name, waits_for, make_context, turns),
        overlap=overlap,
        fuse=fuse,
        checkpointer=checkpointer,
    )
    return graph.with_config(callbacks=[turns])


_served = GraphServerContext(
    os.environ.get("CALLWISE_PRESET", "classic"),
    Path(os.environ.get("CALLWISE_HOME", "callwise-runs/served")),
)
graph = thread_graph(_served, overlap=_served.settings.overlap, fuse=_served.settings.fuse)

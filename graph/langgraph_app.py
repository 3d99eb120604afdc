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
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
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
from callwise.budget.metrics import MetricsKnobs
from callwise.budget.scope import Scope
from callwise.budget.shared_requests import SharedRequests
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.knobs import settings_digest
from callwise.knobs.trace_knobs import TraceKnobs
from callwise.memory import Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.app_protocol import SHIPPED_APP, TurnInput, TurnResult
from callwise.recordings.replay_run import RunRequest, folder_of
from callwise.recordings.run_folder import RunFolder
from callwise.report.observed import observing
from graph.app import app
from graph.drivers import NODES, compiled, plain_values, predecessors, run_step
from graph.endpoints import endpoints_of
from graph.engine import (
    Engine,
    TurnContext,
    cache_of,
    make_engine,
    needs_no_waiting,
    similar_of,
    warm,
)
from graph.knob_groups import FuseKnobs
from graph.reply_stream import ShownReply
from graph.settings import PipelineSettings
from graph.state import TurnState, collect_degraded
from graph.steps import STEPS
from graph.thread_state import Given, ThreadInput, ThreadState, given_by, turn_of
from graph.turn_record import in_arm, rows_of_turn, turn_result
from nodes.prompt import load_prompts
from nodes.records import Bubble, Persona

__all__ = [
    "GraphServerContext",
    "ServedTurns",
    "graph",
    "thread_graph",
]

_LOGGER = logging.getLogger(__name__)

ContextMaker = Callable[[str], Awaitable[TurnContext]]
"""Returns the context of nodes that a graph server runs, by the arm of an experiment; that of
the empty name where nothing is split."""

ArmOf = Callable[[Identity], str]
"""Returns the arm of a turn that begins; empty where nothing is split."""

TurnKeeper = Callable[[TurnContext, Given, TurnState, Scope], Awaitable[None]]
"""Keeps a finished turn, whose scope is closed, and has similar answers judged."""


async def _keep_nothing(context: TurnContext, *_: object) -> None:
    """Keep no turn: a server that splits nothing writes no run."""
    await context.engine.check_similar()


@dataclass(frozen=True, slots=True)
class ServedTurns:
    """Functions that the nodes of a graph need: their context, the arm of a turn, its keeper."""

    context: ContextMaker
    arm_of: ArmOf = lambda _: ""
    keep: TurnKeeper = _keep_nothing


class GraphServerContext:
    """Gives every node of this process the same engines, one per arm, made on first use.

    Turns of an experiment are kept with their arm, in a run's folder below `home`: a split whose
    turns leave no trace cannot be compared.
    """

    def __init__(self, preset: str, home: Path) -> None:
        self.settings = app.settings(preset)
        self._home = home
        self._lock = asyncio.Lock()
        self._contexts: dict[str, TurnContext] = {}
        self._opening: asyncio.Task[None] | None = None
        self._observed = ExitStack()
        self._requests: dict[str, SharedRequests] = {}
        self._store: SqliteBackend | None = None
        self._caches: list[tuple[ReplyCache | None, Engine]] = []
        self._folder: RunFolder | None = None
        self._rows_written = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="callwise-turns")

    def graph(
        self, *, checkpointer: BaseCheckpointSaver[str] | None = None
    ) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Return the graph of the settings.

        Raises:
            ConfigError: when arms run their nodes in different orders.
        """
        settings = self.settings
        orders = {
            arm: predecessors(overlap=each.overlap, fuse=each.fuse)
            for arm, each in app.arms(settings).items()
        }
        differing = [arm for arm in orders if orders[arm] != next(iter(orders.values()))]
        if differing:
            raise ConfigError(
                f"arms {next(iter(orders))!r} and {differing[0]!r} run their nodes in different "
                "orders, and a graph server has one graph for all: give them the same `overlap`, "
                "`fuse.reply`, `fuse.bookkeeping` and `fuse.wind_down`, or serve each alone"
            )
        shown = next(iter(app.arms(settings).values()), settings)
        return thread_graph(
            ServedTurns(self, self.arm_of, self.keep),
            overlap=shown.overlap,
            fuse=shown.fuse,
            checkpointer=checkpointer,
        )

    def arm_of(self, identity: Identity) -> str:
        """Return the arm of a conversation or user; empty without an experiment."""
        experiment = self.settings.experiment
        if experiment is None:
            return ""
        return experiment.arm_of_turn(identity.conversation_id, identity.user_id)

    def _make(self) -> dict[str, TurnContext]:
        """Open everything that reads files or loads libraries. Blocks.

        Raises:
            ConfigError: when the turns' folder is another process's; and as `make_engine` does.
        """
        load_prompts()
        settings, home = self.settings, self._home
        arms = app.arms(settings) or {"": settings}
        home.mkdir(parents=True, exist_ok=True)
        if settings.experiment is not None and self._folder is None:
            name = f"{settings.experiment.name}-{settings_digest(settings)[:12]}"
            request = RunRequest(app, SHIPPED_APP, settings, (), home / "runs" / name)
            self._folder = folder_of(request)
            self._rows_written = len(self._folder.rows)
        if self._store is None:
            self._store = SqliteBackend(home / "memory.sqlite")
        # A server runs for weeks: rows go to no list. Its counts are in the scopes.
        memory = ConversationMemory(
            self._store,
            max_results=settings.memory.retrieval_entries,
            result_seconds=settings.cache.ttl_seconds.vector_search,
        )
        return {arm: self._context(arm, knobs, memory) for arm, knobs in arms.items()}

    def _context(
        self, arm: str, knobs: PipelineSettings, memory: ConversationMemory
    ) -> TurnContext:
        """Return the context of an arm; arms whose calls are sent alike share what sends them."""
        sending = app.sending_of(knobs) if arm else None
        shared = None
        if sending is not None:
            shared = self._requests.setdefault(sending, SharedRequests())
        cache = cache_of(knobs, is_offline=False)
        engine = make_engine(
            knobs,
            endpoints_of(knobs),
            memory,
            cache=cache,
            similar=similar_of(knobs, is_own=True),
            shared=shared,
        )
        self._caches.append((cache, engine))
        self._observe(knobs, None, knobs.traces, engine)
        return TurnContext(engine)

    def _observe(
        self,
        settings: PipelineSettings,
        metrics: MetricsKnobs | None,
        traces: TraceKnobs,
        *engines: Engine,
    ) -> None:
        observe = self._observed.enter_context(
            observing(settings, metrics, traces, folder=self._home, notify=_LOGGER.warning)
        )
        self._observed.enter_context(observe(*(engine.budgeter for engine in engines)))

    async def _open(self) -> None:
        """Make the contexts; where that fails, the next turn begins again."""
        try:
            made = await asyncio.to_thread(self._make)
            first, *others = engines = [context.engine for context in made.values()]
            for engine in others:
                engine.take_turns_with(first)
            for engine in engines:
                await engine.budgeter.owner.run(engine.budgeter.prepare)  # lends it this loop
            for cache, engine in self._caches:
                await warm(cache, engine.settings, engine.endpoints)
            metrics = self.settings.metrics
            await asyncio.to_thread(self._observe, self.settings, metrics, TraceKnobs(), *engines)
        except BaseException:
            self._caches.clear()
            await asyncio.to_thread(self._observed.close)
            raise
        self._contexts = made

    async def __call__(self, arm: str = "") -> TurnContext:
        """Return the context of an arm; of the empty name, that of the first.

        Raises:
            ValueError: when there is no such arm; graph servers show its text.
        """
        async with self._lock:
            if not self._contexts:
                if self._opening is None or self._opening.done():
                    self._opening = asyncio.create_task(self._open())
                await asyncio.shield(self._opening)  # others wait for it, too
        if arm and arm not in self._contexts:
            raise ValueError(
                f"the turn was begun in arm {arm!r}, which the experiment no longer has (it has "
                f"{', '.join(self._contexts)}). Begin the turn again"
            )
        return self._contexts[arm or next(iter(self._contexts))]

    async def keep(
        self, context: TurnContext, given: Given, state: TurnState, scope: Scope
    ) -> None:
        """Write a finished turn of an experiment with its rows; one that fails costs no reply."""
        outside = await context.engine.check_similar()
        folder = self._folder
        if folder is None or not given.arm:
            return
        engine, identity = context.engine, given.identity
        persona = given.persona if given.persona != engine.settings.persona else Persona()
        turn = TurnInput(
            scope.conversation or identity.conversation_id,
            state.turn,
            given.user_text,
            user_id=identity.user_id,
            time=given.time,
            persona=persona.model_dump(exclude_defaults=True),
        )
        rows = rows_of_turn(engine, scope)
        simulated = needs_no_waiting(engine.endpoints)
        result = replace(
            turn_result(engine, turn, state, scope, rows, is_simulated=simulated),
            outside=[row.as_dict() for row in outside],
        )
        write = partial(self._write_turn, folder, in_arm(given.arm, result))
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, write)
        except (CallwiseError, OSError) as error:
            _LOGGER.error("a turn of %s is not in %s: %s", given.arm, folder.path, error)  # noqa: TRY400

    def _write_turn(self, folder: RunFolder, result: TurnResult) -> None:
        """Write a turn, its calls numbered after those before it. Runs in the writer's thread."""
        key = str(result.record["conversation_id"]), int(result.record["turn"])
        if key in folder.finished:
            _LOGGER.warning("turn %s was asked again: %s keeps its first answer", key, folder.path)
            return
        numbers = count(self._rows_written + 1)
        rows, outside = (
            [{**row, "sequence": next(numbers)} for row in part]
            for part in (result.rows, result.outside)
        )
        self._rows_written += len(rows) + len(outside)
        folder.add(TurnResult(result.record, rows, outside))

    async def aclose(self) -> None:
        """Close the engines and their memory, where they were opened. A server never does."""
        async with self._lock:
            if self._opening is not None:
                await asyncio.wait([self._opening])
            contexts, self._contexts = self._contexts, {}
            await asyncio.to_thread(self._observed.close)
            for context in contexts.values():
                await context.engine.budgeter.aclose()
                context.engine.close()
            for requests in self._requests.values():
                await requests.aclose()
            self._writer.shutdown()
            if self._folder is not None:
                self._folder.close()
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
    name: str, waits_for: tuple[str, ...], served: ServedTurns, turns: _BrokenOffTurns
) -> Any:
    """Return a step as a graph server runs it, on the state of a thread."""
    is_first, is_last = name == NODES[0], name == NODES[-1]

    async def run(
        state: ThreadState, config: RunnableConfig, runtime: Runtime[TurnContext]
    ) -> dict[str, Any]:
        given, info = state.given, runtime.execution_info
        if is_first or given is None:
            any_arm = await served.context("")
            given = given_by(state, info, agent_id=any_arm.engine.settings.agent_id)
            given = given.model_copy(update={"arm": served.arm_of(given.identity)})
        context = await served.context(given.arm)
        engine = context.engine
        write = partial(_write_bubble, runtime.stream_writer)
        context = replace(context, shown=ShownReply(write, tuple(state.early_bubbles)))
        if is_first:
            await engine.turn_order.enter(
                given.identity.agent_user, given.run, patience_seconds=engine.patience_seconds
            )
        turns.note(config, engine, given)
        update = await run_step(name, STEPS[name], waits_for, turn_of(state, given), context)
        messages: list[BaseMessage] = []
        if is_first:
            given = given.model_copy(update={"persona": update.pop("persona")})
            update |= {"given": given, "arm": given.arm}
            if not any(message.id == given.message_id for message in state.messages):
                messages = [HumanMessage(given.user_text, id=given.message_id)]
        elif is_last:
            await _end_turn(served, context, given, turn_of(state, given), update)
            # The thread's values show the input of its turn.
            update |= given.identity._asdict()
            update |= {"user_text": given.user_text, "time": given.time, "persona": given.persona}
            if info is not None and info.thread_id is None:
                engine.close_conversation(given.identity)
        if update.get("reply"):
            messages = [AIMessage(update["reply"])]
        return {**plain_values(update), **({"messages": messages} if messages else {})}

    return run


async def _end_turn(
    served: ServedTurns,
    context: TurnContext,
    given: Given,
    state: TurnState,
    update: Mapping[str, Any],
) -> None:
    """Close a turn, let the next one of its memory begin, and keep the turn.

    `state` is that before the last node, `update` that node's.
    """
    engine = context.engine
    scope = engine.turn(given.identity)
    engine.close_turn(given.identity)
    engine.turn_order.leave(given.identity.agent_user, given.run)
    if scope is not None:
        degraded = collect_degraded(state.degraded, update.get("degraded") or [])
        ended = state.model_copy(update={**update, "degraded": degraded})
        await served.keep(context, given, ended, scope)


def thread_graph(
    served: ServedTurns,
    *,
    overlap: bool,
    fuse: FuseKnobs | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph as a server runs it: on threads, its context made by the nodes."""
    turns = _BrokenOffTurns()
    graph = compiled(
        StateGraph(ThreadState, input_schema=ThreadInput),
        lambda name, waits_for: _node(name, waits_for, served, turns),
        overlap=overlap,
        fuse=fuse,
        checkpointer=checkpointer,
    )
    return graph.with_config(callbacks=[turns])


_served = GraphServerContext(
    os.environ.get("CALLWISE_PRESET", "classic"),
    Path(os.environ.get("CALLWISE_HOME", "callwise-runs/served")),
)
graph = _served.graph()

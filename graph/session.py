"""Session of the reply pipeline: turns run one after another or side by side, on one engine."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.metrics.reporter import Reporter
from callwise.budget.recorder import Recorder
from callwise.budget.run_gate import Drained
from callwise.budget.scope import Scope
from callwise.budget.shared_requests import SharedRequests
from callwise.calls.call import Role
from callwise.calls.errors import AuthFailed, CallError, ConnectionFailed, EndpointDown, FormatError
from callwise.memory import Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.app_protocol import Notices, ReplyListener, TurnInput, TurnResult
from callwise.recordings.learned_endpoints import LearnedEndpoints
from callwise.text_layout import counted
from graph.drivers import ReplyGraph, build_graph, predecessors, run_directly
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
from graph.fusing import steps_down
from graph.own_nodes import OwnNode
from graph.reply_stream import ReplyStream, ShownReply
from graph.settings import PipelineSettings
from graph.state import TurnState, collect_degraded
from graph.tracing import traces_of
from nodes.prompt import clip, load_prompts
from nodes.records import Degradation, Persona

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

__all__ = ["CHECKPOINTS", "CommonParts", "ReplySession", "open_checkpoints"]
__all__ += ["open_memory", "open_session"]

CHECKPOINTS = "checkpoints.sqlite"
"""The file of LangGraph's checkpoints, in a session's folder."""

MAX_DETAIL_CHARS = 300
"""Longest explanation of why an endpoint is down, in characters."""

_DOWN = frozenset(kind.__name__ for kind in (AuthFailed, ConnectionFailed, EndpointDown))
"""Errors after which an endpoint is down: it was not reached, or refused the key."""


def _persona(given: Mapping[str, str] | None) -> dict[str, str]:
    known = Persona.model_fields
    return {name: text for name, text in (given or {}).items() if name in known}


def _roles_down(rows: Sequence[LedgerRow]) -> list[Degradation]:
    """Return each role of a turn, by its rows in order, whose endpoint is down at the turn's end.

    A role that was answered after its last failure is not down; its node reports that failure.
    """
    first_failure: dict[Role, LedgerRow] = {}
    for row in rows:
        if row.error_name in _DOWN:
            first_failure.setdefault(row.role, row)
        elif row.error is None or row.is_unreadable:
            first_failure.pop(row.role, None)
    return [
        Degradation(
            node=row.node or "-",
            reason="down",
            detail=clip(
                f"{role} at {row.endpoint} is down: {(row.error or '').partition(': ')[2]}",
                MAX_DETAIL_CHARS,
            ),
            role=role.value,
            endpoint=row.endpoint,
        )
        for role, row in first_failure.items()
    ]


@dataclass(slots=True)
class ReplySession:
    """An open reply pipeline.

    Args:
        graph: the compiled graph; None runs its steps by a plain loop.
        is_checkpointed: whether the graph keeps checkpoints, one thread per identity.
        reporter: serves and writes metrics from the first turn on; None for none.
    """

    engine: Engine
    graph: "ReplyGraph | None"
    is_simulated: bool
    is_checkpointed: bool = False
    notices: Notices = field(default_factory=Notices)
    reporter: Reporter | None = None
    _streams: list[ReplyStream] = field(default_factory=list)

    async def run_turn(
        self, turn: TurnInput, *, on_reply: ReplyListener | None = None
    ) -> TurnResult:
        """Answer one user message and do the bookkeeping after it.

        Raises:
            CallError: a fatal one: a wrong key, a call that the recording lacks.
            StoreFailed: when memory cannot be read or written; the turn is not kept.
        """
        return await self._run_in_order(turn, TurnContext(self.engine, on_reply))

    def astream(
        self, turn: TurnInput, *, finish: Callable[[TurnResult], TurnResult] = lambda result: result
    ) -> ReplyStream:
        """Begin to answer one user message; return its bubbles as they become final.

        What comes after the reply goes on behind it; see `ReplyStream`. What fails there is in the
        turn's record, and does not take the reply back. Needs a running event loop.

        Args:
            finish: makes the stream's result of that of the turn.
        """

        async def run(shown: ShownReply) -> TurnResult:
            return finish(await self._run_in_order(turn, TurnContext(self.engine, shown=shown)))

        stream = ReplyStream(run)
        self._streams = [each for each in self._streams if not each.has_ended]
        self._streams.append(stream)
        return stream

    async def settle(self) -> None:
        """Wait for the turns that go on behind their replies, as closing the session does.

        Raises:
            BaseException: what ended one of them, where its stream has not raised it.
        """
        while self._streams:
            await self._streams[0].settled()
            self._streams.pop(0)

    async def _run_in_order(self, turn: TurnInput, context: TurnContext) -> TurnResult:
        """Run a turn once those of its memory before it have ended."""
        engine = self.engine
        if self.reporter is not None:
            self.reporter.start()
        identity = Identity(engine.settings.agent_id, turn.user_id, turn.conversation_id)
        engine.conversation(identity)  # so that scopes are named in the order of asking
        run = object()
        await engine.enter(identity.agent_user, run)
        try:
            result = await self._run_turn(turn, identity, context)
        finally:
            engine.leave(identity.agent_user, run)
        await engine.check_similar()
        return result

    def statistics(self) -> Mapping[str, Any]:
        """Return the budgeter's statistics, and `steps`: the times before and after calls."""
        return {**self.engine.budgeter.statistics(), "steps": self.engine.step_times.statistics()}

    async def drain(self, seconds: float, *, reason: str) -> Drained:
        """Accept no further call, and return once those under way have ended; see `Budgeter`."""
        return await self.engine.budgeter.drain(seconds, reason=reason)

    async def _run_turn(
        self, turn: TurnInput, identity: Identity, context: TurnContext
    ) -> TurnResult:
        engine = self.engine
        number = await engine.next_turn(identity) if turn.turn is None else turn.turn
        scope = engine.open_turn(identity, number)
        stopped_by: CallError | None = None
        try:
            given = {
                **identity._asdict(),
                "requested_turn": number,
                "user_text": turn.user_text,
                "time": turn.time,
                "persona": _persona(turn.persona),
            }
            state = await self._run(identity, given, context)
        except CallError as error:
            stopped_by = error
            raise
        finally:
            engine.close_turn(identity)
            rows = self._take_rows(scope)
            if stopped_by is not None and (sent := sum(row.usage.requests for row in rows)):
                stopped_by.add_note(  # an unfinished turn is in no total
                    f"unfinished turn: {counted(len(rows), 'call')} asked, "
                    f"{counted(sent, 'request')} sent; those that failed will be in no total"
                )
        degraded = collect_degraded(state.degraded, _roles_down(rows))
        record = self._record(turn, state, scope, degraded)
        record["simulated"] = self.is_simulated or any(row.is_simulated for row in rows)
        return TurnResult(record=record, rows=[row.as_dict() for row in rows])

    async def _run(
        self, identity: Identity, given: dict[str, Any], context: TurnContext
    ) -> TurnState:
        if self.graph is None:
            return await run_directly(given, context)
        turn_input: Any = given
        with _clear_checkpoint_errors():
            values = await self.graph.ainvoke(
                turn_input,
                {"configurable": {"thread_id": identity.thread_id}},
                context=context,
                # One checkpoint, at the end of the turn: a turn is all or nothing.
                durability="exit" if self.is_checkpointed else None,
            )
        return TurnState.model_validate(values)

    def _take_rows(self, turn: Scope) -> list[LedgerRow]:
        """Take this turn's rows out, in the order of the nodes, and in a node as asked.

        Nodes that run side by side ask in an order that depends on the speed of answers; the
        ledger of a turn should not.
        """
        rows = turn.take_rows()
        settings, nodes = self.engine.settings, self.engine.nodes
        order = predecessors(overlap=settings.overlap, fuse=settings.fuse, nodes=nodes)
        places = {name: place for place, name in enumerate(order)}
        sequences = sorted(row.sequence for row in rows)
        rows.sort(key=lambda row: (places.get(row.node or "", 0), row.sequence))
        pairs = zip(rows, sequences, strict=True)
        return [row._replace(sequence=sequence) for row, sequence in pairs]

    def _record(
        self, turn: TurnInput, state: TurnState, scope: Scope, degraded: Sequence[Degradation]
    ) -> dict[str, Any]:
        counts = scope.counts().as_dict()
        if counts["unknown_usd"]:
            counts["usd"] = None  # unknown is not free
        until_reply = scope.end_of("final_validator")
        persona = {"persona": _persona(turn.persona)} if turn.persona else {}
        return {
            "conversation_id": turn.conversation_id,
            "turn": state.turn,
            "user_id": turn.user_id,
            "time": turn.time,
            **persona,
            "language": state.language,
            "user_text": turn.user_text,
            "reply": state.reply,
            "bubbles": [bubble.model_dump() for bubble in state.bubbles],
            "is_fallback": not state.draft,
            "stage": state.relationship.stage.value,
            "mode": state.mode.value,
            "violations": state.violations,
            "notes": len(state.notes),
            "dropped_notes": state.dropped_notes,
            "degraded": [row.model_dump(mode="json", exclude_none=True) for row in degraded],
            "wound_down": [
                row.model_dump(mode="json")
                for row in steps_down(state.fusing, state.search, self.engine.settings.search)
            ],
            "search": state.search,
            **counts,
            "rounds": {"reply": until_reply.round, "turn": scope.rounds},
            "path_seconds": {
                "reply": round(until_reply.seconds, 6),
                "turn": round(scope.path_seconds, 6),
            },
        }


def _note_checks(checks: Mapping[str, int], notices: Notices) -> None:
    """Add what the judges of similar answers were asked between turns, if anything."""
    if checks.get("calls"):
        notices.add(
            f"{counted(checks['calls'], 'call')} judged answers to similar calls between turns "
            f"({counted(checks['requests'], 'request')} sent); they are in the recording and in "
            "the run's limits, in no turn's total, and a replay does not ask them again"
        )


@contextmanager
def _clear_checkpoint_errors() -> Iterator[None]:
    """Turn SQLite's errors into one that names the file of the checkpoints."""
    try:
        yield
    except sqlite3.Error as error:
        raise FormatError(
            CHECKPOINTS,
            None,
            f"the checkpoints cannot be read or written: {error}. The conversation is in "
            f"memory.sqlite: move {CHECKPOINTS} out of its folder, and a new one is made",
        ) from error


async def open_checkpoints(path: Path, stack: AsyncExitStack) -> "AsyncSqliteSaver":
    """Return the checkpoints of an untrusted file: plain data is read, no code.

    LangGraph's default would import and call everything that a checkpoint names.
    """
    import aiosqlite  # noqa: PLC0415 - optional
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer  # noqa: PLC0415 - optional
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - optional

    connection = await stack.enter_async_context(aiosqlite.connect(path))
    saver = AsyncSqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    with _clear_checkpoint_errors():
        await saver.setup()  # before anything is asked
    return saver


def open_memory(
    settings: PipelineSettings, folder: Path, stack: AsyncExitStack
) -> ConversationMemory:
    """Return the memory in a folder; `stack` closes it.

    Raises:
        StoreFailed: when it cannot be opened.
    """
    return ConversationMemory(
        stack.enter_context(SqliteBackend(folder / "memory.sqlite")),
        max_results=settings.memory.retrieval_entries,
        result_seconds=settings.cache.ttl_seconds.vector_search,
    )


@dataclass(frozen=True, slots=True)
class CommonParts:
    """Common parts of the sessions of one folder, made before them.

    Args:
        checkpointer: keeps the checkpoints of all; None for none.
        learned: None where nothing is sent.
    """

    notices: Notices
    learned: LearnedEndpoints | None
    checkpointer: "AsyncSqliteSaver | None"


async def open_session(
    settings: PipelineSettings,
    stack: AsyncExitStack,
    *,
    folder: Path,
    recorder: Recorder | None,
    is_offline: bool,
    keep_checkpoints: bool,
    memory: ConversationMemory | None = None,
    shared: SharedRequests | None = None,
    nodes: tuple[OwnNode, ...] = (),
    common: CommonParts | None = None,
) -> ReplySession:
    """Return an open session on `memory`, or on a memory in `folder`; `stack` closes it.

    Args:
        shared: requests in common with other sessions; None for none.
        nodes: those that a program has added.
        common: parts of several sessions in the folder, which then share `memory`; None makes
            those of this one.

    Raises:
        ConfigError: when a setting cannot work; nothing was sent.
        FormatError: when the checkpoints in `folder` cannot be read.
        StoreFailed: when the memory in `folder` cannot be opened.
    """
    endpoints = endpoints_of(settings, is_offline=is_offline)
    notices = Notices() if common is None else common.notices
    is_evaluated = is_offline and memory is not None  # as one of many settings
    traces = None if is_evaluated else traces_of(settings, notify=notices.add)
    if not is_offline:
        learned = None if common is None else common.learned
        (learned or LearnedEndpoints(folder, notices)).follow(endpoints)
    # A turn from a given past is replayed or bought: no similar answer of this run is its.
    is_own = memory is None and not is_offline
    if memory is None:
        memory = open_memory(settings, folder, stack)
    cache = cache_of(settings, is_offline=is_offline)
    engine = make_engine(
        settings,
        endpoints,
        memory,
        recorder=recorder,
        cache=cache,
        similar=similar_of(settings, is_own=True) if is_own else None,
        notify=notices.tell,
        is_offline=is_offline,
        shared=shared,
        nodes=nodes,
    )
    if traces is not None:
        stack.push_async_callback(traces.aclose)  # after the last turn was closed
        traces.watch(engine.budgeter)
    stack.push_async_callback(engine.budgeter.aclose)
    stack.callback(engine.close)
    stack.callback(_note_checks, engine.checks, notices)
    reporter = None
    if settings.metrics is not None and shared is None and not is_offline:
        metrics = engine.budgeter.metrics()
        reporter = Reporter(metrics, settings.metrics, folder=folder, notify=notices.tell)
        stack.callback(reporter.close)
    if not is_offline:
        await warm(cache, settings, endpoints)
    await asyncio.to_thread(load_prompts)
    await engine.budgeter.prepare()
    checkpointer = None if common is None else common.checkpointer
    if keep_checkpoints:
        checkpointer = await open_checkpoints(folder / CHECKPOINTS, stack)
    # A strict replay without checkpoints has no use for LangGraph.
    graph = None
    if not is_offline or checkpointer is not None:
        graph = build_graph(
            overlap=settings.overlap, fuse=settings.fuse, checkpointer=checkpointer, nodes=nodes
        )
    session = ReplySession(
        engine=engine,
        graph=graph,
        is_simulated=needs_no_waiting(endpoints),
        is_checkpointed=checkpointer is not None,
        notices=notices,
        reporter=reporter,
    )
    stack.push_async_callback(session.settle)  # first of all that closing does
    return session

"""One session of a LangGraph or LangChain program: a turn is one `ainvoke`. See `program`."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from callwise.budget.budgeter import Budgeter
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import Limits
from callwise.budget.recorder import (
    CallOrigin,
    ChoicesBehind,
    FoundExchange,
    RecordedExchange,
    Recorder,
)
from callwise.budget.run_gate import Drained
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Purpose, Role
from callwise.calls.client import Remaining
from callwise.calls.errors import (
    CallError,
    CallTimeout,
    CallwiseError,
    CassetteMiss,
    ConfigError,
    ConnectionFailed,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply
from callwise.recordings.app_protocol import Notices, ReplyListener, TurnInput, TurnResult
from callwise.recordings.program_turn import (
    OpenTurn,
    config_of,
    messages_of,
    place_of,
    reply_of,
    turn_is_over,
)

__all__ = ["ProgramFailed", "ProgramSession", "Replaying"]

MAX_DETAIL_CHARS = 300
"""Longest explanation of why a turn has no reply, in characters."""

_OUTAGES = (ConnectionFailed, RateLimited, ServerFailed, StreamCut)
"""Errors of an endpoint that another time may answer the same call."""

_Turn = tuple[str, str]
"""Conversation and turn, as the names of their scopes."""


class ProgramFailed(CallwiseError):
    """The program raised an error. Turns finished before are kept."""


class Replaying(ChoicesBehind):
    """A recorder that may only play the calls of turns that are run again.

    Args:
        recorder: where exchanges are looked up and kept. Not owned.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.turns: set[_Turn] = set()

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> FoundExchange:
        """Take the next exchange of a key; see `Recorder.lookup`."""
        found = self._recorder.lookup(key, call, where)
        if not self._is_again(where):
            return found
        return self._recorded(found, where) if isinstance(found, Awaitable) else _had(found, where)

    async def _recorded(
        self, coming: Awaitable[RecordedExchange | None], where: CallOrigin
    ) -> RecordedExchange:
        return _had(await coming, where)

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Record how a call ended, unless its turn is run again."""
        if not self._is_again(where):
            self._recorder.record(key, call, where, exchange)

    def _is_again(self, where: CallOrigin) -> bool:
        return (where.conversation, where.turn) in self.turns


def _had(exchange: RecordedExchange | None, where: CallOrigin) -> RecordedExchange:
    if exchange is None:
        raise CassetteMiss(f"node {where.node or '-'} asks what was not recorded")
    return exchange


@dataclass(slots=True)
class _Conversation:
    """One conversation of a session.

    Args:
        user_id: whose it is; None is anonymous.
        messages: all messages so far, of a program without a checkpointer.
        turns: turns that the program has run, one number each.
    """

    scope: Scope
    user_id: str | None = None
    messages: list[Any] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)


class ProgramSession:
    """An open program. An `LLM` for its models, which places calls and collects prompts.

    Args:
        past: what the finished turns of an earlier process were asked, and their replies.

    Attributes:
        owner: the loop that the budgeter works on, where it has its own.
    """

    def __init__(
        self,
        budgeter: Budgeter,
        *,
        limits: tuple[Limits, Limits],
        notices: Notices,
        replaying: Replaying | None = None,
        past: Sequence[tuple[TurnInput, str]] = (),
    ) -> None:
        self.notices = notices
        self.owner: Any = getattr(budgeter, "owner", None)
        self._budgeter = budgeter
        self._conversation_limits, self._turn_limits = limits
        self._replaying = replaying
        self._past = sorted(past, key=lambda each: each[0].turn or 0)
        self._program: Any = None
        self._has_checkpoints = False
        self._conversations: dict[str, _Conversation] = {}
        self._open: dict[_Turn, OpenTurn] = {}

    async def drain(self, seconds: float, *, reason: str) -> Drained:
        """Accept no further call, and return once those under way have ended; see `Budgeter`."""
        return await self._budgeter.drain(seconds, reason=reason)

    async def build(self, build: Callable[[Any], Any], target: str, roles: Sequence[Role]) -> None:
        """Build the program around models that ask this session.

        Args:
            build: makes the program around a model, or around models by role.
            roles: those that are answered.

        Raises:
            ConfigError: when it returns no program.
        """
        from callwise.calls.chat_model import BudgetedChatModel  # noqa: PLC0415 - it is heavy

        models = {
            role.value: BudgetedChatModel(llm=self, role=role, purpose=Purpose.OTHER)
            for role in roles
        }
        first = next(iter(inspect.signature(build).parameters))
        try:
            built = build(models if first == "models" else models[Role.MAIN])
            program: Any = await built if inspect.isawaitable(built) else built
        except CallwiseError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{target!r} is not an app, and called with a model it raised "
                f"{type(error).__name__} at {place_of(error)}: {error}; name a function "
                "build(model) that returns a program"
            ) from error
        if not hasattr(program, "ainvoke"):
            raise ConfigError(
                f"{target!r} returned a {type(program).__name__}: return a compiled graph or "
                "another runnable (a StateGraph needs .compile())"
            )
        if getattr(program, "checkpointer", None):
            from langgraph.checkpoint.memory import InMemorySaver  # noqa: PLC0415 - it is heavy

            program = program.copy(update={"checkpointer": InMemorySaver()})
            self._has_checkpoints = True
        self._program = program

    def close(self) -> None:
        """Close every scope, and check the ledger's identity.

        Raises:
            LedgerError: when the ledger does not add up.
        """
        for conversation in self._conversations.values():
            conversation.scope.close()
        self._conversations.clear()
        self._budgeter.ledger.check()

    # What the program's models do.

    async def ask(self, call: Call) -> Reply:
        """Return the answer; see `Budgeter.ask`."""
        scope, turn = self._place()
        with turn.asking():
            turn.prompts.add(call)
            with scope.entered():
                return await self._budgeter.ask(call)

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls in one round; see `Budgeter.ask_all`."""
        scope, turn = self._place()
        with turn.asking():
            for call in calls:
                turn.prompts.add(call)
            with scope.entered():
                return await self._budgeter.ask_all(calls, max_concurrency=max_concurrency)

    def advisory(self) -> Remaining:
        """Return how much of the current turn's limits is left."""
        with self._place()[0].entered():
            return self._budgeter.advisory()

    def _place(self) -> tuple[Scope, OpenTurn]:
        """Return the scope to ask in, and its turn.

        A thread of the program's own inherits no context: there the only open turn counts.
        What an earlier turn left running is no part of it.

        Raises:
            ConfigError: when it is not known which turn asks.
        """
        scope = self._budgeter.current
        turn = (scope.conversation or "", scope.turn or "")
        if turn in self._open:
            return scope, self._open[turn]
        if scope.turn is not None:
            raise turn_is_over(scope)
        if len(self._open) == 1:
            opened = next(iter(self._open.values()))
            return opened.scope, opened
        raise ConfigError(
            "a model was asked outside of every turn: run the thread in a copy of the context "
            "(contextvars.copy_context().run), or replay with --max-concurrency 1"
        )

    # Turns.

    async def run_turn(
        self, turn: TurnInput, *, on_reply: ReplyListener | None = None
    ) -> TurnResult:
        """Answer one user message.

        Raises:
            CallError: one that the recording lacks, or a failed endpoint.
            ConfigError: when earlier turns cannot be run again as they were.
            ProgramFailed: when the program raises an error.
        """
        conversation = self._conversation(turn)
        if turn.turn is None:
            turn = replace(turn, turn=max(conversation.turns, default=-1) + 1)
        await self._run_again(conversation, turn)
        result = await self._run(conversation, turn)
        if on_reply is not None:
            await on_reply(result.record["reply"], result.record["bubbles"])
        return result

    def _conversation(self, turn: TurnInput) -> _Conversation:
        name = turn.conversation_id
        if name not in self._conversations:
            scope = self._budgeter.run.open(
                ScopeKind.CONVERSATION,
                name,
                limits=self._conversation_limits,
                after=(),
                user=turn.user_id,
            )
            self._conversations[name] = _Conversation(scope, turn.user_id)
        conversation = self._conversations[name]
        if conversation.user_id != turn.user_id:
            raise ConfigError(
                f"conversation {name!r} is of user {conversation.user_id!r}, so the program would "
                f"answer user {turn.user_id!r} from it. Give conversations of two users two ids"
            )
        return conversation

    async def _run_again(self, conversation: _Conversation, turn: TurnInput) -> None:
        """Run the finished turns before a turn again, from the recording."""
        for earlier, reply in self._past:
            if (
                earlier.conversation_id != turn.conversation_id
                or earlier.turn in conversation.turns
                or (earlier.turn or 0) >= (turn.turn or 0)
            ):
                continue
            name = (earlier.conversation_id, str(earlier.turn))
            if self._replaying is not None:
                self._replaying.turns.add(name)
            try:
                result = await self._run(conversation, earlier)
                problem = "" if result.record["reply"] == reply else "its reply is another one"
            except CassetteMiss as miss:
                problem = str(miss)
            finally:
                if self._replaying is not None:
                    self._replaying.turns.discard(name)
            if problem:
                raise ConfigError(
                    f"cannot go on with {earlier.conversation_id!r}: run again from the recording, "
                    f"turn {earlier.turn} is not as it was ({problem}); the program has changed, "
                    "so start over with --fresh, in Python with another out="
                )

    async def _run(self, conversation: _Conversation, turn: TurnInput) -> TurnResult:
        name = (turn.conversation_id, str(turn.turn))
        scope = conversation.scope.open(ScopeKind.TURN, name[1], limits=self._turn_limits)
        opened = self._open[name] = OpenTurn(scope)
        try:
            with scope.entered():
                try:
                    reply, degraded = await self._reply(conversation, turn)
                except Exception:
                    await opened.come_to_rest()
                    raise
            await opened.come_to_rest()
        finally:
            del self._open[name]
            scope.close()
            rows = _rows_of(scope)
        missed = next((row for row in rows if row.error_name == "CassetteMiss"), None)
        if missed is not None:
            # A program that catches every error went on with what was never said.
            raise CassetteMiss((missed.error or "").partition(": ")[2])
        conversation.turns.append(turn.turn or 0)
        return TurnResult(
            record={
                **_facts_of(turn),
                "reply": reply,
                "bubbles": [{"text": reply}] if reply else [],
                "degraded": list(degraded),
                "prompts": opened.prompts.digests(),
                **_counts_of(scope),
                "simulated": any(row.is_simulated for row in rows),
            },
            # In which round a call ended is chance where nodes run side by side.
            rows=[{**row.as_dict(), "end_round": None} for row in rows],
        )

    async def _reply(
        self, conversation: _Conversation, turn: TurnInput
    ) -> tuple[str, Sequence[Mapping[str, str]]]:
        """Return the program's reply, and why it has none where a limit ended it."""
        from langchain_core.messages import HumanMessage  # noqa: PLC0415 - it is heavy
        from langgraph.errors import GraphRecursionError  # noqa: PLC0415 - it is heavy

        asked = HumanMessage(turn.user_text, id=f"turn-{turn.turn}")
        before = [] if self._has_checkpoints else conversation.messages
        # One checkpoint, at the end of the turn.
        options = {"durability": "exit"} if self._has_checkpoints else {}
        try:
            answer = await self._program.ainvoke(
                {"messages": [*before, asked]}, config_of(turn), **options
            )
        except (CallError, GraphRecursionError) as error:
            if self._stops(error):
                raise
            conversation.messages = [*before, asked]
            detail = str(error)[:MAX_DETAIL_CHARS]
            return "", [{"node": "-", "reason": type(error).__name__, "detail": detail}]
        except CallwiseError:
            raise
        except Exception as error:
            raise ProgramFailed(
                f"turn {turn.turn} of {turn.conversation_id!r}: the program raised "
                f"{type(error).__name__} at {place_of(error)}: {error}. Mend it and run the same "
                "command to go on"
            ) from error
        messages = messages_of(answer, [*before, asked])
        conversation.messages = messages
        reply = reply_of(messages, asked)
        return reply, () if reply else [{"node": "-", "reason": "no reply"}]

    def _stops(self, error: Exception) -> bool:
        """Return whether an error ends the run, which can go on later, and not its turn alone."""
        if isinstance(error, CallTimeout):
            limits = (self._conversation_limits, self._turn_limits)
            return all(each.max_seconds is None for each in limits)
        return isinstance(error, _OUTAGES) or (isinstance(error, CallError) and error.is_fatal)


def _rows_of(turn: Scope) -> list[LedgerRow]:
    """Take a turn's rows out: in the order of the graph's steps, and in a task as asked."""
    rows = turn.take_rows()
    numbers = sorted(row.sequence for row in rows)
    rows.sort(key=lambda row: (_steps_of(row), row.node or "", row.sequence))
    return [row._replace(sequence=n) for row, n in zip(rows, numbers, strict=True)]


def _steps_of(row: LedgerRow) -> tuple[tuple[int, ...], ...]:
    """Return the steps of the graphs that a row's call was asked in, out of its scope's path."""
    _, mark, steps = row.scope.rpartition("#")
    if not mark or row.node is None:
        return ()
    return tuple(tuple(map(int, step.split("."))) for step in steps.split("-"))


def _facts_of(turn: TurnInput) -> dict[str, Any]:
    return {
        "conversation_id": turn.conversation_id,
        "turn": turn.turn,
        "user_id": turn.user_id,
        "time": turn.time,
        **({"persona": dict(turn.persona)} if turn.persona else {}),
        "user_text": turn.user_text,
    }


def _counts_of(scope: Scope) -> dict[str, Any]:
    counts = scope.counts().as_dict()
    if counts["unknown_usd"]:
        counts["usd"] = None  # unknown is not free
    return counts

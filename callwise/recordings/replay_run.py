"""One replay from beginning to end: folder, recording, session, turns.

This is what `callwise replay` does, for those who would rather call it from Python.

The turns of one user go one after another, because each depends on what the one before left
in memory; at most `max_concurrency` users run at the same time. A finished turn is written
immediately. Whatever stops a run (Ctrl-C, an error, a killed process), running it again goes on
where it stopped, and calls of the interrupted turn that were already paid for come from its
recording.

A failure that ends a run (a wrong key, an endpoint that is down) is not recorded immediately: it
would be played when the run goes on, which would then break off at the same call for ever. It
is kept back until its turn goes on after it or ends, which makes it part of what happened.
The order within a turn stays. After a failure that is wrong for every call (`is_fatal`) only the
end of its turn shows that it went on: answers of calls that were sent together with it may come
after it, and are recorded immediately, since they are paid for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from callwise.budget.recorder import (
    CallOrigin,
    ChoicesBehind,
    FoundExchange,
    RecordedExchange,
    Recorder,
)
from callwise.calls import errors
from callwise.calls.call import Call, Outcome
from callwise.calls.errors import CallError, ConfigError, RunStopped
from callwise.calls.key import CallKey
from callwise.calls.payload import well_formed_id
from callwise.calls.provider_errors import redacted_line
from callwise.knobs import settings_digest
from callwise.recordings.app_protocol import (
    App,
    HasNotices,
    PromptDigests,
    Session,
    TurnInput,
    TurnResult,
    simulated_roles,
)
from callwise.recordings.cassette import Cassette, CassetteMode, open_cassette
from callwise.recordings.conversation import Conversation, conversation_digest
from callwise.recordings.normalising import Rule
from callwise.recordings.run_folder import RunFolder, TurnKey
from callwise.safe_text import printable

__all__ = [
    "FinishedRun",
    "RunRecorder",
    "RunRequest",
    "TurnListener",
    "folder_of",
    "play_in_lanes",
    "replay_conversations",
    "run_replay",
    "turn_order",
]

_Turn = tuple[str | None, str | None]
"""Conversation and turn, as the names of their scopes."""

_BROKEN_OFF = frozenset({Outcome.FAILED, Outcome.CANCELLED})


class RunRecorder(ChoicesBehind):
    """A recorder for one run.

    Args:
        recorder: where exchanges are looked up and kept. Not owned.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._held: dict[_Turn, list[tuple[CallKey, Call, CallOrigin, RecordedExchange]]] = {}

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> FoundExchange:
        """Take the next exchange of a key; see `Recorder.lookup`."""
        return self._recorder.lookup(key, call, where)

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Remember how a call ended, as soon as its turn goes on."""
        turn = (where.conversation, where.turn)
        if exchange.outcome in _BROKEN_OFF:
            self._held.setdefault(turn, []).append((key, call, where, exchange))
            return
        if not any(_is_fatal(held) for *_, held in self._held.get(turn, ())):
            self.keep(*turn)
        self._recorder.record(key, call, where, exchange)

    def keep(self, conversation: str | None, turn: str | None) -> None:
        """Write what is held back of a turn: it went on, or has ended."""
        for held in self._held.pop((conversation, turn), ()):
            self._recorder.record(*held)

    def answered_by(self) -> Mapping[str, tuple[str, str]]:
        """Return the endpoint and the model that answered each role or chosen model.

        Empty where the recording does not name them.
        """
        return self._recorder.answered_by() if isinstance(self._recorder, Cassette) else {}

    def arms(self) -> Mapping[tuple[str, str], str]:
        """Return the recorded arm by conversation and turn; see `Cassette.arms`."""
        return self._recorder.arms() if isinstance(self._recorder, Cassette) else {}

    def keep_all(self) -> None:
        """Write what is held back of every turn."""
        for conversation, turn in list(self._held):
            self.keep(conversation, turn)


def _is_fatal(exchange: RecordedExchange) -> bool:
    """Return whether a failure is wrong for every call, so that its run breaks off."""
    kind = getattr(errors, exchange.error.type_name, None) if exchange.error else None
    return isinstance(kind, type) and issubclass(kind, CallError) and kind.is_fatal


TurnListener = Callable[[TurnResult], None]
"""Called with each turn that has just been finished and written."""


def _inputs(conversation: Conversation) -> Iterable[TurnInput]:
    for turn in conversation.turns:
        yield TurnInput(
            conversation_id=conversation.conversation_id,
            turn=turn.turn,
            user_text=turn.user_text,
            user_id=conversation.user_id,
            time=turn.time,
            persona=turn.persona or conversation.persona or None,
        )


def turn_order(conversations: Sequence[Conversation]) -> list[TurnKey]:
    """Return the turns of conversations in the order in which files list them."""
    return [
        (well_formed_id(conversation.conversation_id), turn.turn)
        for conversation in conversations
        for turn in conversation.turns
    ]


def _check_users(turns: Sequence[TurnInput], folder: RunFolder) -> None:
    """Refuse to go on with turns that an older version kept for another user.

    It gave a conversation without a user the user of the conversation's name, whose memory
    is no longer read for it.
    """
    former = {
        row["conversation_id"]
        for row in folder.turns
        if row.get("user_id") == row["conversation_id"]
    }
    for turn in turns:
        if turn.user_id is None and turn.conversation_id in former and not _is_done(turn, folder):
            raise ConfigError(
                f"{folder.path} was begun by an older version, which kept the memory of "
                f"conversation {turn.conversation_id!r} for a user of that name. Choose another "
                "folder (--out; in Python out=) and give its recording (--cassette, cassette=); "
                "no call is paid twice"
            )


def _is_done(turn: TurnInput, folder: RunFolder) -> bool:
    return turn.turn is not None and (turn.conversation_id, turn.turn) in folder.finished


async def play_in_lanes(
    turns: Iterable[TurnInput],
    play: Callable[[TurnInput], Awaitable[None]],
    *,
    max_concurrency: int,
) -> None:
    """Play the turns of each memory one after another, and memories side by side, in order.

    Args:
        max_concurrency: most memories in use concurrently; at least 1.

    Raises:
        RunStopped: when the run has stopped; each lane goes on to its next call, so that the
            calls under way are answered.
        Exception: whatever else a turn raised; the other lanes are cancelled.
    """
    if max_concurrency < 1:
        raise ValueError(f"max_concurrency is at least 1, got {max_concurrency}")
    lanes: dict[tuple[str, str], list[TurnInput]] = {}
    for turn in turns:
        lanes.setdefault(turn.memory_owner, []).append(turn)
    waiting = iter(lanes.values())

    stopped: list[RunStopped] = []

    async def work() -> None:
        try:
            for lane in waiting:
                for turn in lane:
                    await play(turn)
        except RunStopped as error:
            stopped.append(error)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(max_concurrency, len(lanes))):
                workers.create_task(work())
    except* Exception as group:  # noqa: BLE001 - unwrapped, not handled
        raise group.exceptions[0] from None
    if stopped:
        raise stopped[0]


async def replay_conversations(
    conversations: Sequence[Conversation],
    session: Session,
    folder: RunFolder,
    *,
    max_concurrency: int = 1,
    on_turn: TurnListener | None = None,
) -> None:
    """Answer every turn that the folder does not have yet, and write each as it ends.

    Args:
        conversations: what to replay, in the order in which the files shall list it.
        max_concurrency: most users that run concurrently; at least 1.

    Raises:
        ConfigError: when an older version began the run and kept memory otherwise.
        Exception: whatever a turn raised; the other lanes are cancelled, and the turns
            finished so far are in the folder.
    """
    turns = [turn for conversation in conversations for turn in _inputs(conversation)]
    _check_users(turns, folder)

    async def play(turn: TurnInput) -> None:
        if not _is_done(turn, folder):
            result = await session.run_turn(turn)
            folder.add(result)
            if on_turn is not None:
                on_turn(result)

    await play_in_lanes(turns, play, max_concurrency=max_concurrency)
    folder.finish(turn_order(conversations))


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Request for one run.

    Args:
        digest_of: the conversations that identify the run, when `conversations` is
            only their beginning; None when it is all of them.
        cassette: the recording; None is the folder's own.
        is_played_again: whether a strict replay, which is free, begins again where turns are
            finished: they may be of the code before a change.
        max_concurrency: users side by side; at least 1.
        started: wall time for the manifest, ISO 8601; None leaves it out.
        files: what the conversations were read from, for the manifest.
    """

    app: App
    app_target: str
    settings: BaseModel
    conversations: Sequence[Conversation]
    folder: Path
    digest_of: Sequence[Conversation] | None = None
    cassette: Path | None = None
    mode: CassetteMode = CassetteMode.NEW_EPISODES
    is_played_again: bool = False
    max_concurrency: int = 1
    started: str | None = None
    normalise: Sequence[Rule] = ()
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that ended well.

    Args:
        wall_seconds: time that this process spent; turns of earlier ones not included.
        turns_before: turns that were in the folder already.
    """

    folder: Path
    turns: Sequence[Mapping[str, Any]] = field(repr=False)
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    wall_seconds: float
    turns_before: int
    notices: Sequence[str] = ()


def _refuse_mixing(request: RunRequest, cassette: Cassette) -> None:
    """Refuse to append simulated answers to a real recording, and real ones to a simulated one.

    Raises:
        ConfigError: when a role was answered by the one and would be by the other now.
    """
    now = simulated_roles(request.app, request.settings)
    for role, (endpoint, model, was_simulated) in cassette.first_answers().items():
        where = printable(f"{model} at {endpoint}"[:200])
        if now.get(role) is True and not was_simulated:
            raise ConfigError(
                f"{cassette.path} was recorded with {where}, and the simulated model would answer "
                f"now (role {role}). Set CALLWISE_BASE_URL and CALLWISE_MODEL as when it was "
                "recorded, or record into another file"
            )
        if now.get(role) is False and was_simulated and endpoint == "simulated":
            raise ConfigError(
                f"{cassette.path} was recorded with the simulated model, and an endpoint would be "
                f"asked now (role {role}). Record into another file, or unset CALLWISE_BASE_URL "
                "and CALLWISE_MODEL"
            )


def _identity(request: RunRequest) -> dict[str, Any]:
    whole = request.digest_of if request.digest_of is not None else request.conversations
    return {
        "app": request.app_target,
        "settings": settings_digest(request.settings),
        "conversations": conversation_digest(whole),
        "cassette": str(request.cassette.resolve()) if request.cassette else None,
        "mode": str(request.mode),
    }


def _details(request: RunRequest) -> dict[str, Any]:
    app, is_strict = request.app, request.mode is CassetteMode.STRICT
    plan = app.plan(request.settings)
    return {
        # Each turn of a recording has whether its answers are simulated.
        "simulated": not (is_strict and plan is None) and app.is_simulated(request.settings),
        "started": request.started,
        "knobs": request.settings.model_dump(mode="json"),
        # What was said of them: an app may treat a knob that was set unlike its default.
        "given": request.settings.model_dump(mode="json", exclude_unset=True),
        "prompts": dict(app.prompt_digests()) if isinstance(app, PromptDigests) else {},
        "plan": None if plan is None else plan.as_json(),
        **({"files": list(request.files)} if request.files else {}),
    }


def folder_of(request: RunRequest) -> RunFolder:
    """Return the folder of a run, made where it is missing, and locked until it is closed.

    Raises:
        ConfigError: when it has something else, or another process is writing it.
        FormatError: when it cannot be read.
    """
    return RunFolder(request.folder, identity=_identity(request), details=_details(request))


async def run_replay(
    request: RunRequest,
    *,
    on_turn: TurnListener | None = None,
    on_notice: Callable[[str], None] | None = None,
    on_open: Callable[[Session], None] | None = None,
) -> FinishedRun:
    """Replay conversations, going on where the folder ends.

    Args:
        on_notice: called with each notice for the user; those that are kept are also in
            the run's `notices`.
        on_open: called with the open session, before its first turn.

    Raises:
        ConfigError: when the folder has something else, or a setting cannot work.
        FormatError: when the folder or the recording cannot be read.
        CallError: what stopped the run; the turns finished before are in the folder.
    """
    # A clock for what the person waited; nothing that is written depends on it.
    began = time.perf_counter()
    with ExitStack() as stack:
        folder = folder_of(request)
        stack.callback(folder.close)
        if request.is_played_again and request.mode is CassetteMode.STRICT and folder.finished:
            folder.start_over()
        turns_before = len(folder.finished)
        is_unfinished = not folder.finished.issuperset(turn_order(request.conversations))
        if is_unfinished:
            folder.check_app_files()
        cassette_path = request.cassette or request.folder / "cassette.jsonl"
        cassette = stack.enter_context(
            open_cassette(
                cassette_path, request.mode, redact=redacted_line, normalise=request.normalise
            )
        )
        if request.mode is CassetteMode.NEW_EPISODES and is_unfinished:
            _refuse_mixing(request, cassette)
        recorder = RunRecorder(cassette)

        def finished(result: TurnResult) -> None:
            recorder.keep(str(result.record["conversation_id"]), str(result.record["turn"]))
            if on_turn is not None:
                on_turn(result)

        async with request.app.open(
            request.settings,
            folder=request.folder,
            recorder=recorder,
            is_offline=request.mode is CassetteMode.STRICT,
        ) as session:
            notices: Sequence[str] = ()
            if isinstance(session, HasNotices):
                session.notices.listener = on_notice
                notices = session.notices.texts
            if on_open is not None:
                on_open(session)
            await replay_conversations(
                request.conversations,
                session,
                folder,
                max_concurrency=request.max_concurrency,
                on_turn=finished,
            )
        return FinishedRun(
            folder=request.folder,
            turns=folder.turns,
            rows=folder.rows,
            wall_seconds=time.perf_counter() - began,
            turns_before=turns_before,
            notices=(*cassette.notices, *notices),
        )

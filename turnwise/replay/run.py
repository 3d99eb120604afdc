"""One replay from beginning to end: folder, recording, session, turns.

This is what `turnwise replay` does, for those who would rather call it from Python.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from turnwise.calls.provider_errors import scrub
from turnwise.knobs import settings_digest
from turnwise.replay.app import App, TellsNotices, TellsPrompts, TurnResult
from turnwise.replay.cassette import CassetteMode, open_cassette
from turnwise.replay.conversation import Conversation, conversation_digest
from turnwise.replay.normalising import Rule
from turnwise.replay.run_folder import RunFolder
from turnwise.replay.run_recorder import RunRecorder
from turnwise.replay.runner import TurnListener, replay_conversations, turn_order

__all__ = ["FinishedRun", "RunRequest", "run_replay"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to replay, how, and where to.

    Args:
        app: the app.
        app_target: its import string, for the manifest.
        settings: its knobs.
        conversations: what to replay now.
        digest_of: the conversations that identify the run, when `conversations` is
            only their beginning; None when it is all of them.
        folder: the run's folder.
        cassette: the recording; None is the folder's own.
        mode: how the recording is used.
        max_concurrency: users side by side; at least 1.
        started: wall time for the manifest, ISO 8601; None leaves it out.
        normalise: what the recording's keys leave out; see `open_cassette`.
    """

    app: App
    app_target: str
    settings: BaseModel
    conversations: Sequence[Conversation]
    folder: Path
    digest_of: Sequence[Conversation] | None = None
    cassette: Path | None = None
    mode: CassetteMode = CassetteMode.NEW_EPISODES
    max_concurrency: int = 1
    started: str | None = None
    normalise: Sequence[Rule] = ()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that ended well.

    Args:
        folder: where it stands.
        turns: its turns, in the order of the conversations.
        rows: its ledger rows, in the same order.
        wall_seconds: time that this process spent; turns of earlier ones not included.
        turns_before: turns that stood in the folder already.
        notices: what happened that a person should know, in words.
    """

    folder: Path
    turns: Sequence[Mapping[str, Any]] = field(repr=False)
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    wall_seconds: float
    turns_before: int
    notices: Sequence[str] = ()


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
        # Of a recording each turn says itself whether its answers are simulated.
        "simulated": not (is_strict and plan is None) and app.is_simulated(request.settings),
        "started": request.started,
        "knobs": request.settings.model_dump(mode="json"),
        # What was said of them: an app may treat a knob that was set unlike its default.
        "given": request.settings.model_dump(mode="json", exclude_unset=True),
        "prompts": dict(app.prompt_digests()) if isinstance(app, TellsPrompts) else {},
        "plan": None if plan is None else plan.as_json(),
    }


async def run_replay(
    request: RunRequest,
    *,
    on_turn: TurnListener | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> FinishedRun:
    """Replay conversations, going on where the folder stands.

    Args:
        request: what, how, and where to.
        on_turn: told each finished turn.
        on_notice: told at once what a person should know; what is worth keeping is also
            in the run's `notices`.

    Raises:
        ConfigError: when the folder holds something else, or a setting cannot work.
        FormatError: when the folder or the recording cannot be read.
        CallError: what stopped the run; the turns finished before stand in the folder.
    """
    # A clock for what the person waited; nothing that is written depends on it.
    began = time.perf_counter()
    with ExitStack() as stack:
        folder = RunFolder(request.folder, identity=_identity(request), details=_details(request))
        stack.callback(folder.close)
        turns_before = len(folder.finished)
        if not folder.finished.issuperset(turn_order(request.conversations)):
            folder.check_app_files()
        cassette_path = request.cassette or request.folder / "cassette.jsonl"
        cassette = stack.enter_context(
            open_cassette(cassette_path, request.mode, scrub=scrub, normalise=request.normalise)
        )
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
            if isinstance(session, TellsNotices):
                session.notices.listener = on_notice
                notices = session.notices.texts
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

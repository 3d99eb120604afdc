"""What `turnwise replay` does once its options are read."""

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from turnwise.calls.errors import ConfigError
from turnwise.calls.trust import confirmed
from turnwise.cli.exits import print_json, print_text, say
from turnwise.cli.knobs import say_endpoints, say_environment, say_what_is_not_used
from turnwise.cli.reading import reading_progress, say_skipped
from turnwise.knobs import settings_digest
from turnwise.replay import Conversation, conversation_digest, read_conversations
from turnwise.replay.app_protocol import SHIPPED_APP, App, TurnResult, load_app
from turnwise.replay.cassette import CassetteMode
from turnwise.replay.conversation_files import ReadOptions, first_turns
from turnwise.replay.replay_run import FinishedRun, RunRequest, TurnListener, run_replay
from turnwise.replay.run_folder import RunFolder
from turnwise.report import brief_text, summarise, totals_json

__all__ = ["ReplayOptions", "replay_and_show"]

RUNS = Path("turnwise-runs")
"""Where runs go that name no folder, under the working directory."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of `turnwise replay`, as they came."""

    paths: Sequence[Path]
    preset: str | None = None
    overrides: Sequence[str] = ()
    limit_turns: int | None = None
    record: Path | None = None
    cassette: Path | None = None
    mode: str | None = None
    normalise: Sequence[str] = ()
    out: Path | None = None
    is_fresh: bool = False
    max_concurrency: int = 1
    skip_bad: bool = False
    agent: str | None = None
    side: str | None = None
    as_json: bool = False
    app: str = SHIPPED_APP
    trust_endpoints: Sequence[str] = ()
    trust_code: Sequence[str] = ()
    is_passing: bool = False
    """Whether the run's folder will be gone, and need not be named."""


def _cassette_and_mode(options: ReplayOptions) -> tuple[Path | None, CassetteMode]:
    if options.record is not None and options.cassette is not None:
        raise ConfigError("give --record or --cassette, not both: one recording serves a run")
    if options.cassette is not None:
        mode = CassetteMode(options.mode or CassetteMode.STRICT)
        if mode is CassetteMode.STRICT and not options.cassette.exists():
            raise ConfigError(f"there is no cassette {options.cassette}; make one with --record")
        return options.cassette, mode
    mode = CassetteMode(options.mode or CassetteMode.NEW_EPISODES)
    if options.record is not None and mode is CassetteMode.STRICT:
        raise ConfigError("--mode strict sends nothing, so --record would record nothing")
    return options.record, mode


def _run_name(
    options: ReplayOptions,
    settings: BaseModel,
    conversations: Sequence[Conversation],
    recording: str,
) -> str:
    """Return a folder name that is the same for the same request, and for no other."""
    identity = f"{conversation_digest(conversations)} {settings_digest(settings)} {recording}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    stem = options.paths[0].stem or "conversations"
    preset = options.preset or str(getattr(settings, "preset", "default"))
    return f"{stem}-{Path(preset).stem}-{digest}"


@contextmanager
def _folder(
    options: ReplayOptions,
    settings: BaseModel,
    conversations: Sequence[Conversation],
    cassette: Path | None,
    mode: CassetteMode,
) -> Iterator[Path]:
    """Give the run's folder: the one named, one of its own, or for a free replay a passing one."""
    if options.out is None and mode is CassetteMode.STRICT:
        with tempfile.TemporaryDirectory(prefix="turnwise-") as name:
            yield Path(name)
        return
    if options.out is not None:
        path = options.out
    else:
        path = RUNS / _run_name(options, settings, conversations, f"{cassette} {mode}")
    # A run that records elsewhere has lost its past when that recording is gone.
    is_orphan = options.out is None and cassette is not None and not cassette.exists()
    if options.is_fresh or is_orphan or mode is CassetteMode.REWRITE:
        RunFolder.clear(path)
    yield path


@contextmanager
def _progress(total: int, done: int, *, is_quiet: bool) -> Iterator[TurnListener | None]:
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("turns"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[asked]} calls"),
        TimeRemainingColumn(),
    )
    asked = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("turns", total=total, completed=done, asked=0)

        def advance(result: TurnResult) -> None:
            nonlocal asked
            asked += len(result.rows)
            bar.update(task, advance=1, asked=asked)

        yield advance


def _run(
    options: ReplayOptions,
    app: App,
    settings: BaseModel,
    on_notice: Callable[[str], None],
) -> FinishedRun:
    with reading_progress(is_quiet=options.as_json) as progress:
        read_options = ReadOptions(
            skip_bad=options.skip_bad, agent=options.agent, side=options.side, progress=progress
        )
        read = read_conversations(options.paths, options=read_options)
    say_skipped(read.skipped, read.skipped_count)
    conversations = list(read.conversations)
    if options.limit_turns is not None:
        conversations = list(first_turns(conversations, options.limit_turns))
    cassette, mode = _cassette_and_mode(options)
    total = sum(len(conversation.turns) for conversation in conversations)
    with (
        _folder(options, settings, read.conversations, cassette, mode) as path,
        _progress(total, 0, is_quiet=options.as_json) as on_turn,
    ):
        request = RunRequest(
            app=app,
            app_target=options.app,
            settings=settings,
            conversations=conversations,
            digest_of=read.conversations,
            folder=path,
            cassette=cassette,
            mode=mode,
            max_concurrency=options.max_concurrency,
            normalise=options.normalise,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return asyncio.run(run_replay(request, on_turn=on_turn, on_notice=on_notice))


def replay_and_show(options: ReplayOptions) -> FinishedRun:
    """Replay, and print the ledger: a table, or with `as_json` one object."""
    app = load_app(options.app)
    settings = confirmed(
        app.settings(options.preset, options.overrides),
        options.trust_endpoints,
        options.trust_code,
    )
    say_environment(app, options.overrides)
    say_what_is_not_used(app, settings)
    if _cassette_and_mode(options)[1] is not CassetteMode.STRICT:
        say_endpoints(settings)
    said: set[str] = set()

    def notice(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    run = _run(options, app, settings, notice)
    for text in run.notices:
        notice(text)
    plan = app.plan(settings)
    tables = summarise(
        run.rows,
        run.turns,
        plan=None if plan is None else plan.as_json(),
        wall_seconds=run.wall_seconds,
    )
    if options.as_json:
        print_json(totals_json(tables))
        return run
    print_text(brief_text(tables), end="")
    if tables.totals.is_simulated:
        say("All answers above are simulated: they prove counting, not language.")
    if run.folder.exists() and not options.is_passing:
        say(f"run: {run.folder}   (turnwise report {run.folder})")
    return run

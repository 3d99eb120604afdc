"""`callwise replay` and `conversations`: recorded conversations read and answered."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from callwise.calls.errors import ConfigError
from callwise.cli.draining import SignalDrain
from callwise.cli.info_commands import opened_app, say_endpoints
from callwise.cli.options import (
    AppOptions,
    CommandOptions,
    FreshOption,
    JsonOption,
    MaxConcurrencyOption,
    MaxTurnsOption,
    OutOption,
)
from callwise.cli.terminal import (
    clear_errors,
    print_json,
    print_safe,
    print_wrapped,
    progress_bar,
    say,
    say_skipped,
    screen,
)
from callwise.shipped import RUNS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from callwise.recordings import Conversation
    from callwise.recordings.app_protocol import App, TurnResult
    from callwise.recordings.cassette import CassetteMode
    from callwise.recordings.conversation_files import ReadOptions
    from callwise.recordings.replay_run import FinishedRun

__all__ = ["conversations", "replay"]


class ReadingOptions(CommandOptions):
    """Options of the commands that read conversations."""

    conversations: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONVERSATION...",
            help="Recorded conversations: files, folders or globs. The format is detected.",
        ),
    ]
    columns: Annotated[
        list[str],
        typer.Option(
            "--column",
            metavar="NAME=COLUMN",
            help=(
                "Read a column of a table, or a field of a record, under its usual name, e.g. "
                "--column messages=dialog. Repeatable."
            ),
        ),
    ] = []
    max_conversations: Annotated[
        int | None,
        typer.Option(min=1, help="Read only the first N conversations, of a large data set."),
    ] = None
    is_hub: Annotated[
        bool,
        typer.Option(
            "--hub",
            help=(
                "Each CONVERSATION is a data set of the Hugging Face Hub, OWNER/NAME or "
                "OWNER/NAME:PATTERN. It is downloaded; nothing of it is run."
            ),
        ),
    ] = False
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip and count bad records instead of stopping.")
    ] = False
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The agent's name, in chats that do not mark the agent; the others are the user.",
        ),
    ] = None
    side: Annotated[
        Literal["a", "b"] | None,
        typer.Option(help="Which side to read of records that compare two."),
    ] = None
    as_json: JsonOption = False

    @contextmanager
    def reading(self) -> "Iterator[ReadOptions]":
        """Yield the options of reading, whose progress is shown until the block ends."""
        from callwise.recordings.conversation_files import ReadOptions

        with progress_bar("reading", is_quiet=self.as_json, kind="bytes") as show:
            yield ReadOptions(
                skip_bad=self.skip_bad,
                agent=self.agent,
                side=self.side,
                columns=self._chosen_columns(),
                max_conversations=self.max_conversations,
                progress=show,
            )

    @property
    def paths(self) -> Sequence[str | Path]:
        """Files and folders to read; those of a data set of the Hub are downloaded for it.

        Raises:
            ConfigError: when one cannot be downloaded.
        """
        if not self.is_hub:
            return self.conversations
        from callwise.recordings.hub_datasets import downloaded

        return [downloaded(each.as_posix()) for each in self.conversations]

    @property
    def named_files(self) -> list[str]:
        """The files and folders, where their names alone determine what is read."""
        is_plain = not (self.is_hub or self.skip_bad or self.columns or self.agent or self.side)
        return [str(each) for each in self.conversations] if is_plain else []

    def _chosen_columns(self) -> dict[str, str]:
        pairs = [text.partition("=") for text in self.columns]
        for (name, _, column), text in zip(pairs, self.columns, strict=True):
            if not name or not column:
                raise ConfigError(
                    f"expected --column NAME=COLUMN, such as messages=dialog, got {text!r}"
                )
        return {name: column for name, _, column in pairs}


class ReplayOptions(ReadingOptions, AppOptions):
    """Options of `callwise replay`."""

    max_turns: MaxTurnsOption = None
    record: Annotated[
        Path | None,
        typer.Option(help="Record calls to this cassette; calls that it already has are reused."),
    ] = None
    cassette: Annotated[
        Path | None, typer.Option(help="Play calls from this cassette, and send none.")
    ] = None
    mode: Annotated[
        Literal["strict", "new-episodes", "rewrite"] | None,
        typer.Option(
            help=(
                "strict: a call that is not recorded is an error (default with --cassette). "
                "new-episodes: it is sent and recorded (default with --record). "
                "rewrite: everything is recorded again."
            ),
        ),
    ] = None
    normalise: Annotated[
        list[str],
        typer.Option(
            help=(
                "Leave volatile text out of the recording's keys: uuid, iso-time, iso-date, "
                "clock-time, unix-time, hex, call-id, or a regular expression. May be given "
                "several times; a recording's own names are taken from it."
            ),
        ),
    ] = []
    out: OutOption = None
    fresh: FreshOption = False
    max_concurrency: MaxConcurrencyOption = 1

    def cassette_and_mode(self) -> "tuple[Path | None, CassetteMode]":
        """Return the cassette, None where the run's own folder has it, and its mode.

        Raises:
            ConfigError: when options contradict each other.
        """
        from callwise.recordings.cassette import CassetteMode

        if self.record is not None and self.cassette is not None:
            raise ConfigError("give --record or --cassette, not both: one recording serves a run")
        if self.cassette is not None:
            mode = CassetteMode(self.mode or CassetteMode.STRICT)
            if mode is CassetteMode.STRICT and not self.cassette.exists():
                raise ConfigError(f"there is no cassette {self.cassette}; make one with --record")
            return self.cassette, mode
        mode = CassetteMode(self.mode or CassetteMode.NEW_EPISODES)
        if self.record is not None and mode is CassetteMode.STRICT:
            raise ConfigError("--mode strict sends nothing, so --record would record nothing")
        return self.record, mode


def replay(options: ReplayOptions) -> None:
    """Answer recorded conversations turn by turn, and count every call.

    Every finished turn is written immediately: after Ctrl-C or a crash, run the same
    command again and it goes on where it stopped, buying nothing twice. A replay of a
    recording (--cassette) is free, and begins again each time: code may have changed.

    callwise replay talk.jsonl --preset classic --record talk.cassette.jsonl

    callwise replay talk.jsonl --cassette talk.cassette.jsonl

    callwise replay talk.jsonl --set budget.turn.max_calls=5 --json
    """
    with clear_errors("stopped; finished turns are kept, run the same command to go on"):
        replay_and_show(options)


def _run_name(
    options: ReplayOptions,
    settings: "BaseModel",
    conversations: "Sequence[Conversation]",
    recording: str,
) -> str:
    """Return a folder name that depends on all of the request: equal requests have one name."""
    from callwise.knobs import settings_digest
    from callwise.recordings import conversation_digest

    identity = f"{conversation_digest(conversations)} {settings_digest(settings)} {recording}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    stem = re.sub(r"[*?:\[\]]", "-", options.conversations[0].stem) or "conversations"
    preset = options.preset or str(getattr(settings, "preset", "default"))
    return f"{stem}-{Path(preset).stem}-{digest}"


@contextmanager
def _folder(
    options: ReplayOptions,
    settings: "BaseModel",
    conversations: "Sequence[Conversation]",
    cassette: Path | None,
    mode: "CassetteMode",
    *,
    app: "App",
) -> Iterator[Path]:
    """Yield the run's folder: the one named, a default one, or for a strict replay a temporary."""
    from callwise.recordings.app_protocol import answering_models
    from callwise.recordings.cassette import CassetteMode
    from callwise.recordings.run_folder import RunFolder

    if options.out is None and mode is CassetteMode.STRICT:
        with tempfile.TemporaryDirectory(prefix="callwise-") as name:
            yield Path(name)
        return
    if options.out is not None:
        path = options.out
    else:
        # Simulated answers are not those of an endpoint that is named later.
        recording = f"{cassette} {mode} {answering_models(app, settings)}"
        path = RUNS / _run_name(options, settings, conversations, recording)
    # A run whose cassette was deleted cannot be continued.
    is_orphan = options.out is None and cassette is not None and not cassette.exists()
    if options.fresh or is_orphan or mode is CassetteMode.REWRITE:
        RunFolder.clear(path)
    yield path


def _run(
    options: ReplayOptions, app: "App", settings: "BaseModel", on_notice: Callable[[str], None]
) -> "FinishedRun":
    from callwise.recordings import read_conversations
    from callwise.recordings.conversation_files import first_turns
    from callwise.recordings.replay_run import RunRequest, run_replay

    with options.reading() as how:
        read = read_conversations(options.paths, options=how)
    say_skipped(read.skipped, read.skipped_count)
    conversations = list(read.conversations)
    if options.max_turns is not None:
        conversations = list(first_turns(conversations, options.max_turns))
    cassette, mode = options.cassette_and_mode()
    total = sum(len(conversation.turns) for conversation in conversations)
    turns = asked = 0
    with (
        _folder(options, settings, read.conversations, cassette, mode, app=app) as path,
        progress_bar("turns", is_quiet=options.as_json, total=total) as show,
    ):

        def advance(result: "TurnResult") -> None:
            nonlocal turns, asked
            turns, asked = turns + 1, asked + len(result.rows)
            show(turns, total, f"{asked} calls")

        request = RunRequest(
            app=app,
            app_target=options.app,
            settings=settings,
            conversations=conversations,
            digest_of=read.conversations,
            folder=path,
            cassette=cassette,
            mode=mode,
            is_played_again=True,
            max_concurrency=options.max_concurrency,
            normalise=options.normalise,
            files=options.named_files,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        drain = SignalDrain()
        with drain.ending():
            run = asyncio.run(
                run_replay(request, on_turn=advance, on_notice=on_notice, on_open=drain.watch)
            )
    if total and not turns:
        on_notice(
            f"all {total} turns were finished before; nothing was run; --fresh runs them again"
        )
    return run


def replay_and_show(options: ReplayOptions) -> None:
    """Replay, and print the ledger: a table, or with `as_json` one object."""
    from callwise.recordings.cassette import CassetteMode
    from callwise.report import brief_text, summarise, totals_json
    from callwise.text_layout import counted
    from callwise.tuning.statistics.bootstrap import MIN_CONVERSATIONS

    app, settings = opened_app(options)
    if options.cassette_and_mode()[1] is not CassetteMode.STRICT:
        say_endpoints(settings)
    shown: set[str] = set()

    def notice(text: str) -> None:
        if text not in shown:
            shown.add(text)
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
        return
    print_safe(brief_text(tables, screen=screen()))
    if tables.totals.is_simulated:
        say("All answers above are simulated: they prove counting, not language.")
    if run.folder.exists():
        say(f"run: {run.folder}   (callwise report {run.folder})")
        count = len({turn["conversation_id"] for turn in run.turns})
        if count < MIN_CONVERSATIONS:
            few = counted(count, "conversation")
            say(f"{few}: a verdict of `callwise tune` needs {MIN_CONVERSATIONS}")


class ConversationsOptions(ReadingOptions):
    """Options of `callwise conversations`."""


def conversations(options: ConversationsOptions) -> None:
    """Show how conversation files are read. No model is asked.

    Format, conversations, turns, the role that each speaker's name was read as, the first turn,
    and the parts left out. Exit code 2 when nothing can be read.

    callwise conversations export.json

    callwise conversations telegram.json --agent "Support Bot"
    """
    with clear_errors():
        from callwise.recordings.conversation_survey import (
            survey_conversations,
            survey_json,
            survey_text,
        )

        with options.reading() as how:
            survey = survey_conversations(options.paths, how)
        if options.as_json:
            print_json(survey_json(survey))
            return
        for line in survey_text(survey):
            print_wrapped(line)
        say_skipped(survey.skipped, survey.skipped_count)

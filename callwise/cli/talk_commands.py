"""`callwise run` and `callwise chat`: one message or many, each with its call ledger."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callwise.calls.errors import ConfigError
from callwise.cli.draining import SignalDrain
from callwise.cli.info_commands import opened_app, say_endpoints
from callwise.cli.options import AppOptions, JsonOption
from callwise.cli.terminal import (
    clear_errors,
    print_json,
    print_safe,
    print_wrapped,
    say,
    screen,
    show_notices,
)

if TYPE_CHECKING:
    from callwise.recordings.app_protocol import Session, TurnInput, TurnResult

__all__ = ["chat", "run"]


_CHAT_STOPPED = (
    "stopped; the conversation is kept up to the last whole turn, run the same command to go on"
)


class ChatOptions(AppOptions):
    """Options of `callwise chat`, and a dialogue under them."""

    conversation: Annotated[
        str | None, typer.Option(help="Which kept conversation to continue.")
    ] = "default"
    user: Annotated[
        str | None,
        typer.Option(
            help="The user whose memory is used. Default: one for the conversation alone."
        ),
    ] = None
    home: Annotated[Path, typer.Option(help="Folder of the kept conversations.")] = Path(
        "callwise-runs/chat"
    )

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield the folder of the conversations; a temporary one when none is kept.

        Raises:
            ConfigError: when it contains links.
        """
        from callwise.recordings.held_files import refuse_links

        if self.conversation is None:
            with tempfile.TemporaryDirectory(prefix="callwise-") as name:
                yield Path(name)
            return
        self.home.mkdir(parents=True, exist_ok=True)
        refuse_links(self.home)
        yield self.home

    def next_turn(self, text: str) -> "TurnInput":
        """Return the next turn of the conversation.

        Raises:
            ConfigError: when the message is empty.
        """
        from callwise.recordings.app_protocol import TurnInput

        if not text.strip():
            raise ConfigError("there is nothing to answer: the message is empty")
        return TurnInput(
            conversation_id=self.conversation or "passing",
            turn=None,
            user_text=text,
            user_id=self.user,
        )


class RunOptions(ChatOptions):
    """Options of `callwise run`."""

    text: Annotated[str, typer.Argument(help="The user's message.")]
    conversation: Annotated[
        str | None, typer.Option(help="Continue a kept conversation. Default: a new one.")
    ] = None
    as_json: JsonOption = False


def run(options: RunOptions) -> None:
    """Answer one message, and show the call ledger of the turn.

    callwise run "I lost my job today" --set search.rollouts=2
    """
    drain = SignalDrain()
    with clear_errors(), drain.ending():
        from callwise.report import brief_text, summarise, totals_json

        app, settings = opened_app(options)
        say_endpoints(settings)
        turn = options.next_turn(options.text)

        async def answer() -> "TurnResult":
            with options.folder() as folder:
                async with app.open(settings, folder=folder, keep_checkpoints=True) as session:
                    show_notices(session)
                    mark = None if options.as_json else ""
                    return await _answered(session, turn, mark, drain)

        result = asyncio.run(answer())
        record, tables = result.record, summarise(result.rows, [result.record])
        if options.as_json:
            print_json({"reply": record["reply"], "turn": record, **totals_json(tables)})
            return
        print_safe("\n" + brief_text(tables, screen=screen()))
        say(_cost_line(result))


def chat(options: ChatOptions) -> None:
    """Talk with the pipeline. An empty line or Ctrl-D ends it; the conversation is kept.

    The same --conversation continues where it stopped, in this process or the next.
    """
    drain = SignalDrain()
    with clear_errors(_CHAT_STOPPED), drain.ending(), drain.interrupted():
        app, settings = opened_app(options)
        say_endpoints(settings)
        if app.is_simulated(settings):
            say(
                "All answers here are simulated; for real ones set CALLWISE_BASE_URL "
                "and CALLWISE_MODEL."
            )
        # Lines are read outside of the loop: a thread that waits for one cannot be stopped,
        # and Ctrl-C would have to wait for the next line.
        with options.folder() as folder, asyncio.Runner() as runner:
            opened = AsyncExitStack()
            session = runner.run(
                opened.enter_async_context(app.open(settings, folder=folder, keep_checkpoints=True))
            )
            show_notices(session)
            try:
                for text in _lines():
                    turn = options.next_turn(text)
                    say(_cost_line(runner.run(_answered(session, turn, "< ", drain))))
                    drain.check()
            finally:
                runner.run(opened.aclose())


async def _answered(
    session: "Session", turn: "TurnInput", mark: str | None, drain: SignalDrain
) -> "TurnResult":
    """Answer a message, and print each bubble as soon as it is final.

    Args:
        mark: printed before each bubble; None prints none.
    """
    from callwise.recordings.bubble_stream import StreamsBubbles

    async def show_all(_reply: str, bubbles: Sequence[Mapping[str, Any]]) -> None:
        for bubble in bubbles:
            _show(bubble, mark or "")

    with drain.watching(session):
        if mark is None:
            return await session.run_turn(turn)
        if not isinstance(session, StreamsBubbles):
            return await session.run_turn(turn, on_reply=show_all)
        stream = session.astream(turn)
        async for bubble in stream:
            _show(bubble, mark)
        return await stream.result()


def _show(bubble: Mapping[str, Any], mark: str) -> None:
    print_wrapped(f"{mark}{bubble['text']}", indent="" if not mark else "  ")
    sys.stdout.flush()


def _cost_line(result: "TurnResult") -> str:
    from callwise.report.run_record import CallLine, TurnLine
    from callwise.report.totals import seconds_name_of

    record = result.record
    rounds, seconds = record.get("rounds"), record.get("path_seconds")
    spans = ""  # unknown for a program that schedules its nodes itself
    if rounds and seconds:
        name = seconds_name_of(map(CallLine.model_validate, result.rows))
        spans = (
            f", {rounds['reply']} rounds and {seconds['reply']:.1f} {name} to the reply, "
            f"{rounds['turn']} rounds in all"
        )
    degraded = ", ".join(TurnLine.model_validate(record).degraded_causes)
    unreadable, repairs = record.get("unreadable", 0), record.get("repairs", 0)
    refused = record["outcomes"].get("refused", 0)
    counted = f"; {refused} more refused by a limit" if refused else ""
    counted += f"; {unreadable} unreadable" if unreadable else ""
    counted += f"; {repairs} repair{'s' if repairs > 1 else ''}" if repairs else ""
    arm = f", arm {record['arm']}" if record.get("arm") else ""
    wound_down = ", ".join(row["what"] for row in record.get("wound_down", ()))
    return (
        f"  [turn {record['turn']}{arm}: {record['asked'] - refused} calls{spans}"
        f"{counted}"
        f"{'; simulated' if record['simulated'] else ''}"
        f"{f'; wound down to: {wound_down}' if wound_down else ''}"
        f"{f'; degraded: {degraded}' if degraded else ''}]"
    )


def _lines() -> Iterator[str]:
    """Yield the lines of standard input until it ends, or one of them is empty."""
    while True:
        try:
            text = input("> ")
        except EOFError:
            return
        if not text.strip():
            return
        yield text

"""Talking with an app from a terminal: one message, or many."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from turnwise.calls.errors import ConfigError
from turnwise.calls.trust import confirmed
from turnwise.cli.exits import print_json, print_text, say
from turnwise.cli.knobs import say_endpoints, say_environment, say_what_is_not_used
from turnwise.replay.app import App, Session, TellsNotices, TurnInput, TurnResult, load_app
from turnwise.replay.held_files import refuse_links
from turnwise.report import brief_text, summarise, totals_json
from turnwise.report.run_record import TurnLine

__all__ = ["Talk", "keep_talking", "say_once"]


@dataclass(frozen=True, slots=True)
class Talk:
    """Who talks with what.

    Args:
        preset: the preset; None is the app's default.
        overrides: knobs set on top.
        conversation: which kept conversation; None for one that is not kept.
        user: whose memory is used; None for that of the conversation alone.
        home: where conversations are kept.
        app: the app's import string.
        trust_endpoints: endpoints that the preset's file may name.
        trust_code: models that it may name.
    """

    preset: str | None
    overrides: Sequence[str]
    conversation: str | None
    user: str | None
    home: Path
    app: str
    trust_endpoints: Sequence[str] = ()
    trust_code: Sequence[str] = ()

    def opened(self) -> tuple[App, BaseModel]:
        """Return the app and its settings, and print what neither this command line set.

        Raises:
            ConfigError: when one of them cannot be used.
        """
        app = load_app(self.app)
        settings = confirmed(
            app.settings(self.preset, self.overrides), self.trust_endpoints, self.trust_code
        )
        say_environment(app, self.overrides)
        say_what_is_not_used(app, settings)
        say_endpoints(settings)
        return app, settings

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give the folder of the conversations; a passing one when nothing is kept.

        Raises:
            ConfigError: when it has links in it.
        """
        if self.conversation is None:
            with tempfile.TemporaryDirectory(prefix="turnwise-") as name:
                yield Path(name)
            return
        self.home.mkdir(parents=True, exist_ok=True)
        refuse_links(self.home)
        yield self.home

    def turn(self, text: str) -> TurnInput:
        """Return the next turn of the conversation.

        Raises:
            ConfigError: when there is nothing to answer.
        """
        if not text.strip():
            raise ConfigError("there is nothing to answer: the message is empty")
        return TurnInput(
            conversation_id=self.conversation or "passing",
            turn=None,
            user_text=text,
            user_id=self.user,
        )


def _cost_line(result: TurnResult) -> str:
    record = result.record
    rounds, seconds = record.get("rounds"), record.get("path_seconds")
    spans = ""  # of a program whose nodes run as they please they are not known
    if rounds and seconds:
        spans = (
            f", {rounds['reply']} rounds and {seconds['reply']:.1f} s to the reply, "
            f"{rounds['turn']} rounds in all"
        )
    degraded = ", ".join(TurnLine.model_validate(record).degraded_causes)
    unreadable, repairs = record.get("unreadable", 0), record.get("repairs", 0)
    refused = record["outcomes"].get("refused", 0)
    calls = record["asked"] - refused
    counted = f"; {refused} more refused by a limit" if refused else ""
    counted += f"; {unreadable} unreadable" if unreadable else ""
    counted += f"; {repairs} repair{'s' if repairs > 1 else ''}" if repairs else ""
    wound_down = ", ".join(row["what"] for row in record.get("wound_down", ()))
    return (
        f"  [turn {record['turn']}: {calls} calls{spans}"
        f"{counted}"
        f"{'; simulated' if record['simulated'] else ''}"
        f"{f'; wound down to: {wound_down}' if wound_down else ''}"
        f"{f'; degraded: {degraded}' if degraded else ''}]"
    )


def _say_notices(session: Session) -> None:
    if isinstance(session, TellsNotices):
        session.notices.listener = say


def say_once(talk: Talk, text: str, *, as_json: bool) -> None:
    """Answer one message and print reply and ledger, or one JSON object with both."""
    app, settings = talk.opened()
    turn = talk.turn(text)

    async def answer() -> TurnResult:
        with talk.folder() as folder:
            async with app.open(settings, folder=folder, keep_checkpoints=True) as session:
                _say_notices(session)
                return await session.run_turn(turn)

    result = asyncio.run(answer())
    tables = summarise(result.rows, [result.record])
    if as_json:
        document = {"reply": result.record["reply"], "turn": result.record, **totals_json(tables)}
        print_json(document)
        return
    for bubble in result.record["bubbles"]:
        print_text(bubble["text"])
    print_text("\n" + brief_text(tables), end="")
    say(_cost_line(result))


async def _show(_reply: str, bubbles: Sequence[Mapping[str, Any]]) -> None:
    for bubble in bubbles:
        print_text(f"< {bubble['text']}")
    sys.stdout.flush()


def _said() -> Iterator[str]:
    """Give the lines of standard input until it ends, or one of them is empty."""
    while True:
        try:
            text = input("> ")
        except EOFError:
            return
        if not text.strip():
            return
        yield text


def keep_talking(talk: Talk) -> None:
    """Answer messages from standard input until it ends, or one of them is empty."""
    app, settings = talk.opened()
    if app.is_simulated(settings):
        say(
            "All answers here are simulated; for real ones set TURNWISE_BASE_URL "
            "and TURNWISE_MODEL."
        )

    # Lines are read outside of the loop: a thread that waits for one cannot be stopped,
    # and Ctrl-C would have to wait for the next line.
    with talk.folder() as folder, asyncio.Runner() as runner:
        opened = AsyncExitStack()
        session = runner.run(
            opened.enter_async_context(app.open(settings, folder=folder, keep_checkpoints=True))
        )
        _say_notices(session)
        try:
            for text in _said():
                result = runner.run(session.run_turn(talk.turn(text), on_reply=_show))
                say(_cost_line(result))
        finally:
            runner.run(opened.aclose())

"""Lines of people in the settings of a run: their order, their ids, and how they are said."""

import asyncio
import json
import logging
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from callwise.budget.clock import Clock
from callwise.calls.errors import CallwiseError, CassetteMiss
from callwise.safe_text import printable
from callwise.wake.wake_settings import SaidLine

if TYPE_CHECKING:
    from callwise.wake.wake_run import LiveChat

__all__ = ["ids_of_lines", "in_order", "say_lines"]

_LOGGER = logging.getLogger(__name__)


def in_order(messages: Sequence[SaidLine]) -> list[SaidLine]:
    """Return messages in the order in which they are said."""
    return sorted(messages, key=lambda each: each.after_seconds)


def ids_of_lines(lines: Sequence[SaidLine], *, room: str, start: float) -> list[str]:
    """Return the ids of lines of people in a store.

    Each has the sign `~`, which no client may send and no agent's message has where people's do:
    nothing can take an id before. Another room, file or start gives others; a file that begins
    again at the same second adds nothing.

    Args:
        lines: in the order in which they are said.
        start: time of the run's begin in UTC epoch seconds.
    """
    ids = []
    for number, line in enumerate(lines):
        content = json.dumps([room, number, line.author, line.text, line.to]).encode()
        digest = blake2b(content, digest_size=8).hexdigest()
        ids.append(f"{start:.0f}.{number}~{digest}")
    return ids


async def say_lines(
    chat: "LiveChat", lines: Sequence[SaidLine], start: float, clock: Clock, *, room: str
) -> None:
    """Say lines, each at its time from now. One that fails is logged and counted.

    Args:
        lines: in order.
        start: see `ids_of_lines`.
    """
    began, failed = clock.now(), 0

    async def said(message_id: str, line: SaidLine) -> None:
        nonlocal failed
        try:
            await chat.say(line.author, line.text, id=message_id, to=line.to, is_scripted=True)
        except CassetteMiss:
            raise
        except CallwiseError as error:
            failed += 1
            problem = printable(f"{type(error).__name__}: {error}")[:500]
            _LOGGER.error("line %s of the settings' messages failed: %s", message_id, problem)  # noqa: TRY400

    async with asyncio.TaskGroup() as answers:
        for message_id, line in zip(
            ids_of_lines(lines, room=room, start=start), lines, strict=True
        ):
            await clock.sleep(began + line.after_seconds - clock.now())
            answers.create_task(said(message_id, line))
    if failed:
        _LOGGER.error("%d of the settings' %d messages failed", failed, len(lines))

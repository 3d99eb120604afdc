"""The newest lines of one group chat, read from its log as it grows."""

from collections import deque
from collections.abc import Iterable

from callwise.wake.rooms import RoomMessage, Rooms
from callwise.wake.wake_prompts import ChatLine

__all__ = ["ChatWindow"]

PAGE = 1_000
"""Most messages that are read in one step."""

MAX_HOUR_LINES = 200
"""Most lines of the last hour that are kept for the intent call."""


class ChatWindow:
    """The newest lines of a chat, and the last message of each author.

    The log is read once from its beginning, and from then on what is new in it, whichever
    process has written that.

    Args:
        max_lines: most lines that `newest` is asked for.
    """

    def __init__(self, rooms: Rooms, room: str, *, max_lines: int) -> None:
        self._rooms, self._room = rooms, room
        self._kept: deque[RoomMessage] = deque(maxlen=max(max_lines, MAX_HOUR_LINES))
        self._sequence = 0
        self._last_spoken: dict[str, int] = {}

    @property
    def last_spoken(self) -> dict[str, int]:
        """The number of the last message of each author. Not to be changed."""
        return self._last_spoken

    def refresh(self) -> None:
        """Read what was added to the log.

        Raises:
            StoreFailed: when it cannot be read.
        """
        while True:
            page = self._rooms.messages(self._room, after=self._sequence, limit=PAGE)
            for message in page:
                self._sequence = message.sequence
                self._last_spoken[message.author] = message.sequence
            self._kept.extend(page)
            if len(page) < PAGE:
                return

    def newest(self, count: int, *, up_to: int | None = None) -> list[ChatLine]:
        """Return the newest lines, oldest first.

        Args:
            count: most of them; at least 1.
            up_to: number of the last message; None for all.
        """
        kept = (each for each in self._kept if up_to is None or each.sequence <= up_to)
        return _lines(kept)[-count:]

    def since(self, at: float) -> list[ChatLine]:
        """Return the lines after a time in UTC epoch seconds, at most `MAX_HOUR_LINES`."""
        return _lines(each for each in self._kept if each.at > at)[-MAX_HOUR_LINES:]


def _lines(messages: Iterable[RoomMessage]) -> list[ChatLine]:
    return [(each.author, each.text) for each in messages]

"""The lines of one room as clients receive them, and the clients that wait for them.

Problem: hundreds of clients read one room, each at its own speed; one that stalls must neither
hold up others nor let lines pile up for it.
Choice: a client is a number, that of the last line it was sent. Lines are written as text once,
the newest are kept for all clients together, and older ones are read from the store. A client that
has not taken one line while `MAX_BEHIND` others came, for a while, is closed.
Rejected: a queue per client, which copies each line for each of them, and which a burst of overdue
lines would fill for clients that have done nothing wrong.

Invariant: a client is sent the lines after its number in the order of their numbers, each once.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from callwise.wake.rooms import RoomMessage, Rooms

__all__ = ["MAX_BEHIND", "FeedReader", "RoomFeed", "event_text"]

MAX_BEHIND = 256
"""Most lines that wait for a client that does not take any."""

STALL_SECONDS = 2.0
"""Time that such a client has to go on."""

KEPT_LINES = 1_024
"""Newest lines that are kept as text."""

PAGE = 64
"""Lines that a client is sent before others have their turn."""

STATUS_SECONDS = 0.1
"""Shortest time between two reports of the status."""


def event_text(event: Mapping[str, Any]) -> str:
    """Return an event as JSON in ASCII: half characters are escapes, and line breaks too."""
    return json.dumps(event, allow_nan=False, separators=(",", ":"))


class FeedReader:
    """One client's place in the feed.

    Args:
        after: number of the last line that it has.
        send: sends one text to it.
        on_stalled: called once, when it does not take lines any more.
    """

    def __init__(
        self,
        feed: "RoomFeed",
        after: int,
        send: Callable[[str], Awaitable[None]],
        on_stalled: Callable[[], None],
    ) -> None:
        self._feed, self._send, self._on_stalled = feed, send, on_stalled
        self._after, self._status = after, -1
        self._is_new = asyncio.Event()
        self._sends = 0
        self._waits_since: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def after(self) -> int:
        """Number of the last line that it was sent."""
        return self._after

    async def run(self) -> None:
        """Send all that comes, until it is cancelled or sending fails."""
        feed = self._feed
        feed.readers.add(self)
        try:
            while True:
                self._is_new.clear()
                lines = feed.lines(self._after)
                for sequence, text in lines:
                    await self._sent(text)
                    self._after = sequence
                if self._status != feed.status_number:
                    self._status = feed.status_number
                    await self._sent(feed.status)
                if not lines:
                    await self._is_new.wait()
                else:
                    await asyncio.sleep(0)
        finally:
            feed.readers.discard(self)
            if self._timer is not None:
                self._timer.cancel()

    def notice(self) -> None:
        """Send what is new; check whether this client still takes lines."""
        self._is_new.set()
        since = self._waits_since
        if since is None or self._timer is not None or self._feed.head - since <= MAX_BEHIND:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._feed.stall_seconds, self._check, self._sends)

    async def _sent(self, text: str) -> None:
        self._sends += 1
        self._waits_since = self._feed.head
        await self._send(text)
        self._waits_since = None

    def _check(self, sends: int) -> None:
        """Close the client where it has not taken the same text for all this time."""
        self._timer = None
        if self._waits_since is not None and self._sends == sends:
            self._on_stalled()


class RoomFeed:
    """The lines and the status of one room, for any number of clients on one loop.

    Args:
        cost_of: returns what an agent's message cost, by its id; None where that is unknown.
        stall_seconds: time that a client that is `MAX_BEHIND` lines behind has to go on.

    Attributes:
        readers: the clients that are connected.
        head: number of the newest line.
        status: the newest status, as text.
        status_number: changes with each status.
    """

    def __init__(
        self,
        rooms: Rooms,
        room: str,
        cost_of: Callable[[str], Mapping[str, Any] | None],
        *,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._rooms, self._room, self._cost_of = rooms, room, cost_of
        self.stall_seconds = stall_seconds
        self.readers: set[FeedReader] = set()
        self.head = self.last_stored()
        self.status, self.status_number = event_text({"type": "status"}), 0
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT_LINES)
        self._later: asyncio.TimerHandle | None = None

    def publish(self, message: RoomMessage) -> None:
        """Give a line that has just come into the log to all clients; once, and in order."""
        if message.sequence <= self.head:
            return
        self.head = message.sequence
        self._kept.append((message.sequence, self._text(message)))
        for reader in self.readers:
            reader.notice()

    def last_stored(self) -> int:
        """Return the number of the newest line in the log; other processes may have put it there.

        Raises:
            StoreFailed: when it cannot be read.
        """
        newest = self._rooms.messages(self._room, limit=1, newest=True)
        return newest[0].sequence if newest else 0

    def lines(self, after: int) -> list[tuple[int, str]]:
        """Return the lines after a number, with their numbers, in order; at most `PAGE`.

        Raises:
            StoreFailed: when older ones cannot be read.
        """
        if after >= self.head:
            return []
        if self._kept and after >= self._kept[0][0] - 1:
            start = after - self._kept[0][0] + 1
            return list(_part(self._kept, start, start + PAGE))
        page = self._rooms.messages(self._room, after=after, limit=PAGE)
        return [(each.sequence, self._text(each)) for each in page if each.sequence <= self.head]

    def report(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """Report a status soon; of several within `STATUS_SECONDS`, the last."""
        if self._later is not None:
            return

        def now() -> None:
            self._later = None
            self.status = event_text({"type": "status", **status()})
            self.status_number += 1
            for reader in self.readers:
                reader.notice()

        self._later = asyncio.get_running_loop().call_later(STATUS_SECONDS, now)

    def close(self) -> None:
        """Report nothing any more."""
        if self._later is not None:
            self._later.cancel()

    def _text(self, message: RoomMessage) -> str:
        return event_text(
            {
                "type": "message",
                "sequence": message.sequence,
                "id": message.id,
                "author": message.author,
                "text": message.text,
                "at": message.at,
                "cost": self._cost_of(message.id),
            }
        )


def _part(kept: "deque[tuple[int, str]]", start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the lines between two places."""
    for place in range(start, min(end, len(kept))):
        yield kept[place]

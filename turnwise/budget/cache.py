"""The exact cache: an equal call gets the answer that was already paid for.

Only usable answers of calls that may share (`Call.is_shared`) are ever put in: no refusal,
no error, nothing empty, nothing that did not fit its response model. The budgeter sees to
that. A key holds the sample index, so an intended resample never gets an earlier sample's
answer.
"""

from collections import OrderedDict
from typing import Protocol

from turnwise.calls.key import CallKey
from turnwise.calls.reply import Reply

__all__ = ["MemoryCache", "ReplyCache"]


class ReplyCache(Protocol):
    """Somewhere to keep replies by the identity of their call."""

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply that is at hand in memory. Never waits."""
        ...

    async def get(self, key: CallKey) -> Reply | None:
        """Return a reply from wherever it is kept, or None. Never blocks the loop."""
        ...

    async def put(self, key: CallKey, reply: Reply) -> None:
        """Keep a reply. What cannot be kept is said in the log, and not raised."""
        ...

    async def aclose(self) -> None:
        """Release what it holds. Safe to call twice."""
        ...


class MemoryCache:
    """Keeps the replies that were used last.

    Args:
        max_entries: most replies kept; at least 1.
    """

    def __init__(self, max_entries: int = 4096) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries is at least 1, got {max_entries}")
        self._max_entries = max_entries
        self._replies: OrderedDict[CallKey, Reply] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replies)

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply, which counts as a use, or None."""
        reply = self._replies.get(key)
        if reply is not None:
            self._replies.move_to_end(key)
        return reply

    async def get(self, key: CallKey) -> Reply | None:
        """Return a reply, which counts as a use, or None."""
        return self.peek(key)

    async def put(self, key: CallKey, reply: Reply) -> None:
        """Keep a reply, and drop the one whose last use is longest ago."""
        self.keep(key, reply)

    def keep(self, key: CallKey, reply: Reply) -> None:
        """Do what `put` does, at once."""
        self._replies[key] = reply
        self._replies.move_to_end(key)
        if len(self._replies) > self._max_entries:
            self._replies.popitem(last=False)

    async def aclose(self) -> None:
        """Do nothing: memory needs no release."""

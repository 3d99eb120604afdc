"""Layer `cache`: an equal call gets the answer that was already paid for.

Only usable answers of calls that may share (`Call.is_shared`) are ever put in: no refusal, no
error, nothing empty, nothing that did not fit its response model. A key contains the sample
index, so an intended resample never gets an earlier sample's answer.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from callwise.budget.in_flight import InFlightCall, ReadReply, read_reply
from callwise.calls.call import Outcome
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply

__all__ = ["CacheLayer", "MemoryCache", "ReplyCache"]


class ReplyCache(Protocol):
    """A store of replies by the identity of their call."""

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply that is in memory. Never waits."""
        ...

    async def get(self, key: CallKey) -> Reply | None:
        """Return a reply from wherever it is kept, or None. Never blocks the loop."""
        ...

    async def put(self, key: CallKey, reply: Reply) -> None:
        """Keep a reply. A failure is logged, and not raised."""
        ...

    async def aclose(self) -> None:
        """Release its files and memory. Safe to call twice."""
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
        """Do what `put` does, without awaiting."""
        self._replies[key] = reply
        self._replies.move_to_end(key)
        if len(self._replies) > self._max_entries:
            self._replies.popitem(last=False)

    async def aclose(self) -> None:
        """Do nothing: memory needs no release."""


class CacheLayer:
    """Answers from a cache, and gives calls that may share their place to keep a reply.

    Memory is read synchronously; after a tier that had to be awaited, memory is read again.

    Args:
        is_under_way: returns whether equal work is under way, which `share` joins.
    """

    def __init__(
        self,
        cache: ReplyCache,
        is_under_way: Callable[[CallKey], bool],
        *,
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._cache = cache
        self._is_under_way = is_under_way
        self._next = next
        self._hits = 0
        self._misses = 0

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return a kept answer, or that of the layer below."""
        return self._cached(carried) if carried.call.is_shared else self._next(carried)

    async def _cached(self, carried: InFlightCall) -> ReadReply:
        reply = await self._kept(carried.key)
        if reply is not None:
            self._hits += 1
            carried.finish(Outcome.CACHED)
            return read_reply(carried.call, reply)
        self._misses += 1
        carried.store = self._cache.put
        return await self._next(carried)

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls that may share were answered here, and how many were not."""
        return {"hits": self._hits, "misses": self._misses}

    async def _kept(self, key: CallKey) -> Reply | None:
        if self._is_under_way(key):
            return None
        reply = self._cache.peek(key) or await self._cache.get(key)
        # Equal calls may have been sent, and answered, while the disk was read.
        if reply is None and not self._is_under_way(key):
            reply = self._cache.peek(key)
        return reply

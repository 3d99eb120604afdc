"""Several cache tiers as one: memory before disk before Redis, each of them left out at will.

A reply is looked up from the first tier to the last; one that a later tier has is put into those
before it, for the time that is left of it. A reply that is put in is in the first tier before
anything else happens, and in a tier that writes back soon after.
"""

import asyncio
from collections.abc import Mapping, Sequence

from callwise.budget.layers.cache import (
    ENDLESS,
    TTL_SECONDS,
    KeptReply,
    Lifetime,
    ReplyCache,
)
from callwise.calls.key import CallKey
from callwise.calls.kinds import WorkKind
from callwise.calls.reply import Reply

__all__ = ["MAX_PENDING_WRITES", "TieredCache"]

MAX_PENDING_WRITES = 1_000
"""Most writes that are not awaited; with more, a reply waits for one of them to end."""


class TieredCache:
    """Tiers from the quickest to the slowest.

    Args:
        tiers: at least one. Owned: `aclose` closes them.
        written_back: those that no reply waits for when it is put in, except as the first.
        ttl_seconds: time for which an answer is kept where its call names none, by the kind of
            work; of the others as in `TTL_SECONDS`. 0 keeps none, infinite has no end.
    """

    def __init__(
        self,
        tiers: Sequence[ReplyCache],
        *,
        written_back: Sequence[ReplyCache] = (),
        ttl_seconds: Mapping[WorkKind, float] | None = None,
    ) -> None:
        if not tiers:
            raise ValueError("a cache has at least one tier")
        self._tiers = tuple(tiers)
        self._written_back = tuple(written_back)
        self._pending: set[asyncio.Task[None]] = set()
        self.tier = tiers[0].tier
        self.waits = any(tier.waits for tier in tiers)
        self.ttl_seconds: Mapping[WorkKind, float] = {**TTL_SECONDS, **(ttl_seconds or {})}

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply that is in memory, or None."""
        return self._tiers[0].peek(key)

    async def get(self, key: CallKey) -> KeptReply | None:
        """Return a reply from the first tier that has it, or None."""
        for place, tier in enumerate(self._tiers):
            kept = await tier.get(key)
            if kept is not None:
                left = kept.lifetime._replace(is_fixed=True)
                await self._put(self._tiers[:place], key, kept.reply, left)
                return kept
        return None

    async def put(self, key: CallKey, reply: Reply, lifetime: Lifetime = ENDLESS) -> None:
        """Keep a reply in all tiers."""
        await self._put(self._tiers, key, reply, lifetime)

    async def aclose(self) -> None:
        """Finish what is written back, and close the tiers. Safe to call twice."""
        if self._pending:
            await asyncio.wait(self._pending)
        for tier in self._tiers:
            await tier.aclose()

    async def _put(
        self, tiers: Sequence[ReplyCache], key: CallKey, reply: Reply, lifetime: Lifetime
    ) -> None:
        for place, tier in enumerate(tiers):
            if place and tier in self._written_back:
                await self._write_back(tier, key, reply, lifetime)
            else:
                await tier.put(key, reply, lifetime)

    async def _write_back(
        self, tier: ReplyCache, key: CallKey, reply: Reply, lifetime: Lifetime
    ) -> None:
        while len(self._pending) >= MAX_PENDING_WRITES:
            await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(tier.put(key, reply, lifetime))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

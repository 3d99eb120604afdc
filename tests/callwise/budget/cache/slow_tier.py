"""A cache tier for tests that takes its time."""

import asyncio
from collections import Counter

from callwise.budget.layers.cache import ENDLESS, TTL_SECONDS, KeptReply

__all__ = ["SlowTier"]


class SlowTier:
    """A tier that is not in memory. Reading and writing take some turns of the loop."""

    tier = "disk"
    waits = True
    ttl_seconds = TTL_SECONDS

    def __init__(self, turns=3):
        self._turns = turns
        self.replies = {}
        self.reads = Counter()

    def peek(self, key):
        """Return None."""

    async def get(self, key):
        """Return what was there when the reading began."""
        self.reads[key] += 1
        kept = self.replies.get(key)
        for _ in range(self._turns):
            await asyncio.sleep(0)
        return None if kept is None else KeptReply(kept[0], self.tier, kept[1])

    async def put(self, key, reply, lifetime=ENDLESS):
        """Keep a reply."""
        for _ in range(self._turns):
            await asyncio.sleep(0)
        self.replies[key] = reply, lifetime

    async def aclose(self):
        """Do nothing."""

"""The exact cache in memory."""

import pytest

from callwise.budget.layers.cache import MemoryCache
from callwise.calls import CallKey, Reply


async def test_what_was_used_longest_ago_goes_first():
    """A full cache drops by last use, not by age."""
    cache = MemoryCache(2)
    for key in "ab":
        await cache.put(CallKey(key), Reply(key))
    assert (await cache.get(CallKey("a"))).text == "a"
    await cache.put(CallKey("c"), Reply("c"))
    assert cache.peek(CallKey("b")) is None
    assert cache.peek(CallKey("a")).text == "a"
    assert len(cache) == 2
    await cache.aclose()


def test_a_cache_keeps_at_least_one_reply():
    """A size below 1 is a mistake in the settings."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        MemoryCache(0)

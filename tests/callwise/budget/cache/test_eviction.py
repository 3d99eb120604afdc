"""LRU-2: which entry of a full cache is dropped."""

import heapq
import random
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.cache_eviction import MAX_ONCE_SHARE, REMEMBERED_SHARE, Lru2Map

keys = st.integers(0, 30)
uses = st.lists(st.tuples(keys, st.booleans()), max_size=300)


def use(cache, key):
    """Use a key as a cache does; return whether it was there."""
    if cache.get(key) is not None:
        return True
    cache.set(key, str(key))
    return False


def hit_rate(cache, trace):
    """Return the share of a trace's keys that were there."""
    return sum(use(cache, key) for key in trace) / len(trace)


class Lru:
    """A cache that drops the entry that was not used for longest."""

    def __init__(self, max_entries):
        self._max_entries, self._values = max_entries, OrderedDict()

    def get(self, key):
        """Return a value, or None."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def set(self, key, value):
        """Keep a value."""
        self._values[key] = value
        if len(self._values) > self._max_entries:
            self._values.popitem(last=False)


@given(uses, st.integers(1, 8))
def test_it_never_keeps_too_much_nor_another_value(trace, max_entries):
    """Neither its entries nor what it remembers grow, and a value is the last that was set."""
    cache, last = Lru2Map(max_entries), {}
    for step, (key, is_read) in enumerate(trace):
        if is_read:
            assert cache.get(key) in (None, last.get(key))
        else:
            cache.set(key, step)
            last[key] = step
            assert cache.get(key) == step
        remembered = [was_used_again for _, was_used_again in cache._remembered.values()]
        assert len(cache) <= max_entries
        assert len(remembered) <= REMEMBERED_SHARE * max_entries
        assert cache._remembered_once == remembered.count(False)
        assert len(cache._order) == len(cache._more)
        assert not cache._remembered.keys() & (cache._once.keys() | cache._more.keys())
        assert 0 <= cache._once_target <= MAX_ONCE_SHARE * max_entries


@given(st.lists(keys, max_size=200))
def test_among_keys_used_again_the_oldest_second_last_use_goes_first(trace):
    """The heap of second-last uses, corrected late, drops what a sorted list would."""
    cache = Lru2Map(5)
    uses_of = {}
    for now, key in enumerate(trace):
        before = set(cache._more)
        expected = min(before, key=lambda each: uses_of[each][-2], default=None)
        use(cache, key)
        dropped = before - set(cache._more)
        assert dropped <= {expected}
        uses_of.setdefault(key, []).append(now)
    order = [heapq.heappop(cache._order)[0] for _ in range(len(cache._order))]
    assert order == sorted(order)


def test_a_scan_drops_nothing_that_is_used_again():
    """Keys that are used once leave those that were used twice where they are."""
    cache = Lru2Map(100)
    for _ in range(2):
        assert hit_rate(cache, range(50)) in (0, 1)
    hit_rate(cache, range(1_000, 11_000))
    assert hit_rate(cache, range(50)) == 1


def test_it_follows_keys_in_use_that_change():
    """Where the keys in use change quickly, it is not much worse than LRU, which is best there."""
    draw = random.Random(7)
    trace = [(step // 500) * 50 + draw.randrange(400) for step in range(20_000)]
    assert hit_rate(Lru2Map(400), trace) > hit_rate(Lru(400), trace) - 0.025


def test_it_is_better_than_lru_on_popular_keys():
    """On Zipf's law it is at least five points better."""
    draw = random.Random(7)
    weights = [1 / rank**0.9 for rank in range(1, 5_001)]
    trace = draw.choices(range(5_000), weights, k=20_000)
    assert hit_rate(Lru2Map(200), trace) > hit_rate(Lru(200), trace) + 0.05


def test_a_map_keeps_at_least_one_value():
    """A size below 1 is a mistake in the settings."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Lru2Map(0)

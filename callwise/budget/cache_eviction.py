"""Eviction of a cache: LRU-2, with a share of the entries for keys that were used once.

Problem: an LRU cache is filled by keys that are used once, as by a scan, and drops what is used
again and again. Choice: the entry whose second-last use is longest ago goes first (O'Neil,
O'Neil and Weikum 1993, The LRU-K page replacement algorithm), and one that was used once before
all others. The uses of dropped keys are remembered for a while, so that a key that comes back is
known to be used again.

Departure: LRU-2 gives keys that were used once no time where the keys in use change, and is worse
than LRU there. So a share of the entries is theirs, and adapts as that of ARC does (Megiddo and
Modha 2003): a remembered key that comes back shows which of the two parts was too small.

Rejected: LRU (up to 10 points worse with scans), W-TinyLFU (up to 20 points worse where the keys
in use change, and slower in Python); measured by `benchmarks/load/cache_traces.py`.
"""

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush, heapreplace
from typing import Generic, TypeVar

__all__ = ["Lru2Map"]

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

REMEMBERED_SHARE = 2
"""Keys that are remembered after their entries were dropped, per entry."""

MAX_ONCE_SHARE = 0.5
"""Most of the entries that keys used once have to themselves."""


class _UsedAgain(Generic[ValueT]):
    """A value of a key that was used more than once, with the times of its last two uses."""

    __slots__ = ("last", "second_last", "value")

    def __init__(self, second_last: int, last: int, value: ValueT) -> None:
        self.second_last = second_last
        self.last = last
        self.value = value


class Lru2Map(Generic[KeyT, ValueT]):
    """Keeps the values that are likely to be used again. Times are numbers of uses.

    Args:
        max_entries: most values; at least 1.
    """

    def __init__(self, max_entries: int) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries is at least 1, got {max_entries}")
        self._max_entries = max_entries
        self._now = 0
        self._once: OrderedDict[KeyT, tuple[int, ValueT]] = OrderedDict()
        self._more: dict[KeyT, _UsedAgain[ValueT]] = {}
        # Second-last uses of `_more`, one a key. They may be outdated, then they are too early.
        self._order: list[tuple[int, KeyT]] = []
        self._remembered: OrderedDict[KeyT, tuple[int, bool]] = OrderedDict()
        self._remembered_once = 0
        self._once_target = 0.0

    def __len__(self) -> int:
        return len(self._once) + len(self._more)

    def get(self, key: KeyT) -> ValueT | None:
        """Return a value, which counts as a use of its key, or None."""
        entry = self._more.get(key)
        if entry is not None:
            self._now += 1
            entry.second_last, entry.last = entry.last, self._now
            return entry.value
        once = self._once.pop(key, None)
        if once is None:
            return None
        last, value = once
        self._add_used_again(key, last, value)
        return value

    def set(self, key: KeyT, value: ValueT) -> None:
        """Keep a value, which counts as a use of its key unless it replaces one."""
        if (entry := self._more.get(key)) is not None:
            entry.value = value
            return
        if (once := self._once.get(key)) is not None:
            self._once[key] = (once[0], value)
            return
        # What is remembered of the key goes first: the eviction may forget it.
        remembered = self._remembered.pop(key, None)
        if len(self) >= self._max_entries:
            self._evict()
        if remembered is None:
            self._now += 1
            self._once[key] = (self._now, value)
            return
        last, was_used_again = remembered
        self._adapt(was_used_again=was_used_again)
        self._add_used_again(key, last, value)

    def _add_used_again(self, key: KeyT, last: int, value: ValueT) -> None:
        self._now += 1
        self._more[key] = _UsedAgain(last, self._now, value)
        heappush(self._order, (last, key))

    def _adapt(self, *, was_used_again: bool) -> None:
        """Give a part more entries, of whose dropped keys one came back and was forgotten."""
        self._remembered_once -= not was_used_again
        once = self._remembered_once
        more = len(self._remembered) - once
        if was_used_again:
            self._once_target = max(0.0, self._once_target - max(1.0, once / (more + 1)))
        else:
            most = self._max_entries * MAX_ONCE_SHARE
            self._once_target = min(most, self._once_target + max(1.0, more / (once + 1)))

    def _evict(self) -> None:
        is_once = bool(self._once) and (len(self._once) > self._once_target or not self._more)
        key, last = self._drop_once() if is_once else self._drop_used_again()
        self._remembered[key] = (last, not is_once)
        self._remembered_once += is_once
        if len(self._remembered) > REMEMBERED_SHARE * self._max_entries:
            _, (_, was_used_again) = self._remembered.popitem(last=False)
            self._remembered_once -= not was_used_again

    def _drop_once(self) -> tuple[KeyT, int]:
        key, (last, _) = self._once.popitem(last=False)
        return key, last

    def _drop_used_again(self) -> tuple[KeyT, int]:
        while True:
            second_last, key = self._order[0]
            entry = self._more[key]
            if entry.second_last == second_last:
                heappop(self._order)
                del self._more[key]
                return key, entry.last
            heapreplace(self._order, (entry.second_last, key))

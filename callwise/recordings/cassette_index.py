"""Index of a cassette: which exchange answers a call.

Problem: the same call is asked more than once in a run, and a replay under another
concurrency asks in another order. A list that is played from top to bottom then
hands one call the answer of another.

Choice: each exchange waits in two queues, first in first out: that of its key in the
scope that recorded it, and that of its key in any scope. A call takes from
  1. its own scope's queue of the key: what this very node of this very turn was
     answered then, however the scopes interleave now; then from
  2. the key's queue over all scopes, oldest first: the same question was asked, though
     elsewhere (a scope was renamed, or a call moved to another node).
Within one scope equal calls are asked in the program's own order, and are handed out in
that order, whichever of them ended first; so a replay at any concurrency gives each scope
the answers that it got.

Rejected: falling back to the last exchange when both queues are empty. Every call of a
run is recorded, cached and coalesced ones included, so a call too many is a real
difference between the runs, and handing out an answer twice would hide it.

Invariant: an exchange is taken at most once, from whichever queue came first.

Memory: per exchange one offset and two links of 8 bytes, the lane of 8, a mark, and
its two entries in the dictionaries; about 400 bytes in all. No line is kept.
"""

from array import array
from collections.abc import Callable, Iterator

__all__ = ["CassetteIndex"]

_LANE_BYTES = 8


class _Queues:
    """Many first-in-first-out queues of entry numbers.

    Each queue is a ring through one shared array, known by its last entry: the entry
    after the last is the first. A queue that ran empty stays known, as -1.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self._next = array("q")

    def push(self, name: bytes) -> None:
        """Append the next entry number to a queue. Entry numbers start at 0."""
        entry = len(self._next)
        last = self._last.get(name)
        if last is None:
            self._next.append(entry)
        else:
            self._next.append(self._next[last])
            self._next[last] = entry
        self._last[name] = entry

    def repeated(self) -> list[bytes]:
        """Return the queues of more than one entry. For queues that nothing was taken from."""
        return [name for name, last in self._last.items() if self._next[last] != last]

    def order(self, name: bytes, place: Callable[[int], tuple[int, int]]) -> None:
        """Put a queue's entries in order of their places; equal ones stay as they are."""
        last = self._last[name]
        entries = [self._next[last]]
        while entries[-1] != last:
            entries.append(self._next[entries[-1]])
        entries.sort(key=place)
        for entry, following in zip(entries, (*entries[1:], entries[0]), strict=True):
            self._next[entry] = following
        self._last[name] = entries[-1]

    def pop(self, name: bytes) -> int | None:
        """Take the oldest entry of a queue; None when there is none."""
        last = self._last.get(name, -1)
        if last < 0:
            return None
        first = self._next[last]
        if first == last:
            self._last[name] = -1
        else:
            self._next[last] = self._next[first]
        return first

    def __contains__(self, name: bytes) -> bool:
        """Return whether a queue ever had an entry."""
        return name in self._last


class CassetteIndex:
    """Places of exchanges in the file, and the queues that calls take them from."""

    def __init__(self) -> None:
        self._ends = array("Q")
        self._start = 0
        self._lanes = bytearray()
        self._taken = bytearray()
        self._by_scope = _Queues()
        self._by_key = _Queues()

    def __len__(self) -> int:
        """Return how many exchanges there are, taken ones included."""
        return len(self._ends)

    def start_at(self, offset: int) -> None:
        """Set the byte at which the first exchange starts. Call before the first `add`."""
        self._start = offset

    @property
    def end(self) -> int:
        """Offset of the first byte after the last exchange."""
        return self._ends[-1] if self._ends else self._start

    def add(self, key: bytes, lane: bytes, length: int) -> None:
        """Add the exchange that follows the last one in the file.

        Args:
            key: 32 bytes of the call's identity.
            lane: 8 bytes for the scope that asked.
            length: bytes of its line, line end included.
        """
        self._ends.append(self.end + length)
        self._lanes += lane
        self._taken.append(0)
        self._by_scope.push(key + lane)
        self._by_key.push(key)

    def extend(self, length: int) -> None:
        """Pass over bytes after the last exchange; they are counted as a part of it."""
        if self._ends:
            self._ends[-1] += length
        else:
            self._start += length

    def order(self, asked: Callable[[int], tuple[int, int]]) -> None:
        """Put equal calls of one scope in the order in which they were asked."""
        for name in self._by_scope.repeated():
            self._by_scope.order(name, asked)

    def take(self, key: bytes, lane: bytes) -> int | None:
        """Return the entry that answers a call, and never again; None when none is left."""
        for queues, name in ((self._by_scope, key + lane), (self._by_key, key)):
            while (entry := queues.pop(name)) is not None:
                if not self._taken[entry]:
                    self._taken[entry] = 1
                    return entry
        return None

    def place(self, entry: int) -> tuple[int, int]:
        """Return an entry's offset and length in bytes, with what was passed over after it."""
        start = self._ends[entry - 1] if entry else self._start
        return start, self._ends[entry] - start

    def contains(self, key: bytes) -> bool:
        """Return whether a key was ever recorded, be it taken or not."""
        return key in self._by_key

    def entries_of(self, lane: bytes) -> Iterator[int]:
        """Return the entries that a scope recorded, oldest first. Reads every entry's lane."""
        found = self._lanes.find(lane)
        while found >= 0:
            if found % _LANE_BYTES == 0:
                yield found // _LANE_BYTES
            found = self._lanes.find(lane, found + 1)

    @property
    def left_count(self) -> int:
        """Exchanges that are not taken yet."""
        return self._taken.count(0)

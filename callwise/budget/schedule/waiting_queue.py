"""The queue of an endpoint: which entry goes next. Synchronous, and without a clock.

Problem: a person who waits must not wait behind work that no person waits for, and that work must
not wait for ever either. Raising the class of what has waited for long, as schedulers do, breaks
the first promise: a flood of background work grows old together, and then all of it goes ahead
of the next person.

Choice: five classes, each ordered by due time, and among equals by arrival. The head of the
highest class goes next. An entry that has waited for `ageing_seconds` counts as one class higher,
and one more for every `boost_seconds` after that; but of the grants at which such an aged entry
waits behind the head of its new class, only every `aged_every`-th is its own. So a flood takes one
grant in so many from the others, whatever its size, and gets that much however busy they are. A
head whose deadline is near keeps its grant, up to `_MAX_PUT_OFF` times as long.

Rejected: sorting by a sum of class and age (each peek would have to sort again); strict classes
(starve the lowest); shares by class (waste the slots of a class that is absent).

Cost: a heap and a list by age per class. Cancelled and raised entries stay in them until they
come up, or until the heap has doubled. Between `peek` and `take` nothing else may be called.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

from callwise.calls.call import Priority

__all__ = ["WaitingEntry", "WaitingQueue"]

_MAX_PUT_OFF = 10
"""Factor of an aged entry's wait for its grant while deadlines ahead of it are near."""

_MIN_COMPACTION = 64
"""Gone entries that are left in a heap or a list, however few others there are."""


class WaitingEntry:
    """Place of one item in a queue; the base of what waits in it.

    Args:
        priority: its class.
        due_seconds: its place within its class, as a time on the clock of its queue; infinite for
            the last.
        waits_since_seconds: time since which it waits.
        deadline_seconds: time after which it is of no use; None for none.
    """

    sequence = 0
    """Number of its arrival; 0 before."""
    queue: "WaitingQueue[Any] | None" = None
    """The queue that it is in."""

    def __init__(
        self,
        priority: Priority,
        due_seconds: float,
        waits_since_seconds: float,
        deadline_seconds: float | None = None,
    ) -> None:
        self.priority = priority
        self.due_seconds = due_seconds
        self.waits_since_seconds = waits_since_seconds
        self.deadline_seconds = deadline_seconds

    def __lt__(self, other: "WaitingEntry") -> bool:
        """Return False: entries are ordered by the numbers ahead of them in a heap."""
        del other
        return False


EntryT = TypeVar("EntryT", bound=WaitingEntry)


class WaitingQueue(Generic[EntryT]):
    """Entries that wait, by class, due time and age.

    Args:
        ageing_seconds: wait after which an entry counts as one class higher; infinite for never.
        boost_seconds: further wait for each class after that.
        aged_every: of so many grants that an aged entry waits for, one is its own; at least 1.
    """

    def __init__(
        self, *, ageing_seconds: float = 5.0, boost_seconds: float = 1.0, aged_every: int = 20
    ) -> None:
        self._ageing_seconds = ageing_seconds
        self._boost_seconds = boost_seconds
        self._aged_every = aged_every
        self._heaps: list[list[tuple[float, int, EntryT]]] = [[] for _ in Priority]
        self._by_age: list[deque[EntryT]] = [deque() for _ in Priority]
        self._counts = [0] * len(Priority)
        self._compact_at = [_MIN_COMPACTION] * len(Priority)
        self._length = 0
        self._sequence = 0
        self._passed_over = 0
        self._aged: EntryT | None = None
        self.aged_grants = 0

    def __len__(self) -> int:
        """Return how many entries wait."""
        return self._length

    def count(self, priority: Priority) -> int:
        """Return how many entries of a class wait."""
        return self._counts[priority]

    def enqueue(self, entry: EntryT) -> None:
        """Add an entry that is not in the queue. One that was before is put back in its place."""
        if not entry.sequence:
            self._sequence += 1
            entry.sequence = self._sequence
        priority = entry.priority
        entry.queue = self
        self._length += 1
        self._counts[priority] += 1
        heappush(self._heaps[priority], (entry.due_seconds, entry.sequence, entry))
        ages = self._by_age[priority]
        if ages and entry.waits_since_seconds < ages[0].waits_since_seconds:
            ages.appendleft(entry)
        else:
            ages.append(entry)
        if max(len(ages), len(self._heaps[priority])) > self._compact_at[priority]:
            self._compact(priority)

    def peek(self, now_seconds: float, *, is_critical_only: bool = False) -> EntryT | None:
        """Return the entry that goes next; None when none waits.

        Args:
            is_critical_only: return none but one of class CRITICAL, however old others are.
        """
        head = self._head()
        self._aged = None
        if head is None or (is_critical_only and head.priority is not Priority.CRITICAL):
            return None
        if is_critical_only:
            return head
        self._aged = aged = self._aged_behind(head, now_seconds)
        if aged is None or self._passed_over + 1 < self._aged_every:
            return head
        is_near = (
            head.deadline_seconds is not None
            and head.deadline_seconds - now_seconds < self._ageing_seconds
        )
        if is_near and self._passed_over < _MAX_PUT_OFF * self._aged_every:
            return head
        return aged

    def take(self, entry: EntryT) -> None:
        """Take out the entry that `peek` has just returned, because it goes now."""
        if entry is self._aged:
            self._passed_over = 0
            self.aged_grants += 1
        elif self._aged is not None:
            self._passed_over += 1
        self._aged = None
        self.remove(entry)

    def remove(self, entry: EntryT) -> None:
        """Take out an entry, wherever it is in the queue. Does nothing where it is not."""
        if entry.queue is not self:
            return
        entry.queue = None
        priority = entry.priority
        self._length -= 1
        self._counts[priority] -= 1
        heap = self._heaps[priority]
        if heap[0][2] is entry:
            heappop(heap)

    def raise_urgency(self, entry: EntryT, priority: Priority, due_seconds: float) -> None:
        """Give an entry a higher class or an earlier due time; never the other way round.

        Its age goes on counting from the class that it came with.
        """
        priority = min(priority, entry.priority)
        due_seconds = min(due_seconds, entry.due_seconds)
        if (priority, due_seconds) == (entry.priority, entry.due_seconds):
            return
        if entry.queue is self:
            self._counts[entry.priority] -= 1
            self._counts[priority] += 1
            heappush(self._heaps[priority], (due_seconds, entry.sequence, entry))
        entry.priority, entry.due_seconds = priority, due_seconds

    def lowest(self) -> EntryT | None:
        """Return the newest entry of the lowest class that any is in; None when none waits.

        Entries that were raised to the class are returned last.
        """
        for priority in reversed(Priority):
            if not self._counts[priority]:
                continue
            ages = self._by_age[priority]
            while ages and ages[-1].queue is not self:
                ages.pop()
            for entry in reversed(ages):
                if entry.queue is self and entry.priority == priority:
                    return entry
            entries = (entry for _, _, entry in self._heaps[priority])
            own = (each for each in entries if each.queue is self and each.priority == priority)
            return max(own, key=lambda each: each.sequence)
        return None

    def _head(self) -> EntryT | None:
        """Return the first entry of the highest class."""
        for priority, count in enumerate(self._counts):
            if not count:
                continue
            heap = self._heaps[priority]
            while True:
                due_seconds, _, entry = heap[0]
                if (
                    entry.queue is self
                    and entry.priority == priority
                    and entry.due_seconds == due_seconds
                ):
                    return entry
                heappop(heap)
        return None

    def _aged_behind(self, head: EntryT, now_seconds: float) -> EntryT | None:
        """Return the oldest entry that counts as of the head's class or higher, but the head."""
        before_seconds = now_seconds - self._ageing_seconds
        oldest: EntryT | None = None
        for priority in range(head.priority, len(Priority)):
            ages = self._by_age[priority]
            while ages and ages[0].queue is not self:
                ages.popleft()
            if not ages or ages[0] is head or ages[0].waits_since_seconds > before_seconds:
                continue
            entry = ages[0]
            aged_seconds = before_seconds - entry.waits_since_seconds
            boosts = 1 + int(min(aged_seconds / self._boost_seconds, len(Priority)))
            is_older = oldest is None or entry.waits_since_seconds < oldest.waits_since_seconds
            if priority - boosts <= head.priority and is_older:
                oldest = entry
        return oldest

    def _compact(self, priority: int) -> None:
        """Drop what is gone from the heap and the list of a class."""
        self._heaps[priority] = heap = [
            (due_seconds, sequence, entry)
            for due_seconds, sequence, entry in self._heaps[priority]
            if entry.queue is self
            and entry.priority == priority
            and entry.due_seconds == due_seconds
        ]
        heapify(heap)
        ages = self._by_age[priority]
        self._by_age[priority] = ages = deque(entry for entry in ages if entry.queue is self)
        self._compact_at[priority] = 2 * max(len(heap), len(ages)) + _MIN_COMPACTION

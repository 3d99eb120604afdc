"""Tasks that wait outside of a queue, so that others pass them.

They wait for a limit of their user alone, or for the first answer to a common beginning. For a
limit they come back one by one, each once the one before it has gone, in the order of class and
due time; for an answer they come back together.
"""

import math
from collections.abc import Callable, Hashable, Iterator
from heapq import heappop, heappush

from callwise.budget.schedule.task import ScheduledTask
from callwise.budget.schedule.waiting_queue import WaitingQueue

__all__ = ["Parking"]


class _ParkingLot:
    """Tasks that wait for one thing."""

    __slots__ = ("frees_all", "queue", "wakes_at_seconds")

    def __init__(self, queue: WaitingQueue[ScheduledTask], *, frees_all: bool) -> None:
        self.queue = queue
        self.frees_all = frees_all
        self.wakes_at_seconds = math.inf


class Parking:
    """The parked tasks of one lane, by what they wait for.

    Args:
        queue: that of the lane, which they come back to.
        new_queue: returns an empty queue with the same knobs.
    """

    def __init__(
        self,
        queue: WaitingQueue[ScheduledTask],
        new_queue: Callable[[], WaitingQueue[ScheduledTask]],
    ) -> None:
        self._queue = queue
        self._new_queue = new_queue
        self._places: dict[Hashable, _ParkingLot] = {}
        self._wakings: list[tuple[float, int, Hashable]] = []
        self._wakings_added = 0

    @property
    def wakes_at_seconds(self) -> float | None:
        """Time at which the next task comes back; None where no time is known."""
        return self._wakings[0][0] if self._wakings else None

    def queues(self) -> Iterator[WaitingQueue[ScheduledTask]]:
        """Yield the queues of all places."""
        return (place.queue for place in self._places.values())

    def park(
        self, task: ScheduledTask, key: Hashable, until_seconds: float, now_seconds: float
    ) -> None:
        """Take a task out of the queue until a time; infinite for until `free` is called."""
        self._queue.remove(task)
        if task.parked_under != key:
            self.left(task, now_seconds)
        place = self._places.get(key)
        if place is None:
            frees_all = until_seconds == math.inf
            place = self._places[key] = _ParkingLot(self._new_queue(), frees_all=frees_all)
        place.queue.enqueue(task)
        task.parked_under = key
        if until_seconds < place.wakes_at_seconds:
            place.wakes_at_seconds = until_seconds
            self._wakings_added += 1
            heappush(self._wakings, (until_seconds, self._wakings_added, key))

    def wake(self, now_seconds: float) -> None:
        """Put back what was parked until now."""
        while self._wakings and self._wakings[0][0] <= now_seconds:
            _, _, key = heappop(self._wakings)
            if key in self._places:
                self._places[key].wakes_at_seconds = math.inf
                self.free(key, now_seconds)

    def free(self, key: Hashable, now_seconds: float) -> None:
        """Put back the next task that waits for something, or all where they come together."""
        place = self._places.get(key)
        while place is not None:
            task = place.queue.peek(now_seconds)
            if task is not None:
                place.queue.take(task)
                self._queue.enqueue(task)
            if not place.queue:
                del self._places[key]
                return
            if not place.frees_all:
                return

    def left(self, task: ScheduledTask, now_seconds: float) -> None:
        """Put back the next task of the limit that one had waited for, which has gone."""
        place = self._places.get(task.parked_under)
        if place is not None and not place.frees_all:
            self.free(task.parked_under, now_seconds)

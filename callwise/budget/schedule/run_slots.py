"""Slots: how many requests are under way at an endpoint, or at all of a run, and who gets the next.

Where the run has no slot left, the lanes of its endpoints compete for each that becomes free. It
goes to the most urgent of the tasks that are next in their lanes; of every `aged_every` such
choices one goes to the task that has waited longest, so that no lane is starved by another.
"""

import math
from typing import TYPE_CHECKING

from callwise.budget.clock import Clock
from callwise.calls.call import Priority

if TYPE_CHECKING:
    from callwise.budget.schedule.lane import Lane
    from callwise.budget.schedule.task import ScheduledTask

__all__ = ["RunSlots", "Slots"]


class Slots:
    """Requests that may be under way.

    Args:
        most: of all classes; infinite for any number.
        critical_slots: how many of them only calls of class CRITICAL may take; one remains for
            all.

    Attributes:
        taken: requests under way.
        others: those of other classes than CRITICAL among them.
    """

    def __init__(self, most: float, critical_slots: int = 0) -> None:
        self.most = most
        self.taken = self.others = 0
        self._critical_slots = critical_slots

    def has_one_for(self, priority: Priority) -> bool:
        """Return whether a call of a class may take one."""
        if self.taken >= self.most:
            return False
        is_critical = priority is Priority.CRITICAL
        return is_critical or self.others < max(self.most - self._critical_slots, 1)

    def take(self, priority: Priority) -> None:
        """Take one for a call of a class."""
        self.taken += 1
        self.others += priority is not Priority.CRITICAL

    def give_back(self, priority: Priority) -> None:
        """Give back that of a call of a class."""
        self.taken -= 1
        self.others -= priority is not Priority.CRITICAL

    @property
    def used(self) -> int:
        """Requests under way and, up to `most`, slots that are kept free.

        At `most` there is none for calls of other classes, and the endpoint shows no more.
        """
        return int(max(self.taken, min(self.others + self._critical_slots, self.most)))


class RunSlots(Slots):
    """Slots of the lanes of one run.

    Args:
        most: most requests under way in the run; None for any number.
        critical_slots: as those of `Slots`.
        aged_every: of so many choices between lanes, one is by age.

    Attributes:
        lanes: the lanes that share them.
        waiting: requests that wait, in all lanes.
    """

    def __init__(
        self, most: int | None, clock: Clock, *, aged_every: int, critical_slots: int = 0
    ) -> None:
        super().__init__(math.inf if most is None else most, critical_slots)
        self.lanes: list[Lane] = []
        self.waiting = 0
        self._clock = clock
        self._aged_every = aged_every
        self._passed_over = 0

    def pump(self) -> None:
        """Give their turns to the tasks that may go now."""
        lanes = [lane for lane in self.lanes if lane.waiting]
        if not lanes:
            return
        now = self._clock.now()
        while len(lanes) > 1:
            found = [(task, lane) for lane in lanes if (task := lane.next_task(now)) is not None]
            if not found:
                return
            task, lane = found[0] if len(found) == 1 else self._choice(found)
            lane.start(task, now)
            lanes = [lane for _, lane in found]
        (lane,) = lanes
        while (next_task := lane.next_task(now)) is not None:
            lane.start(next_task, now)

    def _choice(self, found: "list[tuple[ScheduledTask, Lane]]") -> "tuple[ScheduledTask, Lane]":
        """Return which of the lanes' next tasks goes first."""
        urgent = min(found, key=lambda each: (each[0].priority, each[0].due_seconds))
        oldest = min(found, key=lambda each: each[0].waits_since_seconds)
        if oldest is urgent:
            return urgent
        self._passed_over += 1
        if self._passed_over < self._aged_every:
            return urgent
        self._passed_over = 0
        return oldest

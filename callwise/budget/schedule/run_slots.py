"""Slots of a whole run: how many requests are under way at all endpoints, and who gets the next.

Where the run has no slot left, the lanes of its endpoints compete for each that becomes free. It
goes to the most urgent of the tasks that are next in their lanes; of every `aged_every` such
choices one goes to the task that has waited longest, so that no lane is starved by another.
"""

import math
from typing import TYPE_CHECKING

from callwise.budget.clock import Clock

if TYPE_CHECKING:
    from callwise.budget.schedule.lane import Lane
    from callwise.budget.schedule.task import ScheduledTask

__all__ = ["RunSlots"]


class RunSlots:
    """Slots of the lanes of one run.

    Args:
        most: most requests under way in the run; None for any number.
        aged_every: of so many choices between lanes, one is by age.

    Attributes:
        lanes: the lanes that share them.
        most: most requests under way; infinite for any number.
        taken: requests under way.
        waiting: requests that wait, in all lanes.
    """

    def __init__(self, most: int | None, clock: Clock, *, aged_every: int) -> None:
        self.most: float = math.inf if most is None else most
        self.lanes: list[Lane] = []
        self.taken = self.waiting = 0
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

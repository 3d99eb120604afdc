"""The lane of one endpoint: its queue, its slots, its rate limits and its one timer.

A shipment that finds a free slot, nothing waiting and no limit that binds goes immediately.
Otherwise it waits for its turn, which comes when another one ends, a limit gives way, or what is
ahead of it is gone. Nothing is polled: a lane sets one timer, for the nearest time at which a
limit gives way or a deadline passes, and only while something waits.

What waits for a limit of its user alone, or for the first answer to a common beginning, is parked
outside of the queue, so that others pass it; it comes back to the place that it had.

Invariant: a slot is taken and the rate limits are charged in the same step in which the turn is
given, and `end` gives both back once, however the shipment ends. A turn that a cancelled caller
no longer takes is given back in the same way.
"""

import asyncio
import math
from collections import Counter
from functools import partial
from heapq import heappop, heappush

from callwise.budget.clock import Clock, EarliestTimer
from callwise.budget.rate import RateGate
from callwise.budget.schedule.adaptive_concurrency import AdaptiveConcurrency
from callwise.budget.schedule.parking import Parking
from callwise.budget.schedule.run_slots import RunSlots, Slots
from callwise.budget.schedule.task import LaneStatus, ScheduledTask, TaskState, provider_view
from callwise.budget.schedule.waiting_queue import WaitingQueue
from callwise.budget.schedule.warm_prefixes import Prefix, WarmPrefixes
from callwise.budget.work import Shipment
from callwise.calls.call import Priority
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallError, CallTimeout, Overloaded
from callwise.calls.kinds import PRIORITIES
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply

__all__ = ["Lane"]

LEAST_WAIT_SECONDS = EarliestTimer.LEAST_WAIT_SECONDS


class Lane:
    """The lane of `endpoint`, which `slots` counts for the whole run.

    Args:
        knobs: its schedule; None for no limit on requests under way, and first come, first served
            within a class.
        is_embedding: whether it serves embeddings.
        gate: its rate limits; None for none.

    Attributes:
        waiting: shipments that wait, parked ones included.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        knobs: ScheduleKnobs | None,
        clock: Clock,
        slots: RunSlots,
        *,
        is_embedding: bool,
        gate: RateGate | None,
    ) -> None:
        self.endpoint = endpoint
        is_limited = knobs is not None
        self._knobs = knobs = knobs or ScheduleKnobs()
        self._clock, self._slots, self._gate = clock, slots, gate
        start = knobs.start_concurrency(is_embedding=is_embedding)
        self._own = Slots(start if is_limited else math.inf, knobs.critical_slots)
        self._adaptive: AdaptiveConcurrency | None = None
        if is_limited and knobs.is_adaptive:
            most = knobs.most_concurrency(is_embedding=is_embedding)
            self._adaptive = AdaptiveConcurrency(start, most)
            self._own.most = self._adaptive.limit
        self._priorities = knobs.priority_by_purpose()
        targets = (knobs.target_seconds(priority) for priority in Priority)
        self._target_seconds = [math.inf if each is None else each for each in targets]
        self._queue = self._new_queue()
        self._parking = Parking(self._queue, self._new_queue)
        self._expiries: list[tuple[float, int, ScheduledTask]] = []
        self._prefixes = WarmPrefixes(knobs) if knobs.warm_prefix_seconds else None
        self._tasks: dict[ScheduledTask, None] = {}
        self.waiting = 0
        self._timer = EarliestTimer(clock, self._wake)
        self._counts: Counter[str] = Counter()
        self._waited_seconds = 0.0
        self._most_waiting = 0
        self._granted = 0

    @property
    def running(self) -> int:
        """Shipments under way."""
        return self._own.taken

    @property
    def limit(self) -> int | None:
        """Most shipments under way now; None for any number."""
        return None if self._own.most == math.inf else int(self._own.most)

    @property
    def level(self) -> str:
        """`low`, `high` or `overloaded`; see `LaneStatus`."""
        if self.waiting >= self._knobs.max_waiting:
            return "overloaded"
        return "low" if not self.waiting and self._has_slot(Priority.NORMAL) else "high"

    def enter(self, shipment: Shipment) -> ScheduledTask:
        """Return the task of a shipment, which waits for its turn or has it.

        Raises:
            Overloaded: when too many wait, and it may not wait too.
        """
        now = self._clock.now()
        task = ScheduledTask(shipment, self._priority_of(shipment), now)
        if not self.waiting and self._can_start(task, now):
            self._tasks[task] = None
            self._start(task, now)
            return task
        if self.waiting >= self._knobs.max_waiting and self._knobs.overload != "wait":
            self._make_place(task)
        task.deadline_seconds = task.expires_at(now)
        target_seconds = self._target_seconds[task.priority]
        task.due_seconds = task.due_at(target_seconds, task.deadline_seconds)
        task.turn = asyncio.get_running_loop().create_future()
        if self._prefixes is not None:
            task.prefix = self._prefixes.of(shipment)
        self._tasks[task] = None
        self.waiting += 1
        self._slots.waiting += 1
        self._most_waiting = max(self._most_waiting, self.waiting)
        self._queue.enqueue(task)
        shipment.on_rise = partial(self._raise, task)
        if task.deadline_seconds is not None:
            heappush(self._expiries, (task.deadline_seconds, task.sequence, task))
            self._timer.wake_at(task.deadline_seconds)
        if self._has_slot(task.priority):
            self._slots.pump()
        return task

    async def wait(self, task: ScheduledTask) -> None:
        """Return once the turn of a task has come.

        Raises:
            CallTimeout: when its deadline passes before that.
            Overloaded: when another one takes its place.
        """
        if task.turn is not None:
            refusal = await task.turn
            if refusal is not None:
                raise refusal

    def end(
        self,
        task: ScheduledTask,
        state: TaskState,
        result: object = None,
        error: BaseException | None = None,
    ) -> None:
        """Give back what a task has, once, after its answer, its error or its cancellation."""
        if task.state is TaskState.WAITING:
            self._leave(task, state)
        elif task.state is TaskState.RUNNING:
            now = self._clock.now()
            task.state = state
            del self._tasks[task]
            self._own.give_back(task.priority)
            self._counts[state] += 1
            self._learn(task, result, error, now)
            if self._prefixes is not None and task.prefix is not None:
                self._prefixes.ended(task, task.prefix, result, now)
                self._parking.free(task.prefix, now)
            self._slots.give_back(task.priority)
        is_abandoned = isinstance(error, GeneratorExit)  # with its loop: the others are, too
        if self._slots.waiting and not is_abandoned:
            self._slots.pump()

    def next_task(self, now: float) -> ScheduledTask | None:
        """Return the task whose turn it is; None where none waits or may go. Sets the timer."""
        if not self._has_slot(Priority.CRITICAL):
            return None
        is_kept = not self._has_slot(Priority.NORMAL)
        self._parking.wake(now + LEAST_WAIT_SECONDS)
        while (task := self._queue.peek(now, is_critical_only=is_kept)) is not None:
            if task.deadline_seconds is not None and task.deadline_seconds <= now:
                self._expire(task)
            elif self._must_wait_for_prefix(task, now):
                self._parking.park(task, task.prefix, math.inf, now)
            else:
                wait_seconds = self._gate_seconds(task, now)
                if wait_seconds <= 0:
                    return task
                bound_by = None if self._gate is None else self._gate.bound_by(task.need, now)
                if bound_by is None:
                    self._timer.wake_at(now + wait_seconds)
                    return None
                self._parking.park(task, bound_by, now + wait_seconds, now)
                self._timer.wake_at(now + wait_seconds)
        return None

    def start(self, task: ScheduledTask, now: float) -> None:
        """Give the turn to a task that `next_task` has just returned."""
        self._queue.take(task)
        self.waiting -= 1
        self._slots.waiting -= 1
        self._start(task, now)
        turn = task.turn
        if turn is not None and not turn.done():
            turn.set_result(None)
        if not self.waiting:
            self._timer.stop()

    def status(self) -> LaneStatus:
        """Return the tasks and what was counted."""
        now = self._clock.now()
        return LaneStatus(
            self.endpoint.name,
            self.endpoint.model,
            self.level,
            self.limit,
            tuple(task.status(now) for task in self._tasks),
            self.counters(),
        )

    def counters(self) -> dict[str, int | float]:
        """Return what was counted since the lane was made."""
        names = ("done", "failed", "cancelled", "waited", "expired", "shed", "refused")
        counters: dict[str, int | float] = {name: self._counts[name] for name in names}
        counters |= {
            "granted": self._granted,
            "waiting": self.waiting,
            "running": self.running,
            "most_waiting": self._most_waiting,
            "waited_seconds": self._waited_seconds,
            "aged": self._queue.aged_grants,
            "timers": self._timer.count,
        }
        if self._adaptive is not None:
            counters |= {"limit": self._adaptive.limit, "cuts": self._adaptive.cuts}
        if self._prefixes is not None:
            counters |= self._prefixes.statistics()
        if self._gate is not None:
            counters |= self._gate.statistics()
        return counters

    # Turns.

    def _has_slot(self, priority: Priority) -> bool:
        return self._own.has_one_for(priority) and self._slots.has_one_for(priority)

    def _can_start(self, task: ScheduledTask, now: float) -> bool:
        """Return whether a task that nothing is ahead of may go now."""
        if not self._has_slot(task.priority):
            return False
        if self._prefixes is not None:
            task.prefix = self._prefixes.of(task.shipment)
            if self._must_wait_for_prefix(task, now):
                return False
        gate = self._gate
        if gate is None:
            return True
        task.need = need = gate.need(task.shipment)
        return gate.ready_in(need, now) <= 0

    def _gate_seconds(self, task: ScheduledTask, now: float) -> float:
        if self._gate is None:
            return 0.0
        if task.need is None:
            task.need = self._gate.need(task.shipment)
        return self._gate.ready_in(task.need, now)

    def _start(self, task: ScheduledTask, now: float) -> None:
        task.state = TaskState.RUNNING
        task.started_seconds = now
        self._own.take(task.priority)
        self._slots.take(task.priority)
        self._granted += 1
        if self._gate is not None:
            self._gate.take(task.need, now)
        if self._adaptive is not None:
            task.mark = self._adaptive.sent(self._own.used)
        if self._prefixes is not None and task.prefix is not None:
            self._prefixes.started(task, task.prefix, partial(self._prefix_began, task.prefix))
        waited_seconds = now - task.arrived_seconds
        task.shipment.granted(waited_seconds)
        if task.turn is not None:
            task.shipment.on_rise = None
            self._waited_seconds += waited_seconds
            self._counts["waited"] += 1
            self._parking.left(task, now)

    def _priority_of(self, shipment: Shipment) -> Priority:
        """Return the class of its most urgent call, by the knobs where no call has its own."""
        priorities = self._priorities
        if not priorities:
            return shipment.priority
        return min(
            priorities.get(work.call.purpose, work.priority)
            if work.priority == PRIORITIES[work.call.purpose]
            else work.priority
            for work in shipment.works
        )

    def _raise(self, task: ScheduledTask) -> None:
        """Follow a shipment that has become more urgent, or has taken in another call."""
        if task.state is not TaskState.WAITING or task.queue is None:
            return
        now = self._clock.now()
        task.need = None
        priority = self._priority_of(task.shipment)
        deadline_seconds = task.expires_at(now)
        due_seconds = task.due_at(self._target_seconds[priority], deadline_seconds)
        task.queue.raise_urgency(task, priority, due_seconds)
        if deadline_seconds is not None and deadline_seconds != task.deadline_seconds:
            task.deadline_seconds = deadline_seconds
            heappush(self._expiries, (deadline_seconds, task.sequence, task))
            self._timer.wake_at(deadline_seconds)
        if self._has_slot(priority):
            self._slots.pump()

    def _learn(
        self, task: ScheduledTask, result: object, error: BaseException | None, now: float
    ) -> None:
        """Settle the rate limits and adapt the number of slots."""
        gate, adaptive, mark = self._gate, self._adaptive, task.mark
        if gate is None and adaptive is None:
            return
        if gate is not None and adaptive is None and isinstance(result, Reply):
            gate.settle(task.need, result.usage, now, was_sent=True)
            return
        limited, used, was_sent = provider_view(task.shipment, result, error)
        if gate is not None:
            gate.settle(task.need, used, now, was_sent=was_sent)
            if limited is not None:  # takes out what was given back as well
                gate.observe(None, limited, now)
        if adaptive is None or mark is None:
            return
        if limited is not None:
            adaptive.rate_limited(mark)
        elif error is None and not any(work.usage.attempts for work in task.shipment.works):
            adaptive.succeeded(mark)
        else:
            adaptive.ended(mark)
        self._own.most = adaptive.limit

    # Leaving without a turn.

    def _make_place(self, task: ScheduledTask) -> None:
        """Make place for one more task by another's, or refuse it."""
        found = (queue.lowest() for queue in (self._queue, *self._parking.queues()))
        victims = (victim for victim in found if victim is not None)
        victim = max(victims, key=lambda each: (each.priority, each.sequence))
        knobs, name = self._knobs, self.endpoint.name
        reason = (
            f"{self.waiting:,} calls wait for {name} already (schedule.max_waiting is "
            f"{knobs.max_waiting:,}, schedule.overload is {knobs.overload}). Ask fewer calls at a "
            "time, raise max_waiting, or let calls wait with overload: wait"
        )
        if knobs.overload == "refuse" or victim.priority <= task.priority:
            self._counts["refused"] += 1
            raise Overloaded(f"not sent: {reason}", was_sent=False)
        self._counts["shed"] += 1
        error = Overloaded(
            f"not sent: a call of class {task.priority.name} took its place, because {reason}",
            was_sent=False,
        )
        self._leave(victim, TaskState.FAILED, error)

    def _expire(self, task: ScheduledTask) -> None:
        """End the wait of a task whose deadline has passed."""
        left_seconds = task.shipment.seconds_left()
        if left_seconds is None or len(task.shipment.works) > 1:
            # Another payer has no deadline; of a batch, only the late call leaves it.
            task.deadline_seconds = None
        elif left_seconds > LEAST_WAIT_SECONDS:
            task.deadline_seconds = self._clock.now() + left_seconds
            heappush(self._expiries, (task.deadline_seconds, task.sequence, task))
        else:
            self._counts["expired"] += 1
            for work in task.shipment.works:
                work.is_cut_by_deadline = True
            waited_seconds = self._clock.now() - task.arrived_seconds
            error = CallTimeout(
                f"not sent: its deadline passed after {waited_seconds:.3g} s in the queue of "
                f"{self.endpoint.name}, where {self.waiting - 1:,} others wait",
                was_sent=False,
            )
            self._leave(task, TaskState.FAILED, error)

    def _leave(self, task: ScheduledTask, state: TaskState, error: CallError | None = None) -> None:
        """Take a waiting task out for good; with an error, its caller gets that."""
        task.state = state
        self._counts[state] += 1
        del self._tasks[task]
        self.waiting -= 1
        self._slots.waiting -= 1
        if task.queue is not None:
            task.queue.remove(task)
        task.shipment.on_rise = None
        waited_seconds = self._clock.now() - task.arrived_seconds
        self._waited_seconds += waited_seconds
        task.shipment.granted(waited_seconds)
        if error is not None and task.turn is not None and not task.turn.done():
            task.turn.set_result(error)
        self._parking.left(task, self._clock.now())
        if not self.waiting:
            self._timer.stop()

    # Parking.

    def _new_queue(self) -> WaitingQueue[ScheduledTask]:
        knobs = self._knobs
        return WaitingQueue(
            ageing_seconds=knobs.ageing_seconds,
            boost_seconds=knobs.boost_seconds,
            aged_every=knobs.aged_every,
        )

    def _must_wait_for_prefix(self, task: ScheduledTask, now: float) -> bool:
        prefixes = self._prefixes
        if prefixes is None or task.prefix is None:
            return False
        return prefixes.is_being_warmed(task.prefix, now)

    def _prefix_began(self, prefix: Prefix) -> None:
        if self._prefixes is not None:
            now = self._clock.now()
            self._prefixes.answered(prefix, now)
            self._parking.free(prefix, now)
            self._slots.pump()

    def _wake(self) -> None:
        now = self._clock.now()
        self._parking.wake(now + LEAST_WAIT_SECONDS)
        expiries = self._expiries
        while expiries and expiries[0][0] <= now + LEAST_WAIT_SECONDS:
            _, _, task = heappop(expiries)
            if task.state is TaskState.WAITING and task.deadline_seconds is not None:
                self._expire(task)
        if self.waiting:
            self._slots.pump()
        if self.waiting:
            while expiries and expiries[0][2].state is not TaskState.WAITING:
                heappop(expiries)
            if expiries:
                self._timer.wake_at(expiries[0][0])
            if (wakes_at_seconds := self._parking.wakes_at_seconds) is not None:
                self._timer.wake_at(wakes_at_seconds)

"""Layer `schedule`: an attempt waits for its turn at its endpoint.

Each endpoint has a lane (`budget.schedule`): a queue by class of urgency, deadline and age, a
number of requests that may be under way, and its rate limits. What goes down from here has a slot
and its part of the limits, and gives them back however it ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from callwise.budget.clock import Clock
from callwise.budget.rate import RateGate
from callwise.budget.schedule.lane import Lane
from callwise.budget.schedule.run_slots import RunSlots
from callwise.budget.schedule.task import LaneLevel, LaneStatus, TaskState
from callwise.budget.work import Shipment
from callwise.calls.client import Endpoint
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import DEFAULT_TASKS, ScheduleKnobs

__all__ = ["ScheduleLayer"]


class ScheduleLayer:
    """The lanes of the endpoints of one run.

    Args:
        load: the knobs of the run, over which an endpoint's own are laid.
        gate_of: returns the rate limits of an endpoint; None where it has none.
    """

    def __init__(
        self,
        clock: Clock,
        load: LoadKnobs,
        *,
        gate_of: Callable[[Endpoint], RateGate | None],
        next: Callable[[Any], Awaitable[Any]],  # noqa: A002
    ) -> None:
        self._clock = clock
        self._load = load
        self._gate_of = gate_of
        self._next = next
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._gates: dict[tuple[str, str], RateGate | None] = {}
        schedule = load.schedule
        self._has_own_most = schedule is not None and schedule.max_tasks is not None
        most = None
        if schedule is not None:
            most = schedule.max_tasks or DEFAULT_TASKS
        order = schedule or ScheduleKnobs()
        self._slots = RunSlots(
            most, clock, aged_every=order.aged_every, critical_slots=order.critical_slots
        )

    async def __call__(self, carried: Shipment) -> Any:
        """Return what the layer below returns, once the shipment's turn has come.

        Raises:
            Overloaded: when it may not wait, or another one takes its place.
            CallTimeout: when its deadline passes while it waits.
            CallError: how it ended.
        """
        endpoint = carried.endpoint
        lane = self._lanes.get(endpoint.identity) or self._new_lane(carried)
        task = lane.enter(carried)
        try:
            if task.turn is not None:
                await lane.wait(task)
            result = await self._next(carried)
        except (asyncio.CancelledError, GeneratorExit) as error:
            lane.end(task, TaskState.CANCELLED, error=error)
            raise
        except BaseException as error:
            lane.end(task, TaskState.FAILED, error=error)
            raise
        lane.end(task, TaskState.DONE, result)
        return result

    def lanes(self) -> tuple[LaneStatus, ...]:
        """Return the lanes of the endpoints that were asked, in the order of their first call."""
        return tuple(lane.status() for lane in self._lanes.values())

    def levels(self) -> tuple[LaneLevel, ...]:
        """Return the numbers of the same lanes, which takes no longer however many wait."""
        return tuple(
            LaneLevel(
                lane.endpoint.name,
                lane.waiting,
                lane.running,
                lane.limit,
                {} if (gate := self._gates[key]) is None else gate.limits_per_minute(),
            )
            for key, lane in self._lanes.items()
        )

    def statistics(self) -> Mapping[str, int | float]:
        """Return the counters of all lanes, summed, and each lane's own by its endpoint."""
        total: dict[str, int | float] = {}
        single: dict[str, int | float] = {}
        for (name, model), lane in self._lanes.items():
            for counter, value in lane.counters().items():
                total[counter] = total.get(counter, 0) + value
                single[f"{name}/{model}.{counter}"] = value
        return total | single

    def _new_lane(self, shipment: Shipment) -> Lane:
        endpoint = shipment.endpoint
        is_embedding = shipment.works[0].call.is_embedding
        knobs = self._load.laid_under(endpoint.load).schedule
        slots = self._slots
        if knobs is not None and self._load.schedule is not None and not self._has_own_most:
            slots.most = max(slots.most, knobs.most_concurrency(is_embedding=is_embedding))
        gate = self._gates[endpoint.identity] = self._gate_of(endpoint)
        lane = Lane(
            endpoint,
            knobs,
            self._clock,
            slots,
            is_embedding=is_embedding,
            gate=gate,
        )
        self._lanes[endpoint.identity] = lane
        slots.lanes.append(lane)
        return lane

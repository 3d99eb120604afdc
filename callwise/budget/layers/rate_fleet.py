"""Layer `rate_fleet`: a request waits for its turn under rate limits that several processes share.

It is below `schedule`, whose lane decides which request of this process is next and keeps to the
limits by itself; here the next requests of all processes are put in one order. Where the server
is lost, the knob `load.fleet.on_lost` decides: the request fails before it is sent, or this
process keeps to an equal part of the limits.

It is the last place before the client, so here a process that was stopped notices that its lease
has ended, and sends nothing that was reserved under it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from callwise.budget.clock import Clock
from callwise.budget.fleet.fleet import Fleet
from callwise.budget.fleet.rate_lines import RateLine, rate_lines
from callwise.budget.fleet.shared_rates import SharedTurn
from callwise.budget.rate.meters import Charge, Meter, meter_of
from callwise.budget.schedule.task import provider_view
from callwise.budget.work import Shipment
from callwise.calls.client import Endpoint
from callwise.calls.errors import BudgetStoreLost, CallTimeout
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import DIMENSIONS, RateLimits

__all__ = ["RateFleetLayer"]


class _LocalTurn(NamedTuple):
    """Meters and charges of a request in the part of this process, for each of its limits."""

    lines: Sequence[RateLine]
    charges: Sequence[Sequence[tuple[int, Meter, Charge]]]


class RateFleetLayer:
    """Gives requests their turns among those of all processes. `load` is that of the run."""

    def __init__(
        self,
        fleet: Fleet,
        load: LoadKnobs,
        clock: Clock,
        *,
        next: Callable[[Any], Awaitable[Any]],  # noqa: A002
    ) -> None:
        self._fleet = fleet
        self._load = load
        self._clock = clock
        self._next = next
        self._limits: dict[tuple[str, str], RateLimits | None] = {}
        self._parts: dict[tuple[object, ...], tuple[tuple[int, Meter], ...]] = {}

    async def __call__(self, carried: Shipment) -> Any:
        """Return what the layer below returns, once the request's turn has come.

        Raises:
            BudgetStoreLost: when no turn can be asked for; nothing was sent.
            LeaseEnded: when what was reserved for it may be free; nothing was sent.
            CallTimeout: when its deadline passes before its turn; nothing was sent.
            CallError: how it ended.
        """
        limits = self._limits_of(carried.endpoint)
        lines = [] if limits is None else rate_lines(limits, carried)
        if limits is None or not lines:
            self._fleet.budget.require_lease()
            return await self._next(carried)
        turn = await self._turn(carried, limits, lines)
        used: Sequence[tuple[float, ...]] = [(0.0,) * len(DIMENSIONS)] * len(lines)
        is_given = False
        try:
            if isinstance(turn, SharedTurn) and turn.wait_seconds > 0:
                await self._wait(carried, lines, turn.wait_seconds, turn.bound)
            self._fleet.budget.require_lease()
            is_given = True
            result = await self._next(carried)
            used = _used(carried, limits, lines, result, None)
        except BaseException as error:
            if is_given:
                used = _used(carried, limits, lines, None, error)
            raise
        finally:
            self._settle(turn, used)
        return result

    def statistics(self) -> Mapping[str, int | float]:
        """Return requests that asked for a turn, seconds that they were given, and lost ones."""
        return self._fleet.rates.statistics()

    def _limits_of(self, endpoint: Endpoint) -> RateLimits | None:
        key = (endpoint.name, endpoint.model)
        if key not in self._limits:
            self._limits[key] = self._load.laid_under(endpoint.load).rate
        return self._limits[key]

    async def _turn(
        self, shipment: Shipment, limits: RateLimits, lines: Sequence[RateLine]
    ) -> SharedTurn | _LocalTurn:
        budget = self._fleet.budget
        processes = budget.part_of_processes
        if processes is None or budget.lost is None:
            try:
                turn = await self._fleet.rates.take(limits, lines)
            except BudgetStoreLost:
                if processes is None:
                    raise
            else:
                self._fleet.pauses.end(lines, turn.bound, turn.wait_seconds)
                return turn
        meters = [self._part(limits, line, processes) for line in lines]
        while True:
            now = self._clock.now()
            wait_seconds, bound = max(
                (meter.wait_seconds(line.amounts[at], now), line.name)
                for line, of_line in zip(lines, meters, strict=True)
                for at, meter in of_line
            )
            self._fleet.pauses.end(lines, bound, wait_seconds)
            if wait_seconds <= 0:
                return _LocalTurn(
                    lines,
                    [
                        [(at, meter, meter.charge(line.amounts[at], now)) for at, meter in of_line]
                        for line, of_line in zip(lines, meters, strict=True)
                    ],
                )
            await self._wait(shipment, lines, wait_seconds, bound)

    def _part(
        self, limits: RateLimits, line: RateLine, processes: int
    ) -> tuple[tuple[int, Meter], ...]:
        """Return the meters of the part of this process, by the place of what they count."""
        key = (line.name, line.per_minute, limits.window, processes)
        meters = self._parts.get(key)
        if meters is None:
            meters = self._parts[key] = tuple(
                (place, meter_of(each / processes, limits))
                for place, each in enumerate(line.per_minute)
                if each is not None
            )
        return meters

    async def _wait(
        self, shipment: Shipment, lines: Sequence[RateLine], seconds: float, bound: str
    ) -> None:
        began = self._clock.now()
        try:
            _refuse_late_turn(shipment, bound, seconds)
            await self._clock.sleep(seconds)
        except BaseException:
            self._fleet.pauses.end(lines, bound, 0.0)  # its turn is given back
            raise
        shipment.granted(self._clock.now() - began)

    def _settle(self, turn: SharedTurn | _LocalTurn, used: Sequence[Sequence[float]]) -> None:
        if isinstance(turn, SharedTurn):
            self._fleet.rates.settle(turn, used)
            return
        now = self._clock.now()
        for of_line, amounts in zip(turn.charges, used, strict=True):
            for at, meter, charge in of_line:
                meter.settle(charge, amounts[at], now)


def _refuse_late_turn(shipment: Shipment, bound: str, seconds: float) -> None:
    """Do nothing when a turn comes before the deadline.

    Raises:
        CallTimeout: when it comes later.
    """
    left_seconds = shipment.seconds_left()
    if left_seconds is None or seconds < left_seconds:
        return
    for work in shipment.works:
        work.is_cut_by_deadline = True
    raise CallTimeout(
        f"not sent: its turn under the rate limits of all processes of {bound} is in "
        f"{seconds:.3g} s, and its deadline in {left_seconds:.3g} s",
        was_sent=False,
    )


def _used(
    shipment: Shipment,
    limits: RateLimits,
    lines: Sequence[RateLine],
    result: object,
    error: BaseException | None,
) -> list[tuple[float, ...]]:
    """Return what a request has used of its limits; what is not known as it was taken."""
    view = provider_view(shipment, result, error)
    if not view.was_sent:
        return [(0.0,) * len(DIMENSIONS)] * len(lines)
    used, tokens = view.used, None
    if used is not None and used.input_tokens is not None and used.output_tokens is not None:
        of_output = float(used.output_tokens)
        if of_output and limits.counts == "asked":
            of_output = lines[0].amounts[-1]
        tokens = (float(used.input_tokens), of_output)
    return [line.used(tokens) for line in lines]

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
from callwise.budget.fleet.shared_rates import SharedTurn
from callwise.budget.rate.meters import Charge, Meter, meter_of
from callwise.budget.schedule.task import provider_view
from callwise.budget.work import Shipment
from callwise.calls.client import Endpoint
from callwise.calls.errors import BudgetStoreLost, CallTimeout
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits

__all__ = ["RateFleetLayer"]


class _LocalTurn(NamedTuple):
    """Amounts that a request takes of the part of this process."""

    charges: Sequence[tuple[int, Meter, Charge]]
    amounts: tuple[float, ...]


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
        self._parts: dict[tuple[str, str, int], tuple[tuple[int, Meter], ...]] = {}

    async def __call__(self, carried: Shipment) -> Any:
        """Return what the layer below returns, once the request's turn has come.

        Raises:
            BudgetStoreLost: when no turn can be asked for; nothing was sent.
            LeaseEnded: when what was reserved for it may be free; nothing was sent.
            CallTimeout: when its deadline passes before its turn; nothing was sent.
            CallError: how it ended.
        """
        limits = self._limits_of(carried.endpoint)
        if limits is None:
            self._fleet.budget.require_lease()
            return await self._next(carried)
        estimate = carried.estimate()
        output_tokens = float(estimate.output_tokens)
        tokens = float(estimate.tokens)
        amounts = (1.0, tokens, tokens - output_tokens, output_tokens)
        turn = await self._turn(carried, limits, amounts)
        used: tuple[float, ...] = (0.0,) * len(amounts)
        try:
            if isinstance(turn, SharedTurn) and turn.wait_seconds > 0:
                await self._wait(carried, turn.wait_seconds)
            self._fleet.budget.require_lease()
            used = amounts
            result = await self._next(carried)
            used = _used(carried, amounts, result, None)
        except BaseException as error:
            if used is amounts:
                used = _used(carried, amounts, None, error)
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
            limits = self._load.laid_under(endpoint.load).rate
            has_any = limits is not None and any(each is not None for each in limits.per_minute)
            self._limits[key] = limits if has_any else None
        return self._limits[key]

    async def _turn(
        self, shipment: Shipment, limits: RateLimits, amounts: tuple[float, ...]
    ) -> SharedTurn | _LocalTurn:
        endpoint, budget = shipment.endpoint, self._fleet.budget
        processes = budget.part_of_processes
        if processes is None or budget.lost is None:
            try:
                return await self._fleet.rates.take(
                    f"{endpoint.name}/{endpoint.model}", limits, amounts
                )
            except BudgetStoreLost:
                if processes is None:
                    raise
        key = (endpoint.name, endpoint.model, processes)
        meters = self._parts.get(key)
        if meters is None:
            meters = self._parts[key] = tuple(
                (place, meter_of(each / processes, limits))
                for place, each in enumerate(limits.per_minute)
                if each is not None
            )
        while True:
            now = self._clock.now()
            wait_seconds = max(meter.wait_seconds(amounts[at], now) for at, meter in meters)
            if wait_seconds <= 0:
                charges = [(at, meter, meter.charge(amounts[at], now)) for at, meter in meters]
                return _LocalTurn(charges, amounts)
            await self._wait(shipment, wait_seconds)

    async def _wait(self, shipment: Shipment, seconds: float) -> None:
        left_seconds = shipment.seconds_left()
        if left_seconds is not None and left_seconds <= seconds:
            for work in shipment.works:
                work.is_cut_by_deadline = True
            raise CallTimeout(
                f"not sent: its turn at {shipment.endpoint.name} under the rate limits of all "
                f"processes is in {seconds:.3g} s, and its deadline in {left_seconds:.3g} s",
                was_sent=False,
            )
        began = self._clock.now()
        await self._clock.sleep(seconds)
        shipment.granted(self._clock.now() - began)

    def _settle(self, turn: SharedTurn | _LocalTurn, used: Sequence[float]) -> None:
        if isinstance(turn, SharedTurn):
            self._fleet.rates.settle(turn, used)
            return
        now = self._clock.now()
        for at, meter, charge in turn.charges:
            meter.settle(charge, used[at], now)


def _used(
    shipment: Shipment, amounts: tuple[float, ...], result: object, error: BaseException | None
) -> tuple[float, ...]:
    """Return what a request has used; what is not known as it was taken."""
    view = provider_view(shipment, result, error)
    if not view.was_sent:
        return (0.0,) * len(amounts)
    tokens = view.used
    if tokens is None or tokens.input_tokens is None or tokens.output_tokens is None:
        return amounts
    of_input, of_output = float(tokens.input_tokens), float(tokens.output_tokens)
    return (1.0, of_input + of_output, of_input, of_output)

"""Rate limits of an endpoint as its queue asks them, where processes share those of users.

Problem: a request has a place among those under way while it waits for its turn under a limit
that processes share; so those of one user could take all places.

Choice: of each narrow limit (a user, a tenant, a purpose, a kind of work) one request at a time
asks for its turn, and while it waits for that limit the others stay in the queue, where calls of
other users pass them and the most urgent one is next.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from callwise.budget.clock import Clock
from callwise.budget.fleet.rate_lines import NarrowLimit, RateLine, name_of, narrow_limits
from callwise.budget.rate import RateGate
from callwise.budget.rate.need import RateNeed
from callwise.budget.work import Shipment
from callwise.calls.client import Endpoint
from callwise.calls.errors import RateLimited
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.reply import ReportedUsage

__all__ = ["RatePauses", "SharedGate"]

REPLY_SECONDS = 0.005
"""Time after which to ask again whether the turn of a request is known by now."""

MAX_KNOWN = 4096
"""Pauses from which those that are over are dropped."""


class RatePauses:
    """Times until which the requests of one process wait for narrow limits, by their names."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now
        self._until_seconds: dict[str, float] = {}
        self._asking: dict[str, object] = {}

    def left_seconds(self, name: str) -> float:
        """Return the time after which a request may ask for its turn under a limit, or see again.

        0 when it may ask now.
        """
        if name in self._asking:
            return REPLY_SECONDS
        until_seconds = self._until_seconds.get(name)
        return 0.0 if until_seconds is None else max(until_seconds - self._now(), 0.0)

    def begin(self, request: object, names: Iterable[str]) -> None:
        """Note that a request leaves the queue, which will ask for its turn."""
        for name in names:
            self._asking[name] = request

    def leave(self, request: object, names: Iterable[str]) -> None:
        """Note that a request has ended, whether it had asked for its turn or not."""
        for name in names:
            if self._asking.get(name) is request:
                del self._asking[name]

    def end(self, lines: Sequence[RateLine], bound: str, wait_seconds: float) -> None:
        """Note the turn of a request, and the name of the limit that it waits for."""
        for line in lines:
            self._asking.pop(line.name, None)
            self._until_seconds.pop(line.name, None)
        if wait_seconds > 0:
            now = self._now()
            if len(self._until_seconds) > MAX_KNOWN:
                known = self._until_seconds.items()
                self._until_seconds = {name: until for name, until in known if until > now}
            self._until_seconds[bound] = now + wait_seconds


class SharedGate:
    """A `RateGate` by which the requests of narrow limits ask for their turns one by one.

    Args:
        gate: the limits as this process counts them.
    """

    def __init__(
        self, gate: RateGate, limits: RateLimits, endpoint: Endpoint, pauses: RatePauses
    ) -> None:
        self._gate = gate
        self._limits = limits
        self._endpoint = name_of(endpoint)
        self._pauses = pauses

    def need(self, shipment: Shipment) -> RateNeed:
        """Return what a shipment needs; see `RateGate`."""
        return self._gate.need(shipment)

    def ready_in(self, need: RateNeed, now_seconds: float) -> float:
        """Return the seconds after which to ask again; see `RateGate`."""
        own_seconds = self._gate.ready_in(need, now_seconds)
        pauses = (self._pauses.left_seconds(limit.name) for limit in self._narrow(need))
        return max(own_seconds, *pauses, 0.0)

    def bound_by(self, need: RateNeed, now_seconds: float) -> Hashable | None:
        """Return whose limit it waits for; see `RateGate`."""
        for limit in self._narrow(need):
            if self._pauses.left_seconds(limit.name) > 0:
                return limit.alone
        return self._gate.bound_by(need, now_seconds)

    def take(self, need: RateNeed, now_seconds: float) -> None:
        """Take what it needs; see `RateGate`."""
        self._gate.take(need, now_seconds)
        self._pauses.begin(need, (limit.name for limit in self._narrow(need)))

    def settle(
        self, need: RateNeed, used: ReportedUsage | None, now_seconds: float, *, was_sent: bool
    ) -> None:
        """Correct what was taken to what was used; see `RateGate`."""
        self._pauses.leave(need, (limit.name for limit in self._narrow(need)))
        self._gate.settle(need, used, now_seconds, was_sent=was_sent)

    def observe(
        self, headers: Mapping[str, str] | None, error: RateLimited | None, now_seconds: float
    ) -> None:
        """Learn from the headers of a response, or from a refusal; see `RateGate`."""
        self._gate.observe(headers, error, now_seconds)

    def limits_per_minute(self) -> Mapping[str, float]:
        """Return the limits of the endpoint as this process has them; see `RateGate`."""
        return self._gate.limits_per_minute()

    def statistics(self) -> Mapping[str, int | float]:
        """Return what the gate has counted."""
        return self._gate.statistics()

    def _narrow(self, need: RateNeed) -> Iterator[NarrowLimit]:
        for part in need.parts:
            yield from narrow_limits(
                self._limits, self._endpoint, part.purpose, part.user, part.tenant
            )

"""The rate limits of all endpoints of one budgeter."""

from collections.abc import Callable

from callwise.budget.clock import Clock
from callwise.budget.rate.gate import EndpointGate, RateGate
from callwise.budget.rate.meters import SharedMeters
from callwise.calls.client import Endpoint, ReportsHeaders
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits

__all__ = ["RateGates"]


class RateGates:
    """Makes the gate of each endpoint; limits of keys, users and tenants are common to them.

    Args:
        load_of: returns the knobs of an endpoint.
        notify: called with each limit that is learned, as a sentence; None calls nothing.
        share: returns the gate of limits that processes share, over that of this process; None
            where they share none.
    """

    def __init__(
        self,
        load_of: Callable[[Endpoint], LoadKnobs],
        clock: Clock,
        notify: Callable[[str], None] | None = None,
        share: Callable[[RateGate, RateLimits, Endpoint], RateGate] | None = None,
    ) -> None:
        self._load_of = load_of
        self._notify = notify
        self._clock = clock
        self._share = share
        self._shared = SharedMeters()

    def gate(self, endpoint: Endpoint) -> RateGate | None:
        """Return a gate with an endpoint's limits, or None where it has none.

        It learns from the headers of every response that the endpoint's client gets for its
        model, where the client reports them.
        """
        limits = self._load_of(endpoint).rate
        if limits is None:
            return None
        gate = EndpointGate(
            limits,
            endpoint=endpoint.name,
            key=endpoint.key_variable or endpoint.name,
            shared=self._shared,
            notify=self._notify,
        )
        client, now = endpoint.client, self._clock.now
        if limits.learn and isinstance(client, ReportsHeaders):
            client.report_headers(
                endpoint.model, lambda headers: gate.observe(headers, None, now())
            )
        return gate if self._share is None else self._share(gate, limits, endpoint)

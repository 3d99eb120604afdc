"""The rate limits of all endpoints of one budgeter."""

from pydantic import ValidationError

from callwise.budget.clock import Clock
from callwise.budget.rate.gate import EndpointGate
from callwise.budget.rate.meters import SharedMeters
from callwise.calls.client import Endpoint, ReportsHeaders
from callwise.calls.errors import ConfigError
from callwise.calls.load.load_knobs import LoadKnobs

__all__ = ["RateGates"]


class RateGates:
    """Makes the gate of each endpoint; limits of keys, users and tenants are common to them.

    Args:
        load: the knobs that those of an endpoint are laid over.
    """

    def __init__(self, load: LoadKnobs, clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._shared = SharedMeters()

    def gate(self, endpoint: Endpoint) -> EndpointGate | None:
        """Return a gate with an endpoint's limits, or None where it has none.

        It learns from the headers of every response that the endpoint's client gets for its
        model, where the client reports them.

        Raises:
            ConfigError: when the limits of the run and of the endpoint contradict each other.
        """
        try:
            limits = self._load.laid_under(endpoint.load).rate
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(
                f"load of the endpoint {endpoint.name}, laid over that of the run: {problem}"
            ) from None
        if limits is None:
            return None
        gate = EndpointGate(
            limits,
            endpoint=endpoint.name,
            key=endpoint.key_variable or endpoint.name,
            shared=self._shared,
        )
        client, now = endpoint.client, self._clock.now
        if limits.learn and isinstance(client, ReportsHeaders):
            client.report_headers(
                endpoint.model, lambda headers: gate.observe(headers, None, now())
            )
        return gate

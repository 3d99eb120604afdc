"""Everything that one process shares with others: one link, and what is counted over it."""

from collections.abc import Mapping

from callwise.budget.clock import Clock
from callwise.budget.fleet.redis_link import RedisLink, link_from_env
from callwise.budget.fleet.shared_breakers import SharedBreakers
from callwise.budget.fleet.shared_budget import SharedBudget
from callwise.budget.fleet.shared_gate import RatePauses, SharedGate
from callwise.budget.fleet.shared_rates import SharedRates
from callwise.budget.rate import RateGate
from callwise.budget.scope_limits import require_prices
from callwise.calls.client import Endpoint
from callwise.calls.load.fleet_knobs import FleetKnobs
from callwise.calls.load.rate_limits import RateLimits

__all__ = ["Fleet"]


class Fleet:
    """One process among those of one name. Nothing is connected before it is needed.

    Args:
        link: the link to the server; None makes one from the environment.
    """

    def __init__(self, knobs: FleetKnobs, clock: Clock, *, link: RedisLink | None = None) -> None:
        self._knobs = knobs
        self._link = link
        self.budget = SharedBudget(knobs, self.link, clock)
        self.rates = SharedRates(knobs.name, self.link)
        self.pauses = RatePauses(clock)
        self.breakers = SharedBreakers(knobs.name, self.link)
        self.budget.on_version = self.breakers.see

    def link(self) -> RedisLink:
        """Return the one link of this process.

        Raises:
            ConfigError: when the environment names no server, or redis is not installed.
        """
        if self._link is None:
            self._link = link_from_env(
                self._knobs.url_env, timeout_seconds=self._knobs.timeout_seconds
            )
        return self._link

    def gate(self, gate: RateGate, limits: RateLimits, endpoint: Endpoint) -> RateGate:
        """Return the rate limits of an endpoint as its queue asks them, over its own of them."""
        return SharedGate(gate, limits, endpoint, self.pauses) if limits.has_narrow else gate

    def require_prices(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Do nothing when every limit in USD can bind; see `scope_limits.require_prices`."""
        require_prices(self._knobs.limits, "load.fleet.limits", endpoints)

    async def aclose(self) -> None:
        """Report what is left, give the lease back and close the link. Safe to call twice."""
        await self.budget.aclose()
        if self._link is not None:
            await self._link.aclose()

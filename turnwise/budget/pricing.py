"""A limit in USD needs prices: one that cannot bind is a mistake, said before it costs."""

from collections.abc import Mapping

from turnwise.budget.limits import Limits
from turnwise.calls.call import Role
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import ConfigError

__all__ = ["require_prices"]


def require_prices(limits: Limits, scope: str, endpoints: Mapping[Role, Endpoint]) -> None:
    """Do nothing when every limit in USD can bind.

    Args:
        limits: of a scope.
        scope: its path, for the error.
        endpoints: who serves each role.

    Raises:
        ConfigError: names the limit, and the endpoints that it covers and that have no
            prices. A model that is free has prices of 0.
    """
    covered: list[tuple[str, list[Endpoint]]] = []
    if limits.max_usd is not None:
        covered.append(("max_usd", list(endpoints.values())))
    for role, role_limits in limits.roles.items():
        if role_limits.max_usd is not None and role in endpoints:
            covered.append((f"roles.{role}.max_usd", [endpoints[role]]))
    for limit, served in covered:
        unpriced = sorted({endpoint.name for endpoint in served if endpoint.prices is None})
        if unpriced:
            raise ConfigError(
                f"{scope}: {limit} cannot bind, because endpoint {', '.join(unpriced)} has no "
                "prices; give it a price list (0 where it is free) or limit max_tokens instead"
            )

"""Limits of several processes by scope, in whole numbers: all calls, a role, a user, a tenant."""

from urllib.parse import quote, unquote

from callwise.budget.usage import PICODOLLARS, to_picodollars
from callwise.calls.call import Role
from callwise.calls.errors import CallRefused, ConfigError
from callwise.calls.load.fleet_knobs import FleetKnobs
from callwise.calls.load.role_limits import RoleLimits

__all__ = ["FLEET_PREFIX", "RUN", "SharedLimits"]

FLEET_PREFIX = "fleet:"
"""Beginning of the scope that a refusal by a shared limit names."""

RUN = "run"
"""Scope of everything that the processes ask."""

_NAMES = ("max_calls", "max_requests", "max_tokens", "max_usd")
_MOST = 10**18
"""Limits are below this, so that sums of a few fit the server's 64-bit numbers."""


class SharedLimits:
    """The limits of a name; None in place of one that is not set.

    Args:
        knobs: of the name.

    Raises:
        ConfigError: when one is too large for the server's numbers.

    Attributes:
        written: all of them as one text, to compare those of two processes.
    """

    def __init__(self, knobs: FleetKnobs) -> None:
        self._name = knobs.name
        limits = knobs.limits
        scopes: dict[str, RoleLimits | None] = {
            RUN: limits,
            "user": limits.each_user,
            "tenant": limits.each_tenant,
            **{f"role:{role.value}": each for role, each in limits.roles.items()},
        }
        self._limits = {
            scope: _whole(scope, each)
            for scope, each in scopes.items()
            if each is not None and (scope == RUN or each.is_counting)
        }
        self.written = repr(sorted(self._limits.items()))

    def scopes_of(
        self, role: Role, user: str | None = None, tenant: str | None = None
    ) -> tuple[str, ...]:
        """Return the scopes that a call counts in, of those that are limited."""
        scopes = [RUN]
        if f"role:{role.value}" in self._limits:
            scopes.append(f"role:{role.value}")
        for kind, name in (("user", user), ("tenant", tenant)):
            if name and kind in self._limits:
                # A scope is one word of the server's commands.
                scopes.append(f"{kind}:{quote(name, safe='')}")
        return tuple(scopes)

    def of(self, scope: str) -> tuple[int | None, ...]:
        """Return the limits of a scope, by the order of `Amounts`."""
        return self._limits.get(scope) or self._limits[scope.partition(":")[0]]

    def refusal(
        self, scope: str, index: int, used: int, asked: int, limit: int | None = None
    ) -> CallRefused:
        """Return a refusal by a scope's limit of one quantity, or by a part of it."""
        unit = PICODOLLARS if index == 3 else 1
        name = _NAMES[index]
        if scope != RUN:
            name += f"[{unquote(scope.removeprefix('role:'))}]"
        if limit is None:
            limit = self.of(scope)[index] or 0
        return CallRefused(
            f"{FLEET_PREFIX}{self._name}", name, limit / unit, used / unit, asked / unit
        )


def _whole(scope: str, limits: RoleLimits) -> tuple[int | None, ...]:
    picodollars = None if limits.max_usd is None else to_picodollars(limits.max_usd)
    whole = (limits.max_calls, limits.max_requests, limits.max_tokens, picodollars)
    for name, limit in zip(_NAMES, whole, strict=True):
        if limit is not None and limit >= _MOST:
            most = "1,000,000 USD" if name == "max_usd" else f"{_MOST:.0e}"
            raise ConfigError(
                f"load.fleet.limits: {name} of {scope} is below {most}. Leave it out for no limit"
            )
    return whole

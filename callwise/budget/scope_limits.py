"""Limits of one scope and those around it, live: quotas, time, leases, and what remains of them."""
# ruff: noqa: SLF001 - an object reads private parts of others of its class

import math
from collections.abc import Iterable, Mapping

from callwise.budget.clock import Clock
from callwise.budget.counters import LedgerError
from callwise.budget.critical_path import CriticalPath, CriticalPathPoint
from callwise.budget.limits import Amounts, Lease, LeaseStatistics, Limits, Quota, Reservation
from callwise.budget.usage import PICODOLLARS
from callwise.calls.call import Role
from callwise.calls.client import Endpoint, Remaining
from callwise.calls.errors import CallRefused, ConfigError
from callwise.calls.load.fleet_knobs import FleetLimits

__all__ = ["ScopeLimits", "require_prices"]

_ROLES: frozenset[str] = frozenset(Role)


class ScopeLimits:
    """The limits that bind in one scope, live.

    Args:
        scope: path of the scope, for errors.
        critical_path: its path, which is its time under a virtual clock and in a replay.
        around: the limits of the scope around it; None for the root.
    """

    def __init__(
        self,
        scope: str,
        limits: Limits,
        clock: Clock,
        critical_path: CriticalPath,
        around: "ScopeLimits | None",
    ) -> None:
        self._scope = scope
        self._clock = clock
        self._critical_path = critical_path
        self._opened_at_seconds = clock.now()
        self._max_seconds = limits.max_seconds
        self._quota = Quota(scope, limits) if limits.is_counting else None
        self._role_quotas = {
            role: Quota(scope, role_limits, role)
            for role, role_limits in limits.roles.items()
            if role_limits.is_counting
        }
        self._chain: tuple[ScopeLimits, ...] = (self, *around._chain) if around else (self,)
        self._timed = tuple(each for each in self._chain if each._max_seconds is not None)
        self._quotas: dict[Role, tuple[Quota, ...]] = {}
        self._leases: dict[str, Lease] = {}
        self._held_seconds: dict[str, float] = {}

    def used(self) -> list[str]:
        """Return its own limits with what is used or held back of each: `2 of max_calls=5`."""
        quotas = ([self._quota] if self._quota else []) + [*self._role_quotas.values()]
        used = [text for quota in quotas for text in quota.used_of_limits()]
        return used + ([] if self._max_seconds is None else [f"max_seconds={self._max_seconds:g}"])

    @property
    def is_timed(self) -> bool:
        """Whether a deadline binds here."""
        return bool(self._timed)

    def quotas(self, role: Role) -> tuple[Quota, ...]:
        """Return the quotas that bind a call of a role, innermost first."""
        quotas = self._quotas.get(role)
        if quotas is None:
            found = [q for each in self._chain for q in (each._quota, each._role_quotas.get(role))]
            quotas = self._quotas[role] = tuple(quota for quota in found if quota is not None)
        return quotas

    def common_quotas(self) -> list[Quota]:
        """Return the quotas that bind every role, innermost first."""
        return [each._quota for each in self._chain if each._quota is not None]

    def role_quotas(self) -> list[Quota]:
        """Return the quotas that bind one role only, innermost first."""
        return [quota for each in self._chain for quota in each._role_quotas.values()]

    def charged(self) -> tuple[str, ...]:
        """Return the fields of the usage that limits in tokens or USD read here."""
        quotas = (*self.common_quotas(), *self.role_quotas())
        return tuple(
            name
            for index, name in ((2, "charged_tokens"), (3, "charged_usd"))
            if any(quota.limit_value(quota.limit_name(index)) is not None for quota in quotas)
        )

    def require_prices(self, role: Role, endpoint: Endpoint) -> None:
        """Do nothing when each limit in USD on a role's calls can bind at an endpoint.

        It need not be the role's own: a call may name another one.

        Raises:
            ConfigError: names the limit, and what has no prices.
        """
        for quota in self.quotas(role):
            if (limit := quota.usd_limit_name) is not None:
                _require_each_priced(endpoint.candidates, quota.scope, limit)

    # Leases.

    def hold(self, name: str, wanted: Amounts, role: Role | None, *, seconds: float = 0.0) -> int:
        """Hold back `wanted` here and above, and return for how many calls there was quota.

        Args:
            name: of the lease.
            wanted: amounts for all its calls together.
            role: hold back in this role's own limits too.
            seconds: the end of the time that is left for the first call that draws on it.

        Raises:
            LedgerError: when there is a lease of this name.
        """
        if name in self._leases:
            raise LedgerError(f"{self._scope} has a lease {name!r} already")
        quotas = self.common_quotas() if role is None else self.quotas(role)
        lease = self._leases[name] = Lease(name, quotas, wanted)
        if seconds > 0:
            self._held_seconds[name] = seconds
        return lease.calls_left

    def renew(
        self, name: str, one: Amounts, calls: int, role: Role, *, seconds: float = 0.0
    ) -> None:
        """Hold back for `calls` calls, less those that have drawn on this lease already.

        Args:
            name: of the lease.
            one: amounts for each call.
            calls: most calls that may draw on it in all.
            role: theirs.
            seconds: the end of the time that is left until the first of them is asked.
        """
        lease = self._leases.get(name)
        left = calls if lease is None else lease.calls_left
        if left:
            self.release(name)
            wanted = Amounts(*(amount * left for amount in one))
            self.hold(name, wanted, role, seconds=seconds if left == calls else 0.0)

    def release(self, name: str) -> None:
        """Release a lease."""
        self._held_seconds.pop(name, None)
        lease = self._leases.pop(name, None)
        if lease is not None:
            lease.release()

    def release_all(self) -> None:
        """Release all leases."""
        for name in list(self._leases):
            self.release(name)

    def draw(self, name: str, reservation: Reservation) -> None:
        """Draw a call's share from the nearest lease of that name that has any left."""
        for each in self._chain:
            each._held_seconds.pop(name, None)
            lease = each._leases.get(name)
            if lease is not None and lease.calls_left:
                reservation.draw(lease)
                return

    def leases(self) -> tuple[LeaseStatistics, ...]:
        """Return what this scope's own leases still hold back."""
        return tuple(lease.statistics() for lease in self._leases.values())

    # Time.

    def refusal_by_time(
        self, position: CriticalPathPoint, *, by_path: bool, lease: str | None = None
    ) -> CallRefused | None:
        """Return why there is no time left for a call, or None when there is.

        Args:
            position: the caller's point on its path.
            by_path: read the path, not the clock: what counts is recorded time.
            lease: the lease that it may draw on; time held back by others is not its.
        """
        if not self._timed:
            return None
        held = self._seconds_held_from(lease)
        for each in self._timed:
            left = each._own_seconds_left(position, by_path=by_path) - held
            if left <= 0:
                limit = each._max_seconds or 0.0
                return CallRefused(each._scope, "max_seconds", limit, limit - left, 0)
        return None

    def seconds_left(self, position: CriticalPathPoint, *, by_path: bool = False) -> float | None:
        """Return the time until the nearest deadline, at least 0; None without one.

        What is held back for a lease that no call has drawn on is taken off.

        Args:
            position: the caller's point on its path.
            by_path: read the path, not the clock.
        """
        if not self._timed:
            return None
        left = min(each._own_seconds_left(position, by_path=by_path) for each in self._timed)
        return max(left - self._seconds_held_from(None), 0.0)

    def _seconds_held_from(self, lease: str | None) -> float:
        """Return the time that leases hold back from a call which may draw on one."""
        return math.fsum(
            seconds
            for each in self._chain
            for name, seconds in each._held_seconds.items()
            if name != lease
        )

    def _own_seconds_left(self, position: CriticalPathPoint, *, by_path: bool) -> float:
        if by_path or self._clock.is_virtual:
            elapsed = position.seconds - self._critical_path.start.seconds
        else:
            elapsed = self._clock.now() - self._opened_at_seconds
        return (self._max_seconds or 0.0) - elapsed

    # Both.

    def limit_value(self, scope: str, limit: str) -> float | None:
        """Return a limit that binds here, by its scope and name; None where none does."""
        if limit == "max_seconds":
            values = [each._max_seconds for each in self._timed if each._scope == scope]
        else:
            quotas = (*self.common_quotas(), *self.role_quotas())
            values = [quota.limit_value(limit) for quota in quotas if quota.scope == scope]
        return next((value for value in values if value is not None), None)

    def remaining(self, position: CriticalPathPoint, *, by_path: bool = False) -> Remaining:
        """Return the tightest of all limits that bind here, leases taken off.

        Reservations of calls under way are taken off too, so more may be left once those
        have settled. A pipeline that is to be replayed steers by calls: they are the same in
        every replay, at every moment; time is not, nor what is reserved for calls under way.

        Args:
            position: the scope's point on its path.
            by_path: read the time that is left from the path, not the clock.
        """
        left = [quota.left for quota in self.common_quotas()]
        calls, requests, tokens, picodollars = map(min, zip(*left, (math.inf,) * 4, strict=True))
        by_role: dict[Role, float] = {}
        for quota in self.role_quotas():
            if quota.role is not None:
                known = by_role.get(quota.role, math.inf)
                by_role[quota.role] = min(known, *quota.left[:2])
        seconds_left = self.seconds_left(position, by_path=by_path)
        if seconds_left == 0:
            calls = 0
        return Remaining(
            calls_left=_whole(calls),
            requests_left=_whole(requests),
            tokens_left=_whole(tokens),
            usd_left=None if picodollars == math.inf else picodollars / PICODOLLARS,
            seconds_left=seconds_left,
            calls_left_by_role=tuple(
                (role, int(left)) for role, left in sorted(by_role.items()) if left != math.inf
            ),
        )


def _whole(left: float) -> int | None:
    return None if left == math.inf else int(left)


def require_prices(
    limits: Limits | FleetLimits, scope: str, endpoints: Mapping[str, Endpoint]
) -> None:
    """Do nothing when every limit in USD can bind.

    Args:
        endpoints: by name. Those that are named for no role may serve calls of every role.

    Raises:
        ConfigError: names the limit, and the endpoints that it covers and that have no
            prices. A model that is free has prices of 0.
    """
    covered: list[tuple[str, list[Endpoint]]] = []
    if limits.max_usd is not None:
        everyone = [each for asked in endpoints.values() for each in asked.candidates]
        covered.append(("max_usd", everyone))
    for role, role_limits in limits.roles.items():
        if role_limits.max_usd is not None:
            served = {name: each for name, each in endpoints.items() if name not in _ROLES - {role}}
            candidates = [each for asked in served.values() for each in asked.candidates]
            covered.append((f"roles.{role}.max_usd", candidates))
    for limit, candidates in covered:
        _require_each_priced(candidates, scope, limit)


def _require_each_priced(endpoints: Iterable[Endpoint], scope: str, limit: str) -> None:
    unpriced = sorted({endpoint.name for endpoint in endpoints if endpoint.prices is None})
    if unpriced:
        raise ConfigError(
            f"{scope}: {limit} cannot bind, because endpoint {', '.join(unpriced)} has no "
            "prices; give it a price list (`prices=Prices(1, 2)`: USD per million input and output "
            "tokens; 0 where it is free) or limit max_tokens instead"
        )

"""Limits of a scope: what they allow, what they leave (quota), what a call took, and leases.

`Limits` is what a configuration has (`budget.turn.max_calls: 5`, or
`budget.turn.roles.judge.max_calls: 3`); None means unlimited, 0 means nothing at all. A `Quota`
is the live counterpart for one scope, all roles or one. A `Reservation` is what one call has
taken from the quotas above it. A `Lease` takes calls (and a request for each, tokens, USD) off
what everyone in a scope may use; only calls that name the lease may draw on it. So a scope that
runs out of budget can still end in a reply.

Taking is all or nothing: every quota from the call's scope up to the root is asked first, and
only if all agree is anything taken. There is no await in between, so on one event loop no other
call can slip in. Amounts are whole numbers, so that taking and giving back cancel exactly.

Invariant: the reserved part of a quota is the sum of the leases not yet drawn or released,
and of the shares that drawn calls have not yet used.
"""
# ruff: noqa: SLF001 - a reservation changes the counts of its quotas directly, for speed

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import add, attrgetter, sub
from types import MappingProxyType
from typing import NamedTuple

from pydantic import Field, NonNegativeFloat, ValidationError

from callwise.budget.usage import PICODOLLARS, to_picodollars
from callwise.calls.call import Role
from callwise.calls.errors import CallRefused, ConfigError
from callwise.calls.load.role_limits import RoleLimits

__all__ = [
    "NOTHING",
    "Amounts",
    "Lease",
    "LeaseStatistics",
    "Limits",
    "Quota",
    "Reservation",
    "as_limits",
]


class Limits(RoleLimits):
    """Limits on everything that is asked in a scope and below it."""

    max_seconds: NonNegativeFloat | None = None
    """Time since the scope was opened; later calls are refused, running ones cut."""
    roles: dict[Role, RoleLimits] = Field(default_factory=dict)
    """Further limits by role, on top of those above."""


def as_limits(given: object) -> Limits:
    """Return limits that are given as such, as a mapping, or as None for none.

    Raises:
        ConfigError: for anything else, and for a mapping with other names or values.
    """
    if isinstance(given, Limits):
        return given
    if given is None:
        return Limits()
    names = ", ".join(Limits.model_fields)
    if not isinstance(given, Mapping):
        raise ConfigError(f"limits are `Limits(max_calls=...)`, got {given!r:.40}; it has {names}")
    try:
        return Limits.model_validate(given)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"limits: {place}: {first['msg']}; they have {names}") from invalid


class Amounts(NamedTuple):
    """Amounts of the limited quantities, in whole numbers."""

    calls: int = 0
    """Asked calls that were not refused."""
    requests: int = 0
    tokens: int = 0
    """Input and output tokens together."""
    picodollars: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":  # type: ignore[override] # no concatenation
        """Return the sum."""
        return Amounts(*map(add, self, other))

    def __sub__(self, other: "Amounts") -> "Amounts":
        """Return the difference; what is given back is negative."""
        return Amounts(*map(sub, self, other))


NOTHING = Amounts()

_LIMITS_SPENDING = attrgetter("limits_spending")
_NO_SHARES: Mapping["Quota", Amounts] = MappingProxyType({})
_NAMES = ("max_calls", "max_requests", "max_tokens", "max_usd")
_SPENDING = 2
"""Index from which amounts are reserved by an estimate: tokens and USD."""


def _in_unit(index: int, amount: float) -> float:
    return amount / PICODOLLARS if index == 3 else amount


class Quota:
    """The live counterpart of one scope's limits, for all roles or for one.

    Attributes:
        scope: path of the scope, for errors.
        limits_spending: whether tokens or USD are limited, so that calls have to be estimated.
    """

    __slots__ = ("_held", "_max", "_over", "_unheld", "_used", "limits_spending", "role", "scope")

    def __init__(self, scope: str, limits: RoleLimits, role: Role | None = None) -> None:
        self.scope = scope
        self.role = role
        picodollars = None if limits.max_usd is None else to_picodollars(limits.max_usd)
        self._max: tuple[float, ...] = tuple(
            math.inf if limit is None else limit
            for limit in (limits.max_calls, limits.max_requests, limits.max_tokens, picodollars)
        )
        self._used = [0, 0, 0, 0]
        self._held = [0, 0, 0, 0]
        self._over = [0, 0, 0, 0]
        self._unheld = list(self._max)
        """Highest allowed `_used`: the limit without the leases' reservations."""
        self.limits_spending = self._max[2] != math.inf or self._max[3] != math.inf

    @property
    def used(self) -> Amounts:
        """Amounts taken and not given back; reservations included, leases not."""
        return Amounts(*self._used)

    @property
    def held(self) -> Amounts:
        """Amounts that leases hold back."""
        return Amounts(*self._held)

    @property
    def left(self) -> tuple[float, ...]:
        """Amounts that would still fit, by the order of `Amounts`; infinite without a limit."""
        return tuple(
            max(most - used, 0) for most, used in zip(self._unheld, self._used, strict=True)
        )

    def used_of_limits(self) -> list[str]:
        """Return what is used or held back of each limit, as `2 of max_calls=5`."""
        amounts = zip(self._used, self._held, self._max, strict=True)
        return [
            f"{_in_unit(index, used + held):,.12g} of {self.limit_name(index)}="
            f"{_in_unit(index, most):,.12g}"
            for index, (used, held, most) in enumerate(amounts)
            if most != math.inf
        ]

    def least_share_left(self) -> tuple[float, str]:
        """Return the smaller share that is left of its calls and USD, and that limit's name.

        It is 1 where neither is limited.
        """
        shares = [
            (max(self._unheld[index] - self._used[index], 0) / most, self.limit_name(index))
            for index in (0, 3)
            if 0 < (most := self._max[index]) != math.inf
        ]
        return min(shares, default=(1.0, ""))

    def limit_name(self, index: int) -> str:
        """Return the name of a limit, e.g. `max_calls` or `max_calls[judge]`."""
        return _NAMES[index] if self.role is None else f"{_NAMES[index]}[{self.role}]"

    @property
    def usd_limit_name(self) -> str | None:
        """Name of its limit in USD; None without one."""
        return None if self._max[3] == math.inf else self.limit_name(3)

    def limit_value(self, name: str) -> float | None:
        """Return the value of a limit by its name, or None where there is none."""
        for index, limit in enumerate(self._max):
            if limit != math.inf and self.limit_name(index) == name:
                return _in_unit(index, limit)
        return None

    def refusal(
        self, asked: Amounts, share: Amounts, *, is_recorded: bool = False
    ) -> CallRefused | None:
        """Return why `asked` does not fit, or None when it does.

        When calls were recorded, everything admitted fitted next to what was reserved for the
        others, in the order of that run. So in any order the sum of what they took, without
        what passed their reservations, is within the limit: a recorded call is checked against
        that sum, and a replay admits all that was admitted, at any concurrency.

        Args:
            share: the part of what is held back that may be drawn on.
            is_recorded: whether the tokens and USD are those of a recorded call.
        """
        for index, amount in enumerate(asked):
            if is_recorded and index >= _SPENDING:
                taken = self._used[index] - self._over[index]
            else:
                taken = self._used[index] + self._held[index] - share[index]
            if amount and taken + amount > self._max[index]:
                return CallRefused(
                    self.scope,
                    self.limit_name(index),
                    _in_unit(index, self._max[index]),
                    _in_unit(index, taken),
                    _in_unit(index, amount),
                )
        return None

    def pass_reservation(self, amounts: Amounts) -> None:
        """Note that of what is used this much went beyond what had been reserved."""
        self._over = list(map(add, self._over, amounts))

    def hold(self, wanted: Amounts) -> Amounts:
        """Hold back as much of `wanted` as there is, and return how much that was."""
        granted = Amounts(
            *(int(min(amount, left)) for amount, left in zip(wanted, self.left, strict=True))
        )
        self.release(NOTHING - granted)
        return granted

    def release(self, amounts: Amounts) -> None:
        """Release amounts that were held back."""
        self._held = list(map(sub, self._held, amounts))
        self._unheld = list(map(sub, self._max, self._held))


class LeaseStatistics(NamedTuple):
    """Amounts that a lease still reserves: for how many calls, and for them together."""

    name: str
    calls: int
    tokens: int
    usd: float


class Lease:
    """Amounts that one name reserves in some quotas; what a quota lacks is not reserved there."""

    __slots__ = ("_left", "name")

    def __init__(self, name: str, quotas: Iterable[Quota], wanted: Amounts) -> None:
        self.name = name
        self._left = {quota: quota.hold(wanted) for quota in quotas}

    @property
    def calls_left(self) -> int:
        """Calls that may still draw on it."""
        return max((left.calls for left in self._left.values()), default=0)

    def statistics(self) -> LeaseStatistics:
        """Return what it still reserves; the most of any of its quotas."""
        _, _, tokens, picodollars = map(max, zip(NOTHING, *self._left.values(), strict=True))
        return LeaseStatistics(self.name, self.calls_left, tokens, picodollars / PICODOLLARS)

    def draw(self) -> dict[Quota, Amounts]:
        """Return the share of one of the calls left; they share tokens and USD equally."""
        calls = self.calls_left
        shares = {
            quota: Amounts(
                min(1, left.calls),
                min(1, left.requests),
                -(-left.tokens // calls),
                -(-left.picodollars // calls),
            )
            for quota, left in self._left.items()
        }
        for quota, share in shares.items():
            self._left[quota] -= share
        return shares

    def take_back(self, shares: Mapping[Quota, Amounts]) -> None:
        """Hold back again what a refused call had drawn."""
        for quota, share in shares.items():
            if quota in self._left:
                self._left[quota] += share
            else:
                quota.release(share)

    def release(self) -> None:
        """Release the lease. Safe to call twice."""
        for quota, left in self._left.items():
            quota.release(left)
        self._left = {}


class Reservation:
    """Amounts that one call has taken from the quotas that bind it, and its share of a lease.

    Args:
        quotas: the quotas that bind it, innermost first; empty without limits.
    """

    __slots__ = ("_counts", "_lease", "_over", "_quotas", "_shares", "_taken")

    def __init__(self, quotas: Sequence[Quota]) -> None:
        self._quotas = quotas
        self._lease: Lease | None = None
        self._shares: Mapping[Quota, Amounts] = _NO_SHARES
        self._taken = [0, 0, 0, 0]
        self._counts = [quota._used for quota in quotas]
        self._counts.append(self._taken)
        self._over = NOTHING

    @property
    def limits_spending(self) -> bool:
        """Whether tokens or USD are limited, so that an attempt has to be estimated."""
        return any(map(_LIMITS_SPENDING, self._quotas))

    def draw(self, lease: Lease) -> None:
        """Draw this call's share from a lease: it may use what is held back for it."""
        self._lease, self._shares = lease, lease.draw()

    def take(self, asked: Amounts, *, is_recorded: bool = False) -> CallRefused | None:
        """Take `asked` from every quota, or nothing: then return why.

        Whether tokens and USD are those of a recorded call matters in `Quota.refusal`.
        """
        calls, requests, tokens, picodollars = asked
        is_spent = tokens or picodollars
        for quota in self._quotas:
            used, unheld = quota._used, quota._unheld
            if (
                used[0] + calls > unheld[0]
                or used[1] + requests > unheld[1]
                or (is_spent and used[2] + tokens > unheld[2])
                or (is_spent and used[3] + picodollars > unheld[3])
            ):
                share = self._shares.get(quota, NOTHING)
                refusal = quota.refusal(asked, share, is_recorded=is_recorded)
                if refusal is not None:
                    return refusal
        if self._shares:
            self._release_shares(asked)
        self.charge(asked)
        return None

    def charge(self, amounts: tuple[int, ...]) -> None:
        """Take amounts whether they fit or not: they are spent already. Negative is given back."""
        calls, requests, tokens, picodollars = amounts
        is_spent = tokens or picodollars
        for counts in self._counts:
            counts[0] += calls
            counts[1] += requests
            if is_spent:
                counts[2] += tokens
                counts[3] += picodollars

    def pass_reservation(self, over: Amounts) -> None:
        """Note that of what is taken this much went beyond what had been reserved."""
        for quota in self._quotas:
            quota.pass_reservation(over)
        self._over += over

    def settle(self, reserved: Amounts, actual: Amounts) -> None:
        """Replace a reservation by what was really used."""
        if reserved != actual:
            self.charge(tuple(map(sub, actual, reserved)))

    def refuse(self) -> None:
        """Release the whole reservation; the leased part returns to the lease."""
        self.charge(tuple(-taken for taken in self._taken))
        if self._lease is not None:
            self._lease.take_back(self._shares)
        self._shares = _NO_SHARES

    def close(self) -> None:
        """Stop holding back what the lease kept for it. What is taken stays taken."""
        for quota, share in self._shares.items():
            quota.release(share)
        self._shares = _NO_SHARES

    def move_to(self, other: "Reservation") -> CallRefused | None:
        """Move everything but the call itself to the call that pays from now on.

        Quotas that both have keep it. Nothing changes when it does not fit there.
        """
        moved = Amounts(0, *self._taken[1:])
        self.charge(NOTHING - moved)
        refusal = other.take(moved)
        if refusal is not None:
            self.charge(moved)
            return refusal
        if self._over != NOTHING:
            other.pass_reservation(self._over)
            self.pass_reservation(NOTHING - self._over)
        return None

    def _release_shares(self, asked: Amounts) -> None:
        """Stop holding back what `asked` now uses, as far as the share covers it."""
        left = {}
        for quota, share in self._shares.items():
            used = Amounts(*map(min, share, asked))
            quota.release(used)
            left[quota] = share - used
        self._shares = left

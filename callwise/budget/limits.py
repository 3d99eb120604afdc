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

Invariant: what a quota holds back is the sum of the leases that were not yet drawn or released,
and of the shares that drawn calls have not yet used.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add, sub
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from callwise.budget.usage import PICODOLLARS, to_picodollars
from callwise.calls.call import Role
from callwise.calls.errors import CallRefused

__all__ = [
    "NOTHING",
    "NO_SHARE",
    "Amounts",
    "Lease",
    "LeaseShare",
    "LeaseStatistics",
    "Limits",
    "Quota",
    "Reservation",
    "RoleLimits",
]


class RoleLimits(BaseModel):
    """Limits on the calls of one role."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_calls: NonNegativeInt | None = None
    """Asked calls that are not refused, whatever their outcome."""
    max_requests: NonNegativeInt | None = None
    """HTTP requests, retries included."""
    max_tokens: NonNegativeInt | None = None
    """Input and output tokens together; a reservation counts until it is settled."""
    max_usd: NonNegativeFloat | None = None
    """USD by the endpoints' price lists; needs one for every endpoint it covers."""

    @property
    def is_counting(self) -> bool:
        """Whether any of calls, requests, tokens or USD is limited."""
        limits = (self.max_calls, self.max_requests, self.max_tokens, self.max_usd)
        return any(limit is not None for limit in limits)


class Limits(RoleLimits):
    """Limits on everything that is asked in a scope and below it."""

    max_seconds: NonNegativeFloat | None = None
    """Time since the scope was opened; later calls are refused, running ones cut."""
    roles: dict[Role, RoleLimits] = Field(default_factory=dict)
    """Further limits by role, on top of those above."""


class Amounts(NamedTuple):
    """How much of each limited thing. Whole numbers.

    Args:
        calls: asked calls that were not refused.
        requests: HTTP requests.
        tokens: input and output tokens together.
        picodollars: cost in 1e-12 USD.
    """

    calls: int = 0
    requests: int = 0
    tokens: int = 0
    picodollars: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":  # type: ignore[override] # no concatenation
        """Return the sum."""
        return Amounts(*map(add, self, other))

    def __sub__(self, other: "Amounts") -> "Amounts":
        """Return the difference; what is given back is negative."""
        return Amounts(*map(sub, self, other))


NOTHING = Amounts()

_NAMES = ("max_calls", "max_requests", "max_tokens", "max_usd")
_SPENDING = 2
"""Index from which amounts are reserved by an estimate: tokens and USD."""


def _in_unit(index: int, amount: float) -> float:
    return amount / PICODOLLARS if index == 3 else amount


class Quota:
    """What one scope's limits leave, for all roles or for one.

    Args:
        scope: path of the scope, for errors.
        limits: the limits.
        role: the role that they are for, or None for all.

    Attributes:
        limits_spending: whether tokens or USD are limited, so that calls have to be estimated.
    """

    __slots__ = ("_held", "_max", "_over", "_used", "limits_spending", "role", "scope")

    def __init__(self, scope: str, limits: RoleLimits, role: Role | None = None) -> None:
        self.scope = scope
        self.role = role
        self._max: tuple[float, ...] = tuple(
            math.inf if limit is None else limit
            for limit in (
                limits.max_calls,
                limits.max_requests,
                limits.max_tokens,
                None if limits.max_usd is None else to_picodollars(limits.max_usd),
            )
        )
        self._used = [0, 0, 0, 0]
        self._held = [0, 0, 0, 0]
        self._over = [0, 0, 0, 0]
        self.limits_spending = self._max[2] != math.inf or self._max[3] != math.inf

    @property
    def used(self) -> Amounts:
        """What was taken and not given back; reservations included, leases not."""
        return Amounts(*self._used)

    @property
    def held(self) -> Amounts:
        """What leases hold back."""
        return Amounts(*self._held)

    @property
    def left(self) -> tuple[float, float, float, float]:
        """What would still fit, by the order of `Amounts`; infinite without a limit."""
        return tuple(  # type: ignore[return-value] # four in, four out
            max(limit - used - held, 0)
            for limit, used, held in zip(self._max, self._used, self._held, strict=True)
        )

    def limit_name(self, index: int) -> str:
        """Return the name of a limit, e.g. `max_calls` or `max_calls[judge]`."""
        return _NAMES[index] if self.role is None else f"{_NAMES[index]}[{self.role}]"

    def limit_value(self, name: str) -> float | None:
        """Return the value of a limit by its name, or None where there is none."""
        for index, limit in enumerate(self._max):
            if limit != math.inf and self.limit_name(index) == name:
                return _in_unit(index, limit)
        return None

    def has(self, asked: Amounts) -> bool:
        """Return whether `asked` fits in addition to all that is used and held back."""
        calls, requests, tokens, picodollars = asked
        used, held, most = self._used, self._held, self._max
        return (
            used[0] + held[0] + calls <= most[0]
            and used[1] + held[1] + requests <= most[1]
            and used[2] + held[2] + tokens <= most[2]
            and used[3] + held[3] + picodollars <= most[3]
        )

    def refusal(
        self, asked: Amounts, share: Amounts, *, is_recorded: bool = False
    ) -> CallRefused | None:
        """Return why `asked` does not fit, or None when it does.

        When calls were recorded, everything admitted fitted next to what was reserved for the
        others, in the order of that run. So in any order the sum of what they took, without
        what passed their reservations, is within the limit: a recorded call is held to that
        sum, and a replay admits all that was admitted, at any concurrency.

        Args:
            asked: what is wanted on top.
            share: the part of what is held back that may be drawn on.
            is_recorded: whether the tokens and USD are those of a recorded call.
        """
        for index in range(4):
            amount = asked[index]
            if amount:
                if is_recorded and index >= _SPENDING:
                    taken = self._used[index] - self._over[index]
                else:
                    taken = self._used[index] + self._held[index] - share[index]
                if taken + amount > self._max[index]:
                    return CallRefused(
                        self.scope,
                        self.limit_name(index),
                        _in_unit(index, self._max[index]),
                        _in_unit(index, taken),
                        _in_unit(index, amount),
                    )
        return None

    def take(self, amounts: Amounts) -> None:
        """Use amounts up, or give back negative ones, whether they fit or not."""
        calls, requests, tokens, picodollars = amounts
        used = self._used
        used[0] += calls
        used[1] += requests
        used[2] += tokens
        used[3] += picodollars

    def pass_reservation(self, amounts: Amounts) -> None:
        """Note that of what is used this much went beyond what had been reserved."""
        self._over = [over + more for over, more in zip(self._over, amounts, strict=True)]

    def hold(self, wanted: Amounts) -> Amounts:
        """Hold back as much of `wanted` as there is, and return how much that was."""
        granted = Amounts(
            *(int(min(amount, left)) for amount, left in zip(wanted, self.left, strict=True))
        )
        self._held = [held + more for held, more in zip(self._held, granted, strict=True)]
        return granted

    def release(self, amounts: Amounts) -> None:
        """Hold back no longer."""
        self._held = [held - less for held, less in zip(self._held, amounts, strict=True)]


@dataclass(frozen=True, slots=True)
class LeaseStatistics:
    """What a lease still holds back.

    Args:
        name: its name.
        calls: calls that may still draw on it.
        tokens: tokens set aside for them.
        usd: USD set aside for them.
    """

    name: str
    calls: int
    tokens: int
    usd: float


class LeaseShare:
    """One drawn call's share of a lease, until it has used it or ended.

    Args:
        lease: the lease it was drawn from, or None for no share at all.
        shares: how much is held back for it, quota by quota.
    """

    __slots__ = ("_lease", "_shares")

    def __init__(self, lease: "Lease | None", shares: dict[Quota, Amounts]) -> None:
        self._lease = lease
        self._shares = shares

    def in_quota(self, quota: Quota) -> Amounts:
        """Return what is held back for this call in a quota."""
        return self._shares.get(quota, NOTHING)

    def use(self, asked: Amounts) -> None:
        """Stop holding back what `asked` now uses, as far as the share covers it."""
        for quota, share in self._shares.items():
            used = Amounts(*map(min, share, asked))
            quota.release(used)
            self._shares[quota] = share - used

    def drop(self) -> None:
        """Stop holding back what was not used. Safe to do twice."""
        for quota, share in self._shares.items():
            quota.release(share)
        self._shares = {}

    def put_back(self) -> None:
        """Return what was not used to the lease: its call was refused."""
        if self._lease is not None:
            self._lease.take_back(self._shares)
        self._shares = {}


NO_SHARE = LeaseShare(None, {})
"""The share of a call that draws on no lease."""


class Lease:
    """What one name holds back.

    Args:
        name: its name.
        quotas: where it is held back.
        wanted: how much; what a quota does not have is not held there.
    """

    __slots__ = ("_left", "name")

    def __init__(self, name: str, quotas: Iterable[Quota], wanted: Amounts) -> None:
        self.name = name
        self._left = {quota: quota.hold(wanted) for quota in quotas}

    @property
    def calls_left(self) -> int:
        """Calls that may still draw on it."""
        return max((left.calls for left in self._left.values()), default=0)

    def statistics(self) -> LeaseStatistics:
        """Return what it still holds back; the most of any of its quotas."""
        left = list(self._left.values())
        return LeaseStatistics(
            name=self.name,
            calls=self.calls_left,
            tokens=max((amounts.tokens for amounts in left), default=0),
            usd=max((amounts.picodollars for amounts in left), default=0) / PICODOLLARS,
        )

    def draw(self) -> LeaseShare:
        """Return one call's share; tokens and USD are shared equally by the calls left."""
        calls = self.calls_left
        if calls == 0:
            return NO_SHARE
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
            self._left[quota] = self._left[quota] - share
        return LeaseShare(self, shares)

    def take_back(self, shares: dict[Quota, Amounts]) -> None:
        """Hold back again what a refused call had drawn."""
        for quota, share in shares.items():
            if quota in self._left:
                self._left[quota] = self._left[quota] + share
            else:
                quota.release(share)

    def release(self) -> None:
        """Hold back nothing any more. Safe to do twice."""
        for quota, left in self._left.items():
            quota.release(left)
        self._left = {}


class Reservation:
    """What one call has taken from the quotas that bind it.

    Args:
        quotas: the quotas that bind it, innermost first; empty without limits.

    Attributes:
        share: its share of a lease.
    """

    __slots__ = ("_over", "_quotas", "_taken", "share")

    def __init__(self, quotas: Sequence[Quota]) -> None:
        self._quotas = quotas
        self.share: LeaseShare = NO_SHARE
        self._taken = NOTHING
        self._over = NOTHING

    @property
    def taken(self) -> Amounts:
        """What it has taken and not given back."""
        return self._taken

    @property
    def limits_spending(self) -> bool:
        """Whether tokens or USD are limited, so that an attempt has to be estimated."""
        return any(quota.limits_spending for quota in self._quotas)

    def take(self, asked: Amounts, *, is_recorded: bool = False) -> CallRefused | None:
        """Take `asked` from every quota, or nothing: then return why.

        Args:
            asked: what is wanted.
            is_recorded: whether its tokens and USD are those of a recorded call; see
                `Quota.refusal`.
        """
        share = self.share
        for quota in self._quotas:
            if not quota.has(asked):
                refusal = quota.refusal(asked, share.in_quota(quota), is_recorded=is_recorded)
                if refusal is not None:
                    return refusal
        if share is not NO_SHARE:
            share.use(asked)
        self.charge(asked)
        return None

    def charge(self, amounts: Amounts) -> None:
        """Take amounts whether they fit or not: they are spent already."""
        for quota in self._quotas:
            quota.take(amounts)
        self._taken = self._taken + amounts

    def pass_reservation(self, over: Amounts) -> None:
        """Note that of what is taken this much went beyond what had been reserved."""
        for quota in self._quotas:
            quota.pass_reservation(over)
        self._over = self._over + over

    def settle(self, reserved: Amounts, actual: Amounts) -> None:
        """Replace a reservation by what was really used."""
        if reserved != actual:
            self.charge(actual - reserved)

    def refuse(self) -> None:
        """Release the whole reservation; the leased part returns to the lease."""
        self.settle(self._taken, NOTHING)
        self.share.put_back()

    def close(self) -> None:
        """Stop holding back what the lease kept for it. What is taken stays taken."""
        self.share.drop()

    def move_to(self, other: "Reservation") -> CallRefused | None:
        """Move everything but the call itself to the call that pays from now on.

        Quotas that both have keep it. Nothing moves when it does not fit there.
        """
        moved = self._taken._replace(calls=0)
        self.settle(moved, NOTHING)
        refusal = other.take(moved)
        if refusal is not None:
            self.charge(moved)
            return refusal
        if self._over != NOTHING:
            other.pass_reservation(self._over)
            self.pass_reservation(NOTHING - self._over)
        return None

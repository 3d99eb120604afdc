"""The room that limits leave: what is used, what is held back, what would still fit.

Amounts are whole numbers, so that taking and giving back cancel exactly: USD are
counted in picodollars. Everything here is synchronous; on one event loop that makes
check and take one atomic step.
"""

import math
from typing import NamedTuple

from turnwise.budget.limits import RoleLimits
from turnwise.budget.usage import PICODOLLARS, to_picodollars
from turnwise.calls.errors import CallRefused
from turnwise.calls.vocabulary import Role

__all__ = ["NOTHING", "Amounts", "Room"]


class Amounts(NamedTuple):
    """How much of each limited thing. Whole numbers, at least 0.

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


NOTHING = Amounts()

_NAMES = ("max_calls", "max_requests", "max_tokens", "max_usd")
_SPENDING = 2
"""Index from which amounts are reserved by an estimate: tokens and USD."""


def _in_unit(index: int, amount: float) -> float:
    return amount / PICODOLLARS if index == 3 else amount


class Room:
    """What one scope's limits leave, for all roles or for one.

    Args:
        scope: path of the scope, for errors.
        limits: the limits.
        role: the role that they are for, or None for all.
    """

    __slots__ = ("_held", "_max", "_over", "_used", "role", "scope")

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

    @property
    def limits_spending(self) -> bool:
        """Whether tokens or USD are limited, so that calls have to be estimated."""
        return self._max[2] != math.inf or self._max[3] != math.inf

    def limit_name(self, index: int) -> str:
        """Return the name of a limit, e.g. `max_calls` or `max_calls[judge]`."""
        return _NAMES[index] if self.role is None else f"{_NAMES[index]}[{self.role}]"

    def limit_value(self, name: str) -> float | None:
        """Return the value of a limit by its name, or None where it does not stand."""
        for index, limit in enumerate(self._max):
            if limit != math.inf and self.limit_name(index) == name:
                return _in_unit(index, limit)
        return None

    def refusal(
        self, asked: Amounts, credit: Amounts, *, is_recorded: bool = False
    ) -> CallRefused | None:
        """Return why `asked` does not fit, or None when it does.

        When calls were recorded, everything admitted fitted next to what was reserved for the
        others, in the order of that day. So in any order the sum of what they took, without
        what passed their reservations, is within the limit: a recorded call is held to that
        sum, and a replay admits all that was admitted, at any concurrency.

        Args:
            asked: what is wanted on top.
            credit: the part of what is held back that may be drawn on.
            is_recorded: whether the tokens and USD are those of a recorded call.
        """
        for index in range(4):
            amount = asked[index]
            if amount:
                if is_recorded and index >= _SPENDING:
                    taken = self._used[index] - self._over[index]
                else:
                    taken = self._used[index] + self._held[index] - credit[index]
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

"""Meters of one limited quantity: a token bucket and a sliding window.

Times are passed in, so that a run, a test and a plan count alike. A charge may be corrected
later, once its real amount is known; then a meter is as if that amount had been charged at the
time of the charge, so that it never allows more than a provider that counted it then.

A bucket is kept as what is missing from it: the backlog. It grows by charges and drains at the
rate, down to 0. To lower a charge of the past lowers the backlog by no more than the lowest that
it has been since, because a bucket that is full does not fill further. The lowest backlog since
each open charge is kept in a stack of groups: a new low joins all charges with a higher one. So
a charge, a correction and a question cost a few operations each, however many are open.
"""

import math
from collections import deque
from heapq import merge
from operator import attrgetter
from typing import Protocol

from callwise.calls.load.rate_limits import RateLimits, Rates

__all__ = [
    "BucketMeter",
    "Charge",
    "Meter",
    "SharedMeters",
    "WindowMeter",
    "meter_of",
    "meters_of",
]

MINUTE_SECONDS = 60.0

_ROUNDING = 1e-9
"""Part of a limit that is below the precision of sums and of times."""

_TICK_SECONDS = 1e-6
"""Time that is below the precision of timers."""

_PARTS_USED_UP = 60
"""Charges into which a window that counts as used up is divided."""

_FORGOTTEN = -math.inf
"""Time of a charge that a window no longer covers."""


MAX_SHARED = 4096
"""Meters of keys, users and tenants from which those that are not in use are dropped."""


class Charge:
    """One charge that may still be corrected.

    Args:
        low: for a bucket, its lowest backlog since the charge, and since all that joined it.
    """

    __slots__ = ("amount", "at_seconds", "joined", "low")

    def __init__(self, amount: float, at_seconds: float, low: float = 0.0) -> None:
        self.amount = amount
        self.at_seconds = at_seconds
        self.low = low
        self.joined: Charge | None = None


class _OthersCharge(Charge):
    """A charge of other clients of a limit, as far as its provider shows it."""

    __slots__ = ()


class Meter(Protocol):
    """Counts one quantity against its limit per minute."""

    @property
    def per_minute(self) -> float:
        """The limit."""

    def wait_seconds(self, amount: float, now: float, speed: float = 1.0) -> float:
        """Return the time until an amount fits; 0 when it does.

        An amount that is larger than the whole meter fits when nothing is in use.

        Args:
            speed: factor of the limit; above 0.
        """

    def spare(self, now: float) -> float:
        """Return what fits now, and so at any later time while nothing else is counted."""

    def count(self, amount: float, now: float) -> None:
        """Count an amount for good, whether it fits or not."""

    def charge(self, amount: float, now: float) -> Charge:
        """Count an amount likewise. The charge is open until it is settled."""

    def settle(self, charge: Charge, amount: float, now: float) -> None:
        """Correct an open charge to its real amount, for good."""

    def used_part(self, now: float) -> float:
        """Return the part of the limit that is in use; above 1 when it was passed."""

    def is_in_use(self, now: float) -> bool:
        """Return whether it is not as a new one, or a charge is open."""

    def limit_to(self, per_minute: float, now: float) -> None:
        """Set another limit, keeping what is in use, but no more than all of a lower one.

        So amounts fit again at the new rate, however much the old one had allowed.
        """

    def leave(self, amount: float, now: float) -> None:
        """See to it that no more than an amount fits now."""

    def use_up(self, now: float) -> None:
        """See to it that nothing fits now, and that amounts fit again at the rate."""


class BucketMeter:
    """A token bucket that is full at first.

    Args:
        per_minute: its rate; above 0.
        burst_seconds: what fits into it, in seconds of the rate.
        slack_seconds: time by which charges may reach the provider later than others.
    """

    def __init__(self, per_minute: float, *, burst_seconds: float, slack_seconds: float) -> None:
        self._held_seconds = max(burst_seconds - slack_seconds, 0.0)
        self._backlog = 0.0
        self._at_seconds = 0.0
        self._lows: deque[Charge] = deque()
        self._lowered = 0.0
        """By how much every low of the stack is to be lowered."""
        self._open_count = 0
        self._set_rate(per_minute)

    def limit_to(self, per_minute: float, now: float) -> None:
        """Set another rate; what is beyond a smaller bucket is dropped, see `Meter`."""
        self._drain(now)
        before = self._capacity
        self._set_rate(per_minute)
        self._backlog -= max(min(self._backlog, before) - self._capacity, 0.0)

    def _set_rate(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._per_second = per_minute / MINUTE_SECONDS
        self._capacity = self._per_second * self._held_seconds
        self._rounding = _ROUNDING * per_minute

    def wait_seconds(self, amount: float, now: float, speed: float = 1.0) -> float:
        """Return the time until an amount fits; see `Meter`."""
        backlog = self._backlog
        if backlog and now > self._at_seconds:
            backlog -= (now - self._at_seconds) * self._per_second * speed
            self._backlog = backlog = backlog if backlog > 0 else 0.0
        self._at_seconds = now
        spare = self._capacity * speed - amount
        if backlog <= spare:
            return 0.0
        missing = backlog - max(spare, 0.0)
        return missing / (self._per_second * speed) if missing > self._rounding else 0.0

    def spare(self, now: float) -> float:
        """Return what fits now; see `Meter`."""
        self._drain(now)
        return self._capacity - self._backlog

    def count(self, amount: float, now: float) -> None:
        """Count an amount for good; see `Meter`."""
        backlog = self._backlog
        if backlog and now > self._at_seconds:
            backlog -= (now - self._at_seconds) * self._per_second
            self._backlog = backlog = backlog if backlog > 0 else 0.0
        self._at_seconds = now
        stack = self._lows
        if stack and stack[-1].low >= backlog + self._lowered:
            self._note_low()
        self._backlog = backlog + amount

    def charge(self, amount: float, now: float) -> Charge:
        """Count an amount; see `Meter`."""
        self.count(amount, now)
        charge = Charge(amount, now, self._backlog + self._lowered)
        self._lows.append(charge)
        self._open_count += 1
        return charge

    def settle(self, charge: Charge, amount: float, now: float) -> None:
        """Correct a charge for good; see `Meter`."""
        surplus = charge.amount - amount
        if surplus and (self._backlog or surplus < 0):
            self._correct(charge, surplus, now)
        self._open_count -= 1
        if not self._open_count:
            self._lows.clear()
            self._lowered = 0.0
        elif surplus > 0:
            self._lowered += surplus
            if len(self._lows) > 1 and self._lows[1].low <= self._lowered:
                self._join_zeros()

    def used_part(self, now: float) -> float:
        """Return the part of the bucket that is missing; a bucket for nothing is full or not."""
        self._drain(now)
        return self._backlog / max(self._capacity, self._rounding)

    def is_in_use(self, now: float) -> bool:
        """Return whether it is not full, or a charge is open."""
        self._drain(now)
        return self._backlog > 0 or self._open_count > 0

    def leave(self, amount: float, now: float) -> None:
        """Take out what is beyond an amount."""
        self._drain(now)
        self._backlog = max(self._backlog, self._capacity - amount)

    def use_up(self, now: float) -> None:
        """Take out everything; it fills at its rate."""
        self.leave(0.0, now)

    def _correct(self, charge: Charge, surplus: float, now: float) -> None:
        """Give back what was charged too much; negative for too little."""
        if now != self._at_seconds:
            self._drain(now)
        if surplus < 0:
            self._backlog -= surplus
        elif self._backlog:
            low = (_group(charge) if charge.joined else charge).low - self._lowered
            self._backlog -= max(min(surplus, self._backlog, low), 0.0)

    def _drain(self, now: float, speed: float = 1.0) -> None:
        # After a clock went back, time counts from there.
        if self._backlog and now > self._at_seconds:
            left = self._backlog - (now - self._at_seconds) * self._per_second * speed
            self._backlog = left if left > 0 else 0.0
        self._at_seconds = now

    def _join_zeros(self) -> None:
        """Join the charges that nothing can be given back of."""
        stack = self._lows
        while len(stack) > 1 and stack[1].low <= self._lowered:
            lowest = stack.popleft()
            lowest.joined = stack[0]

    def _note_low(self) -> None:
        """Join the charges whose lowest backlog is the present one."""
        low = self._backlog + self._lowered
        stack = self._lows
        joined: Charge | None = None
        while stack and stack[-1].low >= low:
            top = stack.pop()
            if joined is None:
                joined = top
                joined.low = low
            else:
                top.joined = joined
        if joined is not None:
            stack.append(joined)


def _group(charge: Charge) -> Charge:
    """Return the charge that one has been joined to, whose low is its low too."""
    root = charge
    while root.joined is not None:
        root = root.joined
    while charge.joined is not None and charge.joined is not root:
        charge.joined, charge = root, charge.joined
    return root


class WindowMeter:
    """A window over the last minute, in which the sum of charges is limited.

    Args:
        per_minute: most within any minute; above 0.
        slack_seconds: time by which charges may reach the provider later than others.
    """

    def __init__(self, per_minute: float, *, slack_seconds: float) -> None:
        self._window_seconds = MINUTE_SECONDS + slack_seconds
        self._charges: deque[Charge] = deque()
        self._used = 0.0
        self._at_seconds = 0.0
        self._set_limit(per_minute)

    def limit_to(self, per_minute: float, now: float) -> None:
        """Set another limit; of what counts as used by others no more stays than fits."""
        self._forget(now)
        beyond = min(self._used, self.per_minute) - per_minute
        self._set_limit(per_minute)
        others = [charge for charge in self._charges if isinstance(charge, _OthersCharge)]
        theirs = math.fsum(charge.amount for charge in others)
        if beyond <= 0 or not theirs:
            return
        part = max(1.0 - beyond / theirs, 0.0)
        for charge in others:
            charge.amount *= part
        self._used -= theirs * (1.0 - part)

    def _set_limit(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._rounding = _ROUNDING * per_minute

    def wait_seconds(self, amount: float, now: float, speed: float = 1.0) -> float:
        """Return the time until an amount fits; see `Meter`."""
        self._forget(now)
        missing = self._used + min(amount - self.per_minute * speed, 0.0)
        if missing <= self._rounding:
            return 0.0
        at_seconds = now
        for charge in self._charges:
            at_seconds = charge.at_seconds
            missing -= charge.amount
            if missing <= self._rounding:
                break
        return max(at_seconds + self._window_seconds - now, 0.0)

    def spare(self, now: float) -> float:
        """Return what fits now; see `Meter`."""
        self._forget(now)
        return self.per_minute - self._used

    def count(self, amount: float, now: float) -> None:
        """Count an amount for good; see `Meter`."""
        self.charge(amount, now)

    def charge(self, amount: float, now: float) -> Charge:
        """Count an amount; see `Meter`."""
        self._forget(now)
        charge = Charge(amount, now)
        self._charges.append(charge)
        self._used += amount
        return charge

    def settle(self, charge: Charge, amount: float, now: float) -> None:
        """Correct a charge for good; see `Meter`."""
        self._forget(now)
        if charge.at_seconds > _FORGOTTEN:
            self._used += amount - charge.amount
            charge.amount = amount

    def used_part(self, now: float) -> float:
        """Return the part of the limit that was charged in the last minute."""
        self._forget(now)
        return self._used / self.per_minute

    def is_in_use(self, now: float) -> bool:
        """Return whether anything was charged in the last minute."""
        self._forget(now)
        return bool(self._charges)

    def leave(self, amount: float, now: float) -> None:
        """Charge what is beyond an amount, as if by other clients, evenly over the last minute."""
        self._forget(now)
        beyond = self.per_minute - self._used - amount
        if beyond <= self._rounding:
            return
        count = math.ceil(_PARTS_USED_UP * beyond / self.per_minute)
        step_seconds = self._window_seconds / count
        begin = now - self._window_seconds
        others = [
            _OthersCharge(beyond / count, begin + step_seconds * (k + 1)) for k in range(count)
        ]
        self._charges = deque(merge(self._charges, others, key=attrgetter("at_seconds")))
        self._used += beyond

    def use_up(self, now: float) -> None:
        """Charge all that is left in this way."""
        self.leave(0.0, now)

    def _forget(self, now: float) -> None:
        charges = self._charges
        if now < self._at_seconds:  # a clock that went back: as long ago as before
            for charge in charges:
                charge.at_seconds += now - self._at_seconds
        self._at_seconds = now
        until = now - self._window_seconds + _TICK_SECONDS
        while charges and charges[0].at_seconds <= until:
            forgotten = charges.popleft()
            forgotten.at_seconds = _FORGOTTEN
            self._used -= forgotten.amount
        if not charges:
            self._used = 0.0


class SharedMeters:
    """Meters of keys, users and tenants, which several endpoints count together."""

    def __init__(self) -> None:
        self._meters: dict[tuple[object, ...], tuple[Meter | None, ...]] = {}
        self._max_count = MAX_SHARED

    def of(
        self, what: str, name: str, rates: Rates, limits: RateLimits, now: float
    ) -> tuple[Meter | None, ...]:
        """Return the meters of one key, user or tenant, in the order of `Rates.per_minute`.

        Endpoints with the same limits for it share them.
        """
        counted_as = (limits.window, limits.burst_seconds, limits.slack_seconds)
        key = (what, name, rates.per_minute, counted_as)
        meters = self._meters.get(key)
        if meters is None:
            if len(self._meters) >= self._max_count:
                self._drop_unused(now)
            meters = self._meters[key] = meters_of(rates, limits)
        return meters

    def _drop_unused(self, now: float) -> None:
        """Drop meters that are as new ones would be."""
        self._meters = {
            key: meters
            for key, meters in self._meters.items()
            if any(meter is not None and meter.is_in_use(now) for meter in meters)
        }
        self._max_count = max(MAX_SHARED, 2 * len(self._meters))


def meter_of(per_minute: float, limits: RateLimits) -> Meter:
    """Return a meter for one limit, which counts as `limits` has it."""
    if limits.window == "sliding":
        return WindowMeter(per_minute, slack_seconds=limits.slack_seconds)
    return BucketMeter(
        per_minute, burst_seconds=limits.burst_seconds, slack_seconds=limits.slack_seconds
    )


def meters_of(rates: Rates, limits: RateLimits) -> tuple[Meter | None, ...]:
    """Return a meter for each limit that is set, in the order of `Rates.per_minute`."""
    return tuple(None if each is None else meter_of(each, limits) for each in rates.per_minute)

"""A schedule of hours, on an injected clock.

A slot is a whole multiple of an interval, in UTC seconds since 1970, so it is the same in every
process, and neither time zones nor daylight saving change it. A wake is given the time of its slot,
not that of the clock: its hour does not drift.

Invariant: no slot is fired twice, whatever the wall clock does and however many schedulers there
are: `claim` decides. What a wrong clock has fired too early stops no slot before it.
"""

import logging
import math
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal, get_args

from callwise.budget.clock import Clock
from callwise.calls.errors import ConfigError
from callwise.safe_text import printable

__all__ = ["MOST_CAUGHT_UP", "Missed", "log_failure", "run_hours", "slot_of"]

Missed = Literal["one", "each", "none"]
"""Wakes for slots that were missed: one for all of them, one for each, or none."""

MOST_CAUGHT_UP = 24
"""Most slots that are caught up one by one; of more, the latest. Each may cost calls."""

RECHECK_SECONDS = 60.0
"""Longest sleep before the wall clock is read again: it may have been set, or the machine slept."""

LEAST_SLEEP_SECONDS = 0.001
"""Shortest sleep, so that the time goes on where a slot begins within the clock's resolution."""

ON_TIME_PART = 1 / 60
"""Part of the interval within which a wake is on time: a minute of an hour."""

MAX_INTERVAL_SECONDS = 366 * 86_400.0

_LOGGER = logging.getLogger(__name__)


def slot_of(at: float, every_seconds: float) -> int:
    """Return the number of the slot that a time is in; its first time is the number's multiple."""
    slot = math.floor(at / every_seconds)
    # The quotient of a multiple may be rounded down, and that of a time just before it up.
    return slot + ((slot + 1) * every_seconds <= at) - (slot * every_seconds > at)


def _last_slot(now: float, every_seconds: float) -> int:
    """Return the number of the last slot that began before a time."""
    slot = slot_of(now, every_seconds)
    return slot - 1 if slot * every_seconds == now else slot


async def run_hours(
    wake: Callable[[float], Awaitable[None]],
    *,
    clock: Clock,
    wall: Callable[[], float],
    claim: Callable[[int], bool],
    every_seconds: float = 3600.0,
    missed: Missed = "one",
    count: int | None = None,
    after: float | None = None,
) -> int:
    """Wake once in each slot until `count` wakes or cancelled, and return how many there were.

    A slot that begins while a wake is running, while the loop is blocked or while the machine
    sleeps is missed, and so is one that the wall clock leaps over. After a wall clock was set
    back, the next wake is in the next slot that was not fired.

    A wake that fails is logged and counted, and the next one comes; so with a claim that fails,
    whose slot is left out. Cancelling this coroutine cancels the wake that is running.

    Args:
        wake: awaited with the time of its slot, in UTC seconds since 1970.
        clock: sleeps; time must pass on it.
        wall: returns the present, in UTC seconds since 1970. May go back, or leap.
        claim: called with the time of a slot, in whole seconds, rounded down; returns whether
            that was not claimed before, by this scheduler or another one.
        every_seconds: length of a slot, from 1 second to 366 days.
        missed: wakes for slots that were missed. `none` leaves out a wake that is not on time as
            well, by more than a sixtieth of a slot.
        count: most wakes; None for no limit.
        after: a time until which slots are not missed, such as that of the last wake of an earlier
            process; None for now. A slot that begins just now is fired.

    Raises:
        ConfigError: when an argument cannot work.
    """
    if not 1.0 <= every_seconds <= MAX_INTERVAL_SECONDS:
        raise ConfigError(f"every_seconds is from 1 to 31,622,400 (366 days), got {every_seconds}")
    if missed not in get_args(Missed):
        raise ConfigError(f"missed is one of {', '.join(get_args(Missed))}; got {missed!r:.40}")
    if clock.is_virtual:
        raise ConfigError(
            "on a virtual clock no hour passes: give a LoopClock on a VirtualTimeLoop"
        )
    last = _last_slot(wall(), every_seconds) if after is None else slot_of(after, every_seconds)
    passed: set[int] = set()
    wakes = 0
    while count is None or wakes < count:
        now = wall()
        current = slot_of(now, every_seconds)
        if current < last or current in passed:  # the wall clock was set
            passed.add(last)
            last = current
        if current <= last:
            left = (last + 1) * every_seconds - now
            await clock.sleep(min(max(left, LEAST_SLEEP_SECONDS), RECHECK_SECONDS))
            continue
        last = max(last + 1, current - MOST_CAUGHT_UP + 1) if missed == "each" else current
        at = last * every_seconds
        if missed == "none" and now - at > every_seconds * ON_TIME_PART:
            continue
        try:
            if claim(math.floor(at)):
                wakes += 1
                await wake(at)
        except Exception as error:  # noqa: BLE001 - the next hour still comes
            log_failure(at, error)
    return wakes


def log_failure(at: float, error: Exception) -> None:
    """Log a failed wake: its slot, the error in one line, and the code where it was raised."""
    places = "".join(traceback.format_tb(error.__traceback__))
    hour = datetime.fromtimestamp(at, UTC).isoformat()
    _LOGGER.error("the wake of %s failed: %s\n%s", hour, printable(repr(error))[:500], places)

"""Calls of a recorded run, played; and the times of its events, read and checked."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn

import orjson

from callwise.budget.recorder import CallOrigin, FoundExchange, RecordedExchange
from callwise.calls.call import Call, Outcome
from callwise.calls.errors import CassetteMiss, FormatError
from callwise.calls.key import CallKey
from callwise.recordings.cassette import Cassette
from callwise.recordings.cassette_inspection import MISS_HINT
from callwise.wake.moments import stay_for_ever

__all__ = ["StrictRecorder", "read_times"]

_HINT = "To record what is missing, record the run again: callwise wake ... --out DIR"

MAX_TIME = 253_370_764_800.0
"""End of the year 9998 in UTC epoch seconds: dates end a year later."""

MAX_LATER_SECONDS = 400 * 86_400.0
"""Longest time between two events: hours are at most 366 days apart."""

MAX_EARLIER_SECONDS = 86_400.0
"""Longest time by which an event is before an earlier one: that by which a clock was set back."""


class StrictRecorder:
    """Plays a cassette, and calls a function for each call that it does not have.

    A wake goes on without an agent whose call fails; a replay whose call is missing must not. Of an
    hour or a message that a stopped run has not ended, a missing call never ends.

    Args:
        unended: names of the scopes of hours and messages that had begun and not ended.
    """

    def __init__(
        self,
        cassette: Cassette,
        on_miss: Callable[[CassetteMiss], object],
        *,
        unended: Collection[str] = (),
    ) -> None:
        self._cassette, self._on_miss = cassette, on_miss
        self._unended = {f"turn:{name}" for name in unended}
        self._left: dict[str, int] = {}

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> FoundExchange:
        """Take the next exchange of a key; see `Recorder.lookup`.

        Raises:
            CassetteMiss: when there is none.
        """
        is_unended = not self._unended.isdisjoint(where.scope.split("/"))
        if is_unended and not self._is_left(where.scope):
            return stay_for_ever()
        try:
            found = self._cassette.lookup(key, call, where)
        except CassetteMiss as error:
            miss = CassetteMiss(str(error).replace(MISS_HINT, _HINT))
            self._on_miss(miss)
            raise miss from None
        if is_unended and found is not None and found.outcome is Outcome.CANCELLED:
            return stay_for_ever()
        return found

    def _is_left(self, scope: str) -> bool:
        """Count one exchange of a scope, so that it takes no equal one of another."""
        left = self._left.get(scope)
        if left is None:
            left = self._cassette.count_of(scope)
        self._left[scope] = left - 1
        return left > 0

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Record nothing."""


def read_times(path: Path) -> dict[str, float]:
    """Return the events of a file; a broken last line, as of a killed run, is left out.

    Raises:
        FormatError: naming the first line that is no event, or whose time cannot be: outside of
            the years 1970 to 9998, or far from that of the event before it.
        OSError: when it cannot be read.
    """
    found: dict[str, float] = {}
    latest: float | None = None
    data = path.read_bytes()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        name, at = _event(path, number, line)
        latest = at if latest is None else latest
        if not latest - MAX_EARLIER_SECONDS <= at <= latest + MAX_LATER_SECONDS:
            problem = f"expected a time near {latest}, that of the events before it; found {at}"
            raise FormatError(path, number, problem)
        latest = max(latest, at)
        found.setdefault(name, at)
    return found


def _event(path: Path, number: int, line: bytes) -> tuple[str, float]:
    def refuse(why: str) -> NoReturn:
        raise FormatError(path, number, why)

    try:
        name, at = orjson.loads(line)
    except (ValueError, TypeError):
        refuse("expected an event's name and its time")
    if not isinstance(name, str) or isinstance(at, bool) or not isinstance(at, int | float):
        refuse("expected an event's name and its time")
    if not (math.isfinite(at) and 0.0 <= at <= MAX_TIME):
        refuse(f"expected a time in the years 1970 to 9998, as UTC epoch seconds; found {at!s:.40}")
    return name, float(at)

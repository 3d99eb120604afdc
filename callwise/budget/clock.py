"""Sources of time. Injected everywhere, so that no test and no replay waits.

Three clocks: the system's; a manual one that a test advances; and a virtual one on
which nothing waits, because answers come immediately (a simulated model in process, or a
replay). Under a virtual clock the time that a scope has used is read off its path:
the sum of the latencies that its calls would have had to wait for.
"""

import asyncio
import heapq
import itertools
import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "VirtualClock"]


class Clock(Protocol):
    """A source of time and of waiting."""

    @property
    def is_virtual(self) -> bool:
        """Whether nothing waits, so that durations come from latencies, not from `now`."""
        ...

    def now(self) -> float:
        """Return monotonic seconds since an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` on this clock; immediately when they are 0 or less."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    is_virtual = False
    now = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of real time."""
        await asyncio.sleep(max(seconds, 0.0))


class VirtualClock:
    """A clock that does not move. Time is logical and comes from the path of a scope."""

    is_virtual = True

    def now(self) -> float:
        """Return 0: no time passes here."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Let others run once, then return. The caller adds `seconds` to its path."""
        del seconds
        await asyncio.sleep(0)


class ManualClock:
    """A clock that a test advances by hand.

    Sleepers wake in the order of their time, and among equals in the order in
    which they went to sleep.

    Args:
        start_seconds: what `now` returns at first.
    """

    is_virtual = False

    def __init__(self, start_seconds: float = 0.0) -> None:
        self._now_seconds = start_seconds
        self._ties = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def sleeper_count(self) -> int:
        """Number of tasks that wait for this clock now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def now(self) -> float:
        """Return the seconds that `advance` has reached."""
        return self._now_seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed `seconds` from now."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_seconds + seconds, next(self._ties), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move time forward and wake everyone whose time has come.

        Raises:
            ValueError: when `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time goes forward only, got {seconds} seconds")
        self._now_seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now_seconds:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)

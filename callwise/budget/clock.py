"""Sources of time. Injected everywhere, so that no test and no replay waits.

Four clocks: the system's; that of the event loop; a manual one that a test advances; and a
virtual one on which nothing waits, because answers come immediately (a simulated model in
process, or a replay). Under a virtual clock the time that a scope has used is read off its path:
the sum of the latencies that its calls would have had to wait for.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

__all__ = [
    "Clock",
    "EarliestTimer",
    "LoopClock",
    "ManualClock",
    "SystemClock",
    "Timer",
    "VirtualClock",
]


class Timer(Protocol):
    """A callback that is due at a time."""

    def cancel(self) -> None:
        """Do not call it. Safe to do twice, and after the call."""


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

    def call_at(self, when_seconds: float, callback: Callable[[], None]) -> Timer:
        """Call a function once `now` is `when_seconds`: soon, where it is that or later."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    is_virtual = False
    now = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of real time."""
        await asyncio.sleep(max(seconds, 0.0))

    def call_at(self, when_seconds: float, callback: Callable[[], None]) -> Timer:
        """Call a function from the running loop."""
        return asyncio.get_running_loop().call_later(max(when_seconds - self.now(), 0.0), callback)


class LoopClock(SystemClock):
    """The clock of the running event loop, whose time need not be that of the machine.

    A thread without a loop, such as one that reads metrics, is given the time of the last one.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Return the loop's time.

        Raises:
            RuntimeError: when there is no running loop, and was none before.
        """
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            if self._loop is None:
                raise
        return self._loop.time()


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

    def call_at(self, when_seconds: float, callback: Callable[[], None]) -> Timer:
        """Call a function soon: every time is reached immediately."""
        del when_seconds
        return asyncio.get_running_loop().call_soon(callback)


class _ManualTimer:
    """A timer of a `ManualClock`."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call it."""
        self._callback = None

    def done(self) -> bool:
        """Return whether nothing is to be called any more."""
        return self._callback is None

    def wake(self) -> None:
        """Call it, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class _Sleeper:
    """A task that waits for a `ManualClock`."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(self) -> bool:
        """Return whether it waits no longer."""
        return self.future.done()

    def wake(self) -> None:
        """Let it go on."""
        if not self.future.done():
            self.future.set_result(None)


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
        self._sleepers: list[tuple[float, int, _Sleeper | _ManualTimer]] = []

    @property
    def sleeper_count(self) -> int:
        """Number of tasks and timers that wait for this clock now."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    def now(self) -> float:
        """Return the seconds that `advance` has reached."""
        return self._now_seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed `seconds` from now."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = _Sleeper()
        self._push(self._now_seconds + seconds, sleeper)
        await sleeper.future

    def call_at(self, when_seconds: float, callback: Callable[[], None]) -> Timer:
        """Call a function from the `advance` that reaches its time; soon, if that is past."""
        if when_seconds <= self._now_seconds:
            return asyncio.get_running_loop().call_soon(callback)
        timer = _ManualTimer(callback)
        self._push(when_seconds, timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move time forward and wake everyone whose time has come.

        Raises:
            ValueError: when `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time goes forward only, got {seconds} seconds")
        self._now_seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now_seconds:
            heapq.heappop(self._sleepers)[2].wake()

    def _push(self, when_seconds: float, sleeper: "_Sleeper | _ManualTimer") -> None:
        heapq.heappush(self._sleepers, (when_seconds, next(self._ties), sleeper))


class EarliestTimer:
    """One timer for many times: it calls a function at the earliest of those that are asked for.

    Attributes:
        count: how many timers were set on the clock.
    """

    LEAST_WAIT_SECONDS = 1e-6
    """Shortest wait that it is set for: a time nearer than this counts as reached."""

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._timer: Timer | None = None
        self._when_seconds = 0.0
        self.count = 0

    @property
    def is_set(self) -> bool:
        """Whether it will call the function."""
        return self._timer is not None

    def wake_at(self, when_seconds: float) -> None:
        """See to it that the function is called by a time, or earlier."""
        if self._timer is not None:
            if self._when_seconds <= when_seconds:
                return
            self._timer.cancel()
        self.count += 1
        self._when_seconds = max(when_seconds, self._clock.now() + self.LEAST_WAIT_SECONDS)
        self._timer = self._clock.call_at(self._when_seconds, self._wake)

    def stop(self) -> None:
        """Call the function for none of the times that were asked for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        self._callback()

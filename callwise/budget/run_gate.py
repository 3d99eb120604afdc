"""The gate of a run: whether it accepts calls, and the calls that it has accepted.

A run stops at a failure that every later call would meet, or because the process ends. Then no
call is accepted, and those under way end: by themselves, or cancelled after some time. Either way
each is settled and has its row, so that the run can go on later where it stopped.

A call that is not accepted is not counted and not recorded: for the run it never was.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from callwise.budget.clock import Clock, Timer
from callwise.calls.errors import ConfigError, RunStopped

__all__ = ["Drained", "RunGate", "stopped_error"]


class Drained(NamedTuple):
    """Ends of the calls that were under way when a run was drained.

    Args:
        ended: calls that ended by themselves.
        cancelled: calls that were cancelled when the time was over.
    """

    ended: int
    cancelled: int


def stopped_error(reason: str) -> RunStopped:
    """Return the error of a run that has stopped for a reason, and goes on when asked again."""
    return RunStopped(
        f"the run has stopped: {reason}. What was finished is kept; run the same command to go on"
    )


class RunGate:
    """Accepts calls until the run stops.

    Attributes:
        stopped_by: why the run has stopped; None while it accepts calls.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.stopped_by: str | None = None
        self._tasks: dict[Hashable, asyncio.Task[Any] | None] = {}
        self._cancelled: set[Hashable] = set()
        self._empty: asyncio.Event | None = None
        self._resting: list[asyncio.Future[None]] = []

    def check(self) -> None:
        """Do nothing while calls are accepted.

        Raises:
            RunStopped: when the run has stopped.
        """
        if self.stopped_by is not None:
            raise self.error()

    def error(self) -> RunStopped:
        """Return the error of calls that are not accepted, or were cancelled by a drain."""
        return stopped_error(self.stopped_by or "it is ending")

    def stop(self, reason: str) -> None:
        """Accept no further call. The first reason is kept."""
        if self.stopped_by is None:
            self.stopped_by = reason

    def resume(self) -> None:
        """Accept calls again."""
        self.stopped_by = None

    @property
    def under_way(self) -> tuple[Any, ...]:
        """The calls that were accepted and have not ended."""
        return tuple(self._tasks)

    def enter(self, call: Hashable) -> None:
        """Note a call that the running task has begun."""
        self._tasks[call] = asyncio.current_task()

    def leave(self, call: Hashable) -> bool:
        """Note its end; return whether it was cancelled here, and not by its caller."""
        task = self._tasks.pop(call)
        if self._empty is not None and not self._tasks:
            self._empty.set()
            self._empty = None
        resting, self._resting = self._resting, []
        for each in resting:
            if not each.done():
                each.set_result(None)
        if call not in self._cancelled:
            return False
        self._cancelled.discard(call)
        return task is not None and task.uncancel() == 0

    async def rest(self, is_meant: Callable[[Any], bool]) -> None:
        """Return once no call under way is meant, or the run is not being drained any more.

        A call that is not accepted ends its turn, which would cancel the other calls of that.
        """
        while self._empty is not None and any(map(is_meant, self._tasks)):
            waiter = asyncio.get_running_loop().create_future()
            self._resting.append(waiter)
            await waiter

    async def drain(self, seconds: float, reason: str) -> Drained:
        """Accept no further call, and return once all under way have ended.

        Args:
            seconds: time after which those that are left are cancelled, at least 0.

        Raises:
            ConfigError: when `seconds` is negative or no number.
        """
        if not seconds >= 0:
            raise ConfigError(
                f"`seconds` is the time that calls under way have to end, got {seconds}. Write 0 "
                "to cancel them immediately"
            )
        self.stop(reason)
        under_way = len(self._tasks)
        cancelled = 0

        def cancel() -> None:
            nonlocal cancelled
            for call, task in self._tasks.items():
                if task is not None and call not in self._cancelled:
                    cancelled += 1
                    self._cancelled.add(call)
                    task.cancel()

        if self._tasks:
            empty = self._empty = self._empty or asyncio.Event()
            timer: Timer | None = None
            if seconds:
                timer = self._clock.call_at(self._clock.now() + seconds, cancel)
            else:
                cancel()
            try:
                await empty.wait()
            finally:
                if timer is not None:
                    timer.cancel()
        return Drained(under_way - cancelled, cancelled)

    async def end_calls(self, reason: str) -> None:
        """Cancel the calls under way, and return once they have ended; later ones are accepted."""
        stopped_by = self.stopped_by
        self.stopped_by = reason
        try:
            await self.drain(0.0, reason)
        finally:
            self.stopped_by = stopped_by

"""An event loop whose time jumps to its next timer, for simulated runs and tests that wait long.

`asyncio.sleep`, timeouts and `LoopClock` follow it, so hours pass in milliseconds and in the same
order each time. Nothing in it may wait for another thread, a process or a socket.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_in_virtual_time"]

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """A selector that never waits: it advances the time by what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now, once nothing else is, at a later time."""
        self.rounds += 1
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("every task waits, and no timer is due: this would wait for ever")
        self.seconds += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, in seconds since its start."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    @property
    def rounds(self) -> int:
        """Number of times that it has run what was ready, or advanced the time."""
        return self._jumping.rounds

    def time(self) -> float:
        """Return the virtual seconds since the start."""
        return self._jumping.seconds

    def pass_time(self, seconds: float) -> None:
        """Let time pass within a callback, as one does that blocks the loop; at least 0."""
        self._jumping.seconds += max(seconds, 0.0)


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns, run on a loop of virtual time.

    Raises:
        RuntimeError: when every task waits, and no timer is due; or inside a running loop.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)

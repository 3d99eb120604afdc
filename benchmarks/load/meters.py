"""Meters of one process: memory, processor time, lag of the event loop, percentiles."""

import asyncio
import os
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path

__all__ = ["LoopLag", "MemorySlope", "percentile", "rss_bytes"]

LAG_SECONDS = 0.01
"""Time between two readings of the loop's lag."""


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed.

    Args:
        percent: in (0, 100].

    Raises:
        ValueError: when there are no values.
    """
    if not values:
        raise ValueError("a percentile of no values")
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)]


class LoopLag:
    """Times by which the event loop was late, one for each 10 ms.

    Attributes:
        seconds: one for each reading.
        work_seconds: processor time of the loop's thread since the reading before.
    """

    def __init__(self) -> None:
        self.seconds = array("d")
        self.work_seconds = array("d")

    @asynccontextmanager
    async def measured(self) -> AsyncIterator["LoopLag"]:
        """Read the lag until the end of the block."""
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.wait((reading,))

    async def _read(self) -> None:
        while True:
            due, worked = time.perf_counter() + LAG_SECONDS, time.thread_time()
            await asyncio.sleep(LAG_SECONDS)
            self.seconds.append(time.perf_counter() - due)
            self.work_seconds.append(time.thread_time() - worked)


class MemorySlope:
    """Growth of memory with the number of calls, by least squares over the later readings.

    Args:
        skipped: part of the readings at the beginning that is left out, in [0, 1): pools and
            caches fill then.
        resident: returns the memory, in bytes.
    """

    def __init__(self, skipped: float = 0.5, resident: Callable[[], int] = rss_bytes) -> None:
        self._skipped, self._resident = skipped, resident
        self._readings: list[tuple[int, int]] = []

    def read(self, calls: int) -> None:
        """Note the memory now, after so many calls."""
        self._readings.append((calls, self._resident()))

    def bytes_per_call(self) -> float:
        """Return the slope.

        Raises:
            ValueError: with less than two readings at different numbers of calls.
        """
        readings = self._readings[int(len(self._readings) * self._skipped) :]
        count = len(readings)
        mean_calls = sum(calls for calls, _ in readings) / max(count, 1)
        spread = sum((calls - mean_calls) ** 2 for calls, _ in readings)
        if count < 2 or spread == 0:
            raise ValueError("a slope needs readings at two numbers of calls")
        return sum((calls - mean_calls) * memory for calls, memory in readings) / spread

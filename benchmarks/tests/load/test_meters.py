"""Meters of memory, percentiles and the event loop's lag."""

import asyncio
import time

import pytest

from benchmarks.load.meters import LoopLag, MemorySlope, percentile, rss_bytes


def test_a_percentile_is_one_of_the_values():
    """The smallest value that so many percent do not exceed."""
    values = list(range(1, 101))
    assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_the_slope_is_that_of_the_later_readings():
    """Growth at the beginning is left out, and a slope needs two numbers of calls."""
    resident = iter([0, 9_000_000, 30_000_000, 32_000_000, 34_000_000])
    memory = MemorySlope(resident=lambda: next(resident))
    for calls in range(0, 5_000, 1_000):
        memory.read(calls)
    assert memory.bytes_per_call() == pytest.approx(2_000.0)
    assert rss_bytes() > 1_000_000
    with pytest.raises(ValueError, match="two numbers of calls"):
        MemorySlope().bytes_per_call()


async def test_the_lag_shows_work_that_keeps_the_loop():
    """Work of 80 ms without a pause makes one reading late by most of it."""
    async with LoopLag().measured() as lag:
        await asyncio.sleep(0.03)
        time.sleep(0.08)  # noqa: ASYNC251 - what is measured
        await asyncio.sleep(0.03)
    assert max(lag.seconds) > 0.05

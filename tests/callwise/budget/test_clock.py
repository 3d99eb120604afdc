"""The three clocks."""

import asyncio

import pytest

from callwise.budget import ManualClock, SystemClock, VirtualClock


async def test_sleepers_wake_in_the_order_of_their_time():
    """The task with the earliest time wakes first; equals wake in the order they slept."""
    clock, woken = ManualClock(), []

    async def sleep(name, seconds):
        await clock.sleep(seconds)
        woken.append((name, clock.now()))

    tasks = [asyncio.ensure_future(sleep(*x)) for x in (("b", 2), ("a", 1), ("c", 2), ("z", 0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert clock.sleeper_count == 3
    clock.advance(5)
    await asyncio.gather(*tasks)
    assert [name for name, _ in woken] == ["z", "a", "b", "c"]


async def test_a_cancelled_sleeper_is_forgotten():
    """Advancing past a sleeper that was cancelled is no error."""
    clock = ManualClock(100)
    task = asyncio.ensure_future(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert clock.sleeper_count == 0
    clock.advance(2)
    assert clock.now() == 102


def test_time_goes_forward_only():
    """A negative advance is a mistake of the test."""
    with pytest.raises(ValueError, match="forward only"):
        ManualClock().advance(-1)


async def test_a_virtual_clock_causes_no_waiting():
    """A virtual clock does not advance, and an hour on it is one turn of the loop."""
    clock = VirtualClock()
    await clock.sleep(3600)
    assert (clock.now(), clock.is_virtual) == (0, True)


async def test_the_system_clock_advances():
    """The system's clock is monotonic, and sleeping for nothing returns."""
    clock = SystemClock()
    start = clock.now()
    await clock.sleep(-1)
    assert clock.now() >= start
    assert not clock.is_virtual

"""The clocks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from callwise.budget import ManualClock, SystemClock, VirtualClock
from callwise.budget.clock import EarliestTimer, LoopClock
from callwise.budget.virtual_time import run_in_virtual_time


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


async def test_a_timer_is_called_by_the_advance_that_reaches_it_unless_cancelled():
    """Timers and sleepers are due in the order of their time."""
    clock, called = ManualClock(), []
    clock.call_at(2, lambda: called.append("late"))
    clock.call_at(1, lambda: called.append("early"))
    clock.call_at(1.5, lambda: called.append("never")).cancel()
    assert clock.sleeper_count == 2
    clock.advance(0.5)
    assert called == []
    clock.advance(5)
    assert called == ["early", "late"]
    clock.call_at(3, lambda: called.append("past"))
    await asyncio.sleep(0)
    assert called[-1] == "past"


async def test_a_timer_of_the_virtual_clock_is_due_at_once():
    """Nothing waits on it, but the loop goes round once."""
    called = []
    VirtualClock().call_at(3600, lambda: called.append(1))
    assert called == []
    await asyncio.sleep(0)
    assert called == [1]


async def test_the_earliest_timer_is_one_timer_for_many_times():
    """A later time sets no other one; once it was called, none is set."""
    clock, calls = ManualClock(), []
    timer = EarliestTimer(clock, lambda: calls.append(clock.now()))
    for when in (5.0, 9.0, 5.0, 3.0, 4.0):
        timer.wake_at(when)
    assert (timer.count, timer.is_set, clock.sleeper_count) == (2, True, 1)
    clock.advance(3.0)
    assert (calls, timer.is_set) == ([3.0], False)
    timer.wake_at(9.0)
    timer.stop()
    clock.advance(9.0)
    assert (calls, timer.is_set) == ([3.0], False)


def test_the_earliest_timer_never_spins_at_a_time_that_is_reached():
    """It is set for a microsecond at least, so that the loop's time goes on."""

    async def main():
        clock, calls = LoopClock(), []
        timer = EarliestTimer(clock, lambda: calls.append(clock.now()))
        await asyncio.sleep(10_000.0)
        timer.wake_at(10_000.0)
        await asyncio.sleep(1.0)
        return calls

    assert run_in_virtual_time(main()) == [pytest.approx(10_000.0, abs=1e-5)]


def test_a_thread_reads_the_time_of_the_loop():
    """One that has no loop, while the loop runs and after it; before any loop there is no time."""
    clock = LoopClock()
    with pytest.raises(RuntimeError, match="no running event loop"):
        clock.now()

    async def read():
        await asyncio.sleep(100.0)
        here = clock.now()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(clock.now).result() == here
        return here

    assert run_in_virtual_time(read()) == clock.now() == 100.0

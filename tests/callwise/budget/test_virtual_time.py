"""A loop of virtual time: hours pass immediately, and in the order of their timers."""

import asyncio

import pytest

from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import VirtualTimeLoop, run_in_virtual_time


def test_on_a_loop_of_virtual_time_hours_pass_at_once_and_in_order():
    """Sleeps, timeouts and timers follow the time of the loop."""
    clock, seen = LoopClock(), []

    async def main():
        clock.call_at(7200, lambda: seen.append(clock.now()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await clock.sleep(86_400)
        seen.append(clock.now())
        await clock.sleep(5000)
        return clock.now()

    assert run_in_virtual_time(main()) == pytest.approx(8600)
    assert seen == pytest.approx([3600, 7200])


def test_waiting_for_nothing_in_virtual_time_is_an_error():
    """A test that would hang fails."""

    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer is due"):
        run_in_virtual_time(main())


def test_two_runs_are_equal_and_begin_at_0():
    """The rounds of the loop too."""

    async def main():
        loop, times = asyncio.get_running_loop(), []
        assert isinstance(loop, VirtualTimeLoop)
        assert loop.time() == 0.0

        async def wait(seconds):
            await asyncio.sleep(seconds)
            times.append((seconds, loop.time(), loop.rounds))

        await asyncio.gather(*map(wait, (3600.0, 1e-3, 60.0, 60.0)))
        return times

    assert run_in_virtual_time(main()) == run_in_virtual_time(main())

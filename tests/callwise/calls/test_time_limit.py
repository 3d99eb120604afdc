"""Time limits: they end what takes too long, and keep nothing alive."""

import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.time_limit import time_limit


class Thing:
    """A value of a context."""


OF_CONTEXT: ContextVar[Thing] = ContextVar("of_context")


def test_what_takes_too_long_is_cancelled_at_its_time() -> None:
    """As by `asyncio.timeout`; without a limit, or in time, it ends by itself."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        for seconds in (None, 3.0):
            async with time_limit(seconds) as timer:
                await asyncio.sleep(2.0)
            assert not timer.expired()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with time_limit(1.5) as timer:
                await asyncio.sleep(9.0)
        assert timer.expired()
        return loop.time() - began

    assert run_in_virtual_time(main()) == 1.5


def test_a_timer_that_was_cancelled_keeps_no_context() -> None:
    """It is in the queue of the loop for minutes; a value of its context is gone with its task."""

    async def limited(things: list[Thing]) -> None:
        OF_CONTEXT.set(things.pop())
        async with time_limit(300.0):
            await asyncio.sleep(0)

    async def main() -> None:
        # A cancelled timer leaves the queue when it is the first there.
        first = asyncio.get_running_loop().call_later(200.0, print)
        things = [Thing()]
        thing = weakref.ref(things[0])
        await asyncio.create_task(limited(things))
        await asyncio.sleep(0)
        gc.collect()
        assert thing() is None
        first.cancel()

    asyncio.run(main())

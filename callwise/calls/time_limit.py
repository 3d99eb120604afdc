"""A time limit whose timer keeps nothing alive after it was cancelled.

Problem: a cancelled timer stays in the event loop's queue until its time, up to minutes, and with
it the context in which it was made. That has the scope of the call, whose turn has a count for
each node and a row for each call.
Choice: the timer is made in an empty context. Its callback only cancels a task.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context

__all__ = ["time_limit"]


@asynccontextmanager
async def time_limit(seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """Cancel what is awaited within it after a time, as `asyncio.timeout` does.

    Args:
        seconds: the time from now on; None for no limit.

    Raises:
        TimeoutError: when the time is over.
    """
    async with asyncio.timeout(None) as timer:
        if seconds is not None:
            when = asyncio.get_running_loop().time() + seconds
            Context().run(timer.reschedule, when)
        yield timer

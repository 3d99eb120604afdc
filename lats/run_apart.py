"""A coroutine run to its end by code that cannot await."""

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run_apart"]

ResultT = TypeVar("ResultT")


def run_apart(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what a coroutine returns, on a loop of this thread or, where one runs, of another.

    An interrupt of this thread cancels it, and is raised once it has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    begun = threading.Event()
    under_way: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[ResultT]]] = []

    async def apart() -> ResultT:
        task = asyncio.ensure_future(coroutine)
        under_way.append((asyncio.get_running_loop(), task))
        begun.set()
        return await task

    with ThreadPoolExecutor(1, thread_name_prefix="lats-solve") as thread:
        running = thread.submit(contextvars.copy_context().run, asyncio.run, apart())
        try:
            return running.result()
        except KeyboardInterrupt:
            if not running.done() and begun.wait(timeout=1):
                loop, task = under_way[0]
                with suppress(RuntimeError):  # its loop has ended by itself
                    loop.call_soon_threadsafe(task.cancel)
            wait([running])
            raise

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

WAKE_SECONDS = 0.5
"""Interval at which a waiting thread checks for an interrupt: one that comes just before it
sleeps does not wake it."""


def run_apart(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what a coroutine returns, on a loop of this thread or, where one runs, of another.

    What a signal raises in this thread cancels it, and is raised once it has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    may_begin, has_begun = threading.Event(), threading.Event()
    wanted: list[Coroutine[Any, Any, ResultT]] = []
    under_way: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[ResultT]]] = []

    async def apart() -> ResultT:
        task = asyncio.ensure_future(wanted[0])
        under_way.append((asyncio.get_running_loop(), task))
        has_begun.set()
        return await task

    def run() -> ResultT | None:
        may_begin.wait()
        return asyncio.run(apart()) if wanted else None

    with ThreadPoolExecutor(1, thread_name_prefix="lats-solve") as thread:
        try:
            running: Any = thread.submit(contextvars.copy_context().run, run)
            wanted.append(coroutine)
            may_begin.set()
            while not wait([running], WAKE_SECONDS).done:
                pass
            found: ResultT = running.result()
        except BaseException:  # an interrupt, or what a signal's handler raises
            may_begin.set()
            if not wanted:
                coroutine.close()
            elif not running.done() and has_begun.wait(timeout=10):
                loop, task = under_way[0]
                with suppress(RuntimeError):  # its loop has ended by itself
                    loop.call_soon_threadsafe(task.cancel)
                wait([running])
            raise
        return found

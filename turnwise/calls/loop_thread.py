"""An event loop in a thread of its own, for synchronous code that has none."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LoopThread", "wait_for"]

T = TypeVar("T")


def wait_for(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run a coroutine on a loop that runs in another thread, and wait for its result.

    It runs in the caller's context, so context variables are seen there. When the
    waiting is interrupted, the coroutine is cancelled.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class LoopThread:
    """A private event loop, running until it is closed or forgotten."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=_serve, args=(self._loop,), name="turnwise-loop", daemon=True
        )
        thread.start()
        # Bound to the loop and not to self, so that forgetting self ends the thread.
        self._finalizer = weakref.finalize(self, _stop, self._loop, thread)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""
        return self._loop

    @property
    def is_open(self) -> bool:
        """Whether it still takes work."""
        return self._finalizer.alive

    def close(self) -> None:
        """Cancel what runs, end the loop and its thread. Safe to call twice."""
        self._finalizer()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join()

"""An event loop in its own thread, and the work brought there from other threads and loops."""

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Generic, TypeVar

from callwise.calls.errors import ConfigError

__all__ = ["JOIN_SECONDS", "Errand", "LoopThread", "let_react", "pass_turn", "pass_turns"]

T = TypeVar("T")

JOIN_SECONDS = 5.0
"""Longest wait for a private loop to end. Work that ignores its cancellation is left behind."""

WAKE_SECONDS = 0.5
"""Interval at which a waiting synchronous caller checks for an interrupt."""

SETTLE_SECONDS = 0.001
"""Time that the loop of a caller that is cancelled repeatedly is blocked for its work."""

REACTION_TURNS = 50
"""Turns of a caller's loop in which it goes on with an answer before the next one comes."""

REACTION_SECONDS = 0.005
"""Time in which a thread that waits does so: which of two threads wakes first is chance."""

_ASKED_FROM: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar(
    "callwise_asked_from", default=None
)
"""The loop whose call is carried here; None where none is."""


class LoopThread:
    """A private event loop in a thread, running until it is closed or forgotten.

    Attributes:
        is_ending: whether what runs there is being ended, and nothing new begins.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        stopping = threading.Event()
        self._thread = threading.Thread(
            target=_serve, args=(self._loop, stopping), name="callwise-loop", daemon=True
        )
        self._thread.start()
        # Bound to the loop and not to self, so that forgetting self ends the thread.
        self._finalizer = weakref.finalize(
            self, _stop, self._loop, self._thread, stopping, os.getpid()
        )
        self.is_ending = False

    @property
    def is_open(self) -> bool:
        """Whether its thread runs."""
        return self._finalizer.alive

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in its thread."""
        return threading.current_thread() is self._thread

    def post(self, work: Callable[[], object], context: Context | None = None) -> None:
        """Run a function there soon.

        Raises:
            RuntimeError: when it has ended.
        """
        self._loop.call_soon_threadsafe(work, context=context)

    def close(self) -> None:
        """Cancel what runs, end the loop and its thread. Safe to call twice."""
        self._finalizer()


def _serve(loop: asyncio.AbstractEventLoop, stopping: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    try:
        while not stopping.is_set():
            # Raised by a call, these have reached its caller, and must not end the others.
            with suppress(KeyboardInterrupt, SystemExit):
                loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _stop(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    stopping: threading.Event,
    process_id: int,
) -> None:
    if os.getpid() != process_id:
        return  # a forked process has the loop's files, and not its thread
    stopping.set()
    with suppress(RuntimeError):  # it has ended by itself
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(JOIN_SECONDS)


class Errand(Generic[T]):
    """Work that is carried to a private loop, until its caller has its end.

    Args:
        asked_from: the caller's loop; None for a synchronous caller.
    """

    def __init__(
        self,
        thread: LoopThread,
        work: Callable[[], Awaitable[T]],
        asked_from: asyncio.AbstractEventLoop | None,
    ) -> None:
        self._thread = thread
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._is_given_up = False
        self._ended: Future[T] = Future()
        context = copy_context()
        context.run(_ASKED_FROM.set, asked_from)
        thread.post(self._begin, context)

    async def awaited(self) -> T:
        """Return its result to a caller in another loop.

        Raises:
            ConfigError: when the private loop was closed before its end.
            BaseException: whatever it raised.
        """
        loop = asyncio.get_running_loop()
        cancelled: asyncio.CancelledError | None = None
        while not self._ended.done():
            arrived: asyncio.Future[None] = loop.create_future()
            self._ended.add_done_callback(partial(_wake, loop, arrived))
            try:
                await arrived
            except asyncio.CancelledError as error:
                if cancelled is not None:
                    # Anyio cancels in each step. Stepping on would take the time from the work.
                    wait((self._ended,), SETTLE_SECONDS)
                cancelled = error
                self._give_up()
            except BaseException:
                self._give_up()  # the caller is being destroyed and cannot wait
                raise
        if cancelled is not None:
            raise cancelled
        return self._result()

    def waited(self) -> T:
        """Return its result to a synchronous caller; see `awaited`."""
        try:
            # An interrupt that comes just before the thread sleeps does not wake it.
            while not wait((self._ended,), WAKE_SECONDS).done:
                pass
        except BaseException:  # an interrupt; a second one ends the waiting for the end too
            self._give_up()
            wait((self._ended,))
            raise
        return self._result()

    def _result(self) -> T:
        try:
            return self._ended.result()
        except asyncio.CancelledError:
            if self._thread.is_open and not self._thread.is_ending:
                raise
            raise ConfigError(
                "the budgeter was closed while this call was in flight. Close it when all "
                "calls have ended"
            ) from None

    def _give_up(self) -> None:
        if self._is_given_up:
            return  # anyio cancels again in each step, and the work may need several to settle
        self._is_given_up = True
        with suppress(RuntimeError):  # the loop has ended, and cancelled it
            self._thread.post(self._cancel)

    # What follows runs on the private loop.

    def _begin(self) -> None:
        if self._is_given_up:
            self._ended.set_exception(asyncio.CancelledError())
            return
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._end)

    async def _run(self) -> T:
        return await self._work()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._ended.set_exception(asyncio.CancelledError())
            return
        error = task.exception()
        if error is None:
            self._ended.set_result(task.result())
        else:
            self._ended.set_exception(error)


def _wake(
    loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None], _ended: object = None
) -> None:
    with suppress(RuntimeError):  # that loop is closed, and who waited in it is gone
        loop.call_soon_threadsafe(_set, waiter)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def pass_turn() -> None:
    """Let others run once: in this loop, or in the loop whose call was carried to this one."""
    asked_from = _ASKED_FROM.get()
    here = asyncio.get_running_loop()
    if asked_from is None or asked_from is here:
        await asyncio.sleep(0)
        return
    turn: asyncio.Future[None] = here.create_future()
    try:
        asked_from.call_soon_threadsafe(_wake, here, turn)
    except RuntimeError:  # closed: its callers are gone
        await asyncio.sleep(0)
        return
    await turn


async def pass_turns() -> None:
    """Let others run a few times, so that a chain of steps comes to its end."""
    for _ in range(REACTION_TURNS):
        await pass_turn()


async def let_react() -> None:
    """Let a program go on with the answer that it was given last, before it gets the next one."""
    await pass_turns()
    if _ASKED_FROM.get() is None:
        await asyncio.sleep(REACTION_SECONDS)

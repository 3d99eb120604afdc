"""The one event loop that an asker works on, wherever it is asked from.

Problem: a budgeter takes from its limits without a lock, and a client's connections
belong to one event loop. But programs that are not ours ask from several loops, from the
threads of `batch`, from the parallel synchronous nodes of a graph, and synchronously
inside a running loop (a notebook's cell), which stands still until the answer is there.

Choice: every asker has one owner loop. Who awaits an asker directly lends it the running
loop for as long as calls are in flight there. Whatever comes through a
`BudgetedChatModel`, asynchronous calls too, is carried to a private loop in a thread of
its own, which no caller can block; the caller's context goes along. Work moves from a
lent loop to another one only while nothing is in flight.

Rejected: carrying calls to the loop that asked first (it may stand still, and then
whoever waits for it hangs); a loop for each model (two models would change one budgeter
from two threads); locks around the limits (the clients still belong to a loop).

Invariants: at any time one loop at most runs an asker's work. A carried call that its
caller gives up has come to rest, and is counted, before the caller goes on. In a forked
process nothing of this is touched: its copy of the limits would be passed unseen.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from turnwise.calls.errors import ConfigError

__all__ = ["LoopThread", "OwnerLoop", "owner_of", "pass_turn"]

T = TypeVar("T")
P = ParamSpec("P")

JOIN_SECONDS = 5.0
"""Longest wait for a private loop to end. Work that ignores its cancellation is left behind."""

_ASKED_FROM: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar(
    "turnwise_asked_from", default=None
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
            target=_serve, args=(self._loop, stopping), name="turnwise-loop", daemon=True
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


class _Errand(Generic[T]):
    """Work that is carried to a private loop, until its caller has its end.

    Args:
        thread: where it runs.
        work: starts it, there.
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
            wait((self._ended,))
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


class OwnerLoop:
    """The loop that one asker works on.

    Args:
        is_private: whether it is a loop in a thread of its own from the first call on.
        before_end: closes what the asker keeps open; awaited on the loop by `close` and
            `aclose`. A method is held weakly.
    """

    def __init__(
        self,
        *,
        is_private: bool = False,
        before_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        # Re-entrant: a call that the garbage collector ends may leave while one enters.
        self._lock = threading.RLock()
        self._is_private = is_private
        self._before_end = None if before_end is None else weakref.WeakMethod(before_end)
        self._thread: LoopThread | None = None
        self._lent: asyncio.AbstractEventLoop | None = None
        self._lent_count = 0
        self._process_id: int | None = None

    def make_private(self) -> bool:
        """Work on a private loop from now on, unless calls are in flight on a lent one.

        Returns:
            Whether it works on a private loop.
        """
        with self._lock:
            self._is_private = self._is_private or self._lent_count == 0
            return self._is_private

    async def run(
        self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `work` returns, awaited on the owner loop, from any loop.

        Raises:
            ConfigError: without an asyncio loop, in a forked process, or while calls are
                in flight on another loop that was lent.
        """
        here = _running_loop()
        if here is None:
            raise ConfigError(
                "a budgeter is awaited in an asyncio event loop, and none is running here. "
                "In trio, call `await trio.to_thread.run_sync(model.invoke, messages)`"
            )
        self._check_process()
        with self._lock:
            errand = None
            is_lent = not self._is_private
            if is_lent:
                self._lend(here)
            elif not (thread := self._opened()).is_here:
                errand = _Errand(thread, partial(work, *args, **kwargs), here)
        if errand is not None:
            return await errand.awaited()
        try:
            return await work(*args, **kwargs)
        finally:
            if is_lent:
                with self._lock:
                    self._lent_count -= 1

    def wait(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns, awaited on the private loop, to a synchronous caller.

        Raises:
            ConfigError: in the private loop's own thread, in a forked process, or while
                calls are in flight on a loop that was lent.
        """
        self._check_process()
        with self._lock:
            if not self.make_private():
                raise self._busy()
            thread = self._opened()
            if thread.is_here:
                raise ConfigError(
                    "a client of the budgeter asks the same budgeter synchronously, and would "
                    "wait for itself. Await `ainvoke` there"
                )
            errand = _Errand(thread, partial(work, *args, **kwargs), None)
        return errand.waited()

    def call(self, work: Callable[[], T]) -> T:
        """Return what a short function returns, run between two steps of the private loop.

        Where no private loop runs, it runs at once.
        """
        thread = self._thread
        if thread is None or thread.is_here or self._process_id != os.getpid():
            return work()
        with self._lock:
            if self._thread is not thread or not thread.is_open:
                return work()
            answer: Future[T] = Future()
            thread.post(partial(_answer, answer, work), copy_context())
        return answer.result()

    def close(self) -> None:
        """Close what the asker keeps open, and the private loop. Safe to call twice.

        Calls in flight on the private loop are cancelled. A later call opens a new loop.

        Raises:
            ConfigError: as `wait`.
        """
        before_end = None if self._before_end is None else self._before_end()
        if before_end is not None:
            self.wait(self._wind_up, before_end)
        thread = self._taken_thread()
        if thread is not None:
            thread.close()

    async def aclose(self) -> None:
        """Do what `close` does, from any loop, and on a lent loop without cancelling."""
        before_end = None if self._before_end is None else self._before_end()
        if before_end is not None:
            await self.run(self._wind_up, before_end)
        thread = self._taken_thread()
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.close)

    async def _wind_up(self, before_end: Callable[[], Awaitable[None]]) -> None:
        thread = self._thread
        if thread is not None and thread.is_here:
            thread.is_ending = True
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=JOIN_SECONDS)
        await before_end()

    def _taken_thread(self) -> LoopThread | None:
        if self._process_id != os.getpid():
            return None
        with self._lock:
            thread, self._thread = self._thread, None
            return thread

    def _opened(self) -> LoopThread:
        if self._thread is not None and self._thread.is_ending:
            raise ConfigError("this budgeter is being closed. Ask before, or once it is closed")
        if self._thread is None or not self._thread.is_open:
            self._thread = LoopThread()
        return self._thread

    def _lend(self, here: asyncio.AbstractEventLoop) -> None:
        if self._lent_count and self._lent is not here:
            raise self._busy()
        self._lent = here
        self._lent_count += 1

    def _busy(self) -> ConfigError:
        return ConfigError(
            f"this budgeter has {self._lent_count} calls in flight on another event loop, and "
            "works on one loop at a time. Make it with `Budgeter(..., own_loop=True)`, which "
            "answers callers in any loop and thread"
        )

    def _check_process(self) -> None:
        if self._process_id is None:
            self._process_id = os.getpid()
        elif self._process_id != os.getpid():
            raise ConfigError(
                f"this budgeter was used in process {self._process_id} before this process was "
                "forked: calls here would pass its limits and miss its ledger. Make a budgeter "
                "in each process"
            )


def _answer(answer: Future[T], work: Callable[[], T]) -> None:
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised to the caller, in its thread
        answer.set_exception(error)


_owners: "weakref.WeakKeyDictionary[object, OwnerLoop]" = weakref.WeakKeyDictionary()
_making_an_owner = threading.Lock()


def owner_of(asker: object) -> OwnerLoop:
    """Return an asker's owner loop: its attribute `owner`, or else a private loop for it."""
    owner = getattr(asker, "owner", None)
    if isinstance(owner, OwnerLoop):
        return owner
    with _making_an_owner:
        return _owners.setdefault(asker, OwnerLoop(is_private=True))


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


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

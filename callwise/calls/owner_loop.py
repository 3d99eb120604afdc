"""The one event loop that an LLM works on, wherever it is asked from.

Problem: a budgeter takes from its limits without a lock, and a client's connections
belong to one event loop. But programs that are not ours ask from several loops, from the
threads of `batch`, from the parallel synchronous nodes of a graph, and synchronously
inside a running loop (a notebook's cell), which is blocked until the answer is there.

Choice: every LLM has one owner loop. An LLM that is awaited directly is lent the running
loop for as long as calls are in flight there. Whatever comes through a
`BudgetedChatModel`, asynchronous calls too, is carried to a private loop in a thread of
its own, which no caller can block; the caller's context goes along. Work changes from a
lent loop to another one only while nothing is in flight.

Rejected: carrying calls to the loop that asked first (it may be blocked, and then
every caller that waits for it hangs); a loop for each model (two models would change one budgeter
from two threads); locks around the limits (the clients still belong to a loop).

Invariants: at any time one loop at most runs an LLM's work. A carried call that its
caller gives up has come to rest, and is counted, before the caller goes on. In a forked
process nothing of this is touched: its copy of the limits would be passed unseen.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from callwise.calls.errors import ConfigError
from callwise.calls.loop_thread import JOIN_SECONDS, Errand, LoopThread

__all__ = ["OwnerLoop", "owner_of", "require_asyncio"]

T = TypeVar("T")
P = ParamSpec("P")

READ_SECONDS = 5.0
"""Longest wait of `OwnerLoop.read` for a loop that is busy."""


class OwnerLoop:
    """The loop that one LLM works on.

    Args:
        is_private: whether it is a loop in its own thread from the first call on.
        before_end: closes what the LLM keeps open; awaited on the loop by `close` and
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
        if self._is_forked:  # where another thread may have held the lock for ever
            return self._is_private
        with self._lock:
            self._is_private = self._is_private or self._lent_count == 0
            return self._is_private

    def __deepcopy__(self, memo: object) -> "OwnerLoop":
        """Return itself: a copied model asks on the same loop."""
        return self

    async def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns, awaited on the owner loop, from any loop.

        Raises:
            ConfigError: without an asyncio loop, in a forked process, or while calls are
                in flight on another loop that was lent.
        """
        here = require_asyncio()
        self._check_process()
        with self._lock:
            errand = None
            is_lent = not self._is_private
            if is_lent:
                if self._lent_count and self._lent is not here:
                    raise self._busy()
                self._lent = here
                self._lent_count += 1
            elif not (thread := self._opened()).is_here:
                errand = Errand(thread, partial(work, *args, **kwargs), here)
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
            errand = Errand(thread, partial(work, *args, **kwargs), None)
        return errand.waited()

    def call(self, work: Callable[[], T]) -> T:
        """Return what a short function returns, run between two steps of the private loop.

        Where no private loop runs, it runs immediately.
        """
        if self._is_forked:
            return work()
        with self._lock:
            thread = self._thread
            if thread is None or thread.is_here or not thread.is_open:
                return work()
            answer: Future[T] = Future()
            thread.post(partial(_answer, answer, work), copy_context())
        return answer.result()

    def read(self, work: Callable[[], T], *, seconds: float = READ_SECONDS) -> T:
        """Return what a short function returns, run between two steps of the owner loop.

        Unlike `call` it waits for a lent loop too, so that another thread reads numbers of one
        moment. Where no loop runs, it runs immediately.

        Raises:
            TimeoutError: when the loop does not come to it within `seconds`.
        """
        if self._is_private or self._is_forked:
            return self.call(work)
        with self._lock:  # no call begins meanwhile
            lent = self._lent
            if lent is None or not lent.is_running() or _running_loop() is lent:
                return work()
        answer: Future[T] = Future()
        try:
            lent.call_soon_threadsafe(_answer, answer, work)
        except RuntimeError:  # closed a moment ago
            return work()
        try:
            return answer.result(timeout=seconds)
        except FutureTimeoutError:
            if lent.is_running():
                raise TimeoutError(
                    f"the event loop of the budgeter did nothing else for {seconds:g} s"
                ) from None
        return work()

    def close(self) -> None:
        """Close what the LLM keeps open, and the private loop. Safe to call twice.

        Calls in flight on the private loop are cancelled. A later call opens a new loop.

        Raises:
            ConfigError: as `wait`.
        """
        if self._is_forked:
            return  # the parent's connections are not closed from here
        before_end = None if self._before_end is None else self._before_end()
        try:
            if before_end is not None:
                self.wait(self._wind_up, before_end)
        finally:
            thread = self._taken_thread()
            if thread is not None:
                thread.close()

    async def aclose(self) -> None:
        """Do what `close` does, from any loop; on a lent loop `before_end` ends the calls."""
        if self._is_forked:
            return
        before_end = None if self._before_end is None else self._before_end()
        try:
            if before_end is not None:
                await self.run(self._wind_up, before_end)
        finally:
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
        with self._lock:
            thread, self._thread = self._thread, None
            return thread

    def _opened(self) -> LoopThread:
        if self._thread is not None and self._thread.is_ending:
            raise ConfigError("this budgeter is being closed. Ask before, or once it is closed")
        if self._thread is None or not self._thread.is_open:
            self._thread = LoopThread()
        return self._thread

    def _busy(self) -> ConfigError:
        return ConfigError(
            f"this budgeter has {self._lent_count} calls in flight on another event loop, and "
            "works on one loop at a time. Make it with `Budgeter(..., own_loop=True)`, which "
            "answers callers in any loop and thread"
        )

    @property
    def _is_forked(self) -> bool:
        return self._process_id is not None and self._process_id != os.getpid()

    def _check_process(self) -> None:
        if self._process_id is None:
            self._process_id = os.getpid()
        elif self._is_forked:
            raise ConfigError(
                f"this budgeter was used in process {self._process_id} before this process was "
                "forked: calls here would pass its limits and miss its ledger. Make a budgeter "
                "in each process"
            )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _answer(answer: Future[T], work: Callable[[], T]) -> None:
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised to the caller, in its thread
        answer.set_exception(error)


_owners: "weakref.WeakKeyDictionary[object, OwnerLoop]" = weakref.WeakKeyDictionary()
_making_an_owner = threading.Lock()


def owner_of(llm: object) -> OwnerLoop:
    """Return an LLM's owner loop: its attribute `owner`, or else a private loop for it.

    For an LLM that cannot be a weak key (it has slots, or no hash), a new one.
    """
    owner = getattr(llm, "owner", None)
    if isinstance(owner, OwnerLoop):
        return owner
    try:
        with _making_an_owner:
            return _owners.setdefault(llm, OwnerLoop(is_private=True))
    except TypeError:
        return OwnerLoop(is_private=True)


def require_asyncio() -> asyncio.AbstractEventLoop:
    """Return the running event loop of asyncio.

    Raises:
        ConfigError: when none runs here.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "a budgeter is awaited in an event loop of asyncio, and none runs here. In trio, "
            "call `await trio.to_thread.run_sync(model.invoke, messages)`"
        ) from None

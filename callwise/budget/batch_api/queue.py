"""The queue on disk as the event loop uses it: in a thread, and by the group.

Calls that are accepted while a write is under way are written together by the next one, so that
ten thousand of them take some hundred transactions, not ten thousand.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from callwise.budget.batch_api.store import Asked, Kept, QueueStore
from callwise.budget.clock import Clock, Timer
from callwise.calls.errors import CallwiseError

__all__ = ["BackgroundQueue", "BackgroundQueues"]

ResultT = TypeVar("ResultT")

TAKE_SECONDS = 1.0
"""Least time for which an answer that was given out is kept, so that its caller can record it."""


class BackgroundQueue:
    """One queue file, which is opened at the first use.

    Args:
        path: its file.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._store: QueueStore | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._asked: list[tuple[Asked, asyncio.Future[Kept]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._given: list[int] = []
        self._taken: list[int] = []
        self._taking: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, asked: Asked) -> Kept:
        """Return the call that is kept for a question, once it is on disk.

        Raises:
            ConfigError: when the file cannot be used.
            FormatError: when it is another file.
        """
        future: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._accept_all())
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release(future.result().call_id)
            raise

    async def run(self, work: Callable[[QueueStore], ResultT]) -> ResultT:
        """Return what a function does with the store, in its thread.

        It is not broken off by a cancellation: what it writes is written.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="callwise-queue")
        loop = asyncio.get_running_loop()
        return await asyncio.shield(
            loop.run_in_executor(self._thread, lambda: work(self._opened()))
        )

    def take(self, call_id: int) -> None:
        """Note that an answer was given out; it is dropped from the disk a moment later."""
        self._given.append(call_id)
        if self._taking is None:
            self._taking = self._clock.call_at(self._clock.now() + TAKE_SECONDS, self._take_older)

    def release(self, *call_ids: int) -> None:
        """Leave calls to the next that ask; those that only waited are deleted."""
        self._begin(lambda store: store.release(call_ids))

    def leave(self, *call_ids: int) -> None:
        """Leave calls to the next that ask, those that only waited as well."""
        self._begin(lambda store: store.leave(call_ids))

    async def aclose(self) -> None:
        """Write what is open and release the file. Safe to call twice; a later use opens it."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
            taken, self._taken, self._given = [*self._taken, *self._given], [], []
            self._begin(lambda store: store.take(taken))
        if self._writer is not None:
            await asyncio.wait((self._writer,))
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    async def _accept_all(self) -> None:
        try:
            while self._asked:
                waiting, self._asked = self._asked, []
                try:
                    kept = await self.run(partial(_accepted, [each for each, _ in waiting]))
                except CallwiseError as error:
                    for _, future in waiting:
                        if not future.done():
                            future.set_exception(error)
                    continue
                unwanted = []
                for (_, future), each in zip(waiting, kept, strict=True):
                    if future.done():
                        unwanted.append(each.call_id)
                    else:
                        future.set_result(each)
                if unwanted:
                    self.release(*unwanted)
        finally:
            self._writer = None

    def _take_older(self) -> None:
        """Drop the answers that were given out before the last time that this was called."""
        taken, self._taken, self._given = self._taken, self._given, []
        self._taking = None
        if taken:
            self._begin(lambda store: store.take(taken))
        if self._taken:
            self._taking = self._clock.call_at(self._clock.now() + TAKE_SECONDS, self._take_older)

    def _begin(self, work: Callable[[QueueStore], None]) -> None:
        task = asyncio.create_task(self.run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The following run in the thread.

    def _opened(self) -> QueueStore:
        if self._store is None:
            self._store = QueueStore(self._path)
        return self._store

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


class BackgroundQueues:
    """The queues of one budgeter, one for each file."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[Path, BackgroundQueue] = {}

    def __call__(self, path: Path) -> BackgroundQueue:
        """Return the queue of a file."""
        path = path.absolute()
        queue = self._queues.get(path)
        if queue is None:
            queue = self._queues[path] = BackgroundQueue(path, self._clock)
        return queue

    async def aclose(self) -> None:
        """Release all files. Safe to call twice."""
        for queue in self._queues.values():
            await queue.aclose()


def _accepted(asked: list[Asked], store: QueueStore) -> list[Kept]:
    return store.accept(asked)

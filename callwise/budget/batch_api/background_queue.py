"""The queue on disk as the event loop uses it: in a thread, and by the group.

Calls that are accepted while a write is under way are written together by the next one, so that
ten thousand of them take some hundred transactions, not ten thousand.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from callwise.budget.batch_api.store import Kept, QueuedCall, QueueStore
from callwise.budget.clock import Clock, Timer
from callwise.calls.errors import CallwiseError

__all__ = ["BackgroundQueue", "BackgroundQueues"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

TAKE_SECONDS = 1.0
"""Least time for which an answer that was given out is kept, so that its caller can record it."""


class _Gathered(Generic[ItemT, ResultT]):
    """Writes that come together; those that come during one are the next one.

    Args:
        run: runs a function on the store, in its thread.
        write: writes several items in one transaction, and returns a result for each.
    """

    def __init__(
        self,
        run: Callable[[Callable[[QueueStore], Sequence[ResultT]]], Awaitable[Sequence[ResultT]]],
        write: Callable[[QueueStore, list[ItemT]], Sequence[ResultT]],
    ) -> None:
        self._run = run
        self._write = write
        self._waiting: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        self.writer: asyncio.Task[None] | None = None

    def add(self, item: ItemT) -> "asyncio.Future[ResultT]":
        """Return the result of an item, once it is on disk.

        Shield the future when awaiting it: it must not be cancelled.
        """
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self.writer is None:
            self.writer = asyncio.create_task(self._write_all())
        return future

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                items = [item for item, _ in waiting]
                try:
                    results = await self._run(partial(self._write_items, items))
                except CallwiseError as error:
                    for _, future in waiting:
                        future.set_exception(error)
                else:
                    for (_, future), result in zip(waiting, results, strict=True):
                        future.set_result(result)
        finally:
            self.writer = None

    def _write_items(self, items: list[ItemT], store: QueueStore) -> Sequence[ResultT]:
        return self._write(store, items)


class BackgroundQueue:
    """One queue file in one event loop. The file is opened at the first use.

    Args:
        path: its file.

    Attributes:
        loop: the loop that it was made in.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.loop = asyncio.get_running_loop()
        self._path = path
        self._clock = clock
        self._store: QueueStore | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._accepting = _Gathered[QueuedCall, Kept](self.run, QueueStore.accept)
        self._answering = _Gathered[tuple[int, bytes], None](self.run, _answer_all)
        self._given: list[int] = []
        self._taken: list[int] = []
        self._taking: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, asked: QueuedCall) -> Kept:
        """Return the call that is kept for a question, once it is on disk.

        Raises:
            ConfigError: when the file cannot be used.
            FormatError: when it is another file.
        """
        future = self._accepting.add(asked)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._release_unwanted)
            raise

    async def answer(self, call_id: int, result: bytes) -> None:
        """Return once what came back for a call is on disk.

        Raises:
            ConfigError: when it cannot be written.
        """
        await asyncio.shield(self._answering.add((call_id, result)))

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

    def abandon(self) -> None:
        """Release the file after the loop has ended: its calls are free for those that ask now."""
        thread, self._thread = self._thread, None
        if thread is not None:
            taken = [*self._taken, *self._given]
            thread.submit(lambda: self._opened().take(taken)).result()
            thread.submit(self._close).result()
            thread.shutdown()

    async def aclose(self) -> None:
        """Write what is open and release the file. Safe to call twice; a later use opens it."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
            taken, self._taken, self._given = [*self._taken, *self._given], [], []
            self._begin(lambda store: store.take(taken))
        for writer in filter(None, (self._accepting.writer, self._answering.writer)):
            await asyncio.wait((writer,))
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    def _release_unwanted(self, future: "asyncio.Future[Kept]") -> None:
        if future.exception() is None:
            self.release(future.result().call_id)

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
        """Return the queue of a file in the running loop."""
        path = path.absolute()
        queue = self._queues.get(path)
        if queue is not None and queue.loop is not asyncio.get_running_loop():
            queue.abandon()
            queue = None
        if queue is None:
            queue = self._queues[path] = BackgroundQueue(path, self._clock)
        return queue

    async def aclose(self) -> None:
        """Release all files. Safe to call twice."""
        queues, self._queues = self._queues, {}
        for queue in queues.values():
            if queue.loop is asyncio.get_running_loop():
                await queue.aclose()
            else:
                queue.abandon()


def _answer_all(store: QueueStore, answers: list[tuple[int, bytes]]) -> list[None]:
    store.answer(dict(answers))
    return [None] * len(answers)

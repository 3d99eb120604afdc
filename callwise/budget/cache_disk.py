"""Cache tier on disk: answers outlive the process, off the event loop.

All work on the folder happens in one thread of the cache, so that the event loop never blocks
and the connection is closed where it was opened. A reply is a JSON object there; its `parsed` is
left out and read again. One that ends has the time at which it was written, by the clock of the
machine: the clock of a process means nothing to the next one.

A cache is a convenience: when the disk is full or a file is damaged, the answer still reaches
its caller, and the failure is in the log and in `statistics`.

The only file that imports diskcache. Its default form is pickle, which runs code on
reading (CVE-2025-69872); its JSON disk writes none, but would still load one that
another process put into the database. The disk here refuses to.
"""

import asyncio
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from diskcache import Cache, JSONDisk, Timeout
from diskcache.core import MODE_PICKLE

from callwise.budget.cache_document import (
    document_of_reply,
    lifetime_of_document,
    reply_of_document,
)
from callwise.budget.layers.cache import ENDLESS, TTL_SECONDS, KeptReply, Lifetime
from callwise.calls.key import KEY_VERSION, CallKey
from callwise.calls.reply import Reply

__all__ = ["DiskCache", "DiskCacheStatistics"]

_LOGGER = logging.getLogger(__name__)
_ReturnT = TypeVar("_ReturnT")

_STORE_ERRORS: tuple[type[Exception], ...] = (
    OSError,  # a full disk, a folder that cannot be made
    sqlite3.Error,
    Timeout,  # another process has the lock for too long
    ValueError,  # not JSON, or a pickle
    TypeError,
    zlib.error,
)
"""Errors of a folder that others can write to."""

_LOCK_TIMEOUT_SECONDS = 10


class _JsonOnlyDisk(JSONDisk):  # type: ignore[misc] # diskcache has no types
    """JSON in, JSON out; a pickle is refused unread."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == MODE_PICKLE:
            raise ValueError("the cache contains a pickle, which is never read")
        return super().fetch(mode, filename, value, read)

    def get(self, key: Any, raw: bool) -> Any:
        if not raw:
            raise ValueError("the cache contains a pickled key, which is never read")
        return super().get(key, raw)


class DiskCacheStatistics(NamedTuple):
    """Replies that could not be read although they were there, and could not be written."""

    failed_reads: int
    failed_writes: int


class DiskCache:
    """Keeps replies in a folder. Several processes may share it.

    Args:
        folder: made when missing. Opened at the first use.
        max_bytes: size at which the oldest replies are dropped.
        ttl_multiplier: times as long as in memory that a reply is kept whose call named no time;
            above 0. None keeps it without end.
        wall_clock: returns seconds since 1970.
    """

    tier = "disk"
    waits = True
    ttl_seconds = TTL_SECONDS

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 2**30,
        ttl_multiplier: float | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if ttl_multiplier is not None and not ttl_multiplier > 0:
            raise ValueError(f"ttl_multiplier is above 0, or None; got {ttl_multiplier}")
        self._folder = folder
        self._max_bytes = max_bytes
        self._ttl_multiplier = inf if ttl_multiplier is None else ttl_multiplier
        self._wall_clock = wall_clock
        self._thread: ThreadPoolExecutor | None = None
        self._store: Cache | None = None
        self._failed_reads = 0
        self._failed_writes = 0

    def peek(self, key: CallKey) -> None:
        """Return None: nothing is in memory."""
        del key

    async def get(self, key: CallKey) -> KeptReply | None:
        """Return a reply, or None."""
        return await self._in_thread(lambda: self._read(key))

    async def put(self, key: CallKey, reply: Reply, lifetime: Lifetime = ENDLESS) -> None:
        """Keep a reply if that is possible."""
        lifetime = lifetime.extended(self._ttl_multiplier)
        await self._in_thread(lambda: self._write(key, reply, lifetime))

    def statistics(self) -> DiskCacheStatistics:
        """Return what it could not do so far."""
        return DiskCacheStatistics(self._failed_reads, self._failed_writes)

    async def aclose(self) -> None:
        """Close the folder. Safe to call twice; a later use opens it again."""
        thread = self._thread
        if thread is not None:
            await self._in_thread(self._close)
            self._thread = None
            thread.shutdown()

    async def _in_thread(self, work: Callable[[], _ReturnT]) -> _ReturnT:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="callwise-cache")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # The following methods run in the thread.

    def _opened(self) -> Cache:
        if self._store is None:
            self._store = Cache(
                str(self._folder),
                disk=_JsonOnlyDisk,
                size_limit=self._max_bytes,
                timeout=_LOCK_TIMEOUT_SECONDS,
            )
        return self._store

    def _read(self, key: CallKey) -> KeptReply | None:
        name = f"{KEY_VERSION}:{key}"
        try:
            document = self._opened().get(name)
            if document is None:
                return None
            lifetime = lifetime_of_document(document, self._wall_clock())
            if lifetime is None:
                self._opened().delete(name)
                return None
            return KeptReply(reply_of_document(document), self.tier, lifetime)
        except _STORE_ERRORS as error:
            self._failed_reads += 1
            _LOGGER.warning("cannot read from the cache %s: %r", self._folder, error)
            return None

    def _write(self, key: CallKey, reply: Reply, lifetime: Lifetime) -> None:
        document = document_of_reply(reply, lifetime, self._wall_clock())
        try:
            self._opened().set(f"{KEY_VERSION}:{key}", document)
        except _STORE_ERRORS as error:
            self._failed_writes += 1
            _LOGGER.warning("cannot write to the cache %s: %r", self._folder, error)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

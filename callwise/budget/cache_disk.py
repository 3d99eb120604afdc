"""Cache tier on disk: answers outlive the process, off the event loop.

All work on the folder happens in one thread of the cache, so that the event loop never blocks
and the connection is closed where it was opened. A reply is a JSON object there; its `parsed` is
left out and read again. One that ends has the time at which it was written, by the clock of the
machine: the clock of a process means nothing to the next one.

A cache is a convenience: whatever happens to its files, the answer still reaches its caller, and
the failure is in `statistics` and, once for each kind, in the log.

- A database that is cut or garbage is renamed to `cache.db.damaged`, and the cache begins with an
  empty one. A lock in the folder lets one process do that; the others open what it has made.
- An entry that cannot be read is deleted, and written again with the next answer.
- A folder that cannot be opened, or that several reads or writes in a row fail at (a full disk, a
  read-only one), is no longer read, or written, until the cache is closed.

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

import filelock
from diskcache import Cache, JSONDisk, Timeout
from diskcache.core import DBNAME, MODE_PICKLE

from callwise.budget.cache_document import (
    document_of_reply,
    lifetime_of_document,
    reply_of_document,
)
from callwise.budget.layers.cache import ENDLESS, TTL_SECONDS, KeptReply, Lifetime
from callwise.calls.key import KEY_VERSION, CallKey
from callwise.calls.reply import Reply

__all__ = ["MAX_FAILURES", "DiskCache", "DiskCacheStatistics", "open_store"]

_LOGGER = logging.getLogger(__name__)
_ReturnT = TypeVar("_ReturnT")

_STORE_ERRORS: tuple[type[Exception], ...] = (
    OSError,  # a full disk, a folder that cannot be made
    sqlite3.Error,
    Timeout,  # another process has the lock for too long
    filelock.Timeout,
    ValueError,  # not JSON, or a pickle
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    zlib.error,
)
"""Errors of a folder that others can write to."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Codes of SQLite for a file that is cut or garbage."""

MAX_FAILURES = 3
"""Reads, or writes, in a row that may fail before there are no more of them."""

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


class _Store(Cache):  # type: ignore[misc] # diskcache has no types
    """A store whose connection is closed, too, where its database cannot be opened."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        try:
            super().__init__(
                str(folder), disk=_JsonOnlyDisk, size_limit=max_bytes, timeout=_LOCK_TIMEOUT_SECONDS
            )
        except BaseException:
            self.close()
            raise


class DiskCacheStatistics(NamedTuple):
    """Failures of a folder.

    Args:
        failed_reads: replies that could not be read although they may have been there.
        failed_writes: replies that could not be written.
        rebuilds: damaged databases that were put aside.
        is_read: whether it is read; not after failures in a row.
        is_written: the same of writing.
    """

    failed_reads: int
    failed_writes: int
    rebuilds: int = 0
    is_read: bool = True
    is_written: bool = True


class DiskCache:
    """Keeps replies in a folder. Several processes may share it.

    Args:
        folder: made when missing. Opened at the first use.
        max_bytes: size at which the oldest replies are dropped.
        ttl_multiplier: times as long as in memory that a reply is kept whose call named no time;
            above 0. None keeps it without end.
        wall_clock: returns seconds since 1970.
        opened: returns the store of a folder, for so many bytes; None takes diskcache's.
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
        opened: Callable[[Path, int], Cache] | None = None,
    ) -> None:
        if ttl_multiplier is not None and not ttl_multiplier > 0:
            raise ValueError(f"ttl_multiplier is above 0, or None; got {ttl_multiplier}")
        self._folder = folder
        self._max_bytes = max_bytes
        self._ttl_multiplier = inf if ttl_multiplier is None else ttl_multiplier
        self._wall_clock = wall_clock
        self._thread: ThreadPoolExecutor | None = None
        self._store: Cache | None = None
        self._open_store = opened or open_store
        self._failures = {_READ: 0, _WRITE: 0}
        self._in_row = {_READ: 0, _WRITE: 0}
        self._rebuilds = 0
        self._warned: set[tuple[str, object]] = set()

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
        return DiskCacheStatistics(
            self._failures[_READ],
            self._failures[_WRITE],
            self._rebuilds,
            self._in_row[_READ] < MAX_FAILURES,
            self._in_row[_WRITE] < MAX_FAILURES,
        )

    async def aclose(self) -> None:
        """Close the folder. Safe to call twice; a later use opens it again."""
        thread = self._thread
        if thread is not None:
            await self._in_thread(self._released)
            self._thread = None
            thread.shutdown()

    async def _in_thread(self, work: Callable[[], _ReturnT]) -> _ReturnT:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="callwise-cache")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # The following methods run in the thread.

    def _opened(self) -> Cache:
        if self._store is None:
            self._store = self._open_store(self._folder, self._max_bytes)
        return self._store

    def _read(self, key: CallKey) -> KeptReply | None:
        name = f"{KEY_VERSION}:{key}"
        return self._guarded(_READ, name, lambda: self._kept(name))

    def _kept(self, name: str) -> KeptReply | None:
        document = self._opened().get(name)
        if document is None:
            return None
        lifetime = lifetime_of_document(document, self._wall_clock())
        if lifetime is None:
            self._opened().delete(name)
            return None
        return KeptReply(reply_of_document(document), self.tier, lifetime)

    def _write(self, key: CallKey, reply: Reply, lifetime: Lifetime) -> None:
        name, document = (
            f"{KEY_VERSION}:{key}",
            document_of_reply(reply, lifetime, self._wall_clock()),
        )
        self._guarded(_WRITE, name, lambda: self._opened().set(name, document))

    def _guarded(self, action: str, name: str, work: Callable[[], _ReturnT]) -> _ReturnT | None:
        """Return what a read or a write does; None where it fails, or is not tried any more."""
        if self._in_row[action] >= MAX_FAILURES:
            return None
        try:
            result = work()
        except _STORE_ERRORS as error:
            self._failures[action] += 1
            self._failed(action, name, error)
            return None
        self._in_row[action] = 0
        return result

    def _failed(self, action: str, name: str, error: Exception) -> None:
        """Put aside what is damaged, warn, and count failures towards giving up."""
        code = getattr(error, "sqlite_errorcode", None)
        is_damaged = code is not None and code & 0xFF in _DAMAGED
        self._in_row[action] += 1
        try:
            if is_damaged:
                self._rebuild()
            elif action == _READ and not isinstance(error, sqlite3.Error | OSError | Timeout):
                self._opened().delete(name)
        except _STORE_ERRORS as second:
            error.add_note(f"and then: {second!r}")
            is_damaged = False
        is_unusable = self._store is None and not is_damaged
        if is_unusable:
            self._in_row = dict.fromkeys(self._in_row, MAX_FAILURES)
        end = "; it was put aside, and the cache begins empty" if is_damaged else ""
        if is_unusable:
            end = "; it is not used any more"
        elif self._in_row[action] >= MAX_FAILURES:
            end = f"; nothing is {'read from' if action == _READ else 'written to'} it any more"
        if end or (action, code or type(error)) not in self._warned:
            self._warned.add((action, code or type(error)))
            _LOGGER.warning("cannot %s the cache %s: %r%s", action, self._folder, error, end)

    def _rebuild(self) -> None:
        """Put a damaged database aside, where no other process has done it."""
        self._close()
        with filelock.FileLock(self._folder / "rebuild.lock", timeout=_LOCK_TIMEOUT_SECONDS):
            path = self._folder / DBNAME
            if _is_sound(path):
                return
            self._rebuilds += 1
            path.replace(path.with_suffix(".db.damaged"))
            for journal in ("-wal", "-shm", "-journal"):
                Path(f"{path}{journal}").unlink(missing_ok=True)
            for value in self._folder.glob("*/*/*.val"):  # long replies, which it alone had named
                value.unlink(missing_ok=True)

    def _released(self) -> None:
        """Close the folder, and let a later use try again what has failed."""
        self._in_row = dict.fromkeys(self._in_row, 0)
        self._close()

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


_READ, _WRITE = "read from", "write to"


def open_store(folder: Path, max_bytes: int) -> Cache:
    """Return the store of a folder that keeps so many bytes, for the thread that calls this."""
    return _Store(folder, max_bytes)


def _is_sound(path: Path) -> bool:
    """Return whether a file is a database without damage."""
    connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_SECONDS)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise
        return False
    finally:
        connection.close()

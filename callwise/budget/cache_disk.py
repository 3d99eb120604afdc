"""Cache tier on disk: answers outlive the process, off the event loop.

All work on the folder happens in one thread of the cache, so that the event loop never blocks
and the connection is closed where it was opened. Replies read or written lately are also kept
in memory. A reply is a JSON object there; its `parsed` is left out and read again.

A cache is a convenience: when the disk is full or a file is damaged, the answer still reaches
its caller, and the failure is in the log and in `statistics`.

The only file that imports diskcache. Its default form is pickle, which runs code on
reading (CVE-2025-69872); its JSON disk writes none, but would still load one that
another process put into the database. The disk here refuses to.
"""

import asyncio
import logging
import sqlite3
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from diskcache import Cache, JSONDisk, Timeout
from diskcache.core import MODE_PICKLE

from callwise.budget.layers.cache import MemoryCache
from callwise.calls.key import KEY_VERSION, CallKey
from callwise.calls.reply import (
    Reply,
    ReportedUsage,
    document_of_logprobs,
    logprobs_of_document,
)

__all__ = ["DiskCache", "DiskCacheStatistics", "document_of_reply", "reply_of_document"]

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
        memory: keeps the latest replies; a new one when None.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int = 2**30, memory: MemoryCache | None = None
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._memory = memory or MemoryCache()
        self._thread: ThreadPoolExecutor | None = None
        self._store: Cache | None = None
        self._failed_reads = 0
        self._failed_writes = 0

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply that was read or written lately, or None."""
        return self._memory.peek(key)

    async def get(self, key: CallKey) -> Reply | None:
        """Return a reply from memory or disk, or None."""
        reply = self._memory.peek(key)
        if reply is not None:
            return reply
        reply = await self._in_thread(lambda: self._read(key))
        if reply is not None:
            self._memory.keep(key, reply)
        return reply

    async def put(self, key: CallKey, reply: Reply) -> None:
        """Keep a reply in memory, and on disk if that is possible."""
        self._memory.keep(key, reply)
        await self._in_thread(lambda: self._write(key, reply))

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

    def _read(self, key: CallKey) -> Reply | None:
        try:
            document = self._opened().get(f"{KEY_VERSION}:{key}")
            return None if document is None else reply_of_document(document)
        except _STORE_ERRORS as error:
            self._failed_reads += 1
            _LOGGER.warning("cannot read from the cache %s: %r", self._folder, error)
            return None

    def _write(self, key: CallKey, reply: Reply) -> None:
        try:
            self._opened().set(f"{KEY_VERSION}:{key}", document_of_reply(reply))
        except _STORE_ERRORS as error:
            self._failed_writes += 1
            _LOGGER.warning("cannot write to the cache %s: %r", self._folder, error)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


_TEXTS_IF_ANY = ("reasoning_text", "system_fingerprint")
_OF_OWN_FORM = {"parsed", "usage", "token_logprobs", *_TEXTS_IF_ANY}
_PLAIN = tuple(field.name for field in fields(Reply) if field.name not in _OF_OWN_FORM)
_USAGE = tuple(field.name for field in fields(ReportedUsage))


def document_of_reply(reply: Reply) -> dict[str, Any]:
    """Return a reply as a JSON object; what it need not have, only where it has any."""
    document = {name: getattr(reply, name) for name in _PLAIN}
    document["usage"] = {name: getattr(reply.usage, name) for name in _USAGE}
    if reply.token_logprobs:
        document["token_logprobs"] = document_of_logprobs(reply.token_logprobs)
    document |= {name: text for name in _TEXTS_IF_ANY if (text := getattr(reply, name))}
    return document


def reply_of_document(document: Mapping[str, Any]) -> Reply:
    """Return the reply that `document_of_reply` made a document of.

    Raises:
        ValueError: when it is not such a document.
    """
    try:
        values = {name: document[name] for name in _PLAIN}
        for name in ("choices", "tool_calls", "chunks"):
            values[name] = tuple(values[name])
        values["vectors"] = tuple(tuple(vector) for vector in values["vectors"])
        values["token_logprobs"] = logprobs_of_document(document.get("token_logprobs", ()))
        values |= {name: document.get(name, "") for name in _TEXTS_IF_ANY}
        return Reply(**values, usage=ReportedUsage(**document["usage"]))
    except (KeyError, TypeError) as problem:
        raise ValueError(f"not a reply: {problem!r}") from problem

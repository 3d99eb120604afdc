"""A folder of JSON documents, synchronous: what `disk_cache` does in its thread.

The only file that imports diskcache. Its default form is pickle, which runs code on
reading (CVE-2025-69872); its JSON disk writes none, but would still load one that
another process put into the database. The disk here refuses to.
"""

import sqlite3
import zlib
from pathlib import Path
from typing import Any

from diskcache import Cache, JSONDisk, Timeout
from diskcache.core import MODE_PICKLE

__all__ = ["STORE_ERRORS", "DiskStore"]

STORE_ERRORS: tuple[type[Exception], ...] = (
    OSError,  # a full disk, a folder that cannot be made
    sqlite3.Error,
    Timeout,  # another process holds the lock too long
    ValueError,  # not JSON, or a pickle
    TypeError,
    zlib.error,
)
"""What can go wrong with a folder that others can write to."""

_LOCK_TIMEOUT_SECONDS = 10


class _JsonOnlyDisk(JSONDisk):  # type: ignore[misc] # diskcache has no types
    """JSON in, JSON out; a pickle is refused unread."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == MODE_PICKLE:
            raise ValueError("the cache holds a pickle, which is never read")
        return super().fetch(mode, filename, value, read)

    def get(self, key: Any, raw: bool) -> Any:
        if not raw:
            raise ValueError("the cache holds a pickled key, which is never read")
        return super().get(key, raw)


class DiskStore:
    """JSON documents by key, in a folder that several processes may share.

    Args:
        folder: made when missing.
        max_bytes: size at which the oldest documents are dropped.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._cache = Cache(
            str(folder), disk=_JsonOnlyDisk, size_limit=max_bytes, timeout=_LOCK_TIMEOUT_SECONDS
        )

    def read(self, key: str) -> Any:
        """Return the document of a key, or None.

        Raises:
            STORE_ERRORS: when it cannot be read.
        """
        return self._cache.get(key)

    def write(self, key: str, document: Any) -> None:
        """Keep a document.

        Raises:
            STORE_ERRORS: when it cannot be written.
        """
        self._cache.set(key, document)

    def close(self) -> None:
        """Close the connection of the calling thread."""
        self._cache.close()

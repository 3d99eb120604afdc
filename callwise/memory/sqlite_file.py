"""One SQLite file that several processes write: its connection, transactions and errors.

A single connection behind a lock. Write-ahead logging lets other processes read while one writes;
each change is one transaction that begins as the only writer, and waits for others up to the busy
timeout. After a crash of the process a transaction is whole or absent. Without `durable` a commit
does not wait for the disk: a power cut may lose the last commits, whole ones.
"""

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.memory.memory_errors import StoreDamaged, StoreFailed, StoreFull, StoreLocked

__all__ = ["SqliteFile", "make_file"]

_MAX_MAKERS = 1_000
"""Most processes that may make one file concurrently."""


class SqliteFile:
    """A file, or memory, with one connection behind a lock. A context manager.

    Args:
        path: the file, made where it is missing, for its owner alone; or ":memory:". Its folder
            must exist.
        noun: noun for errors, such as "store".
        restore: the way out of a damaged file, for errors.
        busy_timeout_seconds: longest wait for another process, above 0.

    Raises:
        ConfigError: when the file cannot be opened.
    """

    def __init__(
        self, path: str | Path, *, noun: str, restore: str, busy_timeout_seconds: float
    ) -> None:
        self._path, self._noun, self._restore = path, noun, restore
        self._lock = threading.Lock()
        if isinstance(path, Path):
            make_file(path, noun)
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=busy_timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise ConfigError(f"cannot open the {noun} {path}: {error}") from error
        # A graph on a server has its file until its process ends, and never closes it.
        weakref.finalize(self, self._connection.close)

    def _log_ahead(self, *, durable: bool) -> None:
        """Turn on write-ahead logging, which the file keeps.

        While another process turns it on, SQLite refuses without waiting. A transaction waits for
        that process; afterwards there is nothing to turn on.
        """
        connection = self._connection
        for _ in range(_MAX_MAKERS):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Use the connection alone, with SQLite's errors as ours."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._explained(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Write as the only writer; commit at the end, or nothing if anything is raised."""
        with self.reading() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back by itself, and a lock may not have been had.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _explained(self, error: sqlite3.Error) -> CallwiseError:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        what = f"the {self._noun} {self._path}"
        match primary:
            case sqlite3.SQLITE_FULL:
                return StoreFull(f"{what}: the disk is full. Nothing was committed.")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreLocked(
                    f"{what} is locked by another process for longer than the busy timeout. "
                    "Nothing was committed."
                )
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                problem = f"{what} is damaged: {error}. Nothing was committed. {self._restore}"
                return StoreDamaged(problem)
        return StoreFailed(f"{what}: {error}. Nothing was committed.")

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def make_file(path: Path, noun: str) -> None:
    """Make a file that only its owner may read: conversations are private.

    SQLite gives its other files the mode of this one.

    Args:
        noun: noun for errors.

    Raises:
        ConfigError: when there is no such folder, or the path is none.
    """
    try:
        if not path.parent.is_dir():
            raise ConfigError(f"cannot open the {noun} {path}: its folder does not exist")
        with suppress(OSError):  # an error of the path is reported when it is opened
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except ValueError as error:  # a null character
        raise ConfigError(f"cannot open the {noun} {str(path)!r}: {error}") from error

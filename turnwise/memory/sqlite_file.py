"""One SQLite file of items: opening, statements, transactions, and errors in plain words.

A single connection behind a lock. Write-ahead logging lets other processes read
while one writes; a writer waits for another up to the busy timeout. A transaction is
there or not after a crash of the process at any moment. With `durable=False` the
disk is not waited for at every commit: a power cut may take the last commits with it,
whole ones, and never damages the file.
"""

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.memory.errors import StoreDamaged, StoreFailed, StoreFull, StoreLocked

__all__ = ["SCHEMA_VERSION", "SqliteFile"]

SCHEMA_VERSION = 1
"""Kept in the file's `user_version`. Changes when an older release cannot read the file."""

_APPLICATION_ID = 0x7475726E
"""Kept in the file's header, so that another program's database is not written to."""

_SCHEMA = """
CREATE TABLE items (
    place INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (namespace, key)
) STRICT
"""


class SqliteFile:
    """An open file of items.

    Args:
        path: the file; made when it does not exist. Its folder must exist.
        busy_timeout_seconds: how long to wait for another process.
        durable: whether each commit waits for the disk.

    Raises:
        ConfigError: when the folder does not exist or the file cannot be opened.
        FormatError: when it is not a database, not one of ours, or of another version.
    """

    def __init__(self, path: Path, *, busy_timeout_seconds: float, durable: bool) -> None:
        self.path = path
        self._lock = threading.Lock()
        if not path.parent.is_dir():
            raise ConfigError(f"cannot open the memory store {path}: its folder does not exist")
        with suppress(OSError):  # what is wrong with the path is told below
            # What people said is for their own eyes; SQLite gives its other files this mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=busy_timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=64,
            )
        except sqlite3.Error as error:
            raise ConfigError(f"cannot open the memory store {path}: {error}") from error
        # A served graph keeps its memory for as long as the process lives, and closes it never.
        weakref.finalize(self, self._connection.close)
        try:
            self._set_up(durable=durable)
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self, *, durable: bool) -> None:
        connection = self._connection
        try:
            # Tables first: whoever is creating the file sets the other two with them.
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (found,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as error:
            raise self._in_plain_words(error) from error
        except sqlite3.DatabaseError as error:
            raise FormatError(
                self.path, None, f"expected a SQLite database of memories: {error}"
            ) from error
        if tables and owner != _APPLICATION_ID:
            raise FormatError(self.path, None, "this is a database of another program")
        if tables and found != SCHEMA_VERSION:
            raise FormatError(
                self.path,
                None,
                f"expected a memory store of version {SCHEMA_VERSION}, found version {found}",
            )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        except sqlite3.Error as error:
            raise self._in_plain_words(error) from error
        if not tables:
            self._create()

    def _create(self) -> None:
        with self.transaction() as connection:
            # Another process may have created it since we looked.
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold one consistent view of the file.

        Raises:
            StoreFailed: as `transaction` does.
        """
        with self._lock, self._explained():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the one writer's place; commit at the end, or nothing if anything is raised.

        Raises:
            StoreFull: when there is no room left.
            StoreLocked: when another process did not let go in time.
            StoreDamaged: when the file is damaged.
            StoreFailed: on any other error of the file.
        """
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._in_plain_words(error) from error

    def _in_plain_words(self, error: sqlite3.Error) -> StoreFailed:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        where = f"the memory store {self.path}"
        if primary == sqlite3.SQLITE_FULL:
            return StoreFull(f"{where}: the disk is full. Nothing was committed.")
        if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return StoreLocked(
                f"{where} is locked by another process for longer than the busy timeout. "
                "Nothing was committed."
            )
        if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return StoreDamaged(f"{where} is damaged: {error}. Nothing was committed.")
        return StoreFailed(f"{where}: {error}. Nothing was committed.")

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            self._connection.close()

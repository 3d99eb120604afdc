"""The file of awake agents: its version, and the values that may be in it.

Processes that wake agents share one file, and any of them may die at any moment; transactions and
errors are those of `callwise.memory.sqlite_file`.
"""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from callwise.calls.errors import CallwiseError, ConfigError, FormatError
from callwise.memory.memory_errors import StoreDamaged, StoreLocked
from callwise.memory.sqlite_file import SqliteFile, make_file

__all__ = [
    "HURRIED_SECONDS",
    "MAX_NAME_CHARS",
    "RESTORE",
    "SCHEMA_VERSION",
    "StoreFile",
    "append_only",
    "checked_name",
    "checked_time",
    "checked_whole",
    "decoded_text",
    "encoded_text",
]

SCHEMA_VERSION = 3
"""The file's `user_version`. Changes when an older release cannot read the file. Of no release were
version 1, without terms and vectors of notes, 2, without leases of hours and notes that wait."""

_APPLICATION_ID = 0x63777761
"""Mark in the file's header, so that another program's database is not written to."""

_CHECKPOINT_PAGES = 4_000
"""Pages of 4 KB in the log before it is written back into the file, which waits for the disk. A
note with a vector writes some eight."""

MAX_NAME_CHARS = 1_000
"""Longest name of an agent, a client, a message and so on, in characters."""

HURRIED_SECONDS = 0.25
"""Longest wait for another process where what is done is tried again."""

_MAX_BUSY_SECONDS = 86_400.0
_MAX_WHOLE = 2**53
_CANNOT_WRITE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})

_MEMORY = ":memory:"
RESTORE = "Restore the file from a copy, or choose another file"


def append_only(table: str) -> tuple[str, str]:
    """Return the triggers that refuse to change or delete rows of a table."""
    update, delete = (
        f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for change in ("UPDATE", "DELETE")
    )
    return update, delete


class StoreFile(SqliteFile):
    """A file of awake agents, or memory.

    Args:
        path: the file, made where it is missing, for its owner alone; or ":memory:". Its folder
            must exist.
        schema: statements that make an empty file ours, in order.
        busy_timeout_seconds: longest wait for another process, above 0, at most a day.
        durable: whether each commit waits for the disk.

    Raises:
        ConfigError: when the file cannot be opened, or not be written, or the wait cannot be.
        FormatError: when it is no database, one of another program, or of another version.
        StoreFailed: when another process has locked it for too long, or reading failed.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Sequence[str],
        *,
        busy_timeout_seconds: float = 10.0,
        durable: bool = False,
    ) -> None:
        if not 0.0 < busy_timeout_seconds <= _MAX_BUSY_SECONDS:
            raise ConfigError(
                f"busy_timeout_seconds is above 0 and at most {_MAX_BUSY_SECONDS:,.0f} (a day), "
                f"got {busy_timeout_seconds}"
            )
        self.path = path if path == _MEMORY else Path(path)
        self._busy_seconds = busy_timeout_seconds
        super().__init__(
            self.path, noun="store", restore=RESTORE, busy_timeout_seconds=busy_timeout_seconds
        )
        try:
            self._set_up(schema, durable=durable)
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self, schema: Sequence[str], *, durable: bool) -> None:
        connection = self._connection
        try:
            is_ours = self._is_ours()
        except sqlite3.OperationalError as error:
            raise self._explained(error) from error
        except sqlite3.DatabaseError as error:
            problem = f"expected a SQLite database of awake agents: {error}. {RESTORE}"
            raise FormatError(self.path, None, problem) from error
        with self.reading():
            connection.execute("PRAGMA trusted_schema = OFF")
            # A row that replaces another deletes it, and the triggers must see that.
            connection.execute("PRAGMA recursive_triggers = ON")
            self._log_ahead(durable=durable)
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if is_ours:
            return
        with self.writing():
            if self._is_ours():  # another process has made it in between
                return
            for statement in schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _is_ours(self) -> bool:
        """Return whether the file has our tables; False where it is empty.

        Raises:
            FormatError: when it is one of another program, or of another version.
        """
        # One statement sees one moment: another process may be making the file.
        found = self._connection.execute(
            "SELECT (SELECT count(*) FROM sqlite_master), application_id, user_version "
            "FROM pragma_application_id, pragma_user_version"
        )
        tables, owner, version = found.fetchone()
        if not tables and not owner and not version:
            return False
        if owner != _APPLICATION_ID:
            problem = "this is a database of another program. Choose another file"
            raise FormatError(self.path, None, problem)
        if version != SCHEMA_VERSION:
            raise FormatError(
                self.path,
                None,
                f"expected a store of version {SCHEMA_VERSION}, found version {version}. "
                "Open it with the release that wrote it, or choose another file",
            )
        return True

    @contextmanager
    def reading_together(self) -> Iterator[sqlite3.Connection]:
        """Use the connection alone; all that is read is of one moment."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def wait_at_most(self, seconds: float) -> None:
        """Wait less for other processes from now on."""
        self._busy_seconds = min(seconds, self._busy_seconds)
        self._set_busy(self._busy_seconds)

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Wait `HURRIED_SECONDS` at most for other processes while the block runs.

        For work that is tried again, on a loop that others need.
        """
        self._set_busy(min(HURRIED_SECONDS, self._busy_seconds))
        try:
            yield
        finally:
            self._set_busy(self._busy_seconds)

    def is_locked(self) -> bool:
        """Return whether another process keeps this one from writing.

        Raises:
            StoreFailed: when it cannot be written for another reason.
        """
        try:
            with self.hurried(), self.writing():
                return False
        except StoreLocked:
            return True

    def _set_busy(self, seconds: float) -> None:
        with self._lock, suppress(sqlite3.Error):  # what follows reports it
            self._connection.execute(f"PRAGMA busy_timeout = {math.ceil(seconds * 1_000)}")

    def _explained(self, error: sqlite3.Error) -> CallwiseError:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(code, int) and code & 0xFF in _CANNOT_WRITE:
            return ConfigError(
                f"cannot write the store {self.path}: {error}. "
                "Let this user write the file and its folder"
            )
        return super()._explained(error)

    def copy_to(self, path: Path) -> None:
        """Write all that is committed to a new file.

        Raises:
            ConfigError: when the file cannot be made.
            StoreFailed: when it cannot be written.
        """
        make_file(path, "store")
        with self.reading() as connection:
            connection.execute("VACUUM INTO ?", (str(path),))


def checked_name(what: str, name: str) -> str:
    """Return a name as it is.

    Args:
        what: noun for the error.

    Raises:
        ConfigError: when it is empty, longer than `MAX_NAME_CHARS`, or no valid Unicode.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise ConfigError(
            f"{what} {name[:40]!r} has {len(name)} characters. Use 1 to {MAX_NAME_CHARS}"
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{what} {name[:40]!r} contains half a character: {error.reason}. Use whole characters"
        ) from error
    return name


def checked_time(what: str, seconds: float) -> float:
    """Return a time in UTC epoch seconds.

    Raises:
        ConfigError: when it is not finite.
    """
    try:
        time = float(seconds)
    except OverflowError:
        time = math.inf
    if not math.isfinite(time):
        raise ConfigError(f"{what} is {time}. Use seconds since 1970 in UTC")
    return time


def checked_whole(what: str, number: int, *, most: int = _MAX_WHOLE) -> int:
    """Return a whole number from 0 to `most`.

    Raises:
        ConfigError: when it is another number, or none.
    """
    if type(number) is not int or not 0 <= number <= most:
        raise ConfigError(f"{what}: {number!r}. Use a whole number from 0 to {most}")
    return number


def encoded_text(text: str) -> bytes:
    """Return any text as bytes; half an emoji, which a model may send, is kept."""
    return text.encode("utf-8", "surrogatepass")


def decoded_text(data: bytes) -> str:
    """Return a text as it was before `encoded_text`.

    Raises:
        StoreDamaged: when the bytes are no text.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"a text in the store is damaged: {error}. {RESTORE}") from error

"""The queue of background calls on disk, and the submissions that carry them.

Problem: a batch may take a day, and a process may die at any moment of it. A call must be found
again whatever happened, and must not be bought twice.
Choice: one SQLite file. A call is in it before anything waits for it; a submission is in it before
each request that changes something at the provider, and again with what the answer said.
Rejected: a file of lines (an answer and the state of its submission must change together), and
memory with a copy now and then (what is sent in between is bought again).

Invariant: a call is in one state, and only ever goes forward: waiting, submitted, answered,
taken; or back from submitted to waiting, where its submission has certainly not run it.

Equal calls that may not share an answer are distinguished by their occurrence: a caller takes
the first call of its key that is free, and where none is, a new one. A call is marked as taken a
moment after its answer was given out. A crash within that moment leaves the answer for the next
equal call: it may be used twice, never bought twice.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from callwise.calls.batch_interface import BatchLine, Submitted
from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.key import CallKey

__all__ = ["Kept", "KeptSubmission", "QueueStore", "QueuedCall"]

VERSION = "1"

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE call (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, key TEXT NOT NULL, occurrence INTEGER NOT NULL,
    state TEXT NOT NULL, submission INTEGER,
    path TEXT NOT NULL, body BLOB, question BLOB, result BLOB,
    UNIQUE (endpoint, key, occurrence)
);
CREATE INDEX call_submission ON call (submission, state);
CREATE INDEX call_state ON call (state) WHERE state <> 'taken';
CREATE TABLE submission (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL, model TEXT NOT NULL,
    path TEXT NOT NULL, state TEXT NOT NULL, line_count INTEGER NOT NULL,
    marker TEXT NOT NULL DEFAULT '', file_id TEXT NOT NULL DEFAULT '',
    batch_id TEXT NOT NULL DEFAULT ''
);
"""


class QueuedCall(NamedTuple):
    """A call that is asked for.

    Args:
        endpoint: name of the endpoint and its model; equal keys have equal ones.
        path: interface that takes it; empty where no batch does.
        body: its request body as JSON; empty where no batch takes it.
        question: the call as JSON, to be asked again by a program that has lost it.
    """

    endpoint: str
    key: CallKey
    path: str = ""
    body: bytes = b""
    question: bytes = b""


class Kept(NamedTuple):
    """A call that is in the store.

    Args:
        state: `waiting`, `submitted` or `answered`.
        result: what came back, as JSON; None before.
        size: bytes of its body.
    """

    call_id: int
    state: str
    result: bytes | None
    size: int


class KeptSubmission(NamedTuple):
    """A submission that has not ended.

    Args:
        state: `prepared`, `creating` (its batch may exist), `created`, or `adopted` (found by
            what it has in common with this one).
        batch_id: id of its batch; empty while that is not known.
    """

    submission_id: int
    state: str
    submitted: Submitted
    batch_id: str

    def noted(
        self,
        state: str,
        *,
        batch_id: str | None = None,
        file_id: str | None = None,
        marker: str | None = None,
    ) -> "KeptSubmission":
        """Return it in another state, with what is known now; None leaves a fact as it is."""
        submitted = self.submitted
        if file_id is not None and marker is not None:
            submitted = submitted._replace(file_id=file_id, marker=marker)
        known = self.batch_id if batch_id is None else batch_id
        return KeptSubmission(self.submission_id, state, submitted, known)


class QueueStore:
    """One file. All methods block, and belong into one thread.

    Args:
        path: made where it is missing, for its owner alone.

    Raises:
        ConfigError: when it cannot be opened, or another process uses it.
        FormatError: when it is another file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._free: dict[tuple[str, str], set[int]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        except OSError as error:
            raise ConfigError(
                f"cannot open the queue {path}: {error}; choose another file"
            ) from error
        with self._clear_errors():
            self._connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def accept(self, asked: Sequence[QueuedCall]) -> list[Kept]:
        """Return a call for each that is asked: one that is kept and free, or a new one.

        All of them are on disk when this returns.
        """
        with self._transaction() as cursor:
            return [self._accepted(cursor, each) for each in asked]

    def kept(self, call_ids: Sequence[int]) -> list[Kept]:
        """Return calls as they are now."""
        with self._clear_errors():
            rows = (
                self._connection.execute(
                    "SELECT id, state, result, length(body) FROM call WHERE id = ?", (each,)
                ).fetchone()
                for each in call_ids
            )
            return [Kept(*row) for row in rows if row is not None]

    def release(self, call_ids: Iterable[int]) -> None:
        """Leave calls to the next that ask; those that only waited are deleted."""
        ids = list(call_ids)
        with self._transaction() as cursor:
            cursor.executemany(
                "DELETE FROM call WHERE id = ? AND state = 'waiting'", [(each,) for each in ids]
            )
        self.leave(ids)

    def leave(self, call_ids: Iterable[int]) -> None:
        """Leave calls to the next that ask, whatever their state."""
        with self._clear_errors():
            for call_id in call_ids:
                found = self._connection.execute(
                    "SELECT id, endpoint, key FROM call WHERE id = ? AND state <> 'taken'",
                    (call_id,),
                )
                self._set_free(found)

    def answer(self, results: Mapping[int, bytes]) -> None:
        """Store what came back for calls that no submission carries."""
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE call SET state = 'answered', result = ? WHERE id = ?",
                [(result, call_id) for call_id, result in results.items()],
            )

    def take(self, call_ids: Iterable[int]) -> None:
        """Note that the answers of calls were given out; they are no longer kept."""
        ids = list(call_ids)
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE call SET state = 'taken', body = NULL, question = NULL, result = NULL "
                "WHERE id = ?",
                [(each,) for each in ids],
            )

    def questions(self) -> list[bytes]:
        """Return the calls that were accepted and not taken, in the order of asking."""
        with self._clear_errors():
            found = self._connection.execute(
                "SELECT id, question FROM call WHERE state <> 'taken' AND length(question) > 0 "
                "ORDER BY id"
            )
            free = set().union(*self._free.values())
            return [question for call_id, question in found if call_id in free]

    def submit(
        self, endpoint: str, model: str, path: str, call_ids: Sequence[int]
    ) -> KeptSubmission:
        """Put calls that still wait into a new submission, and return it."""
        with self._transaction() as cursor:
            (count,) = cursor.execute("SELECT count(*) FROM submission").fetchone()
            name = f"{self._name}-{count + 1}"
            cursor.execute(
                "INSERT INTO submission (name, endpoint, model, path, state, line_count) "
                "VALUES (?, ?, ?, ?, 'prepared', 0)",
                (name, endpoint, model, path),
            )
            submission_id = int(cursor.lastrowid or 0)
            line_count = cursor.executemany(
                "UPDATE call SET state = 'submitted', submission = ? "
                "WHERE id = ? AND state = 'waiting'",
                [(submission_id, each) for each in call_ids],
            ).rowcount
            cursor.execute(
                "UPDATE submission SET line_count = ? WHERE id = ?", (line_count, submission_id)
            )
        submitted = Submitted(name, path, model, "", "", line_count)
        return KeptSubmission(submission_id, "prepared", submitted, "")

    def note(self, submission: KeptSubmission) -> None:
        """Store what is known of a submission now."""
        submitted = submission.submitted
        with self._transaction() as cursor:
            cursor.execute(
                "UPDATE submission SET state = ?, marker = ?, file_id = ?, batch_id = ? "
                "WHERE id = ?",
                (
                    submission.state,
                    submitted.marker,
                    submitted.file_id,
                    submission.batch_id,
                    submission.submission_id,
                ),
            )

    def submissions(self, endpoint: str) -> list[KeptSubmission]:
        """Return the submissions to an endpoint that have not ended, oldest first."""
        with self._clear_errors():
            found = self._connection.execute(
                "SELECT id, state, name, path, model, marker, file_id, line_count, batch_id "
                "FROM submission WHERE endpoint = ? AND state <> 'ended' ORDER BY id",
                (endpoint,),
            )
            return [
                KeptSubmission(first, state, Submitted(*rest[:-1]), rest[-1])
                for first, state, *rest in found
            ]

    def batch_ids(self) -> frozenset[str]:
        """Return the batches of all submissions, ended ones too."""
        with self._clear_errors():
            found = self._connection.execute("SELECT batch_id FROM submission WHERE batch_id <> ''")
            return frozenset(batch_id for (batch_id,) in found)

    def lines(self, submission_id: int) -> dict[int, BatchLine]:
        """Return the lines of a submission by call, in a fixed order."""
        with self._clear_errors():
            found = self._connection.execute(
                "SELECT id, key, occurrence, body FROM call WHERE submission = ? "
                "AND state = 'submitted' ORDER BY id",
                (submission_id,),
            )
            return {
                call_id: BatchLine(f"{key[:40]}-{occurrence}-{self._name[-8:]}", body)
                for call_id, key, occurrence, body in found
            }

    def end(self, submission_id: int, results: Mapping[int, bytes]) -> None:
        """End a submission: store its results, and let its other calls wait again."""
        with self._transaction() as cursor:
            cursor.executemany(
                "UPDATE call SET state = 'answered', result = ? WHERE id = ?",
                [(result, call_id) for call_id, result in results.items()],
            )
            cursor.execute(
                "UPDATE call SET state = 'waiting', submission = NULL "
                "WHERE submission = ? AND state = 'submitted'",
                (submission_id,),
            )
            cursor.execute("UPDATE submission SET state = 'ended' WHERE id = ?", (submission_id,))

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._connection.close()

    def __del__(self) -> None:
        """Release the file, where that was not done: a loop that has died closes nothing."""
        if hasattr(self, "_connection"):
            self.close()

    def _open(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA trusted_schema = OFF")
        # The lock is kept until the connection is closed, or its process ends.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with self._transaction() as cursor:
            (tables,) = cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in filter(str.strip, _TABLES.split(";")):
                    cursor.execute(statement)
                # It distinguishes the submissions of several queues with one key.
                facts = {"version": VERSION, "name": f"cw{secrets.token_hex(8)}"}
                cursor.executemany("INSERT INTO about VALUES (?, ?)", facts.items())
            about = dict(cursor.execute("SELECT name, value FROM about").fetchall())
        if about.get("version") != VERSION:
            raise FormatError(
                self.path, None, f"expected a queue of version {VERSION}; choose another file"
            )
        self._name = about["name"]
        self._set_free(
            connection.execute("SELECT id, endpoint, key FROM call WHERE state <> 'taken'")
        )

    def _set_free(self, calls: Iterable[tuple[int, str, str]]) -> None:
        """Note calls that the next which asks for their key takes."""
        for call_id, endpoint, key in calls:
            self._free.setdefault((endpoint, key), set()).add(call_id)

    def _accepted(self, cursor: sqlite3.Cursor, asked: QueuedCall) -> Kept:
        free = self._free.get((asked.endpoint, asked.key))
        if not free:
            return self._inserted(cursor, asked)
        call_id = min(free)
        free.discard(call_id)
        if not free:
            del self._free[asked.endpoint, asked.key]
        row = cursor.execute(
            "SELECT id, state, result, length(body) FROM call WHERE id = ?", (call_id,)
        ).fetchone()
        kept = Kept(*row)
        if kept.state != "waiting":
            return kept
        # What its endpoint takes may have been learned since.
        cursor.execute(
            "UPDATE call SET path = ?, body = ? WHERE id = ?", (asked.path, asked.body, call_id)
        )
        return kept._replace(size=len(asked.body))

    def _inserted(self, cursor: sqlite3.Cursor, asked: QueuedCall) -> Kept:
        of_key = (asked.endpoint, asked.key)
        (occurrence,) = cursor.execute(
            "SELECT coalesce(max(occurrence) + 1, 0) FROM call WHERE endpoint = ? AND key = ?",
            of_key,
        ).fetchone()
        cursor.execute(
            "INSERT INTO call (endpoint, key, occurrence, state, path, body, question) "
            "VALUES (?, ?, ?, 'waiting', ?, ?, ?)",
            (*of_key, occurrence, asked.path, asked.body, asked.question),
        )
        return Kept(int(cursor.lastrowid or 0), "waiting", None, len(asked.body))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._clear_errors():
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, with the file and what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                words = "another process uses it; wait for that to end, or choose another file"
            elif code == sqlite3.SQLITE_FULL:
                words = "the disk is full; free some space and run again to go on"
            elif code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
                raise FormatError(self.path, None, f"expected a queue: {error}") from error
            else:
                words = f"{error}; check the disk and its rights"
            raise ConfigError(f"the queue {self.path}: {words}") from error

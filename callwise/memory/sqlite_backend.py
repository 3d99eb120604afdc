"""Memory in one SQLite file: a commit is one transaction, and the version is checked in it.

Async methods run in a thread, so that they never block an event loop.
"""

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callwise.calls.errors import FormatError
from callwise.calls.payload import json_bytes, json_object
from callwise.memory.memory_errors import MemoryConflict, StoreDamaged
from callwise.memory.sqlite_file import SqliteFile
from callwise.memory.stored_records import AgentUser
from callwise.memory.stored_turns import StoredTurn

__all__ = ["SCHEMA_VERSION", "SqliteBackend"]

SCHEMA_VERSION = 2
"""The file's `user_version`. Changes when an older release cannot read the file."""

_APPLICATION_ID = 0x7475726E
"""Mark in the file's header, so that another program's database is not written to."""

_SCHEMA = """
CREATE TABLE turns (
    agent TEXT NOT NULL,
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    turn BLOB NOT NULL,
    state BLOB,
    PRIMARY KEY (agent, owner, version)
) STRICT, WITHOUT ROWID
"""
"""`turn` is JSON of the entry and its notes; `state` is in the last row of an owner only."""

_LAST = "SELECT version, state FROM turns WHERE agent = ? AND owner = ? ORDER BY version DESC"
_TURNS = """
SELECT version, turn FROM turns
WHERE agent = ? AND owner = ? AND version > ? AND version <= ? ORDER BY version
"""
_APPEND = "INSERT INTO turns (agent, owner, version, turn, state) VALUES (?, ?, ?, ?, ?)"
_DROP_STATE = "UPDATE turns SET state = NULL WHERE agent = ? AND owner = ? AND version = ?"


_RESTORE = "Restore the file from a copy; a run can also be made again with --fresh"


class SqliteBackend(SqliteFile):
    """Turns and states in a SQLite file. A `StorageBackend`.

    Args:
        path: the file; made when it does not exist. Its folder must exist.
        busy_timeout_seconds: how long to wait for another process.
        durable: whether each commit waits for the disk.

    Raises:
        ConfigError: when the folder does not exist or the file cannot be opened.
        FormatError: when it is not a database, not one of ours, or of a newer version.
        StoreFailed: when a file of version 1 cannot be converted; it is left as it was.
    """

    def __init__(
        self, path: str | Path, *, busy_timeout_seconds: float = 5.0, durable: bool = False
    ) -> None:
        self.path = path = Path(path)
        super().__init__(
            path, noun="memory", restore=_RESTORE, busy_timeout_seconds=busy_timeout_seconds
        )
        try:
            self._set_up(durable=durable)
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self, *, durable: bool) -> None:
        connection = self._connection
        try:
            # Tables first: a process that creates the file sets the other two in one transaction.
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (found,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as error:
            raise self._explained(error) from error
        except sqlite3.DatabaseError as error:
            problem = f"expected a SQLite database of memories: {error}. {_RESTORE}"
            raise FormatError(self.path, None, problem) from error
        if tables and owner != _APPLICATION_ID:
            raise FormatError(self.path, None, "this is a database of another program")
        if tables and found not in (1, SCHEMA_VERSION):
            problem = f"expected a memory of version {SCHEMA_VERSION}, found version {found}"
            raise FormatError(self.path, None, problem)
        with self.reading():
            self._log_ahead(durable=durable)
        if tables and found == SCHEMA_VERSION:
            return
        with self.writing():
            # Another process may have created or converted it in between.
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if "turns" in names:
                return
            connection.execute(_SCHEMA)
            if "items" in names:
                _convert(connection)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state of the last commit, or None for an unknown user.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        return await asyncio.to_thread(self._state, agent_user)

    def _state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        with self.reading() as connection:
            row = connection.execute(_LAST, agent_user.labels).fetchone()
        return None if row is None else _read(row[1], agent_user, row[0])

    async def turns(self, agent_user: AgentUser, *, after: int, upto: int) -> list[StoredTurn]:
        """Return the turns with versions above `after` and up to `upto`, in order.

        Raises:
            StoreDamaged: when one is missing, or is not JSON.
            StoreFailed: when the file cannot be read.
        """
        return await asyncio.to_thread(self._turns, agent_user, after, upto)

    def _turns(self, agent_user: AgentUser, after: int, upto: int) -> list[StoredTurn]:
        with self.reading() as connection:
            rows = dict(connection.execute(_TURNS, (*agent_user.labels, after, upto)))
        turns = []
        for version in range(after + 1, upto + 1):
            if version not in rows:
                raise StoreDamaged(
                    f"turn {version} of {upto} of {agent_user} is missing from {self.path}"
                )
            turn = _read(rows[version], agent_user, version)
            turns.append(StoredTurn(version, turn["entry"], turn["notes"]))
        return turns

    async def append(
        self, agent_user: AgentUser, turn: StoredTurn, state: Mapping[str, Any]
    ) -> None:
        """Store a turn and the state that it makes, all or nothing.

        Raises:
            MemoryConflict: when the stored version is not `turn.version - 1`.
            StoreFailed: when the file cannot store it. Nothing was committed.
        """
        written = json_bytes({"entry": turn.entry, "notes": turn.notes})
        await asyncio.to_thread(self._append, agent_user, turn.version, written, json_bytes(state))

    def _append(self, agent_user: AgentUser, version: int, turn: bytes, state: bytes) -> None:
        labels = agent_user.labels
        with self.writing() as connection:
            row = connection.execute(_LAST, labels).fetchone()
            stored = row[0] if row else 0
            if stored != version - 1:
                raise MemoryConflict(agent_user, version - 1, stored)
            connection.execute(_DROP_STATE, (*labels, stored))
            connection.execute(_APPEND, (*labels, version, turn, state))


def _read(data: bytes, agent_user: AgentUser, version: int) -> dict[str, Any]:
    try:
        return json_object(data)
    except (TypeError, ValueError) as error:
        raise StoreDamaged(
            f"version {version} of the memory of {agent_user} is damaged: {error}"
        ) from error


def _convert(connection: sqlite3.Connection) -> None:
    """Copy the items of a file of version 1, which was a LangGraph store, into `turns`.

    Items that a store of that version did not show, for example half a turn, are left out.

    Raises:
        StoreDamaged: when a turn is missing or is not JSON; the file is left as it was.
    """
    items: dict[tuple[str, str, str], dict[str, bytes]] = {}
    for namespace, key, value in connection.execute("SELECT namespace, key, value FROM items"):
        _, agent, owner, kind = namespace.split(".")
        items.setdefault((agent, owner, kind), {})[key] = value
    for (agent, owner, kind), states in items.items():
        if kind != "state":
            continue
        state = json_object(states["state"])
        entries = items.get((agent, owner, "transcript"), {})
        notes = items.get((agent, owner, "notes"), {})
        for version in range(1, state["version"] + 1):
            key = f"{version:012d}"
            try:
                entry = json_object(entries[key])
                found = [
                    json_object(notes[f"{key}-{place:03d}"]) for place in range(entry["note_count"])
                ]
            except (KeyError, ValueError) as error:
                raise StoreDamaged(
                    f"turn {version} of {state['version']} of agent {agent!r} and user {owner!r} "
                    f"cannot be converted: {error}"
                ) from error
            turn = json_bytes({"entry": entry, "notes": found})
            last_state = states["state"] if version == state["version"] else None
            connection.execute(_APPEND, (agent, owner, version, turn, last_state))
    connection.execute("DROP TABLE items")

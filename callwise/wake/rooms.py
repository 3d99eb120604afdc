"""Chat rooms: an outbox of messages with their times, and the log that clients read.

Problem: agents' messages appear some seconds after they are written, and the process may die in
between. None may be lost, and none may appear twice.
Choice: a message is in the outbox from the transaction that pays for it, and one transaction
takes it from there into the log. In a room's log, messages are numbered from 1 without gaps.

"Once" is seen by readers of the log: each message is in it once. What a server sends to its
clients may arrive again or not at all; a client asks for what follows its last number, and drops
numbers that it has.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from callwise.calls.errors import ConfigError
from callwise.wake.store_file import (
    StoreFile,
    append_only,
    checked_name,
    checked_time,
    checked_whole,
    decoded_text,
    encoded_text,
)

__all__ = ["ROOM_TABLES", "OutgoingMessage", "RoomMessage", "Rooms", "put_in_outbox"]

MAX_KEPT_CLIENTS = 10_000
"""Most clients of a room whose acknowledged number is kept."""

ROOM_TABLES = (
    """
    CREATE TABLE outbox (
        place INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        room TEXT NOT NULL,
        author TEXT NOT NULL,
        text BLOB NOT NULL,
        due_at REAL NOT NULL
    ) STRICT
    """,
    "CREATE INDEX outbox_due ON outbox (due_at, place)",
    """
    CREATE TABLE room_log (
        room TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        id TEXT NOT NULL UNIQUE,
        author TEXT NOT NULL,
        text BLOB NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (room, sequence)
    ) STRICT
    """,
    "CREATE INDEX room_log_at ON room_log (room, at)",
    """
    CREATE TRIGGER room_log_without_gap BEFORE INSERT ON room_log
    WHEN NEW.sequence <> (
        SELECT 1 + coalesce(max(sequence), 0) FROM room_log WHERE room = NEW.room
    )
    BEGIN SELECT RAISE(ABORT, 'this is not the next number of the log'); END
    """,
    *append_only("room_log"),
    """
    CREATE TABLE acknowledgements (
        client TEXT NOT NULL, room TEXT NOT NULL, sequence INTEGER NOT NULL,
        PRIMARY KEY (client, room)
    ) STRICT, WITHOUT ROWID
    """,
)
"""Statements that make the tables of an empty store."""

_COLUMNS = "id, room, sequence, author, text, at"


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """An agent's message that is to appear.

    Args:
        id: distinguishes it from all messages of a store.
        due_at: time from which it may appear, in UTC epoch seconds.
    """

    id: str
    room: str
    author: str
    text: str
    due_at: float


@dataclass(frozen=True, slots=True)
class RoomMessage:
    """A message in the log.

    Args:
        sequence: its number in its room, from 1 on without gaps.
        at: time at which it came into the log, in UTC epoch seconds. Clocks may be set back, so
            the order is that of `sequence`.
    """

    id: str
    room: str
    sequence: int
    author: str
    text: str
    at: float


class Rooms:
    """The outbox and the log of all rooms in a store."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def say(self, room: str, author: str, text: str, *, id: str, at: float) -> RoomMessage:  # noqa: A002
        """Put a person's message into the log immediately; once for each `id`.

        Args:
            id: distinguishes it from all messages of the store. Ids of agents' messages can be
                guessed, so those of people need a beginning that theirs never have.
            at: the time, in UTC epoch seconds.

        Returns:
            The message as it is in the log.

        Raises:
            ConfigError: when a name is empty or too long, the time is not finite, or the id is
                that of another message.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        outgoing = _checked(OutgoingMessage(id, room, author, text, at))
        with self._file.writing() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM room_log WHERE id = ?",  # noqa: S608
                (id,),
            ).fetchone()
            if row is None and not _is_in_outbox(connection, id):
                return _append(connection, outgoing, outgoing.due_at)
            earlier = None if row is None else _message(row)
            if earlier is None or (earlier.room, earlier.author, earlier.text) != (
                room,
                author,
                text,
            ):
                raise _taken(id)
            return earlier

    def deliver_due(
        self, now: float, *, on_time_seconds: float = 0.0, limit: int | None = None
    ) -> list[RoomMessage]:
        """Take what is due from the outbox into the log, by time and then in order of publishing.

        Args:
            now: the time, in UTC epoch seconds; that of the messages in the log.
            on_time_seconds: a message that is late by at most this is in the log with the time at
                which it was due, however late a timer or a busy loop was.
            limit: how many at most; None for all.

        Returns:
            The messages that this call has put into the log.

        Raises:
            ConfigError: when the time is not finite, or the limit below 0.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        checked_time("the time", now)
        if limit is not None:
            checked_whole("the limit of messages", limit)
        next_due = self.next_due()
        if next_due is None or next_due > now:
            return []
        with self._file.writing() as connection:
            due = connection.execute(
                "SELECT id, room, author, text, due_at FROM outbox WHERE due_at <= ? "
                "ORDER BY due_at, place LIMIT ?",
                (now, -1 if limit is None else limit),
            ).fetchall()
            connection.executemany("DELETE FROM outbox WHERE id = ?", [row[:1] for row in due])
            return [
                _append(
                    connection,
                    OutgoingMessage(message_id, room, author, decoded_text(text), due_at),
                    due_at if 0.0 < now - due_at <= on_time_seconds else float(now),
                )
                for message_id, room, author, text, due_at in due
            ]

    def next_due(self) -> float | None:
        """Return the earliest time in the outbox, or None where it is empty."""
        with self._file.reading() as connection:
            (due_at,) = connection.execute("SELECT min(due_at) FROM outbox").fetchone()
        return None if due_at is None else float(due_at)

    def undelivered(self) -> int:
        """Return how many messages are in the outbox."""
        with self._file.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def has_message(self, message_id: str) -> bool:
        """Return whether a message is in the outbox or in the log.

        Raises:
            ConfigError: when the id is empty or too long.
        """
        checked_name("the message id", message_id)
        with self._file.reading() as connection:
            return _is_in_outbox(connection, message_id) or _is_in_log(connection, message_id)

    def of_occasion(self, message_id: str) -> list[RoomMessage]:
        """Return a message of the log and the messages of the same occasion, in the log's order.

        Agents' messages of one wake, or of the answers to one message, have ids that differ in
        their last part, the agent's id.

        Args:
            message_id: untrusted.

        Returns:
            At most 1,000 messages; none where the log does not have this id.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        occasion = message_id.rpartition(":")[0]
        try:
            first, end = f"{occasion}:", f"{occasion};"  # the sign after the colon
            first.encode()
        except UnicodeEncodeError:
            return []
        with self._file.reading() as connection:
            if not _is_in_log(connection, message_id):
                return []
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM room_log WHERE id = ? OR (id >= ? AND id < ?) "  # noqa: S608
                "ORDER BY sequence LIMIT 1000",
                (message_id, first, end),
            ).fetchall()
        found = map(_message, rows)
        return [each for each in found if each.id.rpartition(":")[0] == occasion]

    def messages(
        self,
        room: str,
        *,
        after: int = 0,
        since: float | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> list[RoomMessage]:
        """Return messages of a room's log in its order.

        Args:
            after: only those with higher numbers.
            since: only those from this time on, in UTC epoch seconds; None for all.
            limit: how many at most; None for all.
            newest: of more than `limit`, return the last and not the first.

        Raises:
            ConfigError: when the name is empty or too long, a number is below 0, or the time is
                not finite.
            StoreFailed: when the file cannot be read.
        """
        where = "room = ? AND sequence > ?"
        values: list[str | float] = [checked_name("the room", room), checked_whole("after", after)]
        if since is not None:
            where += " AND at >= ?"
            values.append(checked_time("since", since))
        if limit is not None:
            checked_whole("the limit of messages", limit)
        direction = "DESC" if newest else "ASC"
        with self._file.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM room_log WHERE {where} "  # noqa: S608
                f"ORDER BY sequence {direction} LIMIT ?",
                (*values, -1 if limit is None else limit),
            ).fetchall()
        return list(map(_message, reversed(rows) if newest else rows))

    def acknowledge(self, client: str, room: str, sequence: int) -> None:
        """Note that a client has all messages of a room up to a number; a lower one is ignored.

        Raises:
            ConfigError: when a name is empty or the log does not have this number yet.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        self.acknowledge_all(room, {client: sequence})

    def acknowledge_all(
        self, room: str, numbers: Mapping[str, int], *, max_clients: int = MAX_KEPT_CLIENTS
    ) -> None:
        """Note what several clients have of one room, in one transaction; see `acknowledge`.

        Args:
            numbers: by the id of the client.
            max_clients: of more, those that are the furthest behind are forgotten.

        Raises:
            ConfigError: when a name is empty or the log does not have a number yet.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        checked_name("the room", room)
        for client, sequence in numbers.items():
            checked_name("the client", client)
            checked_whole("the acknowledged number", sequence)
        with self._file.writing() as connection:
            last = _last_sequence(connection, room)
            for client, sequence in numbers.items():
                if sequence > last:
                    raise ConfigError(
                        f"client {client[:40]!r} acknowledges message {sequence} of {last}. "
                        "Acknowledge what the log has"
                    )
                connection.execute(
                    "INSERT INTO acknowledgements VALUES (?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)",
                    (client, room, sequence),
                )
            connection.execute(
                "DELETE FROM acknowledgements WHERE room = ? AND client IN (SELECT client FROM "
                "acknowledgements WHERE room = ? ORDER BY sequence DESC, client LIMIT -1 OFFSET ?)",
                (room, room, max_clients),
            )

    def acknowledged(self, client: str, room: str) -> int:
        """Return the last number that a client has acknowledged; 0 for none.

        Raises:
            ConfigError: when a name is empty or too long.
        """
        names = (checked_name("the client", client), checked_name("the room", room))
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT sequence FROM acknowledgements WHERE client = ? AND room = ?", names
            ).fetchone()
        return 0 if row is None else int(row[0])


def put_in_outbox(connection: sqlite3.Connection, message: OutgoingMessage) -> bool:
    """Put a message into the outbox, within a transaction.

    Returns:
        False where a message of this id, room and author is in the outbox or the log; then its
        text is kept.

    Raises:
        ConfigError: when a name is empty or too long, the time is not finite, or the id is that
            of another message.
    """
    _checked(message)
    for table in ("outbox", "room_log"):
        earlier = connection.execute(
            f"SELECT room, author FROM {table} WHERE id = ?",  # noqa: S608
            (message.id,),
        ).fetchone()
        if earlier is not None:
            if earlier != (message.room, message.author):
                raise _taken(message.id)
            return False
    connection.execute(
        "INSERT INTO outbox (id, room, author, text, due_at) VALUES (?, ?, ?, ?, ?)",
        (
            message.id,
            message.room,
            message.author,
            encoded_text(message.text),
            float(message.due_at),
        ),
    )
    return True


def _checked(message: OutgoingMessage) -> OutgoingMessage:
    checked_name("the message id", message.id)
    checked_name("the room", message.room)
    checked_name("the author", message.author)
    checked_time("the time of a message", message.due_at)
    return message


def _taken(message_id: str) -> ConfigError:
    return ConfigError(
        f"message id {message_id[:40]!r} is that of another message. Give each message its own id"
    )


def _is_in_outbox(connection: sqlite3.Connection, message_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM outbox WHERE id = ?", (message_id,))
    return found.fetchone() is not None


def _is_in_log(connection: sqlite3.Connection, message_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM room_log WHERE id = ?", (message_id,))
    return found.fetchone() is not None


def _last_sequence(connection: sqlite3.Connection, room: str) -> int:
    found = connection.execute("SELECT max(sequence) FROM room_log WHERE room = ?", (room,))
    return found.fetchone()[0] or 0


def _append(connection: sqlite3.Connection, message: OutgoingMessage, at: float) -> RoomMessage:
    """Put a message into the log as the next of its room."""
    sequence = _last_sequence(connection, message.room) + 1
    connection.execute(
        f"INSERT INTO room_log ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
        (message.id, message.room, sequence, message.author, encoded_text(message.text), at),
    )
    return RoomMessage(message.id, message.room, sequence, message.author, message.text, at)


def _message(row: tuple[str, str, int, str, bytes, float]) -> RoomMessage:
    message_id, room, sequence, author, text, at = row
    return RoomMessage(message_id, room, sequence, author, decoded_text(text), at)

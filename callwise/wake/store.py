"""Everything that awake agents keep, in one SQLite file that several processes may use.

Credits, rooms, notes and claims each have a file of this package with their tables. What must
change together, a message, its payment and its author's notes, changes here in one transaction.
Times are given by the caller, in UTC epoch seconds; the store reads no clock.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from callwise.memory.stored_records import Embedding
from callwise.wake.agent_notes import MAX_KEPT_BYTES, NOTE_TABLES, AgentNotes, add_notes
from callwise.wake.claims import CLAIM_TABLES, Claims
from callwise.wake.credits import CREDIT_TABLES, Credits, hold_credits, spend_hold
from callwise.wake.rooms import ROOM_TABLES, OutgoingMessage, Rooms, put_in_outbox
from callwise.wake.store_file import StoreFile
from callwise.wake.waiting_notes import WAITING_TABLES, WaitingNotes, add_waiting

__all__ = ["WakeStore"]


class WakeStore:
    """The stored state of awake agents. Safe to use from several threads and processes.

    Args:
        path: the file, made where it is missing, for its owner alone; or ":memory:". Its folder
            must exist.
        busy_timeout_seconds: longest wait for another process, above 0.
        durable: whether each commit waits for the disk. Without it a crash of the process loses
            nothing, and a power cut may lose the last commits, whole ones.
        max_kept_bytes: most bytes of the notes' terms and vectors that are kept in memory, of
            agents that have more than their part of them (`agent_notes.KEPT_AGENTS`).

    Attributes:
        credits: the agents' credits.
        rooms: outbox and log.
        notes: the agents' memories.
        waiting: notes that wait to be put into a memory outside of the store.
        claims: calls of a day, and hours to wake.

    Raises:
        ConfigError: when the file cannot be opened, or not be written.
        FormatError: when it is no database, one of another program, or of another version.
        StoreFailed: when another process has locked it for too long, or reading failed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        busy_timeout_seconds: float = 10.0,
        durable: bool = False,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self._file = StoreFile(
            path,
            (*CREDIT_TABLES, *ROOM_TABLES, *NOTE_TABLES, *WAITING_TABLES, *CLAIM_TABLES),
            busy_timeout_seconds=busy_timeout_seconds,
            durable=durable,
        )
        self.credits = Credits(self._file)
        self.rooms = Rooms(self._file)
        self.notes = AgentNotes(self._file, max_kept_bytes=max_kept_bytes)
        self.waiting = WaitingNotes(self._file)
        self.claims = Claims(self._file)

    def publish(
        self,
        message: OutgoingMessage,
        *,
        notes: Sequence[str] = (),
        embeddings: Sequence[Embedding | None] = (),
        payment: tuple[str, int] | None = None,
        do_notes_wait: bool = False,
    ) -> bool:
        """Pay for an agent's message, put it into the outbox, and remember its author's notes.

        All of it or nothing; once for each message id.

        Args:
            message: its credits are held (`Credits.hold`, of 0 where it costs nothing).
            notes: added to the author's memory, at the time of the message.
            embeddings: of the notes, in their order, or None for one without; empty for none.
            payment: account and credits of the hold, which is made again where another process
                has released it. None: the hold must be open.
            do_notes_wait: whether the notes are for a memory outside of the store: they are put
                into `waiting`, with the message's id as their key, and embeddings are left out.

        Returns:
            False where the message was published before; then nothing has changed.

        Raises:
            ConfigError: when a name is empty or too long, the time is not finite, the id is that
                of another message, or an embedding is not of the model of the store's others.
            StoreFailed: when the message has no open hold and cannot have one, or the file
                cannot be written. Nothing was committed.
        """
        with self._file.writing() as connection:
            if not put_in_outbox(connection, message):
                return False
            if payment is not None:
                hold_credits(connection, message.id, *payment)
            spend_hold(connection, message.id)
            author, at = message.author, message.due_at
            if do_notes_wait:
                add_waiting(connection, author, notes, key=message.id, at=at)
            else:
                add_notes(connection, author, notes, at, embeddings)
            return True

    def copy_to(self, path: Path) -> None:
        """Write all that is committed to a new file, which only its owner may read.

        Raises:
            ConfigError: when the file cannot be made.
            StoreFailed: when it cannot be written.
        """
        self._file.copy_to(path)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

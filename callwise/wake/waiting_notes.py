"""Notes that wait to be put into a memory outside of the store.

Problem: a message is published in SQLite and its notes are put into another system, and the
process may die between the two.
Choice: an outbox. The notes are written in the message's transaction and removed once the other
system has them. What is left is put at the next wake, under the same key, so it is there once.

Invariant: a published note is here, in the other system, or in both.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from callwise.memory.memory_errors import StoreDamaged
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.store_file import RESTORE, StoreFile, checked_name, checked_time, checked_whole
from callwise.wake.wake_report import one_line

__all__ = ["WAITING_TABLES", "WaitingNotes", "WaitingSet", "add_waiting", "put_waiting"]

_LOGGER = logging.getLogger(__name__)

PUT_TOGETHER = 64
"""Sets of notes that are put concurrently."""

MAX_FAILED = 2
"""Sets in a row that may fail alone; after that the memory is taken to be out of reach."""

WAITING_TABLES = (
    """
    CREATE TABLE waiting_notes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, key TEXT NOT NULL,
        at REAL NOT NULL, texts TEXT NOT NULL, UNIQUE (agent, key)
    ) STRICT
    """,
)
"""Statements that make the tables of an empty store. No number is given twice, so a process
that is late removes nothing that came after."""


@dataclass(frozen=True, slots=True)
class WaitingSet:
    """Notes that are put together.

    Args:
        number: its place in the order in which it was written.
        key: see `AgentMemory.add`.
        at: time of the notes, in UTC epoch seconds.
    """

    number: int
    agent: str
    key: str
    at: float
    texts: tuple[str, ...]


class WaitingNotes:
    """The notes in a store that wait."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def count(self) -> int:
        """Return the number of sets.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        with self._file.reading() as connection:
            (found,) = connection.execute("SELECT count(*) FROM waiting_notes").fetchone()
        return int(found)

    def oldest(self, *, limit: int, after: int = 0) -> list[WaitingSet]:
        """Return sets in the order in which they were written.

        Args:
            limit: how many at most, at least 0.
            after: number after which they begin.

        Raises:
            StoreFailed: when the file cannot be read, or is damaged.
        """
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT number, agent, key, at, texts FROM waiting_notes WHERE number > ? "
                "ORDER BY number LIMIT ?",
                (after, checked_whole("the limit of notes", limit)),
            ).fetchall()
        return [
            WaitingSet(number, agent, key, at, _texts(texts))
            for number, agent, key, at, texts in rows
        ]

    def add(self, agent: str, texts: Sequence[str], *, key: str, at: float) -> None:
        """Write notes that wait; see `add_waiting`.

        Raises:
            ConfigError: see `add_waiting`.
            StoreFailed: when the file cannot be written.
        """
        with self._file.writing() as connection:
            add_waiting(connection, agent, texts, key=key, at=at)

    def remove(self, agent: str, key: str) -> None:
        """Remove a set that was put; nothing where it is not there.

        Raises:
            StoreFailed: when the file cannot be written.
        """
        with self._file.writing() as connection:
            connection.execute(
                "DELETE FROM waiting_notes WHERE agent = ? AND key = ?", (agent, key)
            )


def _texts(document: str) -> tuple[str, ...]:
    try:
        texts = json.loads(document)
    except ValueError as error:
        raise StoreDamaged(f"waiting notes in the store are damaged: {error}. {RESTORE}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise StoreDamaged(f"waiting notes in the store are no texts. {RESTORE}")
    return tuple(texts)


def add_waiting(
    connection: sqlite3.Connection, agent: str, texts: Sequence[str], *, key: str, at: float
) -> None:
    """Write notes that wait, within a transaction.

    Args:
        key: see `AgentMemory.add`; new among the agent's that wait.

    Raises:
        ConfigError: when the agent's name or the key is empty or too long, or the time is not
            finite.
    """
    checked_name("the agent", agent)
    checked_name("the key of notes", key)
    if texts:
        # Half an emoji, which a model may send, is escaped.
        connection.execute(
            "INSERT INTO waiting_notes (agent, key, at, texts) VALUES (?, ?, ?, ?)",
            (agent, key, checked_time("the time of a note", at), json.dumps(list(texts))),
        )


async def put_waiting(waiting: WaitingNotes, memory: AgentMemory) -> str:
    """Put what waits into a memory, the oldest first, and remove what it has taken.

    Those that fail together are tried alone, so that one that the memory refuses keeps back no
    other; it is left for the next time.

    Returns:
        Why something is left, in one line; empty where nothing is. Untrusted.

    Raises:
        StoreFailed: when the store of what waits cannot be read or written.
    """
    problem, last = "", 0
    while sets := waiting.oldest(limit=PUT_TOGETHER, after=last):
        last = sets[-1].number
        ends = await asyncio.gather(*(_put(waiting, memory, each) for each in sets))
        refused = [each for each, end in zip(sets, ends, strict=True) if end]
        failed = 0
        for each in refused:
            end = await _put(waiting, memory, each)
            failed = failed + 1 if end else 0
            problem = end or problem
            if failed >= MAX_FAILED:
                break
        if failed >= MAX_FAILED:
            break
    if problem:
        _LOGGER.warning("%d sets of agents' notes wait: %s", waiting.count(), problem)
    return problem


async def _put(waiting: WaitingNotes, memory: AgentMemory, each: WaitingSet) -> str:
    """Put a set and remove it; return why it could not be put, in one line."""
    try:
        await memory.add(each.agent, each.texts, key=each.key, at=each.at)
    except Exception as error:  # noqa: BLE001 - it waits, and the reason is reported
        return one_line(error, f"the memory of {each.agent}")
    waiting.remove(each.agent, each.key)
    return ""

"""Notes that agents remember, each found by its own agent only.

Words rank them (BM25, `callwise.memory.lexical_index`). An index is made of an agent's notes when
they are searched, and kept in memory for agents with many of them.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np

from callwise.memory.lexical_index import LexicalIndex
from callwise.wake.store_file import (
    StoreFile,
    append_only,
    checked_name,
    checked_time,
    checked_whole,
    decoded_text,
    encoded_text,
)

__all__ = ["MAX_INDEXED_NOTES", "MIN_INDEXED_NOTES", "NOTE_TABLES", "AgentNotes", "add_notes"]

MAX_INDEXED_NOTES = 20_000
"""Notes whose terms are kept in memory, of all agents together. An agent with more has its index
kept alone. Terms of 10,000 notes of 15 words take some 3 MB."""

MIN_INDEXED_NOTES = 200
"""Notes of an agent from which on its index is kept; making one of fewer takes some 5 ms."""

_MAX_QUERY_CHARS = 2_000

NOTE_TABLES = (
    """
    CREATE TABLE agent_notes (
        agent TEXT NOT NULL, place INTEGER NOT NULL, text BLOB NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (agent, place)
    ) STRICT, WITHOUT ROWID
    """,
    *append_only("agent_notes"),
)
"""Statements that make the tables of an empty store. Places of an agent count from 0."""


class AgentNotes:
    """The notes of all agents in a store."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self._indexes: OrderedDict[str, LexicalIndex] = OrderedDict()

    def add(self, agent: str, text: str, *, at: float) -> None:
        """Add a note to an agent's memory.

        Args:
            at: the time, in UTC epoch seconds.

        Raises:
            ConfigError: when the agent's name is empty or too long, or the time is not finite.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        with self._file.writing() as connection:
            add_notes(connection, agent, [text], at)

    def search(self, agent: str, query: str, *, limit: int) -> list[str]:
        """Return notes of one agent: the best by words, newest first among equals.

        Notes without a word of the query follow after those with one, newest first.

        Args:
            agent: whose notes are searched.
            query: its first 2,000 characters count; an empty one finds the newest notes.
            limit: how many at most, at least 0.

        Raises:
            ConfigError: when the agent's name is empty or too long, or the limit is below 0.
            StoreFailed: when the file cannot be read.
        """
        checked_name("the agent", agent)
        checked_whole("the limit of notes", limit)
        with self._file.reading() as connection:
            index = self._index(connection, agent)
            scores = index.scores(query[:_MAX_QUERY_CHARS])
            best = np.lexsort((-np.arange(len(index)), -scores))[:limit]
            rows = (
                connection.execute(
                    "SELECT text FROM agent_notes WHERE agent = ? AND place = ?",
                    (agent, int(place)),
                ).fetchone()
                for place in best
            )
            return [decoded_text(text) for (text,) in rows]

    def _index(self, connection: sqlite3.Connection, agent: str) -> LexicalIndex:
        """Return the index of an agent's notes, with what was added since it was made."""
        index = self._indexes.pop(agent, None)
        if index is None:
            index = LexicalIndex()
        added = connection.execute(
            "SELECT text FROM agent_notes WHERE agent = ? AND place >= ? ORDER BY place",
            (agent, len(index)),
        )
        for (text,) in added:
            index.add(decoded_text(text))
        if len(index) >= MIN_INDEXED_NOTES:
            self._indexes[agent] = index
            # At most a hundred are kept, so that this sum is short.
            while len(self._indexes) > 1 and self._kept_notes() > MAX_INDEXED_NOTES:
                self._indexes.popitem(last=False)
        return index

    def _kept_notes(self) -> int:
        return sum(map(len, self._indexes.values()))


def add_notes(connection: sqlite3.Connection, agent: str, texts: Iterable[str], at: float) -> None:
    """Add notes to an agent's memory, within a transaction.

    Raises:
        ConfigError: when the agent's name is empty or too long, or the time is not finite.
    """
    checked_name("the agent", agent)
    row = (agent, agent, checked_time("the time of a note", at))
    connection.executemany(
        "INSERT INTO agent_notes (agent, place, text, at) SELECT ?1, "
        "(SELECT coalesce(max(place) + 1, 0) FROM agent_notes WHERE agent = ?2), ?4, ?3",
        [(*row, encoded_text(text)) for text in texts],
    )

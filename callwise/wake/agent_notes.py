"""Notes that agents remember, each found by its own agent only.

Words rank them (BM25, `callwise.memory.packed_terms`), and where a query has an embedding the
nearest vectors of the agent's notes as well; the two rankings are fused by rank. What is searched,
the terms and vectors of one agent, is read from the file at its first search and kept in memory
within a limit of bytes.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.calls.errors import ConfigError
from callwise.memory.packed_terms import TERM_TYPE, pack_terms, packed_scores, packed_size
from callwise.memory.retrieval import best_positions, reciprocal_rank_fusion
from callwise.memory.stored_records import Embedding
from callwise.wake.note_vectors import (
    VECTOR_TABLES,
    NoteVectors,
    add_vectors,
    checked_model,
    damaged,
    numbers_of,
    settle_model,
    unit_vector,
)
from callwise.wake.store_file import (
    StoreFile,
    append_only,
    checked_name,
    checked_time,
    checked_whole,
    decoded_text,
    encoded_text,
)

__all__ = ["MAX_KEPT_BYTES", "NOTE_TABLES", "AgentNotes", "add_notes", "best_places"]

MAX_KEPT_BYTES = 64 * 2**20
"""Most bytes of terms and vectors that are kept in memory, of all agents together."""

KEPT_AGENTS = 2**14
"""Agents that the bytes in memory are for. One that has less than its part of them, 4 KB or some
30 notes without vectors, is read from the file each time: of very many agents in memory, all would
be copied at their next note, and leave holes in the heap."""

FUSED_NOTES = 100
"""Notes of each ranking that are fused; as many as are asked for, where that is more."""

_MAX_QUERY_CHARS = 2_000

NOTE_TABLES = (
    """
    CREATE TABLE agent_notes (
        agent TEXT NOT NULL, place INTEGER NOT NULL, text BLOB NOT NULL, at REAL NOT NULL,
        terms BLOB NOT NULL,
        PRIMARY KEY (agent, place)
    ) STRICT, WITHOUT ROWID
    """,
    *append_only("agent_notes"),
    """
    CREATE TABLE noted_keys (
        agent TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (agent, key)
    ) STRICT, WITHOUT ROWID
    """,
    *append_only("noted_keys"),
    *VECTOR_TABLES,
)
"""Statements that make the tables of an empty store. Places of an agent count from 0."""


@dataclass(frozen=True, slots=True)
class _Searched:
    """Terms and vectors of one agent; replaced, never changed.

    Args:
        terms: of all notes, packed.
        size: number of notes.
    """

    terms: NDArray[np.uint32]
    size: int
    vectors: NoteVectors

    @property
    def bytes(self) -> int:
        return self.terms.nbytes + self.vectors.bytes


_NOTHING = _Searched(np.zeros(0, TERM_TYPE), 0, NoteVectors.none())


class AgentNotes:
    """The notes of all agents in a store.

    Args:
        max_kept_bytes: most bytes of terms and vectors that are kept in memory, at least 0.
    """

    def __init__(self, file: StoreFile, *, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._file = file
        self._max_kept_bytes = checked_whole("the bytes of notes in memory", max_kept_bytes)
        self._kept: OrderedDict[str, _Searched] = OrderedDict()
        self._kept_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of terms and vectors that are in memory now."""
        return self._kept_bytes

    def add(self, agent: str, text: str, *, at: float, embedding: Embedding | None = None) -> None:
        """Add a note to an agent's memory.

        Args:
            at: the time, in UTC epoch seconds.
            embedding: of the text; stored with it, or neither is.

        Raises:
            ConfigError: when the agent's name is empty or too long, the time is not finite, or
                the embedding is no vector or not of the model of the store's others.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        with self._file.writing() as connection:
            add_notes(connection, agent, [text], at, [embedding])

    def add_once(
        self,
        agent: str,
        texts: Sequence[str],
        *,
        key: str,
        at: float,
        embeddings: Sequence[Embedding | None] = (),
    ) -> bool:
        """Add notes to an agent's memory, once for each of its keys.

        Args:
            key: distinguishes these notes from the agent's others.
            at: the time, in UTC epoch seconds.
            embeddings: of the texts, in their order, or None for one without; empty for none.

        Returns:
            False where notes of this key were added before; then nothing has changed.

        Raises:
            ConfigError: when the agent's name or the key is empty or too long, the time is not
                finite, or an embedding is no vector or not of the model of the store's others.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        names = (checked_name("the agent", agent), checked_name("the key of notes", key))
        with self._file.writing() as connection:
            added = connection.execute("INSERT OR IGNORE INTO noted_keys VALUES (?, ?)", names)
            if not added.rowcount:
                return False
            add_notes(connection, agent, texts, at, embeddings)
            return True

    def accept(self, embedding: Embedding) -> None:
        """Refuse an embedding that no note of the store may have; the first decides the model.

        After it, a note with an embedding of the same model is not refused.

        Raises:
            ConfigError: when it is no vector, or not of the store's model.
            StoreFailed: when the file cannot be read or written.
        """
        unit_vector(embedding)
        with self._file.reading() as connection:
            if checked_model(connection, embedding):
                return
        with self._file.writing() as connection:
            settle_model(connection, embedding)

    def known(self, agent: str, texts: Collection[str]) -> set[str]:
        """Return which of some texts are notes of an agent, character for character.

        Args:
            texts: at most 1,000.

        Raises:
            ConfigError: when the agent's name is empty or too long.
            StoreFailed: when the file cannot be read.
        """
        checked_name("the agent", agent)
        with self._file.reading() as connection:
            marks = ", ".join("?" * len(texts))
            found = connection.execute(
                f"SELECT DISTINCT text FROM agent_notes WHERE agent = ? AND text IN ({marks})",  # noqa: S608
                (agent, *map(encoded_text, texts)),
            ).fetchall()
        return {decoded_text(text) for (text,) in found}

    def search(
        self, agent: str, query: str, *, limit: int, embedding: Embedding | None = None
    ) -> list[str]:
        """Return notes of one agent, the best first, newest first among equals.

        Args:
            agent: whose notes are searched.
            query: see `find`; likewise for the others.

        Raises:
            ConfigError: see `find`.
            StoreFailed: when the file cannot be read, or is damaged.
        """
        return self.texts(agent, self.find(agent, query, limit=limit, embedding=embedding))

    def find(
        self, agent: str, query: str, *, limit: int, embedding: Embedding | None = None
    ) -> list[int]:
        """Return places of notes of one agent, the best first, newest first among equals.

        By words alone, or where there is an embedding by reciprocal rank fusion of the ranking by
        words and that by cosine, `FUSED_NOTES` of each. Notes that neither has found follow,
        newest first.

        Args:
            agent: whose notes are searched.
            query: its first 2,000 characters count; an empty one finds the newest notes.
            limit: how many at most, at least 0.
            embedding: of the query. Without vectors in the store it changes nothing.

        Raises:
            ConfigError: when the agent's name is empty or too long, the limit is below 0, or the
                embedding is no vector or not of the model of the store's.
            StoreFailed: when the file cannot be read, or is damaged.
        """
        checked_name("the agent", agent)
        checked_whole("the limit of notes", limit)
        unit = None if embedding is None else unit_vector(embedding)
        with self._file.reading_together() as connection:
            if embedding is not None and not checked_model(connection, embedding):
                unit = None
            own = self._searched(connection, agent)
        return _ranked(own, query[:_MAX_QUERY_CHARS], limit, unit)

    def texts(self, agent: str, places: Sequence[int]) -> list[str]:
        """Return notes of one agent by their places, in the order of these. A note never changes.

        Raises:
            ConfigError: when the agent's name is empty or too long.
            StoreFailed: when the file cannot be read, or is damaged.
        """
        checked_name("the agent", agent)
        with self._file.reading() as connection:
            rows = [
                connection.execute(
                    "SELECT text FROM agent_notes WHERE agent = ? AND place = ?", (agent, place)
                ).fetchone()
                for place in places
            ]
        if None in rows:
            raise damaged(f"note {places[rows.index(None)]} of agent {agent[:40]!r} is missing")
        return [decoded_text(text) for (text,) in rows]

    def _searched(self, connection: sqlite3.Connection, agent: str) -> _Searched:
        """Return the terms and vectors of an agent, with what was added since they were read."""
        known = self._kept.get(agent, _NOTHING)
        rows = connection.execute(
            "SELECT terms FROM agent_notes WHERE agent = ? AND place >= ? ORDER BY place",
            (agent, known.size),
        ).fetchall()
        if rows:
            # A vector comes with its note: without new notes there are no new vectors.
            new = numbers_of(b"".join([terms for (terms,) in rows]), TERM_TYPE)
            terms = np.concatenate([known.terms, new])
            if packed_size(new) != len(rows):
                raise damaged(f"terms of {packed_size(new)} texts for {len(rows)} notes")
            vectors = known.vectors.with_new(connection, agent)
            if len(vectors.places) and vectors.places.max() >= known.size + len(rows):
                raise damaged("a vector is of no note")
            known = _Searched(terms, known.size + len(rows), vectors)
        self._keep(agent, known)
        return known

    def _keep(self, agent: str, searched: _Searched) -> None:
        earlier = self._kept.pop(agent, None)
        if earlier is not None:
            self._kept_bytes -= earlier.bytes
        if not self._max_kept_bytes // KEPT_AGENTS < searched.bytes <= self._max_kept_bytes:
            return
        self._kept[agent] = searched
        self._kept_bytes += searched.bytes
        while self._kept_bytes > self._max_kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.bytes


def _ranked(own: _Searched, query: str, limit: int, unit: NDArray[np.float32] | None) -> list[int]:
    """Return places of notes, the best first."""
    scores = packed_scores(own.terms, query)
    depth = limit if unit is None else max(limit, FUSED_NOTES)
    found = best_positions(scores, depth)
    if unit is not None and len(own.vectors.places):
        # Equal cosines may differ in their last digits. They are moved above 0, where the best
        # are looked for.
        nearest = best_positions(np.round(own.vectors.similarities(unit), 5) + 2.0, depth)
        near = own.vectors.places[nearest].tolist()
        fused = reciprocal_rank_fusion([found, near])
        found = sorted(fused, key=lambda place: (-fused[place], -place))
    found = found[:limit]
    taken, place = set(found), own.size
    while len(found) < limit and place > 0:
        place -= 1
        if place not in taken:
            found.append(place)
    return found


def best_places(packed: NDArray[np.uint32], query: str, limit: int) -> list[int]:
    """Return places of texts, the best by words first, then the last ones.

    Args:
        packed: the texts by `pack_terms`, the oldest first.
        query: its first 2,000 characters count.
        limit: how many at most, at least 0.
    """
    texts = _Searched(packed, packed_size(packed), NoteVectors.none())
    return _ranked(texts, query[:_MAX_QUERY_CHARS], limit, None)


def add_notes(
    connection: sqlite3.Connection,
    agent: str,
    texts: Sequence[str],
    at: float,
    embeddings: Sequence[Embedding | None] = (),
) -> None:
    """Add notes to an agent's memory, within a transaction.

    Args:
        embeddings: of the texts, in their order, or None for one without; empty for none at all.

    Raises:
        ConfigError: when the agent's name is empty or too long, the time is not finite, the
            embeddings are not as many as the texts, or one is no vector or not of the store's
            model.
    """
    checked_name("the agent", agent)
    checked_time("the time of a note", at)
    if embeddings and len(embeddings) != len(texts):
        raise ConfigError(
            f"{len(texts)} notes with {len(embeddings)} embeddings. Give one for each, or None"
        )
    if not texts:
        return
    (first,) = connection.execute(
        "SELECT coalesce(max(place) + 1, 0) FROM agent_notes WHERE agent = ?", (agent,)
    ).fetchone()
    connection.executemany(
        "INSERT INTO agent_notes (agent, place, text, at, terms) VALUES (?, ?, ?, ?, ?)",
        [
            (agent, place, encoded_text(text), float(at), pack_terms(text))
            for place, text in enumerate(texts, first)
        ],
    )
    placed = enumerate(embeddings, first)
    add_vectors(connection, agent, [(place, each) for place, each in placed if each is not None])

"""Vectors of agents' notes: unit vectors of one embedding model, packed in blocks.

Problem: a million vectors of 1 KB. One row each fills pages to three quarters, and leaves the
notes of an agent all over the file.
Choice: a row has up to 16 vectors of one agent, in little-endian 32-bit floats, and grows with
each note; pages of so long a row are full but for its end. The table has no row ids: with them a
leaf has room for one row that grows, a fifth of the file. Similarity is exact: an agent's own
vectors are few.
Rejected: an extension of SQLite for vectors, which many builds of Python cannot load; an
approximate index, which loses notes and is slower below some tens of thousands of them.

Invariant: a vector is written in the transaction of its note, and a block never loses or changes
what it has; triggers see to that. All vectors of a store are of one model.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreDamaged
from callwise.memory.stored_records import Embedding
from callwise.wake.store_file import RESTORE, append_only, checked_name

__all__ = [
    "VECTOR_TABLES",
    "VECTOR_TYPE",
    "NoteVectors",
    "add_vectors",
    "checked_model",
    "damaged",
    "numbers_of",
    "settle_model",
    "unit_vector",
]

VECTOR_TYPE = np.dtype("<f4")
PLACE_TYPE = np.dtype("<u4")

BLOCK_NOTES = 16
"""Most vectors in a row. Adding one writes the row again, half as many in the mean."""

MAX_DIMENSIONS = 65_536

VECTOR_TABLES = (
    """
    CREATE TABLE embedding_model (
        one INTEGER PRIMARY KEY CHECK (one = 1), model TEXT NOT NULL, dimensions INTEGER NOT NULL
    ) STRICT
    """,
    *append_only("embedding_model"),
    """
    CREATE TABLE agent_vectors (
        agent TEXT NOT NULL, block INTEGER NOT NULL, places BLOB NOT NULL, vectors BLOB NOT NULL,
        PRIMARY KEY (agent, block)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TRIGGER agent_vectors_update BEFORE UPDATE ON agent_vectors
    WHEN NEW.agent IS NOT OLD.agent OR NEW.block IS NOT OLD.block
        OR substr(NEW.places, 1, length(OLD.places)) IS NOT OLD.places
        OR substr(NEW.vectors, 1, length(OLD.vectors)) IS NOT OLD.vectors
    BEGIN SELECT RAISE(ABORT, 'agent_vectors is append-only'); END
    """,
    append_only("agent_vectors")[1],
)
"""Statements that make the tables of an empty store. Blocks of an agent count from 0; `places` are
those of its notes."""


class NoteVectors:
    """The vectors of one agent in memory; replaced, never changed.

    Args:
        places: of the notes, rising; shape (vectors,).
        matrix: unit vectors, shape (vectors, dimensions).
    """

    __slots__ = ("matrix", "places")

    def __init__(self, places: NDArray[np.uint32], matrix: NDArray[np.float32]) -> None:
        self.places, self.matrix = places, matrix

    @classmethod
    def none(cls) -> "NoteVectors":
        """Return those of an agent without any."""
        return cls(np.zeros(0, PLACE_TYPE), np.zeros((0, 0), VECTOR_TYPE))

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.places.nbytes + self.matrix.nbytes

    def with_new(self, connection: sqlite3.Connection, agent: str) -> "NoteVectors":
        """Return these and what an agent's blocks have after them.

        Raises:
            StoreDamaged: when a block has no vector for each of its places.
        """
        known = len(self.places)
        rows = connection.execute(
            "SELECT places, vectors FROM agent_vectors WHERE agent = ? AND block >= ? "
            "ORDER BY block",
            (agent, known // BLOCK_NOTES),
        ).fetchall()
        skipped = known % BLOCK_NOTES
        places = numbers_of(b"".join([each for each, _ in rows]), PLACE_TYPE)[skipped:]
        if not len(places):
            return self
        dimensions = len(rows[0][1]) // len(rows[0][0])
        matrix = np.empty((known + len(places), dimensions), VECTOR_TYPE)
        if known:
            matrix[:known] = self.matrix
        filled = known - skipped
        for place_bytes, block in rows:
            if len(block) != len(place_bytes) * dimensions:
                raise damaged(f"{len(block)} bytes of vectors for {len(place_bytes)} of places")
            vectors = numbers_of(block, VECTOR_TYPE).reshape(-1, dimensions)
            matrix[filled : filled + len(vectors)] = vectors
            filled += len(vectors)
        return NoteVectors(np.concatenate([self.places, places]), matrix)

    def similarities(self, unit: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the cosine of each vector and another one, shape (vectors,).

        Each is the same whatever else there is: one row at a time is multiplied. A product of
        matrix and vector (BLAS) has other last digits by the number of rows, and waits for its
        threads where processors are few.
        """
        cosines: NDArray[np.float32] = np.einsum("ij,j->i", self.matrix, unit)
        return cosines.astype(np.float64)


def damaged(problem: str) -> StoreDamaged:
    """Return the error of what was stored with a note and is damaged."""
    return StoreDamaged(f"an agent's notes in the store are damaged: {problem}. {RESTORE}")


def numbers_of(data: bytes, kind: "np.dtype[Any]") -> NDArray[Any]:
    """Return stored numbers.

    Raises:
        StoreDamaged: when the bytes are no whole numbers of them.
    """
    if len(data) % kind.itemsize:
        raise damaged(f"{len(data)} bytes are no numbers of {kind.itemsize}")
    return np.frombuffer(data, kind)


def unit_vector(embedding: Embedding) -> NDArray[np.float32]:
    """Return a vector in its stored form.

    Raises:
        ConfigError: when it has no or too many dimensions, is not finite, or has no direction;
            or when its model's name is empty or too long.
    """
    checked_name("the embedding model", embedding.model)
    dimensions = len(embedding.vector)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ConfigError(
            f"an embedding of {embedding.model} has {dimensions} dimensions. "
            f"Use 1 to {MAX_DIMENSIONS}"
        )
    wide = np.asarray(embedding.vector, dtype=np.float64)
    largest = float(np.abs(wide).max())
    if not np.isfinite(largest) or largest == 0.0:
        raise ConfigError(
            f"an embedding of {embedding.model} is all zeros or not finite, and points nowhere. "
            "Check what the endpoint of the role `embed` answers"
        )
    wide /= largest  # so that no square is too large or too small
    return (wide / np.linalg.norm(wide)).astype(VECTOR_TYPE)


def checked_model(connection: sqlite3.Connection, embedding: Embedding) -> bool:
    """Return whether the store is one of an embedding's model; False where it has none yet.

    Raises:
        ConfigError: when its vectors are of another model, or of other dimensions.
    """
    found = connection.execute("SELECT model, dimensions FROM embedding_model").fetchone()
    if found is None:
        return False
    model, dimensions = found
    if (embedding.model, len(embedding.vector)) != (model, dimensions):
        raise ConfigError(
            f"the store's notes have embeddings of {model[:100]} with {dimensions} dimensions, and "
            f"this one is of {embedding.model[:100]} with {len(embedding.vector)}. Use the store's "
            "model, another store, or wake.retrieval=words"
        )
    return True


def settle_model(connection: sqlite3.Connection, embedding: Embedding) -> None:
    """Make an embedding's model that of the store where it has none, within a transaction.

    Raises:
        ConfigError: when the store's vectors are of another model, or of other dimensions.
    """
    if not checked_model(connection, embedding):
        connection.execute(
            "INSERT INTO embedding_model (one, model, dimensions) VALUES (1, ?, ?)",
            (embedding.model, len(embedding.vector)),
        )


def add_vectors(
    connection: sqlite3.Connection, agent: str, added: Sequence[tuple[int, Embedding]]
) -> None:
    """Add the vectors of an agent's new notes, within the transaction of the notes.

    Args:
        added: places of notes with their embeddings, rising.

    Raises:
        ConfigError: for an embedding that is no vector, or not of the store's model.
    """
    if not added:
        return
    places, units = [], []
    for place, embedding in added:
        unit = unit_vector(embedding)
        settle_model(connection, embedding)
        places.append(place)
        units.append(unit.tobytes())
    last = connection.execute(
        "SELECT block, places, vectors FROM agent_vectors WHERE agent = ? "
        "ORDER BY block DESC LIMIT 1",
        (agent,),
    ).fetchone()
    block, old_places, old_vectors = last or (0, b"", b"")
    free = BLOCK_NOTES - len(old_places) // PLACE_TYPE.itemsize
    while units:
        if free:
            new_places = old_places + np.array(places[:free], PLACE_TYPE).tobytes()
            new_vectors = old_vectors + b"".join(units[:free])
            connection.execute(
                "UPDATE agent_vectors SET places = ?, vectors = ? WHERE agent = ? AND block = ?"
                if old_places
                else "INSERT INTO agent_vectors (places, vectors, agent, block) "
                "VALUES (?, ?, ?, ?)",
                (new_places, new_vectors, agent, block),
            )
            places, units = places[free:], units[free:]
        block, old_places, old_vectors, free = block + 1, b"", b"", BLOCK_NOTES

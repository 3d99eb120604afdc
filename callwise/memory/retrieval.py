"""Turns of a user and an agent, ranked for a question by words, days and vectors.

A document is one turn: the user's text, the reply, and the notes. BM25 ranks it (see
`lexical_index`), the turns right before and after it in the same sitting add a part of
their score (an answer is often next to the words of the question), and where there are
vectors their ranking is fused in.

Similarity of vectors is exact cosine: quicker than an approximate index up to some tens of
thousands of vectors, and without loss of recall. Nodes make the embeddings, as counted calls.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.calls.errors import ConfigError
from callwise.memory.lexical_index import LexicalIndex, day_of_time
from callwise.memory.stored_records import Embedding

__all__ = ["DenseIndex", "FoundTurn", "TurnIndex", "best_positions", "reciprocal_rank_fusion"]

DAMPING = 60
"""Added to each rank; the lower, the more the first ranks outweigh the next. The paper's value."""


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]]) -> dict[int, float]:
    """Return each document's fused score; more is better.

    Scores of different rankings need no common scale. A document that a ranking
    leaves out gets nothing from it.

    Source: Cormack, Clarke and Buettcher 2009, Reciprocal rank fusion outperforms
    Condorcet and individual rank learning methods.

    Args:
        rankings: documents, best first, each at most once per ranking.
    """
    fused: dict[int, float] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, start=1):
            fused[document] = fused.get(document, 0.0) + 1 / (DAMPING + rank)
    return fused


_FIRST_CAPACITY = 64


class DenseIndex:
    """Unit vectors of one embedding model, by the position of their document."""

    def __init__(self, dimensions: int) -> None:
        if dimensions < 1:
            raise ConfigError(f"an embedding has {dimensions} dimensions. Use at least 1")
        self._matrix = np.zeros((_FIRST_CAPACITY, dimensions), dtype=np.float32)
        self._positions = np.zeros(_FIRST_CAPACITY, dtype=np.int64)
        self._size = 0

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self._size

    def check(self, vector: Sequence[float]) -> None:
        """Refuse a vector of another length.

        Raises:
            ConfigError: when it has another number of dimensions.
        """
        dimensions = self._matrix.shape[1]
        if len(vector) != dimensions:
            raise ConfigError(
                f"an embedding has {len(vector)} dimensions where the stored ones have "
                f"{dimensions}: the model behind this name has changed. Give it another name"
            )

    def _unit(self, vector: Sequence[float]) -> NDArray[np.float32]:
        self.check(vector)
        row = np.asarray(vector, dtype=np.float32)
        norm = float(np.linalg.norm(row))
        return row / norm if norm > 0 and np.isfinite(norm) else np.zeros_like(row)

    def add(self, position: int, vector: Sequence[float]) -> None:
        """Add a document's vector. Positions come in rising order.

        Raises:
            ConfigError: when it has another number of dimensions.
        """
        row = self._unit(vector)
        if self._size == len(self._positions):
            self._matrix = np.concatenate([self._matrix, np.zeros_like(self._matrix)])
            self._positions = np.concatenate([self._positions, np.zeros_like(self._positions)])
        self._matrix[self._size] = row
        self._positions[self._size] = position
        self._size += 1

    def ranking(self, vector: Sequence[float], upto: int) -> list[int]:
        """Return the positions below `upto`, most similar first, newest first among equals.

        Raises:
            ConfigError: when the vector has another number of dimensions.
        """
        row = self._unit(vector)
        size = int(np.searchsorted(self._positions[: self._size], upto))
        similarities = self._matrix[:size] @ row
        positions = self._positions[:size]
        order = np.lexsort((-positions, -similarities))
        return [int(position) for position in positions[order]]


NEIGHBOUR_WEIGHT = 0.2
"""Part of the better neighbour's score that is added to a turn, in [0, 1]."""

MAX_QUERY_CHARS = 2_000
"""Length of the beginning of a question that is searched."""


@dataclass(frozen=True, slots=True)
class FoundTurn:
    """One turn that was found.

    Args:
        position: of the turn; starts at 0.
        relevance: a BM25 score, or a fused one where vectors took part; above 0. Comparable
            within one result only.
    """

    position: int
    relevance: float


class TurnIndex:
    """All turns of one user with one agent, in order."""

    def __init__(self) -> None:
        self._lexical = LexicalIndex()
        self._dense: dict[str, DenseIndex] = {}
        self._follows: array[int] = array("b")
        self._last_sitting: tuple[str, str | None] | None = None

    def __len__(self) -> int:
        """Return the number of turns."""
        return len(self._lexical)

    def add(
        self,
        text: str,
        *,
        conversation_id: str,
        time: str | None = None,
        embedding: Embedding | None = None,
    ) -> int:
        """Add the next turn and return its position.

        Turns of one conversation and one day are one sitting. `time` is in ISO 8601.

        Raises:
            ConfigError: when the vector has other dimensions than its model's earlier ones.
        """
        day = day_of_time(time)
        position = len(self)
        if embedding is not None:
            self.check(embedding)
            dense = self._dense.setdefault(embedding.model, DenseIndex(len(embedding.vector)))
            dense.add(position, embedding.vector)
        self._lexical.add(text, day)
        sitting = (conversation_id, day)
        self._follows.append(sitting == self._last_sitting)
        self._last_sitting = sitting
        return position

    def check(self, embedding: Embedding) -> None:
        """Refuse a vector that could not be added.

        Raises:
            ConfigError: when it has other dimensions than its model's earlier ones.
        """
        dense = self._dense.get(embedding.model)
        if dense is not None:
            dense.check(embedding.vector)

    def search(
        self, query: str, k: int, *, upto: int | None = None, embedding: Embedding | None = None
    ) -> list[FoundTurn]:
        """Return at most k turns, most relevant first, newest first among equals.

        Args:
            query: the question. Nothing matches an empty one.
            k: most turns; 0 finds nothing.
            upto: number of oldest turns to search; None for all.
            embedding: the question's vector; it finds turns with one of the same model.

        Raises:
            ValueError: when k is negative.
            ConfigError: when the vector's dimensions are not those of its model.
        """
        if k < 0:
            raise ValueError(f"k is {k}. Use a number of at least 0")
        size = len(self) if upto is None else min(upto, len(self))
        scores = self._lexical.scores(query[:MAX_QUERY_CHARS], size)
        scores = self._with_neighbours(scores)
        dense = self._dense.get(embedding.model) if embedding is not None else None
        if embedding is None or dense is None:
            return [FoundTurn(place, float(scores[place])) for place in best_positions(scores, k)]
        rankings = [best_positions(scores, size), dense.ranking(embedding.vector, size)]
        fused = reciprocal_rank_fusion(rankings)
        order = sorted(fused, key=lambda place: (-fused[place], -place))
        return [FoundTurn(place, fused[place]) for place in order[:k]]

    def _with_neighbours(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if len(scores) < 2:
            return scores
        follows = np.frombuffer(self._follows, dtype=np.int8)[1 : len(scores)]
        lent = np.zeros_like(scores)
        np.multiply(scores[:-1], follows, out=lent[1:])
        np.maximum(lent[:-1], scores[1:] * follows, out=lent[:-1])
        return scores + NEIGHBOUR_WEIGHT * lent


def best_positions(scores: NDArray[np.float64], k: int) -> list[int]:
    """Return the positions of the k highest scores above 0, newest first among equals."""
    found = np.flatnonzero(scores > 0)
    if k == 0:
        return []
    if len(found) > 4 * k + 64:
        least = np.partition(scores[found], len(found) - k)[len(found) - k]
        found = found[scores[found] >= least]
    order = np.lexsort((-found, -scores[found]))
    return [int(place) for place in found[order][:k]]

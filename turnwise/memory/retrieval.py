"""What a user and an agent said before, ranked for a question.

A document is one turn: what the user said, what was replied, and what was noted.
Words and days rank it (see `lexical`), the turns right before and after it in the
same sitting lend it a part of their score (an answer often stands beside the
words of the question), and where vectors are at hand their ranking is fused in.
"""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnwise.memory.dates import day_of_time
from turnwise.memory.dense import DenseIndex
from turnwise.memory.fusion import reciprocal_rank_fusion
from turnwise.memory.lexical import LexicalIndex
from turnwise.memory.records import Embedding

__all__ = ["Hit", "TurnIndex"]

NEIGHBOUR_WEIGHT = 0.2
"""The part of the better neighbour's score that a turn is lent, in [0, 1]."""

MAX_QUERY_CHARS = 2_000
"""How much of a question is looked for."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One turn that was found.

    Args:
        position: of the turn; starts at 0 for the first one ever.
        relevance: to compare within one result only. A BM25 score, or a fused one
            where vectors took part. Above 0.
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

        Args:
            text: everything to find it by.
            conversation_id: turns of one conversation and one day are one sitting.
            time: ISO 8601, or None.
            embedding: its vector, where there is one.

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
    ) -> list[Hit]:
        """Return at most k turns, most relevant first, newest first among equals.

        Args:
            query: the question. Nothing matches an empty one.
            k: how many; 0 finds nothing.
            upto: how many of the oldest turns take part; None for all.
            embedding: the question's vector; only turns with one of the same model
                can be found by it.

        Raises:
            ValueError: when k is negative.
            ConfigError: when the vector's dimensions are not those of its model.
        """
        if k < 0:
            raise ValueError(f"k is at least 0, got {k}")
        size = len(self) if upto is None else min(upto, len(self))
        scores = self._lexical.scores(query[:MAX_QUERY_CHARS], size)
        scores = self._with_neighbours(scores)
        dense = self._dense.get(embedding.model) if embedding is not None else None
        if embedding is None or dense is None:
            return [Hit(place, float(scores[place])) for place in _best(scores, k)]
        rankings = [_best(scores, size), dense.ranking(embedding.vector, size)]
        fused = reciprocal_rank_fusion(rankings)
        order = sorted(fused, key=lambda place: (-fused[place], -place))
        return [Hit(place, fused[place]) for place in order[:k]]

    def _with_neighbours(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if len(scores) < 2:
            return scores
        follows = np.frombuffer(self._follows, dtype=np.int8)[1 : len(scores)]
        lent = np.zeros_like(scores)
        np.multiply(scores[:-1], follows, out=lent[1:])
        np.maximum(lent[:-1], scores[1:] * follows, out=lent[:-1])
        return scores + NEIGHBOUR_WEIGHT * lent


def _best(scores: NDArray[np.float64], k: int) -> list[int]:
    """Return the positions of the k highest scores above 0, newest first among equals."""
    found = np.flatnonzero(scores > 0)
    if k == 0:
        return []
    if len(found) > 4 * k + 64:
        least = np.partition(scores[found], len(found) - k)[len(found) - k]
        found = found[scores[found] >= least]
    order = np.lexsort((-found, -scores[found]))
    return [int(place) for place in found[order][:k]]

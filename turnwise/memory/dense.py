"""Exact cosine similarity over vectors that somebody else computed.

Whoever asks for embeddings asks for them as counted calls; here they only arrive.
Exact search is quicker than an approximate index up to some tens of thousands of
vectors, and has no recall to lose.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turnwise.calls.errors import ConfigError

__all__ = ["DenseIndex"]

_FIRST_CAPACITY = 64


class DenseIndex:
    """Unit vectors of one embedding model, by the position of their document.

    Args:
        dimensions: length of every vector.
    """

    def __init__(self, dimensions: int) -> None:
        if dimensions < 1:
            raise ConfigError(f"an embedding has at least 1 dimension, got {dimensions}")
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
                f"{dimensions}: was the embedding model changed under one name?"
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

"""Seeded numbers: hashes that stand for fixed properties, and a stream for one answer.

Only `random.Random.random` is used below, whose sequence for a seed is the same in
every Python version; `gauss`, `choice` and `shuffle` make no such promise.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

__all__ = ["Draws", "hashed_int", "hashed_normal", "hashed_unit"]

ItemT = TypeVar("ItemT")

_NORMAL = NormalDist()
_TWO_52 = float(2**52)


def hashed_int(*parts: object) -> int:
    """Return 64 bits that depend on the parts and on nothing else."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def hashed_unit(*parts: object) -> float:
    """Return a number strictly between 0 and 1 that depends on the parts alone."""
    # 52 bits and a half still fit a float; the largest of more bits would round to 1.0.
    return ((hashed_int(*parts) >> 12) + 0.5) / _TWO_52


def hashed_normal(*parts: object) -> float:
    """Return a standard normal number that depends on the parts alone."""
    return _NORMAL.inv_cdf(hashed_unit(*parts))


class Draws:
    """One answer's stream of random numbers."""

    __slots__ = ("_next",)

    def __init__(self, seed: int) -> None:
        self._next = random.Random(seed).random

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return self._next()

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self._next() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self._next()

    def index(self, count: int) -> int:
        """Return an index in [0, count). `count` is at least 1."""
        return int(self._next() * count)  # never `count`: the product rounds down

    def pick(self, items: Sequence[ItemT]) -> ItemT:
        """Return one of the items."""
        return items[self.index(len(items))]

    def normal(self) -> float:
        """Return a standard normal number (Box-Muller, one branch)."""
        return math.sqrt(-2.0 * math.log(1.0 - self._next())) * math.cos(math.tau * self._next())

"""Embeddings without a model: hashed letter groups, so that like texts are near.

Each word adds its three-letter groups and itself, each run of Chinese its characters
and pairs, to one of 256 places, up or down. Lexical only: it knows no meaning.
"""

import math
import re
import zlib

__all__ = ["EMBEDDING_DIMENSIONS", "embed"]

EMBEDDING_DIMENSIONS = 256

_MAX_CHARS = 8000
_RUNS = re.compile(r"[a-z0-9]+|[^\W\x00-\x7f]+")
_MIX = 0x9E3779B1


def _groups(text: str) -> list[str]:
    groups: list[str] = []
    for run in _RUNS.findall(text[:_MAX_CHARS].lower()):
        if run.isascii():
            padded = f" {run} "
            groups.append(run)
            groups.extend(padded[start : start + 3] for start in range(len(padded) - 2))
        else:
            groups.extend(run)
            groups.extend(run[start : start + 2] for start in range(len(run) - 1))
    return groups


def embed(text: str, *, seed: int = 0) -> tuple[float, ...]:
    """Return a vector of unit length, shape [256]; texts that share letters are near.

    Args:
        text: the text; what follows the first 8,000 characters is not read.
        seed: another seed uses other places, so vectors of two seeds do not compare.
    """
    vector = [0.0] * EMBEDDING_DIMENSIONS
    start = seed & 0xFFFFFFFF
    for group in _groups(text):
        # The product spreads the checksum, whose own bits are linear in the letters.
        mixed = (zlib.crc32(group.encode("utf-8", "surrogatepass"), start) * _MIX) & 0xFFFFFFFF
        vector[mixed >> 24] += 1.0 if mixed & 0x800000 else -1.0
    length = math.sqrt(math.fsum(value * value for value in vector))
    if length == 0.0:
        vector[0] = length = 1.0
    return tuple(round(value / length, 7) for value in vector)

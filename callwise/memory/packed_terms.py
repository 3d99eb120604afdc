"""Terms of short texts as flat numbers, which are stored with the text and scored without an index.

An index of terms (`LexicalIndex`) takes some 25 microseconds per text to make. Texts whose owner
asks once in an hour are many, and an index of each would not fit into memory; so their terms are
made when they are written, and one vector operation scores all texts of an owner.

Format, in little-endian 32-bit numbers, one text after the other: the length of the text in terms,
below 2**31, then each term, as often as it occurs, as its CRC-32 with the highest bit set. Two of
20,000 different terms have one number with a chance of some 9 %; then a text may match a word that
it does not have.
"""

import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from callwise.memory.lexical_index import Term, bm25_scores, query_weights, rarity, text_terms

__all__ = ["TERM_TYPE", "pack_terms", "packed_scores", "packed_size"]

TERM_TYPE = np.dtype("<u4")

_IS_TERM = 0x80000000
_LOW_BITS = 0xFFFF


def pack_terms(text: str) -> bytes:
    """Return the terms of a text; any number of them may be joined."""
    counts, length = text_terms(text)
    numbers = [length]
    for term, count in counts.items():
        numbers += [_number(term)] * count
    return np.array(numbers, dtype=TERM_TYPE).tobytes()


def _number(term: Term) -> int:
    return zlib.crc32(term.encode("utf-8", "surrogatepass")) | _IS_TERM


class _PackedQuery(NamedTuple):
    """The terms of a query. Not to be changed.

    Args:
        numbers: of the terms, in order of first appearance.
        weights: of the terms, as long.
        order: that sorts `numbers`.
        may_match: whether a number with these low bits may be one of them: most terms of a text are
            none of the query's, which their low bits show already.
    """

    numbers: NDArray[np.uint32]
    weights: tuple[float, ...]
    order: NDArray[np.intp]
    may_match: NDArray[np.bool_]


@lru_cache(maxsize=4)
def _packed_query(query: str) -> _PackedQuery:
    """Return the terms of a query. One query is often asked of many owners, one after the other."""
    weights: dict[int, float] = {}
    for term, weight in query_weights(query).items():
        weights.setdefault(_number(term), weight)
    numbers = np.fromiter(weights, dtype=np.uint32, count=len(weights))
    may_match = np.zeros(_LOW_BITS + 1, dtype=np.bool_)
    may_match[numbers & _LOW_BITS] = True
    return _PackedQuery(numbers, tuple(weights.values()), np.argsort(numbers), may_match)


def packed_size(packed: NDArray[np.uint32]) -> int:
    """Return the number of packed texts."""
    return int(np.count_nonzero(packed < _IS_TERM))


def packed_scores(packed: NDArray[np.uint32], query: str) -> NDArray[np.float64]:
    """Return each text's BM25 score for a query; 0 where nothing matches.

    They are those of a `LexicalIndex` of the same texts, as long as no two terms have one number.

    Args:
        packed: texts by `pack_terms`, in order.

    Returns:
        Shape (texts,). Comparable within one query only.
    """
    begins = np.flatnonzero(packed < _IS_TERM)
    size = len(begins)
    numbers, weights, order, may_match = _packed_query(query)
    if not weights or not size:
        return np.zeros(size)
    places = np.flatnonzero(may_match[packed & _LOW_BITS])
    ranks = np.searchsorted(numbers, packed[places], sorter=order)
    terms = order[np.minimum(ranks, len(numbers) - 1)]
    is_match = numbers[terms] == packed[places]
    if not is_match.any():
        return np.zeros(size)
    positions = np.searchsorted(begins, places[is_match]) - 1
    # One posting per text and term, those of a text in the query's order.
    keys, counts = np.unique(positions * len(numbers) + terms[is_match], return_counts=True)
    positions, terms = np.divmod(keys, len(numbers))
    having = np.bincount(terms, minlength=len(numbers)).tolist()
    rarities = map(rarity, having, [size] * len(having))
    scaled = np.array([weight * rare for weight, rare in zip(weights, rarities, strict=True)])
    lengths = packed[begins].astype(np.float64)
    return bm25_scores(positions, counts.astype(np.float64), scaled[terms], lengths)

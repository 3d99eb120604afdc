"""Packed terms: the scores of an index, without one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from callwise.memory.lexical_index import LexicalIndex
from callwise.memory.packed_terms import TERM_TYPE, pack_terms, packed_scores

WORDS = [
    "tea",
    "teas",
    "cat",
    "May 3",
    "我喜欢猫",
    "猫",
    "是",
    "the",
    "2026-04-28",
    "",
    "x\ud83d",
    "值😀",
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join) | st.text(max_size=20)


def packed(texts: list[str]) -> np.ndarray:
    """Return texts as a store keeps them."""
    return np.frombuffer(b"".join(map(pack_terms, texts)), TERM_TYPE)


@given(st.lists(TEXTS, max_size=12), TEXTS)
def test_scores_are_those_of_an_index(texts: list[str], query: str) -> None:
    """Bit by bit, for any texts."""
    index = LexicalIndex()
    for text in texts:
        index.add(text)
    found = packed_scores(packed(texts), query)
    np.testing.assert_array_equal(found, index.scores(query))


def test_many_texts_score_as_in_an_index() -> None:
    """Also where most terms are none of the query's."""
    texts = [f"w{number % 97} w{number % 89} w{number % 7}" for number in range(3_000)]
    index = LexicalIndex()
    for text in texts:
        index.add(text)
    query = " ".join(f"w{number}" for number in range(0, 90, 3))
    np.testing.assert_array_equal(packed_scores(packed(texts), query), index.scores(query))


def test_what_is_packed_does_not_change() -> None:
    """The numbers are in files: a change of them needs another version of the store."""
    assert pack_terms("Tea, cats tea").hex() == "03000000" + pack_terms("tea tea cat").hex()[8:]
    assert np.frombuffer(pack_terms("tea tea cat"), TERM_TYPE).tolist() == [
        3,
        2391201714,
        2391201714,
        2656977832,
    ]
    assert pack_terms("") == b"\0\0\0\0"

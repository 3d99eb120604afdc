"""Similarity of short texts and of strategy tags. Works without a segmenter."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

__all__ = [
    "distinct_tags",
    "identity_key",
    "missing_strategies",
    "ngram_jaccard",
    "tag_similarity",
    "text_key",
]


_NOT_WORD = re.compile(r"[\W_]+")
_CLAUSE_END = re.compile("[。，、！？；：…“”‘’「」『』]+")
_MARK = re.compile("[.,!?;:'\"]")
_WORD_END = re.compile(r"(?<![.,!?;:'\"])[.,!?;:'\"]+(?=\s|$)|(?<!\S)['\"]+")


@lru_cache(maxsize=1024)
def text_key(text: str) -> str:
    """Return a text without case, width, spacing and punctuation.

    Texts with equal keys count as the same reply. A text of nothing but marks
    keeps them, so that an emoji is not equal to an ellipsis.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub("", folded) or "".join(folded.split())


@lru_cache(maxsize=1024)
def identity_key(text: str) -> str:
    """Return a text without case, width, and marks that end a word or a clause.

    Texts with equal keys count as the same candidate. Unlike `text_key` it keeps what distinguishes
    formulas and programs: operators, brackets, and points within numbers.
    """
    if text.isascii():
        folded = text.lower()
        if not _MARK.search(folded):
            return " ".join(folded.split())
    else:
        folded = unicodedata.normalize("NFKC", _CLAUSE_END.sub(" ", text)).casefold()
    return " ".join(_WORD_END.sub(" ", folded).split()) or "".join(folded.split())


@lru_cache(maxsize=1024)
def _ngrams(key: str, width: int) -> frozenset[str]:
    if len(key) <= width:
        return frozenset((key,)) if key else frozenset()
    return frozenset(key[start : start + width] for start in range(len(key) - width + 1))


@lru_cache(maxsize=1024)
def _words(tag: str) -> frozenset[str]:
    return frozenset(_NOT_WORD.sub(" ", unicodedata.normalize("NFKC", tag).casefold()).split())


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    shared = len(left & right)
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0


def ngram_jaccard(left: str, right: str, *, width: int) -> float:
    """Return the share of character n-grams that two texts have in common.

    Args:
        left: a text.
        right: another; the order does not matter.
        width: characters of an n-gram; 2 suits Chinese, 3 suits English.

    Returns:
        In [0, 1]; 1 for texts with equal keys, 0 when either is blank.
    """
    return _jaccard(_ngrams(text_key(left), width), _ngrams(text_key(right), width))


def tag_similarity(left: str, right: str) -> float:
    """Return how alike two strategy tags are: the better of shared words and shared bigrams.

    Returns:
        In [0, 1]; 0 when either is blank.
    """
    return max(_jaccard(_words(left), _words(right)), ngram_jaccard(left, right, width=2))


def distinct_tags(tags: Sequence[str], *, similarity: float) -> list[str]:
    """Return the tags that differ from all before them. A blank tag names no strategy.

    Args:
        tags: strategy tags, in order.
        similarity: from which on two tags count as one strategy, in [0, 1].
    """
    distinct: list[str] = []
    for tag in tags:
        if tag and all(tag_similarity(tag, earlier) < similarity for earlier in distinct):
            distinct.append(tag)
    return distinct


def missing_strategies(tags: Sequence[str], *, similarity: float) -> int:
    """Return how many strategies an expansion lacks, 0 when its candidates differ enough.

    Only tags are compared: a copy of a reply under another tag lacks nothing. A
    single candidate has nothing to differ from and lacks nothing either.

    Args:
        tags: strategy tags of the candidates that were offered, at most those asked for.
        similarity: from which on two tags count as one strategy, in [0, 1].
    """
    if len(tags) < 2:
        return 0
    return len(tags) - len(distinct_tags(tags, similarity=similarity))

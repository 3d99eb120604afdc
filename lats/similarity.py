"""Similarity of short texts and of strategy tags. Works without a segmenter."""

import re
import unicodedata
from collections.abc import Sequence

__all__ = [
    "distinct_tags",
    "identity_key",
    "jaccard",
    "missing_strategies",
    "ngrams",
    "tag_similarity",
    "text_key",
]

_NOT_WORD = re.compile(r"[\W_]+")
_CLAUSE_END = re.compile("[。，、！？；：…“”‘’「」『』]+")
_MARK = re.compile("[.,!?;:'\"]")
_WORD_END = re.compile(r"(?<![.,!?;:'\"])[.,!?;:'\"]+(?=\s|$)|(?<!\S)['\"]+")


def text_key(text: str) -> str:
    """Return a text without case, width, spacing and punctuation.

    Texts with equal keys count as the same reply. A text of nothing but marks
    keeps them, so that an emoji is not equal to an ellipsis.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub("", folded) or "".join(folded.split())


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


def ngrams(text: str, width: int) -> frozenset[str]:
    """Return the n-grams of a text's key: `width` characters each, 2 for Chinese, 3 for English."""
    key = text_key(text)
    if len(key) <= width:
        return frozenset((key,)) if key else frozenset()
    return frozenset(key[start : start + width] for start in range(len(key) - width + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Return the share of elements that two sets have in common; 0 when both are empty."""
    shared = len(left & right)
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0


def tag_similarity(left: str, right: str) -> float:
    """Return how alike two strategy tags are: the better of shared words and shared bigrams.

    Returns:
        In [0, 1]; 0 when either is blank.
    """
    return max(jaccard(_words(left), _words(right)), jaccard(ngrams(left, 2), ngrams(right, 2)))


def _words(tag: str) -> frozenset[str]:
    return frozenset(_NOT_WORD.sub(" ", unicodedata.normalize("NFKC", tag).casefold()).split())


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
    return len(tags) - len(distinct_tags(tags, similarity=similarity)) if len(tags) > 1 else 0

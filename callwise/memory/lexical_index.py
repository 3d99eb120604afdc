"""BM25 over an index that grows by one document at a time, and its terms.

Postings are flat arrays, and a query gathers all of its postings into one vector operation:
a query takes some tens of microseconds at a hundred documents and a millisecond or two at
ten thousand, and adding never rebuilds anything.

Terms are character pairs for Chinese, words for the rest, and days. Chinese has no spaces,
and a segmenter would be a dependency and a source of differences between index and query.
Overlapping pairs of characters do as well for retrieval; single characters have a low weight,
for names and for words of one character. English words lose their plural.

Questions name days ("what did we talk about on April 28?", "4月28号我们聊了什么?"), and the day
of a turn is known, so it is a term. Years are left out: a question seldom has one, and a day
without one means the latest.
"""

import math
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LexicalIndex",
    "Term",
    "bm25_scores",
    "day_of_time",
    "query_weights",
    "rarity",
    "split_days",
    "text_terms",
]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_DAY = r"([0-3]?\d)(?:st|nd|rd|th)?"
_PATTERNS = (
    re.compile(r"(?:\d{4}\s*年\s*)?(?<!\d)(1[0-2]|0?[1-9])\s*月\s*([0-3]?\d)\s*[日号號]?"),
    re.compile(r"(?<!\d)\d{4}-(0[1-9]|1[0-2])-([0-3]\d)(?!\d)"),
    re.compile(rf"\b{_MONTH}\s+{_DAY}\b(?!\s*[:%])", re.IGNORECASE),
)
_DAY_FIRST = re.compile(rf"\b{_DAY}\s+(?:of\s+)?{_MONTH}(?![a-z])", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-(\d{2})-(\d{2})")


def _term(month: str, day: str) -> str | None:
    month_number = int(month) if month.isdigit() else _MONTHS.index(month[:3].lower()) + 1
    day_number = int(day)
    return f"@{month_number:02d}-{day_number:02d}" if 1 <= day_number <= 31 else None


def split_days(text: str) -> tuple[list[str], str]:
    """Return the days in a text, as terms like `@04-28`, and the text without them.

    Chinese, ISO 8601 and English dates with a day are found, in order of pattern and place.
    """
    if not any(map(str.isdigit, text)):
        return [], text
    days: list[str] = []

    def take(month: str, day: str, whole: str) -> str:
        term = _term(month, day)
        if term is None:
            return whole
        days.append(term)
        return " "

    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: take(match[1], match[2], match[0]), text)
    text = _DAY_FIRST.sub(lambda match: take(match[2], match[1], match[0]), text)
    return days, text


def day_of_time(time: str | None) -> str | None:
    """Return the day of an ISO 8601 time as a term, or None where it has none."""
    match = _TIME.match(time) if time else None
    return _term(match[1], match[2]) if match else None


Term = str

SINGLE_WEIGHT = 0.4
"""Weight of a single Chinese character in a question; a pair has 1."""

DAY_WEIGHT = 3.0
"""Weight of a day in a question; a word has 1."""

_RUN = re.compile(r"[㐀-䶿一-鿿豈-﫿぀-ヿ가-힯]+|[^\W_㐀-䶿一-鿿豈-﫿぀-ヿ가-힯]+")
_FIRST_CJK = "぀"
_LATIN_END = "ɏ"

_QUESTION_CHARS = frozenset("我你的是了吗呢吧啊过在和有哪些什么曾经给还记得对这那它谁怎样一")
_QUESTION_WORD_LIST = (
    "a an and about any are be been can could did do does ever for from had has have how i in is "
    "it me my of on or recall remember say said so tell that the there thi to told u was we were "
    "what when where which who why will with would you your"
)
_QUESTION_WORDS = frozenset(_QUESTION_WORD_LIST.split())
"""Words that mark a question and not its subject. `thi` is `this` without its s."""


def _singular(word: str) -> str:
    """Return an English word without its plural ending.

    Source: the S-stemmer (Harman 1991, How effective is suffixing?), without its
    exceptions for endings in `aies`, `eies`, `aes`, `ees` and `oes`.
    """
    if len(word) < 4 or word[-1] != "s" or word.endswith(("us", "ss")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1]


def text_terms(text: str) -> tuple[Counter[Term], int]:
    """Return a text's terms with their counts, and its length in terms.

    Single Chinese characters and days are among the terms and not in the length.
    """
    days, rest = split_days(text)
    counts: Counter[Term] = Counter(days)
    length = 0
    if not rest.isascii():
        rest = unicodedata.normalize("NFKC", rest)
    for run in _RUN.findall(rest.casefold()):
        if run[0] < _FIRST_CJK:
            counts[_singular(run)] += 1
            length += 1
            continue
        counts.update(run)
        counts.update(map("".join, pairwise(run)))
        length += max(len(run) - 1, 1)
    return counts, length


def query_weights(query: str) -> dict[Term, float]:
    """Return a question's terms with their weights, in order of first appearance.

    Terms that only mark a question are left out, unless there are no others.
    """
    counts, _ = text_terms(query)
    subject = [
        term
        for term in counts
        if term not in _QUESTION_WORDS and any(char not in _QUESTION_CHARS for char in term)
    ]
    return {
        term: _weight(term) * (1 if len(term) == 1 else counts[term]) for term in subject or counts
    }


def _weight(term: Term) -> float:
    if term[0] == "@":
        return DAY_WEIGHT
    return SINGLE_WEIGHT if len(term) == 1 and term > _LATIN_END else 1.0


K1 = 0.9
"""Saturation: the higher, the more repeats of a term count; the usual range is [0.5, 2]."""

B = 0.4
"""Length normalisation: the higher, the less long documents score, in [0, 1]."""


def rarity(having: int, size: int) -> float:
    """Return the weight of a term that so many of `size` documents have; never negative."""
    return math.log(1 + (size - having + 0.5) / (having + 0.5))


def bm25_scores(
    positions: NDArray[np.int64],
    counts: NDArray[np.float64],
    weights: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return each document's score from the postings of a query's terms.

    Args:
        positions: of the documents, shape (postings,).
        counts: of the term in the document, as long.
        weights: of the term, rarity included, as long.
        lengths: of all documents in terms, shape (documents,).
    """
    mean_length = max(float(lengths.mean()), 1.0)
    dampers = K1 * (1 - B + B / mean_length * lengths)
    values = weights * counts * (K1 + 1) / (counts + dampers[positions])
    scores = np.bincount(positions, weights=values, minlength=len(lengths))
    return scores.astype(np.float64, copy=False)


class LexicalIndex:
    """Documents by their terms. Positions count from 0, in order of adding.

    Source: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework, the
    BM25 formula, with the inverse document frequency that is never negative.
    We depart from it in the query: terms are weighted (`query_weights`).
    """

    def __init__(self) -> None:
        self._postings: dict[Term, tuple[array[int], array[float]]] = defaultdict(
            lambda: (array("q"), array("d"))
        )
        self._lengths: array[float] = array("d")

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._lengths)

    def add(self, text: str, day: Term | None = None) -> int:
        """Add a document, of a day as a term (see `day_of_time`), and return its position."""
        counts, length = text_terms(text)
        if day is not None:
            counts[day] += 1
        position = len(self._lengths)
        for term, count in counts.items():
            positions, term_counts = self._postings[term]
            positions.append(position)
            term_counts.append(count)
        self._lengths.append(length)
        return position

    def scores(self, query: str, upto: int | None = None) -> NDArray[np.float64]:
        """Return each document's score for a query; 0 where nothing matches.

        Only the `upto` oldest documents are scored, None for all; the others change nothing,
        not even the rarity of a term.

        Returns:
            Shape (upto,), in order of adding. Comparable within one query only.
        """
        size = len(self) if upto is None else min(upto, len(self))
        gathered = self._gather(query, size)
        if gathered is None:
            return np.zeros(size)
        lengths = np.frombuffer(self._lengths, dtype=np.float64)[:size]
        return bm25_scores(*gathered, lengths)

    def _gather(
        self, query: str, size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]] | None:
        """Return positions, counts and term weights of all postings of a query, flat."""
        all_positions, all_counts = array("q"), array("d")
        weights, sizes = [], []
        for term, weight in query_weights(query).items():
            if term not in self._postings:
                continue
            positions, counts = self._postings[term]
            found = bisect_left(positions, size)
            if found == 0:
                continue
            all_positions += positions[:found]
            all_counts += counts[:found]
            weights.append(weight * rarity(found, size))
            sizes.append(found)
        if not sizes:
            return None
        return (
            np.frombuffer(all_positions, dtype=np.int64),
            np.frombuffer(all_counts, dtype=np.float64),
            np.repeat(weights, sizes),
        )

"""What a text is indexed by: character pairs for Chinese, words for the rest.

Chinese has no spaces, and a segmenter would be a dependency and a source of
differences between index and query. Overlapping pairs of characters do as well for
retrieval; single characters are kept at a low weight, for names and for words of
one character. English words lose their plural.
"""

import re
import unicodedata
from collections import Counter
from itertools import pairwise

from turnwise.memory.dates import split_days

__all__ = ["Term", "query_weights", "text_terms"]

Term = str

SINGLE_WEIGHT = 0.4
"""What a single Chinese character counts in a question, beside 1 for a pair."""

DAY_WEIGHT = 3.0
"""What a day counts in a question, beside 1 for a word."""

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
"""Words that say that something is asked, and not what. `thi` is `this` without its s."""


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


def _runs(text: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _RUN.findall(text.casefold())


def text_terms(text: str) -> tuple[Counter[Term], int]:
    """Return a text's terms with their counts, and its length in terms.

    Single Chinese characters and days are among the terms and not in the length.
    """
    days, rest = split_days(text)
    counts: Counter[Term] = Counter(days)
    length = 0
    for run in _runs(rest):
        if run[0] < _FIRST_CJK:
            counts[_singular(run)] += 1
            length += 1
            continue
        counts.update(run)
        counts.update(map("".join, pairwise(run)))
        length += max(len(run) - 1, 1)
    return counts, length


def _is_about_asking(term: Term) -> bool:
    return term in _QUESTION_WORDS or all(char in _QUESTION_CHARS for char in term)


def query_weights(query: str) -> dict[Term, float]:
    """Return a question's terms with their weights, in order of first appearance.

    Terms that only say that something is asked are left out, unless nothing else
    is there.
    """
    counts, _ = text_terms(query)
    kept = [term for term in counts if not _is_about_asking(term)] or list(counts)
    return {term: _weight(term) * (1 if len(term) == 1 else counts[term]) for term in kept}


def _weight(term: Term) -> float:
    if term[0] == "@":
        return DAY_WEIGHT
    return SINGLE_WEIGHT if len(term) == 1 and term > _LATIN_END else 1.0

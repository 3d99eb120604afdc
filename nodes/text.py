"""Sentences and language of a text, English and Chinese, without losing a character."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from nodes.records import Language

__all__ = [
    "cut_at_sentence",
    "detect_language",
    "han_share",
    "is_wide",
    "split_sentences",
    "text_size",
    "wide_count",
]

_END = re.compile(r"[.!?。！？…]+[”’\"')\]」』）*_`~]*|\n+")

_WIDE_ENDS = frozenset("。！？…\n")
"""Marks that always end a sentence."""

_JOINERS = frozenset("\u200d\ufe0e\ufe0f")
"""Characters that belong to the one before them: the parts of a composed emoji."""


def split_sentences(text: str) -> list[str]:
    """Return a text's sentences, with their end marks and the space after them.

    An ASCII mark ends a sentence only before space or the end, so `3.14` stays whole.
    Invariant: the sentences join to the text. Time is linear in the text.
    """
    sentences: list[str] = []
    start = 0
    for mark in _END.finditer(text):
        end = mark.end()
        ends_anyway = not _WIDE_ENDS.isdisjoint(mark[0])
        if not ends_anyway and end < len(text) and not text[end].isspace():
            continue
        while end < len(text) and text[end].isspace():
            end += 1
        if end > start:
            sentences.append(text[start:end])
            start = end
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def is_wide(char: str) -> bool:
    """Return whether a character is of a wide script, such as Chinese."""
    return unicodedata.east_asian_width(char) in "WF"


def wide_count(text: str) -> int:
    """Return how many characters of a text are of a wide script."""
    return 0 if text.isascii() else sum(map(is_wide, text))


def text_size(text: str) -> int:
    """Return the letters and digits of a text, of which one of a wide script counts as two."""
    letters = "".join(filter(str.isalnum, text))
    return len(letters) + wide_count(letters)


def _whole_characters(text: str, max_chars: int) -> int:
    """Return the last place up to `max_chars` that does not cut a composed character."""
    for place in range(max_chars, 0, -1):
        is_inside = (
            unicodedata.combining(text[place]) > 0
            or text[place] in _JOINERS
            or text[place - 1] == "\u200d"
        )
        if not is_inside:
            return place
    return max_chars


def cut_at_sentence(text: str, max_chars: int) -> str:
    """Return the text's beginning, at most `max_chars` long, ending with a sentence.

    Where no sentence ends in the second half of those characters, it ends with a word; where
    no word does either, with a whole character.
    """
    if len(text) <= max_chars:
        return text
    place = 0
    for sentence in split_sentences(text):
        if place + len(sentence.rstrip()) > max_chars:
            break
        place += len(sentence)
    if 2 * place < max_chars:
        head = text[: max_chars + 1]
        place = max(head.rfind(" "), head.rfind("\n"))
    if 2 * place < max_chars:
        place = _whole_characters(text, max_chars)
    return text[:place].rstrip()


_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")

SWITCH_TO_CHINESE_SHARE = 0.6
"""A conversation in English turns Chinese at this share of Han characters."""

SWITCH_TO_ENGLISH_SHARE = 0.1
"""A conversation in Chinese turns English at or below this share: Chinese chat mixes
in English words far more often than the other way round."""

MIN_SWITCH_UNITS = 3
"""Fewer words and characters than this ("ok", "haha", a name) never switch."""

MAX_HISTORY_TEXTS = 6
"""Latest texts that decide which language the conversation is in."""


def _units(text: str) -> tuple[int, int]:
    """Return the Han characters and the Latin words of a text."""
    return len(_HAN.findall(text)), len(_LATIN_WORD.findall(text))


def han_share(texts: Iterable[str]) -> float | None:
    """Return the share of Han characters among Han characters and Latin words.

    A Han character carries about as much as a short word, so a word counts as one. None when
    there is neither.
    """
    counts = [_units(text) for text in texts]
    han = sum(count for count, _ in counts)
    words = sum(count for _, count in counts)
    return han / (han + words) if han + words else None


def detect_language(text: str, history_texts: Sequence[str] = ()) -> Language:
    """Return the language to answer a message in.

    Once a conversation has a language, a message must be clearly in the other one, and long
    enough, to switch it.
    """
    share = han_share((text,))
    before = han_share(history_texts[-MAX_HISTORY_TEXTS:])
    if before is None:
        return "zh" if share is not None and share >= 0.5 else "en"
    current: Language = "zh" if before >= 0.5 else "en"
    if share is None or sum(_units(text)) < MIN_SWITCH_UNITS:
        return current
    if current == "en":
        return "zh" if share >= SWITCH_TO_CHINESE_SHARE else "en"
    return "en" if share <= SWITCH_TO_ENGLISH_SHARE else "zh"

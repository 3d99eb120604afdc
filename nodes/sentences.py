"""Cutting text into sentences, English and Chinese, without losing a character."""

import re
import unicodedata

__all__ = ["cut_at_sentence", "split_sentences"]

_END = re.compile(r"[.!?。！？…]+[”’\"')\]」』）*_`~]*|\n+")

_WIDE_ENDS = frozenset("。！？…\n")
"""Marks that end a sentence whatever follows."""

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

    Where no sentence ends in the second half of the room, it ends with a word; where
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

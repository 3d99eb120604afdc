"""Agreement of answers: which of several answers are the same one, and how alike two are.

An answer is its form where it has one, else its tool calls, else its text. Everything here is a
pure function of the answers in their order, so a replay finds the same.
"""

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callwise.budget.in_flight import ReadReply
from callwise.calls.policies import AgreementKnobs

__all__ = ["AnswerView", "Place", "groups_of", "medoid", "view_of"]

_MARKS = ".,!?;:'\"`*_()[]…。，！？；：、“”‘’「」『』"
"""Marks around a text that do not distinguish it."""

_SHORT_LENGTH = 24
"""Longest text that counts as a word or a category: its key in letters, a wide one being three."""

_WIDE, _WIDE_LENGTH = 0x2E80, 3
_NGRAM = 3

Leaf = float | bool | str | None
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer as it is compared with others.

    Args:
        numbers: by place in the answer.
        words: booleans, nulls and keys of short texts, likewise.
        grams: n-grams of all long texts together.
    """

    numbers: Mapping[Place, float]
    words: Mapping[Place, Leaf]
    grams: frozenset[str]

    def agrees_with(self, other: "AnswerView", knobs: AgreementKnobs) -> bool:
        """Return whether both are the same answer."""
        if self.words != other.words or self.numbers.keys() != other.numbers.keys():
            return False
        if self.numbers or self.words:
            theirs = other.numbers
            # Rounding must not let .7 and .8 differ by more than .1.
            most = knobs.tolerance * (1 + 1e-9) + 1e-12
            return all(abs(own - theirs[place]) <= most for place, own in self.numbers.items())
        return self.similarity(other) >= knobs.similarity

    def similarity(self, other: "AnswerView") -> float:
        """Return how alike both are, in [0, 1]: equal parts, and n-grams of long texts in common.

        A number counts as equal, as a word does, where it is.
        """
        own: dict[Place, Leaf] = {**self.numbers, **self.words}
        theirs: dict[Place, Leaf] = {**other.numbers, **other.words}
        places = own.keys() | theirs.keys()
        both = own.keys() & theirs.keys()
        parts = [float(sum(own[place] == theirs[place] for place in both))] if places else [0.0]
        count = len(places)
        union = len(self.grams | other.grams)
        if union:
            parts.append(len(self.grams & other.grams) / union)
            count += 1
        return math.fsum(parts) / count if count else 1.0


def view_of(answer: ReadReply) -> AnswerView:
    """Return an answer as it is compared."""
    reply = answer.reply
    if reply.parsed is not None:
        value: Any = reply.parsed.model_dump(mode="json", by_alias=True, warnings=False)
    elif reply.tool_calls and not reply.text.strip():
        value = [each.get("function") for each in reply.tool_calls]
    else:
        value = _number(reply.text)
    numbers: dict[Place, float] = {}
    words: dict[Place, Leaf] = {}
    grams: set[str] = set()
    for place, leaf in _leaves(value, ()):
        if isinstance(leaf, str):
            key = _key(leaf)
            if _length(key) <= _SHORT_LENGTH:
                words[place] = key
            else:
                grams.update(key[start : start + _NGRAM] for start in range(len(key) - _NGRAM + 1))
        elif isinstance(leaf, bool) or leaf is None:
            words[place] = leaf
        else:
            numbers[place] = float(leaf)
    return AnswerView(numbers, words, frozenset(grams))


def groups_of(views: Sequence[AnswerView], knobs: AgreementKnobs) -> list[list[int]]:
    """Return the places of answers that agree with each other, each in the first group it fits.

    A group is what agrees with its first answer. Groups are in the order of their first answers.
    """
    groups: list[list[int]] = []
    for place, view in enumerate(views):
        fitting = (group for group in groups if view.agrees_with(views[group[0]], knobs))
        group = next(fitting, None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    return groups


def medoid(views: Sequence[AnswerView], weights: Sequence[float]) -> int:
    """Return the place of the answer most like the others by their weights; the first of equals."""

    def likeness(place: int) -> float:
        return math.fsum(
            weight * views[place].similarity(view)
            for other, (view, weight) in enumerate(zip(views, weights, strict=True))
            if other != place
        )

    return max(range(len(views)), key=lambda place: (round(likeness(place), 12), -place))


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, float | bool | str | None]]:
    """Yield what a JSON value has at its ends; its depth is limited by the reader of answers."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from _leaves(value[name], (*place, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, (*place, index))
    else:
        yield place, value


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _key(text: str) -> str:
    """Return a text without case, width, spaces, and marks around it.

    Marks within are kept: 18.5 km are not 185 km.
    """
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_MARKS) or folded


def _length(key: str) -> int:
    return sum(_WIDE_LENGTH if ord(mark) >= _WIDE else 1 for mark in key)

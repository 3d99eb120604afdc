"""Expected scores of a judge from log-probabilities of its tokens, and numbers of a JSON text.

A judge that writes 0.7 may have been torn between 0.7 and 0.8, or between 0.7 and 0.2.
Where an endpoint returns the log-probabilities of its tokens, the mean over them is a finer
score, which hardly ever ties. The JSON reader finds the places of numbers and nothing else: it
is strict (RFC 8259) and does not recurse, so that no depth of nesting can harm it.

Source: Improving LLM-as-a-judge inference with the judgment distribution
(arXiv 2503.03064): the mean of the score tokens beats the mode in 92 of 120 comparisons.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = [
    "MAX_DEPTH",
    "MIN_READABLE_MASS",
    "NUMBER",
    "Alternatives",
    "JsonPath",
    "NumberAt",
    "expected_scores",
    "numbers_at",
]


MAX_DEPTH = 64
"""Deepest nesting of objects and lists that is read."""

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
"""A number as JSON writes it."""

_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_WORD = re.compile(r"true|false|null")


@dataclass(frozen=True, slots=True)
class NumberAt:
    """One number of a document.

    Args:
        path: keys and indices from the top to it; indices start at 0.
        start: position of its first character.
        end: position after its last character.
    """

    path: tuple[str | int, ...]
    start: int
    end: int


@dataclass(slots=True)
class _Container:
    """An object or a list that is open."""

    closing: str
    key: str | int = -1
    keys: set[str] = field(default_factory=set)


class _NotJson(ValueError):
    """The text is not strict JSON, is too deep, or names a key twice."""


def numbers_at(text: str) -> tuple[NumberAt, ...] | None:
    """Return the numbers of the JSON document in a text, in order.

    The text may be the document alone, or an object with words or a code fence around
    it that hold no brace.

    Args:
        text: an answer. Untrusted.

    Returns:
        None when the text has no such document, or more than one; when it is nested
        deeper than `MAX_DEPTH`; and when an object names a key twice, since readers
        differ in which of the values counts.
    """
    found = _document(text, _skip(text, 0), may_be_followed=False)
    brace = text.find("{")
    if found is None and brace >= 0:
        found = _document(text, brace, may_be_followed=True)
    return found


def _document(text: str, start: int, *, may_be_followed: bool) -> tuple[NumberAt, ...] | None:
    """Return the numbers of the document that starts at a position, or None without one."""
    walk = _Walk(text, start)
    try:
        found = tuple(walk.numbers())
    except _NotJson:
        return None
    is_last = "{" not in text[walk.at :] if may_be_followed else _skip(text, walk.at) == len(text)
    return found if is_last else None


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


class _Walk:
    """One pass over a document.

    Attributes:
        at: position reached.
    """

    def __init__(self, text: str, start: int) -> None:
        self.at = start
        self._text = text
        self._open: list[_Container] = []

    def numbers(self) -> Iterator[NumberAt]:
        """Yield the numbers up to the end of the document.

        Raises:
            _NotJson: when it is none.
        """
        while True:
            number = self._value()
            if number is not None:
                yield number
            if self._is_done():
                return

    def _value(self) -> NumberAt | None:
        """Take the next value; of a container that is not empty, its opening and first key."""
        while (opening := self._text[self.at : self.at + 1]) in {"{", "["}:
            if len(self._open) >= MAX_DEPTH:
                raise _NotJson
            self.at = _skip(self._text, self.at + 1)
            self._open.append(_Container("}" if opening == "{" else "]"))
            if self._text.startswith(self._open[-1].closing, self.at):
                return None  # empty: `_is_done` closes it
            self._next_key()
        if (number := NUMBER.match(self._text, self.at)) is not None:
            self.at = number.end()
            path = tuple(container.key for container in self._open)
            return NumberAt(path, number.start(), number.end())
        self._take(_STRING if opening == '"' else _WORD)
        return None

    def _is_done(self) -> bool:
        """Close what ends here and go to the next value; return whether there is none."""
        while self._open:
            self.at = _skip(self._text, self.at)
            following = self._text[self.at : self.at + 1]
            if following == self._open[-1].closing:
                self._open.pop()
                self.at += 1
            elif following == ",":
                self.at = _skip(self._text, self.at + 1)
                self._next_key()
                return False
            else:
                raise _NotJson
        return True

    def _next_key(self) -> None:
        """Take a key and its colon, or count one up in a list."""
        container = self._open[-1]
        if isinstance(container.key, int) and container.closing == "]":
            container.key += 1
            return
        quoted = self._take(_STRING)
        key = json.loads(quoted) if "\\" in quoted else quoted[1:-1]
        if key in container.keys:
            raise _NotJson
        container.keys.add(key)
        container.key = key
        self.at = _skip(self._text, self.at)
        if not self._text.startswith(":", self.at):
            raise _NotJson
        self.at = _skip(self._text, self.at + 1)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self.at)
        if match is None:
            raise _NotJson
        self.at = match.end()
        return match.group()


JsonPath = tuple[str | int, ...]
"""Keys and indices from the top of a JSON document to a value; indices start at 0."""

Alternatives = Sequence[tuple[str, float]]
"""What might stand at one place: texts and natural logarithms of their probabilities."""

MIN_READABLE_MASS = 0.5
"""Least probability of readable alternatives for which a mean is given."""

_DIGITS = frozenset("0123456789")
_ENDS_NUMBER = (",", "}", "]", " ", "\t", "\n", "\r")


@dataclass(frozen=True, slots=True)
class _Place:
    """A token of a number, as far as another one in its place has to fit.

    Args:
        prefix: text of the token before the number.
        head: part of the number before the token.
        tail: part of the number after the token.
    """

    prefix: str
    head: str
    tail: str

    def reading(self, alternative: str) -> float | None:
        """Return the number with this text instead of the token, or None when it is none."""
        text = alternative
        if not self.head:
            prefix = self.prefix.strip()
            text = text.lstrip()
            if not text.startswith(prefix):
                return None
            text = text[len(prefix) :].lstrip()
        written = self.head + text + self.tail
        number = NUMBER.match(written)
        if number is None:
            return None
        is_over = number.end() == len(written) or written.startswith(_ENDS_NUMBER, number.end())
        return float(number.group()) if is_over else None


def expected_scores(
    text: str, tokens: Sequence[tuple[str, Alternatives]], *, low: float, high: float
) -> Mapping[JsonPath, float | None]:
    """Return the expected value of every number of a JSON answer.

    An alternative is readable when, put in the place of its token, it makes the number
    one in [low, high]. The mean is over the readable ones, each weighted by its
    probability; what is not readable is as if it could not have been written.

    A number may be spread over tokens ("0", ".", "73"). Only one of them is varied, the
    first that carries the value, and the rest stays as it was written: it is the first
    one with a digit whose place is worth less than the range (so in [0, 1] the "73", and
    in [0, 100] the "7" of "7", "3"), else the first with a digit. What would have
    followed another token is not known, so there the mean is an approximation.

    Args:
        text: the answer: a JSON document, or a JSON object with words or a code fence
            around it. Untrusted.
        tokens: the answer's tokens in order, each with its alternatives, itself among
            them where it counts. They join to the text, or to a longer text in which
            it occurs once (an end token behind it, a thought before it). A logprob
            above 0 counts as 0, and one that is not a number as minus infinity.
        low: least score, finite.
        high: greatest score, finite, above `low`.

    Returns:
        By path, each number's mean in [low, high], or None where its readable
        alternatives have less than `MIN_READABLE_MASS` together, or it is itself out of
        the range. Nothing at all when the tokens do not join to the text, or it is no
        such document (see `numbers_at`).

    Raises:
        ValueError: when the range is empty or not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected finite low < high, got low={low} and high={high}")
    joined = "".join(token for token, _ in tokens)
    offset = joined.find(text)
    if not text or offset < 0 or offset != joined.rfind(text):
        return {}
    ends = [end - offset for end in accumulate(len(token) for token, _ in tokens)]
    expected: dict[JsonPath, float | None] = {}
    for number in numbers_at(text) or ():
        at = _carrier(text, number, ends, high - low)
        token, alternatives = tokens[at]
        place = _place(text, number, token, ends[at])
        is_score = low <= float(text[number.start : number.end]) <= high
        expected[number.path] = _mean(place, alternatives, low, high) if is_score else None
    return expected


def _carrier(text: str, number: NumberAt, ends: Sequence[int], width: float) -> int:
    """Return the index of the token that carries a number's value.

    Args:
        text: the answer.
        number: place of the number.
        ends: of each token, the position after its last character.
        width: of the range of scores.
    """
    written = text[number.start : number.end]
    has_exponent = "e" in written.lower()
    whole = written.find(".") if "." in written else len(written)
    first = -1
    begin = 0
    for index in range(bisect_right(ends, number.start), len(ends)):
        end = min(ends[index] - number.start, len(written))
        if any(character in _DIGITS for character in written[begin:end]):
            first = index if first < 0 else first
            # The power of ten that one more in the token's last digit is worth.
            power = whole - end if end <= whole else whole + 1 - end
            if has_exponent or power < math.log10(width):
                return index
        if end == len(written):
            break
        begin = end
    return first


def _place(text: str, number: NumberAt, token: str, end: int) -> _Place:
    """Return a number's place for a token that ends at `end`."""
    begin = end - len(token)
    return _Place(
        prefix=token[: max(number.start - begin, 0)],
        head=text[number.start : max(begin, number.start)],
        tail=text[min(end, number.end) : number.end],
    )


def _mean(place: _Place, alternatives: Alternatives, low: float, high: float) -> float | None:
    """Return the mean of what can be read in [low, high], or None when that is too little."""
    masses: list[float] = []
    scores: list[tuple[float, float]] = []
    for text, logprob in alternatives:
        mass = 0.0 if math.isnan(logprob) else math.exp(min(logprob, 0.0))
        score = place.reading(text)
        masses.append(mass)
        if mass > 0.0 and score is not None and low <= score <= high:
            scores.append((score, mass))
    readable = math.fsum(mass for _, mass in scores)
    if readable < MIN_READABLE_MASS * max(math.fsum(masses), 1.0):
        return None
    mean = math.fsum(score * mass for score, mass in scores) / readable
    # Division rounds: a single score must come back as it is, and no mean leave its scores.
    return min(max(mean, min(scores)[0]), max(scores)[0])

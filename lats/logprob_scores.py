"""Expected scores of a judge from log-probabilities of its tokens, and numbers of a JSON text.

A judge that writes 0.7 may have hesitated between 0.7 and 0.8, or between 0.7 and 0.2.
Where an endpoint returns the log-probabilities of its tokens, the mean over them is a finer
score, which hardly ever ties. The document is read strictly (RFC 8259), to a limited depth.

Source: Improving LLM-as-a-judge inference with the judgment distribution
(arXiv 2503.03064): the mean of the score tokens beats the mode in 92 of 120 comparisons.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import EllipsisType
from typing import Any, NoReturn

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

_STRING_OR_NUMBER = re.compile(rf'"(?:[^"\\]|\\.)*+"|(?P<number>{NUMBER.pattern})', re.DOTALL)
_SPACE = " \t\n\r"

JsonPath = tuple[str | int, ...]
"""Keys and indices from the top of a JSON document to a value; indices start at 0."""

Alternatives = Sequence[tuple[str, float]]
"""Possible texts of one token, with natural logarithms of their probabilities."""

MIN_READABLE_MASS = 0.5
"""Least probability of readable alternatives for which a mean is given."""


@dataclass(frozen=True, slots=True)
class NumberAt:
    """One number of a document: its path, its first position, and the one after its last."""

    path: JsonPath
    start: int
    end: int


def _number(_written: str) -> EllipsisType:
    """Return a mark for each number of a document; the text has them in the same order."""
    return ...


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is named twice")
    return found


_DECODER = json.JSONDecoder(
    parse_int=_number, parse_float=_number, parse_constant=_refused, object_pairs_hook=_object
)


def numbers_at(text: str) -> tuple[NumberAt, ...] | None:
    """Return the numbers of the JSON document in a text, in order.

    The text may be the document alone, or an object with words or a code fence around
    it that contain no brace.

    Returns:
        None when the text has no such document, or more than one; when it is nested
        deeper than `MAX_DEPTH`; and when an object names a key twice, since readers
        differ in which of the values counts.
    """
    start = len(text) - len(text.lstrip(_SPACE))
    found = _document(text, start, may_be_followed=False)
    brace = text.find("{")
    if found is None and brace >= 0:
        found = _document(text, brace, may_be_followed=True)
    return found


def _document(text: str, start: int, *, may_be_followed: bool) -> tuple[NumberAt, ...] | None:
    """Return the numbers of the document that starts at a position, or None without one."""
    try:
        document, end = _DECODER.raw_decode(text, start)
        paths = list(_paths(document, ()))
    except (ValueError, RecursionError):
        return None
    if "{" in text[end:] if may_be_followed else text[end:].strip(_SPACE):
        return None
    spans = (each.span() for each in _STRING_OR_NUMBER.finditer(text, start, end) if each["number"])
    return tuple(NumberAt(path, *span) for path, span in zip(paths, spans, strict=True))


def _paths(value: Any, path: JsonPath) -> Iterator[JsonPath]:
    """Yield the path of each number, in the order of the document."""
    if value is ...:
        yield path
    elif isinstance(value, dict | list):
        if len(path) == MAX_DEPTH:
            raise ValueError("nested too deeply")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(inner, (*path, key))


_DIGITS = frozenset("0123456789")
_ENDS_NUMBER = (",", "}", "]", " ", "\t", "\n", "\r")


@dataclass(frozen=True, slots=True)
class _Place:
    """A token of a number, as far as another one in its place has to fit.

    `prefix` is the token's text before the number, `head` and `tail` are the parts of the number
    before and after the token.
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
    probability; the others are left out.

    A number may be spread over tokens ("0", ".", "73"). Only one of them is varied, the
    first that carries the value, and the rest stays as it was written: it is the first
    one with a digit whose place is worth less than the range (so in [0, 1] the "73", and
    in [0, 100] the "7" of "7", "3"), else the first with a digit. The tokens that would have
    followed another one are not known, so there the mean is an approximation.

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

    `ends` are the positions after each token's last character, `width` is that of the range.
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

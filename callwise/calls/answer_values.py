"""The values of an answer, brought to the types and limits of the schema that asked for them.

Models write "66%" for 0.66, scores from 0 to 10 where 0 to 1 was asked for, one text for a
list of texts, `planAlignment` for `plan_alignment`. Such a value is read as it was meant
where that is not in doubt. What remains is for validation to refuse.

Scales. All numbers of one answer that are declared in [0, 1] or [-1, 1] are read on one
scale, since one model writes all of them alike. It is the declared one when the largest
(without its sign) is at most 1.5: a 1.05 or 1.2 is a slip. It is the declared one, too, when
no fewer numbers are fractions of 1 than are larger than 1.5. Otherwise it is 10 when the
largest is at most 10, and 100 when it is at most 100. Numbers that carry their own scale
("66%", "7/10") are read by it and do not count.

Limits. A number beyond its limits is clamped. One that is beyond two-sided limits by more
than half of their width is probably on another scale, and to clamp it would invent an
opinion: it is left for validation to refuse, which leaves the field out or asks again. Only
a score that may not be null is clamped all the same. NaN, infinities and booleans are no
numbers.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from callwise.calls.loose_json import embedded_json

__all__ = ["SchemaNode", "normal_name", "resolved", "tidied"]

SchemaNode = Mapping[str, Any]
"""A part of a JSON schema."""

MAX_SLIP = 0.5
"""Greatest distance of a number beyond its limits that is clamped, in widths of the range."""

MAX_NUMBER = sys.float_info.max
"""Greatest number that is read. Infinities, NaN and integers beyond it are none."""

_NO_NUMBER = "no number"
"""Replaces NaN, infinity and booleans where a number was asked for; validation refuses it."""

_DIGITS = r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_TEXT_NUMBER = re.compile(
    rf"\s*[~\u2248]?\s*(?P<number>{_DIGITS})"
    rf"(?:\s*(?:(?P<percent>[%\uff05])|(?:/|\uff0f|out\s+of\s)\s*(?P<whole>{_DIGITS})))?"
    r"(?P<words>.*)",
    re.DOTALL,
)
_ABSENT = frozenset({"", "null", "none", "n/a", "nil", "无"})
_TEXT_KEYS = ("text", "content", "value", "message", "reply")
_SEPARATOR = re.compile(r"[,;、，；\n]")
_UNIT_RANGES = frozenset({(0.0, 1.0), (-1.0, 1.0)})


@lru_cache(maxsize=1024)
def normal_name(name: object) -> str:
    """Return a name without letter case, spaces, hyphens and underscores."""
    return re.sub(r"[\W_]+", "", str(name)).casefold()


def resolved(node: Any, document: SchemaNode) -> SchemaNode:
    """Return a schema node with its reference followed and null taken out of its union."""
    for _ in range(16):
        if not isinstance(node, dict | Mapping):  # ABCs are slow, and it is nearly always a dict
            return {}
        if "$ref" in node:
            node = document.get("$defs", {}).get(str(node["$ref"]).removeprefix("#/$defs/"))
            continue
        options = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
        if not options:
            return node
        whole = [each for each in options if not _is_null(each)]
        if len(whole) != 1:
            return node
        node = whole[0]
    return {}


def _is_null(node: Any) -> bool:
    return isinstance(node, dict | Mapping) and node.get("type") == "null"


def _limits(node: SchemaNode) -> tuple[float, float]:
    kind = int if node.get("type") == "integer" else float
    low, high = node.get("minimum", -math.inf), node.get("maximum", math.inf)
    over, under = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if over is not None:
        low = max(low, over + 1 if kind is int else math.nextafter(over, math.inf))
    if under is not None:
        high = min(high, under - 1 if kind is int else math.nextafter(under, -math.inf))
    return float(low), float(high)


def _text_number(text: str, high: float) -> tuple[float, bool] | None:
    """Return the number that a text begins with, and whether it carries its own scale.

    `high` is the greatest number that is allowed. Texts with a second number in them, such
    as "1-2", name none.
    """
    match = _TEXT_NUMBER.fullmatch(text)
    if match is None or any(map(str.isdigit, match["words"])):
        return None
    number = _of_digits(match["number"])
    if match["percent"]:
        return (number / 100, True) if high == 1 else (number, False)
    if match["whole"]:
        whole = _of_digits(match["whole"])
        if whole <= 0 or math.isinf(high):
            return None
        return number if whole == high else number / whole * high, True
    if match["words"][:1].isascii() and match["words"][:1].isalpha():
        return None  # "7th", "2x"
    return number, False


def _of_digits(digits: str) -> float:
    if re.fullmatch(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits):
        return float(digits.replace(",", ""))
    return float(digits.replace(",", "."))


class _Score(NamedTuple):
    """A number declared in [0, 1] or [-1, 1]: where it is kept, and its lower bound."""

    holder: Any
    key: Any
    low: float
    path: str
    is_nullable: bool


def _scale(numbers: Sequence[float]) -> float:
    top = max((abs(number) for number in numbers), default=0.0)
    large = sum(abs(number) > 1 + MAX_SLIP for number in numbers)
    fractions = sum(0 < abs(number) < 1 for number in numbers)
    if large == 0 or fractions >= large:
        return 1.0
    return next((scale for scale in (10.0, 100.0) if top <= scale), 1.0)


def tidied(value: Any, schema: SchemaNode, *, is_separate: bool = False) -> tuple[Any, list[str]]:
    """Return a document as its schema has it, as far as that is not in doubt, and notes.

    Args:
        value: the document. It is not changed.
        is_separate: each field of the document is an answer by itself, with its own scale.
    """
    tidying = _Tidying(schema, is_separate=is_separate)
    holder = [value]
    holder[0] = tidying.value(value, schema, holder, 0, "")
    tidying.finish()
    return holder[0], tidying.notes


class _Tidying:
    def __init__(self, document: SchemaNode, *, is_separate: bool) -> None:
        self._document = document
        self._is_separate = is_separate
        self._scores: list[_Score] = []
        self.notes: list[str] = []

    def finish(self) -> None:
        """Bring the scores of each answer to one scale and within their limits."""
        answers: dict[str, list[_Score]] = {}
        for score in self._scores:
            answer = score.path.partition(".")[0] if self._is_separate else ""
            answers.setdefault(answer, []).append(score)
        for scores in answers.values():
            self._finish(scores)

    def _finish(self, scores: Sequence[_Score]) -> None:
        scale = _scale([score.holder[score.key] for score in scores])
        if scale != 1:
            self.notes.append(f"scores read on a scale of {scale:g}")
        for score in scores:
            number = score.holder[score.key] / scale
            if not score.is_nullable:
                number = min(max(number, score.low - MAX_SLIP), 1.0 + MAX_SLIP)
            score.holder[score.key] = self._clamped(number, score.low, 1.0, score.path)

    def value(self, value: Any, node: Any, holder: Any, key: Any, path: str) -> Any:
        """Return the value of one place."""
        options = node.get("anyOf") if isinstance(node, dict | Mapping) else None
        is_nullable = any(map(_is_null, options or ()))
        node = self._chosen(value, resolved(node, self._document))
        kind = node.get("type")
        may_be_absent = is_nullable and ("enum" in node or kind != "string")
        if may_be_absent and isinstance(value, str) and value.strip().casefold() in _ABSENT:
            return None
        if "enum" in node:
            return _member(value, node["enum"])
        if kind == "object":
            return self._object(value, node, path, is_entry=isinstance(holder, list))
        if kind == "array":
            return self._array(value, node, path, is_nullable=is_nullable)
        if kind in {"number", "integer"}:
            score = _Score(holder, key, 0.0, path, is_nullable)
            return self._number(value, node, score)
        if kind == "string":
            return self._text(value, node, path)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    def _chosen(self, value: Any, node: SchemaNode) -> SchemaNode:
        """Return the one option of a union that a value is of the type of."""
        if "anyOf" not in node and "oneOf" not in node:
            return node
        options = [resolved(each, self._document) for each in node.get("anyOf", ())]
        options += [resolved(each, self._document) for each in node.get("oneOf", ())]
        fitting = [option for option in options if _is_of_type(value, option)]
        return fitting[0] if len(fitting) == 1 else ({} if options else node)

    def _object(self, value: Any, node: SchemaNode, path: str, *, is_entry: bool) -> Any:
        properties: SchemaNode = node.get("properties", {})
        if isinstance(value, str):
            inner = embedded_json(value)
            value = value if inner is None else inner
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if is_entry and isinstance(value, str | int | float) and not isinstance(value, bool):
            name = self._bare_field(value, node)
            value = value if name is None else {name: value}
        if not isinstance(value, dict):
            return value
        further = node.get("additionalProperties")
        members: dict[str, Any] = {}
        for name, child in _with_known_keys(value, properties).items():
            inside = f"{path}.{name}" if path else str(name)
            schema = properties.get(name, further)
            members[name] = self.value(child, schema, members, name, inside)
        return members

    def _bare_field(self, value: str | float, node: SchemaNode) -> str | None:
        """Return the field that a bare entry of a list of objects is meant for."""
        properties: SchemaNode = node.get("properties", {})
        if not isinstance(value, str):
            return "score" if "score" in properties else None
        texts = [
            name
            for name in node.get("required", ())
            if resolved(properties.get(name), self._document).get("type") == "string"
        ]
        if len(texts) == 1:
            return str(texts[0])
        return next((name for name in _TEXT_KEYS if name in properties), None)

    def _array(self, value: Any, node: SchemaNode, path: str, *, is_nullable: bool) -> Any:
        items = resolved(node.get("items"), self._document)
        if value is None and not is_nullable and items.get("type") != "object":
            value = []
        if isinstance(value, str):
            inner = embedded_json(value)
            value = _entries_of_text(value, items) if inner is None else inner
        if isinstance(value, dict):
            value = _entries_of(value, items)
        if not isinstance(value, list):
            return value
        most = node.get("maxItems")
        if most is not None and len(value) > most:
            self.notes.append(f"left out {path} from entry {most + 1} on")
            value = value[:most]
        entries: list[Any] = []
        for place, entry in enumerate(value):
            entries.append(None)
            entries[place] = self.value(entry, node.get("items"), entries, place, f"{path}.{place}")
        return entries

    def _number(self, value: Any, node: SchemaNode, place: _Score) -> Any:
        low, high = _limits(node)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict):
            value = value.get("score", value.get("value"))
        has_own_scale = False
        if isinstance(value, str):
            read = _text_number(value, high)
            if read is None:
                return value
            value, has_own_scale = read
            self.notes.append("read numbers from texts")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return _NO_NUMBER
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            return _NO_NUMBER
        if (low, high) in _UNIT_RANGES and not has_own_scale:
            self._scores.append(place._replace(low=low))
            return value
        return self._clamped(value, low, high, place.path)

    def _clamped(self, number: float, low: float, high: float, path: str) -> float:
        nearest = min(max(number, low), high)
        is_slip = math.isinf(high - low) or abs(number - nearest) <= MAX_SLIP * (high - low)
        if nearest == number or not is_slip:
            return number
        self.notes.append(f"clamped {path}")
        is_whole = isinstance(number, int) and nearest.is_integer()
        return int(nearest) if is_whole else nearest

    def _text(self, value: Any, node: SchemaNode, path: str) -> Any:
        if isinstance(value, dict):
            value = next((value[key] for key in _TEXT_KEYS if key in value), value)
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            value = "\n".join(value)
        most = node.get("maxLength")
        if most is not None and isinstance(value, str) and len(value) > most:
            self.notes.append(f"clipped {path}")
            return value[:most]
        return value


def _is_of_type(value: Any, node: SchemaNode) -> bool:
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "number": int | float,
        "integer": int,
        "boolean": bool,
    }
    kind = kinds.get(str(node.get("type")))
    if kind is None or (isinstance(value, bool) and kind is not bool):
        return False
    if not isinstance(value, kind) or not isinstance(value, dict):
        return isinstance(value, kind)
    constants = {
        name: child["const"]
        for name, child in node.get("properties", {}).items()
        if isinstance(child, Mapping) and "const" in child
    }
    return all(value.get(name) == constant for name, constant in constants.items())


def _member(value: Any, members: Sequence[Any]) -> Any:
    """Return the member of a closed set that a value spells, or the value."""
    if value in members or not isinstance(value, str):
        return value
    name = normal_name(value)
    spelled = [each for each in members if normal_name(each) == name]
    return spelled[0] if len(spelled) == 1 else value


def _with_known_keys(value: Mapping[str, Any], properties: SchemaNode) -> dict[str, Any]:
    """Return an object with its keys spelled as the schema does, where only one is meant."""
    if value.keys() <= properties.keys():
        return dict(value)
    spellings: dict[str, list[str]] = {}
    for key in value.keys() - properties.keys():
        spellings.setdefault(normal_name(key), []).append(key)
    absent = ((name, spellings.get(normal_name(name), [])) for name in properties.keys() - value)
    meant = {keys[0]: name for name, keys in absent if len(keys) == 1}
    return {meant.get(key, key): child for key, child in value.items()}


def _entries_of_text(text: str, items: SchemaNode) -> Any:
    """Return the entries of a list that was written as one text."""
    if items.get("type") == "object":
        return text
    if text.strip().casefold() in _ABSENT:
        return []
    if "enum" in items:
        return [part.strip() for part in _SEPARATOR.split(text) if part.strip()]
    return [text]


def _entries_of(value: dict[str, Any], items: SchemaNode) -> Any:
    """Return the list that an object in its place is meant as: one entry, or a map by id."""
    properties = items.get("properties", {})
    if set(value) & set(properties):
        return [value]
    if "id" in properties and value:
        return [
            {"id": label, **entry} if isinstance(entry, dict) else {"id": label, "score": entry}
            for label, entry in value.items()
        ]
    if value and all(isinstance(each, str | dict) for each in value.values()):
        return list(value.values())
    return value

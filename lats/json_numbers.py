"""Where the numbers of a JSON document stand in its text, and on which path.

The parsers of the standard library forget where a value stood. This one keeps it, and
nothing else: it is strict (RFC 8259), walks with a stack of its own, so that no depth of
nesting can exhaust Python's, and each character is looked at a bounded number of times.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["MAX_DEPTH", "NUMBER", "NumberAt", "numbers_at"]

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
        None when the text holds no such document, or more than one; when it is nested
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

"""JSON as models write it: with comments, in Python's spelling, or cut off before its end.

What is JSON is read as JSON. What only resembles it is read by json-repair. Of a document
that was cut off, what is whole is kept: a cut text or list entry never counts as whole.
Nothing is ever evaluated.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DECODER",
    "MAX_REPAIRED_CHARS",
    "OPENING",
    "Scan",
    "begins_document",
    "embedded_json",
    "may_begin",
    "read_broken",
    "read_cut",
    "scan_document",
]

MAX_REPAIRED_CHARS = 100_000
"""Longest broken document that is repaired, in characters: at most about a second of work."""

MAX_DEPTH = 64
"""Deepest nesting of a broken document that is repaired."""

OPENING = re.compile(r"[{\[]")
_STRICT_START = re.compile(r"\{\s*[\"}]|\[\s*(?:[\[{\"\d\-\]]|true|false|null|NaN|Infinity)")
_LIST_START = re.compile(r"\[\s*")
_OBJECT_START = re.compile(
    r"\{(?>[\s,]+|//[^\n]{0,400}\n|#[^\n]{0,400}\n|/\*[^*]{0,400}\*/)*+"
    r"(?:[\"'\u201c\u201d\u2018\u2019\u201e\u00ab][^\"\u201c\u201d\n:\uff1a]{1,80}[\"'\u201c\u201d\u2018\u2019\u00bb]"
    r"|[\w$-]{1,80})\s*[:\uff1a]",
    re.DOTALL,
)
"""Beginning of a broken object, in contrast to a brace in prose: with a key and a colon."""

_MARK = re.compile(r"[\"'\u201c\u2018{}\[\],:\uff1a\uff0c#/]")
_CLOSING_QUOTES = {
    '"': re.compile(r'"'),
    "'": re.compile(r"'"),
    "\u201c": re.compile('[\u201d"\u201c]'),
    "\u2018": re.compile("[\u2019']"),
}
_AFTER_STRING = re.compile(r"\s*(?:[,:}\]\uff1a\uff0c#]|//|/\*|\Z)")
_PLACEHOLDER = re.compile(r":\s*(?:<[^<>\n]{1,60}>|\.\.\.|…)")
"""A value that describes a form and answers nothing."""

_WIDE_COLON = re.compile(r"([\"'\u201d])\s*\uff1a\s*")
_WIDE_COMMA = re.compile(r"([\"'\u201d\d\]}el])\s*\uff0c\s*(?=[\"'\u201c{\[])")


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= 300 else float("nan")


# Raw line breaks in strings are read. NaN and infinity are kept for the reader of numbers
# to refuse, so that one of them does not cost the whole answer.
DECODER = json.JSONDecoder(
    parse_constant=lambda _: float("nan"), parse_int=_whole_number, strict=False
)


def embedded_json(text: str) -> Any:
    """Return the JSON list or object in a string, or None without one."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value, end = DECODER.raw_decode(text.strip())
    except (ValueError, RecursionError):
        return None
    return value if end == len(text.strip()) else None


def may_begin(text: str, start: int) -> bool:
    """Return whether a bracket may begin a document, whole or broken, and is not prose."""
    return bool(_STRICT_START.match(text, start)) or begins_document(text, start)


def begins_document(text: str, start: int) -> bool:
    """Return whether a bracket begins what may be a broken document, and is not prose."""
    if text[start] == "[":
        inner = _LIST_START.match(text, start)
        return inner is not None and _OBJECT_START.match(text, inner.end()) is not None
    return _OBJECT_START.match(text, start) is not None


def read_cut(scan: "Scan") -> Any:
    """Return what is whole of a document that does not end; None when nothing is."""
    text = scan.whole_part()
    if text is None:
        return None
    try:
        return DECODER.decode(text) or None
    except (ValueError, RecursionError):
        return read_broken(text)


def read_broken(text: str) -> Any:
    """Return a broken document as json-repair reads it, or None when it cannot."""
    if len(text) > MAX_REPAIRED_CHARS or _PLACEHOLDER.search(text):
        return None
    # Loaded here, since most answers are JSON.
    from json_repair import loads  # noqa: PLC0415

    text = _WIDE_COMMA.sub(r"\1, ", _WIDE_COLON.sub(r"\1: ", text))
    try:
        value = loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and value else None


@dataclass(slots=True)
class _Frame:
    """An open bracket.

    Args:
        whole_end: where its last whole entry ends; right after the bracket when none does.
        has_key: whether a key was read whose value is not whole yet.
    """

    opener: str
    start: int
    whole_end: int
    has_key: bool = False

    def end_entry(self, end: int) -> None:
        self.whole_end = end
        self.has_key = False


@dataclass(slots=True)
class Scan:
    """The brackets and strings of a document that need not be JSON.

    Args:
        frames: the brackets that are open where the text ends, outermost first.
        is_in_string: whether the text ends inside a string.
        is_too_deep: whether it is nested deeper than `MAX_DEPTH`.
    """

    text: str
    start: int
    end: int | None = None
    frames: list[_Frame] = field(default_factory=list)
    is_in_string: bool = False
    is_too_deep: bool = False

    @property
    def is_open(self) -> bool:
        """Whether there is more of it to look at."""
        return self.end is None and not (self.is_in_string or self.is_too_deep)

    def take(self, sign: str, at: int) -> None:
        """Take a bracket, a comma or a colon outside of strings."""
        frames = self.frames
        if sign in "{[":
            frames.append(_Frame(sign, at, at + 1))
            self.is_too_deep = len(frames) > MAX_DEPTH
        elif sign in "}]":
            opener = "{" if sign == "}" else "["
            if any(frame.opener == opener for frame in frames):
                while frames.pop().opener != opener:
                    pass
            if not frames:
                self.end = at + 1
            else:
                frames[-1].end_entry(at + 1)
        elif sign in ",\uff0c":
            frames[-1].end_entry(at)
        elif sign in ":\uff1a":
            frames[-1].has_key = True

    def end_text(self, end: int) -> None:
        """Take a string that ends at a place."""
        frame = self.frames[-1]
        if frame.opener == "[" or frame.has_key:
            frame.whole_end = end

    def whole_part(self) -> str | None:
        """Return the document without what was cut off, closed; None when nothing is left.

        In the innermost open list the last entry was cut and is left out, with all that is
        open inside of it. Without an open list, the member that was cut is left out.
        """
        frames = list(self.frames)
        lists = [place for place, frame in enumerate(frames) if frame.opener == "["]
        if lists:
            del frames[lists[-1] + 1 :]
        while len(frames) > 1 and frames[-1].opener == "[" and _is_empty(frames[-1]):
            frames.pop()
        if len(frames) == 1 and _is_empty(frames[0]):
            return None
        closers = "".join("}" if frame.opener == "{" else "]" for frame in reversed(frames))
        return self.text[self.start : frames[-1].whole_end] + closers


def _is_empty(frame: _Frame) -> bool:
    return frame.whole_end == frame.start + 1


def scan_document(text: str, start: int) -> Scan:
    """Return the extent of the document that begins with the bracket at `start`.

    A quote ends a string only where what may follow a string follows, so that quotes inside
    of texts, which models forget to escape, do not end them.
    """
    scan = Scan(text, start)
    place = start
    while scan.is_open and (mark := _MARK.search(text, place)):
        sign, place = mark.group(), mark.end()
        if sign in "#/":
            place = _end_of_comment(text, mark.start())
        elif sign == '"' or (sign in _CLOSING_QUOTES and _opens_string(text, mark.start(), start)):
            closing = _end_of_string(text, place, sign)
            if closing is None:
                scan.is_in_string = True
            else:
                scan.end_text(closing)
                place = closing
        else:
            scan.take(sign, mark.start())
    return scan


def _opens_string(text: str, at: int, start: int) -> bool:
    place = at - 1
    while place > start and text[place].isspace():
        place -= 1
    return text[place] in "{[,:\uff1a\uff0c"


def _end_of_string(text: str, begin: int, quote: str) -> int | None:
    for closing in _CLOSING_QUOTES[quote].finditer(text, begin):
        place = closing.start()
        backslashes = 0
        while place - backslashes > begin and text[place - backslashes - 1] == "\\":
            backslashes += 1
        if backslashes % 2 == 0 and _AFTER_STRING.match(text, closing.end()):
            return closing.end()
    return None


def _end_of_comment(text: str, at: int) -> int:
    """Return where the comment at a place ends; one character on when there is none."""
    if text.startswith("/*", at):
        end = text.find("*/", at)
        return len(text) if end < 0 else end + 2
    if text[at] == "#" or text.startswith("//", at):
        end = text.find("\n", at)
        return len(text) if end < 0 else end
    return at + 1

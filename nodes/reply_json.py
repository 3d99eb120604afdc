"""Replies that came as a document: JSON, Python's spelling of it, or a list of keys.

An answer asked for as JSON may come with words before it, in a fence, cut off, or as lines of
`key: value`. Where such a document is of one of our own forms, the reply in it is taken out,
and a document without one is dropped. Documents of other forms, as in a talk about programs, are
kept where they are part of a reply, fenced or not; a reply that is nothing but JSON, or JSON that
is announced, is never kept.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from callwise.calls.loose_json import (
    DECODER,
    OPENING,
    begins_document,
    may_begin,
    read_broken,
    read_cut,
    scan_document,
)
from nodes.detection import DetectionAnswer
from nodes.evolver import EvolverAnswer
from nodes.fused_calls import BookkeepingAnswer, ReplyingAnswer, ThinkingAnswer
from nodes.inner_monologue import MonologueAnswer
from nodes.memory_manager import MemoryAnswer, NoteAnswer
from nodes.processor import HumanizeAnswer
from nodes.reasoner import ReasonerAnswer
from nodes.search.action_answers import (
    AssistantCheck,
    CandidateSet,
    Judgement,
    OverallEntry,
    OverallVerdicts,
    RootPlan,
)

__all__ = ["unwrap_json"]

_FORMS = (
    AssistantCheck,
    BookkeepingAnswer,
    CandidateSet,
    DetectionAnswer,
    EvolverAnswer,
    HumanizeAnswer,
    Judgement,
    MemoryAnswer,
    MonologueAnswer,
    NoteAnswer,
    OverallEntry,
    OverallVerdicts,
    ReasonerAnswer,
    ReplyingAnswer,
    RootPlan,
    ThinkingAnswer,
)
_KEYS = frozenset(name for form in _FORMS for name in form.model_fields)
"""Keys of our forms."""

_OWN_KEYS = frozenset(name for name in _KEYS if "_" in name) | {"bubbles", "verdicts", "reply"}
"""Keys that hardly anything else has, so that one of them identifies a form of ours."""

_REPLY_FIELDS = ("reply", "text", "content", "message", "response", "answer")
"""Fields of a document that may be the reply, best first."""

MIN_PROSE_CHARS = 16
"""Letters before a fenced document that make it part of a reply; one of a wide script is two."""

MAX_TRIED = 8
"""Most brackets that are tried as the start of a document."""

_OPEN_REPLY = re.compile(
    r"""["'“”]?\b(?:reply|text|content|message|response|answer)["'“”]?\s*[:：]\s*["“]"""
)
_STRING_PIECE = re.compile(r'[^"”\\]+|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]')
_FENCE = re.compile(r"```[^\n`]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_TEXT_LIST = re.compile(r"""\[\s*(?:'.*'|“.*”)\s*,?\s*\]""", re.DOTALL)
_FENCE_END = re.compile(r"\A\s*```")
_FENCE_BEGIN = re.compile(r"```[\w-]{0,20}\s*\Z")

_KEY_LINE = re.compile(
    r"^[ \t]*(?:[-*][ \t]+)?[\"'*`]*(\w+)[\"'*`]*[ \t]*[:：][*]*[ \t]*", re.MULTILINE
)
_ITEM = re.compile(r"^[ \t]*[-*][ \t]+", re.MULTILINE)


def unwrap_json(text: str) -> tuple[str, bool]:
    """Return the reply inside a document, or the text without documents that have none.

    A fenced JSON block of our forms, or one that is only announced, is the reply when it
    carries one, and is dropped when it does not. A block of anything else, such as code that
    was asked for, stays.
    """
    bare = text.strip()
    fence = _FENCE.fullmatch(bare)
    inner = fence[1].strip() if fence else bare
    document = _loaded(inner)
    if document is not None:
        return _reply_in(document), True
    if re.match(r'\{\s*"', inner):
        return _of_beginning(text, inner)
    if "```" in text:
        blocks = [
            (block[0], None if _is_part_of_reply(text, block, value) else value)
            for block in _FENCE.finditer(text)
            if (value := _loaded(block[1].strip())) is not None
        ]
        for _, part in blocks:
            if isinstance(part, dict) and (reply := _reply_in(part)):
                return reply, True
        kept = text
        for block, part in blocks:
            kept = kept.replace(block, "") if part is not None else kept
        if kept != text:
            return kept, True
    return _without_forms(text)


def _of_beginning(text: str, inner: str) -> tuple[str, bool]:
    """Return the reply of a text that begins with an object: in it, or what comes after it.

    An object of other keys that words come after is part of the reply.
    """
    try:
        value, end = DECODER.raw_decode(inner)
    except (ValueError, RecursionError):
        return _open_reply(inner), True
    rest = inner[end:]
    if not any(map(str.isalnum, rest)):
        return _reply_in(value) or _open_reply(inner), True
    if _lowered(value).keys() <= _KEYS or _is_form(value, is_most=2 * end >= len(inner)):
        return _reply_in(value) or rest, True
    return _without_forms(text)


def _lowered(document: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Return a document with its keys as our forms spell them."""
    return {str(key).casefold(): value for key, value in document.items()}


def _is_part_of_reply(text: str, block: re.Match[str], value: Any) -> bool:
    """Return whether a fenced document is an example in a reply, and not the reply."""
    if _is_form(value, is_most=2 * len(block[0]) >= len(text)):
        return False
    before = _without_introduction(text[: block.start()])
    is_followed = any(map(str.isalnum, text[block.end() :]))
    return is_followed or sum(_width(char) for char in before) >= MIN_PROSE_CHARS


def _width(char: str) -> int:
    return (1 if char.isascii() else 2) if char.isalnum() else 0


def _without_forms(text: str) -> tuple[str, bool]:
    """Return the reply in a document of our forms, or the text without such documents."""
    kept: list[str] = []
    place = 0
    for start, end, value in _documents(text):
        if not _is_form(value, is_most=2 * (end - start) >= len(text)):
            continue
        if reply := _reply_in(value) or _open_reply(text[start:end]):
            return reply, True
        kept.append(_without_introduction(text[place:start]))
        place = end
    if kept:
        return "".join([*kept, _FENCE_END.sub("", text[place:])]), True
    return _of_key_lines(text)


def _without_introduction(before: str) -> str:
    """Return the text before a document without the words that announce it, up to a colon."""
    bare = _FENCE_BEGIN.sub("", before).rstrip()
    if not bare.endswith((":", "：")):
        return before
    return bare[: max(map(bare.rfind, ".!?。！？\n")) + 1]


def _documents(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the documents in a text, however they are spelled: begin, end and value."""
    bare = text.strip()
    if _TEXT_LIST.fullmatch(bare):
        yield 0, len(text), {"bubbles": read_broken(bare)}
        return
    place = tried = 0
    while tried < MAX_TRIED and (opening := OPENING.search(text, place)):
        start = opening.start()
        place = start + 1
        if not may_begin(text, start):
            continue
        tried += 1
        try:
            value, place = DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            if not begins_document(text, start):
                continue
            scan = scan_document(text, start)
            place = len(text) if scan.end is None else scan.end
            value = read_cut(scan) if scan.end is None else read_broken(text[start:place])
        yield start, place, value


def _is_form(value: Any, *, is_most: bool) -> bool:
    """Return whether a document is one of ours, or a list of such, or wrapped around one.

    Two keys of our forms identify one only where it is most of the text.
    """
    if isinstance(value, list):
        return bool(value) and all(_is_form(each, is_most=is_most) for each in value)
    if not isinstance(value, Mapping):
        return False
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), Mapping):
        return _is_form(inner, is_most=is_most)
    keys = _lowered(value).keys() & _KEYS
    return bool(keys & _OWN_KEYS) or (is_most and len(keys) > 1)


def _loaded(text: str) -> Any:
    """Return a whole text as JSON, or None when it is not an object or an array.

    A text that is a JSON string around one is read, too.
    """
    if text.startswith('"') and "{" in text:
        try:
            text = str(json.loads(text, strict=False))
        except ValueError:
            return None
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _open_reply(text: str) -> str:
    """Return the reply's string in JSON that broke off or does not parse."""
    opening = _OPEN_REPLY.search(text)
    if opening is None:
        return ""
    pieces = []
    place = opening.end()
    while piece := _STRING_PIECE.match(text, place):
        pieces.append(piece[0])
        place = piece.end()
    # Raw newlines are not valid inside a JSON string; models write them all the same.
    return str(json.loads(f'"{"".join(pieces)}"', strict=False))


def _text_in(part: Any) -> str:
    """Return the text of a JSON string or of a JSON object with one of the reply fields."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        fields = _lowered(part)
        for field in _REPLY_FIELDS:
            if isinstance(value := fields.get(field), str) and value.strip():
                return value
    return ""


def _reply_in(document: Any) -> str:
    """Return the reply that a document carries; empty when it carries none."""
    if text := _text_in(document):
        return text
    parts = _lowered(document).get("bubbles") if isinstance(document, dict) else document
    if isinstance(parts, str):
        return parts
    if isinstance(parts, list):
        return "\n".join(map(_text_in, parts))
    inner = list(document.values()) if isinstance(document, dict) else []
    return _reply_in(inner[0]) if len(inner) == 1 and isinstance(inner[0], dict) else ""


def _of_key_lines(text: str) -> tuple[str, bool]:
    """Return the reply in a list of `key: value` lines of our forms, if a text has one.

    Two keys identify such a list, one of which hardly anything else has.
    """
    lines = [line for line in _KEY_LINE.finditer(text) if line[1] in _KEYS]
    names = {line[1] for line in lines}
    if len(names) < 2 or not names & _OWN_KEYS:
        return text, False
    values: dict[str, str] = {}
    ends = [line.start() for line in lines[1:]] + [len(text)]
    for line, end in zip(lines, ends, strict=True):
        values.setdefault(line[1], text[line.end() : end].strip())
    reply = values.get("reply") or _ITEM.sub("", values.get("bubbles", ""))
    before = _without_introduction(text[: lines[0].start()])
    return _unquoted(reply) if reply else before, True


def _unquoted(text: str) -> str:
    """Return a text without the quotation marks around it."""
    text = text.strip().removeprefix("|").removeprefix(">").strip()
    is_quoted = len(text) > 1 and text[0] in "\"'“" and text[-1] in "\"'”"
    return text[1:-1] if is_quoted else text

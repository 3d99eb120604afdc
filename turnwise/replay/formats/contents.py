"""The text of one message, whatever its content is made of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnwise.replay.formats.vocabulary import (
    ACT_TYPES,
    MEDIA_KEYS,
    TEXT_KEYS,
    THOUGHT_TYPES,
    TOOL_RESULT_TYPES,
)
from turnwise.replay.record import SourceRecord, named_type

__all__ = ["Content", "read_content"]

_MAX_DEPTH = 6
_TWO_FOR_ONE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf]")


@dataclass(slots=True)
class Content:
    """What a message has in it.

    Args:
        texts: its pieces of text, in order.
        is_joined: whether the pieces are parts of one line, as in a chat with links.
        has_act: whether the agent called a tool or function in it.
        has_tool_result: whether a tool's result is in it.
        left_out: other pieces, by their kind, such as `image_url part`; and a text that was
            encoded twice, which is read as it is.
    """

    texts: list[str] = field(default_factory=list)
    is_joined: bool = False
    has_act: bool = False
    has_tool_result: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def text(self) -> str | None:
        """The whole text; None where there is none or only blanks."""
        whole = ("" if self.is_joined else "\n").join(self.texts)
        return whole if whole.strip() else None


def read_content(message: SourceRecord) -> Content:
    """Return what a message has in it.

    Raises:
        FormatError: when its text is of a type that no text has.
    """
    content = Content()
    fields = message.fields
    for name in ("tool_calls", "function_call", "tool_use"):
        content.has_act = content.has_act or bool(fields.get(name))
    kind = str(fields.get("type") or "").lower()
    content.has_act = content.has_act or kind in ACT_TYPES
    content.has_tool_result = kind in TOOL_RESULT_TYPES
    for name in TEXT_KEYS:
        value = fields.get(name)
        if value is None or value in ("", []):
            continue
        if isinstance(value, str):
            content.texts.append(value)
        elif isinstance(value, list):
            content.is_joined = name == "text"
            _read_parts(message, value, content)
        elif isinstance(value, dict):
            _read_parts(message, [value], content)
        else:
            raise message.problem(f"expected `{name}` to be a string, got {named_type(value)}")
        if content.text is not None:
            break
    content.left_out += [name for name in MEDIA_KEYS if fields.get(name)]
    if _is_twice_encoded("".join(content.texts)):
        content.left_out.append("text with letters such as \u00c3\u00a9 in place of \u00e9")
    return content


def _is_twice_encoded(text: str) -> bool:
    """Return whether a text is UTF-8 that was read as Latin-1, as Messenger exports it."""
    if _TWO_FOR_ONE.search(text) is None:
        return False
    try:
        return len(text.encode("latin-1").decode()) < len(text)
    except UnicodeError:
        return False


def _read_parts(message: SourceRecord, parts: Sequence[Any], content: Content) -> None:
    for number, part in enumerate(parts, start=1):
        if isinstance(part, str):
            content.texts.append(part)
        elif isinstance(part, dict):
            _read_part(part, content, depth=0)
        elif part is not None:
            raise message.problem(
                f"part {number}: expected a text or an object, got {named_type(part)}"
            )


def _read_part(part: Mapping[str, Any], content: Content, depth: int) -> None:
    stated = str(part.get("type") or part.get("content_type") or "")
    kind = stated.lower()
    if kind in ACT_TYPES or part.get("functionCall") or part.get("function_call"):
        content.has_act = True
    elif kind in TOOL_RESULT_TYPES or any(part.get(key) for key in _TOOL_RESULT_KEYS):
        content.has_tool_result = True
    elif kind in THOUGHT_TYPES or part.get("thought") is True:
        content.left_out.append("thought")
    elif kind.startswith(_NOT_TEXT) or not _read_text(part, content, depth):
        content.left_out.append(f"{stated or 'other'} part")


_TEXT_OF_PART = ("text", "value", "content", "parts", "refusal")
_TOOL_RESULT_KEYS = ("functionResponse", "function_response")
_NOT_TEXT = ("image", "audio", "video", "file", "document", "input_image", "input_file", "media")


def _read_text(part: Mapping[str, Any], content: Content, depth: int) -> bool:
    """Add the text of a part, and return whether it has any; parts may have parts."""
    for name in _TEXT_OF_PART:
        value = part.get(name)
        if isinstance(value, str) and value:
            content.texts.append(value)
            return True
        if isinstance(value, dict):
            value = [value]
        if isinstance(value, list) and value and depth < _MAX_DEPTH:
            for each in value:
                if isinstance(each, str):
                    content.texts.append(each)
                elif isinstance(each, dict):
                    _read_part(each, content, depth + 1)
            return True
    return False

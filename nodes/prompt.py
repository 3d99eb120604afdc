"""How a node speaks to a model: standing instructions, then one JSON object of material.

The system message is a file, `prompts/<name>.<language>.md`, and never changes from
turn to turn, so that a provider's prompt cache finds it. The user message is one JSON
object and holds all that varies. Text that a user or a model wrote stands inside that
JSON and nowhere else, so it cannot pass for an instruction of ours by its place.

Long text is clipped here, for the prompt only: its head and its tail stay, and the
mark between them says how long it was. The maxima are in `MAX_CHARS`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import orjson
from pydantic import BaseModel

from nodes.records import Language, Line
from turnwise.calls import ConfigError, Message
from turnwise.calls.payload import well_formed

__all__ = [
    "DEFAULT_MAX_CHARS",
    "MAX_CHARS",
    "MAX_HISTORY_LINES",
    "Prepared",
    "chat",
    "clip",
    "load_prompts",
    "material",
    "prepared",
    "prompt",
    "prompt_digests",
    "recent",
]

MAX_CHARS: Mapping[str, int] = MappingProxyType(
    {
        "user_text": 6000,
        "reply": 4000,
        "summary": 3000,
        "background": 2000,
        "history": 800,
        "memories": 600,
    }
)
"""Longest text sent in each field, in characters; in a list, of each text in it."""

DEFAULT_MAX_CHARS = 2000
"""Longest text sent in a field that `MAX_CHARS` does not name, in characters."""

MAX_HISTORY_LINES = 12
"""How many of the latest lines a node sends unless told otherwise."""

_HEAD_SHARE = 0.7
"""Share of a clipped text's room that its beginning gets; the rest is its end's."""

_FLOAT_DIGITS = 4
"""Digits after the point: a model reads no more, and rounding noise stays out of keys."""


@lru_cache(maxsize=256)
def prompt(name: str, language: Language) -> str:
    """Return the standing instructions of a prompt. The file is read once.

    Args:
        name: the file's name before the language, e.g. `detection`.
        language: language of the instructions.

    Raises:
        ConfigError: when there is no such prompt in that language.
    """
    folder = files("nodes") / "prompts"
    file = folder / f"{name}.{language}.md"
    if not file.is_file():
        known = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".md"))
        raise ConfigError(
            f"there is no prompt nodes/prompts/{name}.{language}.md; there are: {', '.join(known)}"
        )
    return file.read_text(encoding="utf-8").strip()


def load_prompts() -> None:
    """Read every prompt now, so that no node reads a file inside an event loop."""
    for entry in (files("nodes") / "prompts").iterdir():
        name, _, rest = entry.name.partition(".")
        if rest == "en.md":
            prompt(name, "en")
        elif rest == "zh.md":
            prompt(name, "zh")


def prompt_digests() -> dict[str, str]:
    """Return 16 hexadecimal digits of each prompt, by `name.language`, in order of names."""
    digests = {}
    for entry in sorted((files("nodes") / "prompts").iterdir(), key=lambda entry: entry.name):
        name, _, rest = entry.name.partition(".")
        if rest in {"en.md", "zh.md"}:
            text = entry.read_text(encoding="utf-8").strip()
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            digests[f"{name}.{rest.removesuffix('.md')}"] = digest
    return digests


def clip(text: str, max_chars: int) -> str:
    """Return a text's head and tail, at most `max_chars` long, the mark included.

    A text that fits is returned as it is.

    Raises:
        ValueError: when the mark itself would not fit.
    """
    if len(text) <= max_chars:
        return text
    mark = f" […{len(text)}…] "
    room = max_chars - len(mark)
    if room < 2:
        raise ValueError(f"max_chars is at least {len(mark) + 2} for this text, got {max_chars}")
    head = max(1, int(room * _HEAD_SHARE))
    return f"{text[:head]}{mark}{text[len(text) - (room - head) :]}"


def recent(history: Sequence[Line], max_lines: int = MAX_HISTORY_LINES) -> list[Line]:
    """Return the last `max_lines` lines, oldest first; none for 0."""
    return list(history[max(len(history) - max_lines, 0) :]) if max_lines > 0 else []


def _plain(value: Any, max_chars: int) -> Any:
    """Return a value as plain JSON data: clipped, rounded, and without None fields.

    Asked some hundred times a call, so the commonest types are told by identity.
    """
    kind = type(value)
    if kind is str:
        return value if len(value) <= max_chars else clip(value, max_chars)
    if kind is float:
        return round(value, _FLOAT_DIGITS)
    if kind is int or kind is bool:
        return value
    if kind is list or kind is tuple:
        return [_plain(item, max_chars) for item in value]
    if kind is Prepared:
        return orjson.Fragment(value.json_bytes)
    if isinstance(value, BaseModel):
        value = value.__dict__
    elif isinstance(value, Enum):
        return _plain(value.value, max_chars)
    if isinstance(value, Mapping):
        return {
            (name := str(key)): _plain(item, MAX_CHARS.get(name, max_chars))
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, max_chars) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Prepared:
    """A field of the material that is made once and stands in several prompts.

    Args:
        json_bytes: its JSON, as `prepared` makes it.
    """

    json_bytes: bytes


def prepared(name: str, value: Any) -> Prepared:
    """Return a field of the material, clipped and dumped once for several prompts.

    Args:
        name: the field; it decides how long its texts may be.
        value: what `material` would be given.

    Raises:
        TypeError: when it is nothing that JSON knows.
    """
    return Prepared(_dumped(_plain(value, MAX_CHARS.get(name, DEFAULT_MAX_CHARS))))


def _dumped(data: Any) -> bytes:
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # lone surrogates, or what JSON does not know: that raises again
        return orjson.dumps(_sendable(data), option=orjson.OPT_SORT_KEYS)


def _sendable(value: Any) -> Any:
    """Return plain JSON data without the lone surrogates that UTF-8 cannot hold."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sendable(item) for item in value]
    return value


def material(**fields: Any) -> str:
    """Return the fields as one JSON object: keys sorted, None dropped, long text clipped.

    Pydantic models, enums, sequences and mappings are dumped; lone surrogates become
    U+FFFD, so the result can always be sent. Equal fields give equal bytes.

    Raises:
        TypeError: when a value is nothing that JSON knows.
    """
    return _dumped(_plain(fields, DEFAULT_MAX_CHARS)).decode()


def chat(name: str, language: Language, /, **fields: Any) -> tuple[Message, Message]:
    """Return the two messages of a node's call: its instructions and its material.

    Args:
        name: name of the prompt.
        language: language of the prompt; it stands in the material too.
        fields: the rest of the material.

    Raises:
        ConfigError: when there is no such prompt.
        TypeError: when a value is nothing that JSON knows.
    """
    return (
        Message("system", prompt(name, language)),
        Message("user", material(language=language, **fields)),
    )

"""Prompts: static instructions, then one JSON object of material; and the nodes' word lists.

The system message is a file, `prompts/<name>.<language>.md`, or a text of the settings in its
place. It never changes within a
language, and every one begins with the same part. The user message is one JSON object
whose fields are in the fixed order of `nodes.turn.PROMPT_FIELDS`: what never changes in a
conversation, then the chat, which only grows, then what changes each turn, then what changes
each call. So calls of one node share all but the end with the turn before, and calls of one turn
all but their last fields: a provider's prefix cache serves the rest.

Text that a user or a model wrote is inside that JSON and nowhere else, so it cannot
pass for an instruction by its place. Signs that begin a mark of a chat template are escaped
in it, so that no server takes one in a text for the end of the message. What a call is to
follow (how many candidates, the plan) is in the one field `task`; everything else is material.

Long text is clipped here, for the prompt only: its head and its tail stay, and the
mark between them gives its length. The maxima are in `MAX_CHARS`. Where a prompt as
a whole does not fit a model's context, `shortening` leaves out the oldest first.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson
import yaml
from pydantic import BaseModel

from callwise.calls import ConfigError
from callwise.calls.payload import well_formed, without_template_marks
from callwise.knobs.knob_paths import nearest_names
from nodes.records import Language

__all__ = [
    "DEFAULT_MAX_CHARS",
    "MAX_CHARS",
    "OwnTexts",
    "clip",
    "dumped",
    "load_prompts",
    "material_json",
    "own_text",
    "own_texts",
    "prepared",
    "prompt",
    "prompt_digests",
    "prompt_names",
    "text_digest",
    "words",
]

MAX_CHARS: Mapping[str, int] = MappingProxyType(
    {
        "user_text": 6000,
        "reply": 4000,
        "summary": 3000,
        "background": 2000,
        "line": 800,
        "memories": 600,
    }
)
"""Longest text sent in each field, in characters; in a list, of each text in it. `line` is
a line of the chat before this turn; this turn's are a `user_text` and a `reply`."""


DEFAULT_MAX_CHARS = 2000
"""Longest text sent in a field that `MAX_CHARS` does not name, in characters."""

_HEAD_SHARE = 0.7
"""Share of a clipped text that is its beginning; the rest is its end."""

_FLOAT_DIGITS = 2
"""Digits after the point: a model reads no more, and rounding noise stays out of keys."""

OwnTexts: TypeAlias = tuple[tuple[str, str], ...]
"""Texts in place of files, each as (`name.language`, text)."""

_OWN: ContextVar[OwnTexts] = ContextVar("own_texts", default=())
"""The texts that the running node's settings have in place of files."""

MAX_DEPTH = 5
"""Most parts in each other; more is a part that contains itself."""

_PART = re.compile(r"\{\{(\w+)\}\}")
"""A part that several prompts share, by the name of its file."""


def _prompts() -> Iterator[tuple[str, Language]]:
    """Yield the name and language of each prompt, in order of names; parts are none."""
    for entry in sorted((files("nodes") / "prompts").iterdir(), key=lambda entry: entry.name):
        name, _, rest = entry.name.partition(".")
        if name.startswith("_"):
            continue
        if rest == "en.md":
            yield name, "en"
        elif rest == "zh.md":
            yield name, "zh"


def prompt_names() -> tuple[str, ...]:
    """Return the names of all prompts and of the parts that they share."""
    names = (entry.name for entry in (files("nodes") / "prompts").iterdir())
    return tuple(sorted({name.partition(".")[0] for name in names if name.endswith(".md")}))


@contextmanager
def own_texts(texts: OwnTexts) -> Iterator[None]:
    """Let prompts have these texts in place of their files, in this task and those it starts."""
    token = _OWN.set(texts)
    try:
        yield
    finally:
        _OWN.reset(token)


def own_text(name: str, language: Language) -> str | None:
    """Return the text that the settings have in place of a file, or None."""
    return dict(_OWN.get()).get(f"{name}.{language}")


def prompt(name: str, language: Language) -> str:
    """Return the static instructions of a prompt, its parts put in. Each file is read once.

    `{{name}}` in a prompt is replaced by the part of that name; names of parts begin with `_`.
    A text of the settings (`own_texts`) takes the place of the file of its name.

    Raises:
        ConfigError: when there is no such prompt in that language, or a part contains itself.
    """
    return _composed(name, language, _OWN.get(), 0)


@lru_cache(maxsize=1024)
def _composed(name: str, language: Language, own: OwnTexts, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ConfigError(f"the prompt {name}.{language} contains itself: take its part out of it")
    text = dict(own).get(f"{name}.{language}") or _shipped(name, language)
    return _PART.sub(lambda part: _composed(part[1], language, own, depth + 1), text.strip())


@lru_cache(maxsize=256)
def _shipped(name: str, language: Language) -> str:
    folder = files("nodes") / "prompts"
    file = folder / f"{name}.{language}.md"
    if not file.is_file():
        end = f".{language}.md"
        names = sorted(each.name for each in folder.iterdir() if each.name.endswith(end))
        known = [each for each in names if each.startswith("_") == name.startswith("_")]
        nearest = nearest_names(name, [each.removesuffix(end) for each in known], max_names=1)
        hint = f", did you mean {nearest[0]}?" if nearest else ";"
        raise ConfigError(
            f"there is no prompt nodes/prompts/{name}{end}{hint} there are: {', '.join(known)}"
        )
    return file.read_text(encoding="utf-8")


@lru_cache(maxsize=8)
def words(name: str) -> Any:
    """Return the word lists and phrases of `words/<name>.yaml`. Each file is read once."""
    text = (files("nodes") / "words" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe


def load_prompts() -> None:
    """Read every prompt and word list now, so that no node reads a file inside an event loop."""
    for name, language in _prompts():
        prompt(name, language)
    for entry in (files("nodes") / "words").iterdir():
        words(entry.name.removesuffix(".yaml"))


def prompt_digests() -> dict[str, str]:
    """Return the digest of each shipped prompt, by `name.language`, in order of names."""
    return {
        f"{name}.{language}": text_digest(prompt(name, language)) for name, language in _prompts()
    }


def text_digest(text: str) -> str:
    """Return 16 hexadecimal digits of a prompt's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def clip(text: str, max_chars: int) -> str:
    """Return a text's head and tail, at most `max_chars` long, the mark included.

    A text that fits is returned as it is.

    Raises:
        ValueError: when the mark itself would not fit.
    """
    if len(text) <= max_chars:
        return text
    mark = f" […{len(text)}…] "
    kept = max_chars - len(mark)
    if kept < 2:
        raise ValueError(f"max_chars is at least {len(mark) + 2} for this text, got {max_chars}")
    head = max(1, int(kept * _HEAD_SHARE))
    return f"{text[:head]}{mark}{text[len(text) - (kept - head) :]}"


def _is_empty(value: Any) -> bool:
    """Return whether a field has nothing that a model could use."""
    return value is None or value == "" or (isinstance(value, Sequence | Mapping) and not value)


def _plain(value: Any, max_chars: int | None) -> Any:
    """Return a value as plain JSON data: clipped, rounded, and without empty fields.

    Called some hundred times per call, so the commonest types are compared by identity.

    Args:
        max_chars: longest text; None for texts that are clipped already.
    """
    kind = type(value)
    if kind is str:
        return value if max_chars is None or len(value) <= max_chars else clip(value, max_chars)
    if kind is float:
        return round(value, _FLOAT_DIGITS)
    if kind is int or kind is bool:
        return value
    if kind is list or kind is tuple:
        return [_plain(item, max_chars) for item in value]
    if kind is orjson.Fragment:
        return value
    if isinstance(value, BaseModel):
        value = {key: item for key, item in value if not _is_empty(item)}
    elif isinstance(value, Enum):
        return _plain(value.value, max_chars)
    if isinstance(value, Mapping):
        return {
            (name := str(key)): _plain(item, max_chars and MAX_CHARS.get(name, max_chars))
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, max_chars) for item in value]
    return value


def _max_chars(name: str) -> int | None:
    return None if name == "chat" else MAX_CHARS.get(name, DEFAULT_MAX_CHARS)


def prepared(name: str, value: Any) -> orjson.Fragment | None:
    """Return a field of the material, clipped and dumped once for several prompts.

    Its name decides how long its texts may be. None where it is empty, so that it is left out.

    Raises:
        TypeError: when it cannot be written as JSON.
    """
    plain = _plain(value, _max_chars(name))
    return None if _is_empty(plain) else orjson.Fragment(dumped(plain))


def dumped(data: Any) -> bytes:
    """Return plain JSON data as bytes in which no text has a mark of a chat template.

    Raises:
        TypeError: when it has something that cannot be written as JSON.
    """
    try:
        text = orjson.dumps(data)
    except TypeError:  # lone surrogates, or what JSON does not have: that raises again
        text = orjson.dumps(_sendable(data))
    return without_template_marks(text)


def _sendable(value: Any) -> Any:
    """Return plain JSON data without the lone surrogates that UTF-8 cannot hold."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sendable(item) for item in value]
    return value


def material_json(fields: Mapping[str, Any]) -> str:
    """Return the fields as one JSON object, in their order and without empty ones.

    Raises:
        TypeError: when a value cannot be written as JSON.
    """
    plain = {
        name: _plain(value, _max_chars(name))
        for name, value in fields.items()
        if not _is_empty(value)
    }
    return dumped({name: value for name, value in plain.items() if not _is_empty(value)}).decode()

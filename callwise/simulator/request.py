"""The material of a request, its language, and the form of its answer.

By convention the system messages contain the instructions, which do not change from call to
call, and the last user message that is a JSON object is the material. Fields that are read:
`language`, `user_text` or the last line of `user` in `chat`, `reply`, `candidates` (of
`{"id", "reply"}`, texts, or texts by id), `parent` or `parents`, `count` and
`strategies_used`, also inside `task`, and `turn` as a further source of quotes. Other
fields are ignored. Without a JSON object the last user message is plain chat.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from callwise.calls.schema import given_schema
from callwise.simulator.faults import hashed_int

__all__ = ["ListedReply", "SimulatedRequest", "asked_schema", "read_material"]

SCHEMA_MARKER = "JSON schema:"
"""Precedes a schema in a system message, as `calls.schema` writes it."""

MAX_CANDIDATES = 256
"""Most candidates that are read, and most that are written on request."""

MAX_SOURCES = 32
"""Most texts that quotes are taken from."""

_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_STATIC_ROLES = frozenset({"system", "developer"})
_REPLY_KEYS = ("reply", "text", "message", "content", "replies", "messages", "bubbles")
_USER_KEYS = ("user_text", "user_message", "text", "message", "question", "query")


@dataclass(frozen=True, slots=True)
class ListedReply:
    """One reply of a list that is to be judged or improved."""

    id: str
    reply: str


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """The material of a request. Fields that are missing there are empty.

    Args:
        language: `en` or `zh`.
        user_text: the user's message.
        rubric: digest of the system messages, as the judge's instructions.
        reply: the reply that the request is about.
        candidates: the replies to choose from, in the order shown.
        parents: replies to improve.
        sources: texts that quotes may come from, `user_text` first.
        fields: the whole JSON object.
    """

    language: str
    user_text: str
    rubric: str
    reply: str | None = None
    candidates: tuple[ListedReply, ...] = ()
    parents: tuple[str, ...] = ()
    count: int | None = None
    strategies_used: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def _json_object(text: str) -> dict[str, Any] | None:
    stripped = text.strip()
    if not stripped.startswith("{"):
        return None
    try:
        document = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _reply_text(node: Any) -> str | None:
    """Return the reply in a text, a list of bubbles, or an object."""
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return "\n".join(text for item in node if (text := _reply_text(item))) or None
    if isinstance(node, Mapping):
        texts = (_reply_text(node.get(key)) for key in _REPLY_KEYS)
        return next(filter(None, texts), None)
    return None


def _candidates(node: Any) -> tuple[ListedReply, ...]:
    if isinstance(node, Mapping):
        node = [
            {"id": name, "reply": item} if isinstance(item, str) else {"id": name, **item}
            for name, item in node.items()
            if isinstance(item, str | Mapping)
        ]
    if not isinstance(node, list):
        return ()
    found = []
    for index, item in enumerate(node[:MAX_CANDIDATES], start=1):
        name = item.get("id", item.get("candidate_id")) if isinstance(item, Mapping) else None
        found.append(
            ListedReply(f"c{index}" if name is None else str(name), _reply_text(item) or "")
        )
    return tuple(found)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for item in node.values():
            yield from _texts(item)
    elif isinstance(node, list):
        for item in node:
            yield from _texts(item)


def _language(fields: Mapping[str, Any], *texts: str) -> str:
    """Return the language that the material names, or else that of the texts' script."""
    named = fields.get("language")
    if isinstance(named, str) and named[:2].lower() in {"zh", "en"}:
        return named[:2].lower()
    return "zh" if any(map(_WIDE.search, texts)) else "en"


def _last_line(chat: Any) -> str | None:
    """Return the last line of `user` in a chat of `{"user": ...}` and `{"agent": ...}`."""
    lines: list[Any] = chat if isinstance(chat, list) else []
    said = (line.get("user") for line in reversed(lines) if isinstance(line, Mapping))
    return next((text for text in said if isinstance(text, str)), None)


def _without_schema(text: str) -> str:
    """Return a system message without the paragraph that contains the schema."""
    before, marker, _ = text.partition(SCHEMA_MARKER)
    return before.rpartition("\n\n")[0] if marker else text


def _messages(body: Mapping[str, Any], roles: frozenset[str]) -> list[str]:
    messages = (each for each in body.get("messages") or () if isinstance(each, Mapping))
    return [_content(each) for each in messages if each.get("role") in roles]


def read_material(body: Mapping[str, Any]) -> SimulatedRequest:
    """Return the material of a chat request. Never fails."""
    instructions = "\n".join(map(_without_schema, _messages(body, _STATIC_ROLES)))
    rubric = f"{hashed_int('rubric', instructions):016x}"
    said = _messages(body, frozenset({"user"}))
    fields = next(filter(None, map(_json_object, reversed(said))), None)
    if fields is None:
        text = said[-1] if said else ""
        return SimulatedRequest(_language({}, text), text, rubric, sources=(text,) if text else ())
    texts = (_last_line(fields.get("chat")), *(fields.get(key) for key in _USER_KEYS))
    user_text = next((text for text in texts if isinstance(text, str)), "")
    turn = [text for text in _texts(fields.get("turn")) if text]
    several = fields.get("parents")
    parents = several if isinstance(several, list) else [fields.get("parent")]
    named = fields.get("task")
    task = {**fields, **named} if isinstance(named, Mapping) else fields
    count, used = task.get("count"), task.get("strategies_used")
    return SimulatedRequest(
        language=_language(fields, instructions, user_text or "".join(turn)),
        user_text=user_text or (turn[0] if turn else ""),
        rubric=rubric,
        reply=_reply_text(fields.get("reply")),
        candidates=_candidates(fields.get("candidates")),
        parents=tuple(reply for node in parents if (reply := _reply_text(node))),
        count=count if type(count) is int and 0 <= count <= MAX_CANDIDATES else None,
        strategies_used=tuple(map(str, used)) if isinstance(used, list) else (),
        sources=tuple(text for text in (user_text, *turn) if text)[:MAX_SOURCES],
        fields=fields,
    )


def asked_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON schema that the answer must fit, or None for plain text.

    It is found in `response_format`, or in a system message after the words "JSON
    schema:", up to its end. JSON mode without a schema asks for an object with a `reply`.
    """
    asked = body.get("response_format")
    schema = given_schema(asked)
    if schema is not None:
        return schema
    texts = (text.partition(SCHEMA_MARKER) for text in _messages(body, _STATIC_ROLES))
    schema = next((_json_object(rest) for _, marker, rest in texts if marker), None)
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if schema is None and kind in {"json_object", "json_schema"}:
        properties = {"reply": {"type": "string"}}
        return {"type": "object", "properties": properties, "required": ["reply"]}
    return schema

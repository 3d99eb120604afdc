"""What a request asks for: its material, its language, and the form of its answer.

By convention the system messages hold what does not change from call to call, and the
last user message that is a JSON object holds the material. Fields that are read:
`language`, `user_text` or the last line of `user` in `chat`, `reply`, `candidates` (of
`{"id", "reply"}`, texts, or texts by id), `parent` or `parents`, `count` and
`strategies_used`, also inside `task`, and `turn` as a further source of quotes. Every
other field may be there. Without a JSON object the last user message is plain chat.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from callwise.simulator.faults import hashed_int

__all__ = ["ShownReply", "SimulatedRequest", "asked_schema", "read_material"]

SCHEMA_MARKER = "JSON schema:"
"""What stands before a schema that is given in words, as `calls.wire` writes it."""

MAX_CANDIDATES = 256
"""How many candidates are read, and are written where the material says how many."""

MAX_SOURCES = 32
"""How many texts quotes are taken from."""

_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_STATIC_ROLES = frozenset({"system", "developer"})
_TEXT_KEYS = ("reply", "text", "message", "content")
_BUBBLE_KEYS = ("replies", "messages", "bubbles")
_USER_KEYS = ("user_text", "user_message", "text", "message", "question", "query")


@dataclass(frozen=True, slots=True)
class ShownReply:
    """One reply of a list that is to be judged or improved."""

    id: str
    reply: str


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """What the answer is about.

    Args:
        language: `en` or `zh`.
        user_text: what the user said; may be empty.
        rubric: digest of the system messages, as the judge's instructions.
        reply: the reply that the request is about, where there is one.
        candidates: the replies to choose from, in the order shown.
        parents: replies to improve on.
        count: how many candidates are wanted, where the material says so.
        strategies_used: strategy tags that are not to come again.
        sources: texts that quotes may come from, `user_text` first.
        fields: the material as it came.
        is_plain_chat: whether there was no JSON object.
    """

    language: str
    user_text: str
    rubric: str
    reply: str | None = None
    candidates: tuple[ShownReply, ...] = ()
    parents: tuple[str, ...] = ()
    count: int | None = None
    strategies_used: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    is_plain_chat: bool = False


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
    """Return the reply that a text, a list of bubbles, or an object holds."""
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        texts = [text for item in node if (text := _reply_text(item))]
        return "\n".join(texts) if texts else None
    if isinstance(node, Mapping):
        for key in (*_TEXT_KEYS, *_BUBBLE_KEYS):
            text = _reply_text(node.get(key))
            if text:
                return text
    return None


def _candidates(node: Any) -> tuple[ShownReply, ...]:
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
            ShownReply(f"c{index}" if name is None else str(name), _reply_text(item) or "")
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
    """Return the language that the material names, or that the script of texts shows."""
    named = fields.get("language")
    if isinstance(named, str) and named[:2].lower() in {"zh", "en"}:
        return named[:2].lower()
    return "zh" if any(map(_WIDE.search, texts)) else "en"


def _first_text(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    texts = (fields.get(key) for key in keys)
    return next((text for text in texts if isinstance(text, str)), "")


def _last_line(chat: Any) -> str | None:
    """Return the last line of `user` in a chat of `{"user": ...}` and `{"agent": ...}`."""
    lines: list[Any] = chat if isinstance(chat, list) else []
    said = (line.get("user") for line in reversed(lines) if isinstance(line, Mapping))
    return next((text for text in said if isinstance(text, str)), None)


def _without_schema(text: str) -> str:
    """Return a system message without the paragraph that gives the schema in words."""
    before, marker, _ = text.partition(SCHEMA_MARKER)
    return before.rpartition("\n\n")[0] if marker else text


def read_material(body: Mapping[str, Any]) -> SimulatedRequest:
    """Return the material of a chat request. Never fails: what is not there is empty."""
    messages = [message for message in body.get("messages") or () if isinstance(message, Mapping)]
    rubric = "\n".join(
        _without_schema(_content(message))
        for message in messages
        if message.get("role") in _STATIC_ROLES
    )
    digest = f"{hashed_int('rubric', rubric):016x}"
    said = [_content(message) for message in messages if message.get("role") == "user"]
    fields = next((found for told in reversed(said) if (found := _json_object(told))), None)
    if fields is None:
        text = said[-1] if said else ""
        return SimulatedRequest(
            language=_language({}, text),
            user_text=text,
            rubric=digest,
            sources=(text,) if text else (),
            is_plain_chat=True,
        )
    return _of_fields(fields, digest, instructions=rubric)


def _of_fields(fields: Mapping[str, Any], rubric: str, *, instructions: str) -> SimulatedRequest:
    """Return the material of a JSON object.

    Args:
        fields: the object.
        rubric: digest of the instructions.
        instructions: the system messages; their language is the answer's.
    """
    last_line = _last_line(fields.get("chat"))
    user_text = _first_text(fields, _USER_KEYS) if last_line is None else last_line
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
        parents=tuple(text for node in parents if (text := _reply_text(node))),
        count=count if type(count) is int and 0 <= count <= MAX_CANDIDATES else None,
        strategies_used=tuple(map(str, used)) if isinstance(used, list) else (),
        sources=tuple(text for text in (user_text, *turn) if text)[:MAX_SOURCES],
        fields=fields,
    )


def _schema_in_words(body: Mapping[str, Any]) -> dict[str, Any] | None:
    for message in body.get("messages") or ():
        if not isinstance(message, Mapping) or message.get("role") not in _STATIC_ROLES:
            continue
        _, marker, rest = _content(message).partition(SCHEMA_MARKER)
        if marker:
            return _json_object(rest)
    return None


def asked_schema(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON schema that the answer must fit, or None for plain text.

    It is found in `response_format`, or in a system message after the words "JSON
    schema:", up to its end. JSON mode without a schema asks for an object with a `reply`.
    """
    asked = body.get("response_format")
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if kind == "json_schema" and isinstance(asked, Mapping):
        wrapped = asked.get("json_schema")
        schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
        if isinstance(schema, dict):
            return schema
    in_words = _schema_in_words(body)
    if in_words is not None:
        return in_words
    if kind in {"json_object", "json_schema"}:
        return {
            "type": "object",
            "properties": {"reply": {"type": "string"}},
            "required": ["reply"],
        }
    return None

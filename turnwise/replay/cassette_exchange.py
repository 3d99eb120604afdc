"""One exchange as one line of a cassette, and back.

A line starts with what the index needs, each at a fixed place, so that opening a
cassette reads the first hundred bytes of a line and parses none of it:

    {"key":"<64 hex digits>","lane":"<16 hex digits>","scope":"run/conv:a/turn:3",…}

`lane` is a digest of the scope's path. After it come who asked, the prompt (so that a
miss can be explained), and how the call ended. Fields at their default are left out.
Only what a call, its place and its end are made of is ever written: no header, no URL,
no environment, so there is nothing for a secret to stand in but the text of an error,
and that passes the recorder's scrubber first.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from typing import Any

import orjson
from pydantic import BaseModel

from turnwise.budget.recorder import RecordedError, RecordedExchange, Where
from turnwise.calls.call import Call, Message
from turnwise.calls.key import CallKey, response_schema
from turnwise.calls.logprobs import document_of_logprobs, logprobs_of_document
from turnwise.calls.reply import Reply, Usage
from turnwise.calls.vocabulary import Outcome

__all__ = [
    "HEAD_BYTES",
    "Scrub",
    "decode_exchange",
    "encode_exchange",
    "lane_digest",
    "parse_line",
    "prompt_of",
    "split_head",
]

Scrub = Callable[[str], str]
"""Takes secrets out of a text."""

_HEAD = b'{"key":"'
_MIDDLE = b'","lane":"'
_KEY_END = len(_HEAD) + 64
_LANE_START = _KEY_END + len(_MIDDLE)

HEAD_BYTES = _LANE_START + 16
"""Length of the part of a line that the index is built from."""

_SHOWN_CHARS = 512
"""Longest text inside of a content part that a line repeats, in characters."""

_SHOWN_HEAD_CHARS = 32
"""How much of a longer one it repeats: the type of a `data:` URL."""


@lru_cache(maxsize=256)
def lane_digest(scope: str) -> bytes:
    """Return the 8 bytes that stand for a scope's path."""
    return hashlib.blake2b(scope.encode("utf-8", "backslashreplace"), digest_size=8).digest()


def split_head(line: bytes) -> tuple[bytes, bytes]:
    """Return a line's key (32 bytes) and lane (8 bytes).

    Raises:
        ValueError: when it does not start as an exchange does.
    """
    if line[: len(_HEAD)] != _HEAD or line[_KEY_END:_LANE_START] != _MIDDLE:
        raise ValueError("no exchange")
    key = bytes.fromhex(line[len(_HEAD) : _KEY_END].decode("ascii"))
    lane = bytes.fromhex(line[_LANE_START:HEAD_BYTES].decode("ascii"))
    if len(key) != 32 or len(lane) != 8:
        raise ValueError("no exchange")
    return key, lane


def parse_line(line: bytes) -> dict[str, Any]:
    """Return a line's JSON object.

    Raises:
        ValueError: when it is not one.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        # A lone surrogate, written by the fallback of `_line_of`: json reads it.
        document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error for one cause
    return document


def _line_of(document: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Lone surrogates are legal in a Python string and illegal in UTF-8; json escapes them.
        return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _non_default(record: Any, *left_out: str) -> dict[str, Any]:
    """Return a dataclass's fields that differ from their default."""
    return {
        field.name: value
        for field in fields(record)
        if field.name not in left_out and (value := getattr(record, field.name)) != _default(field)
    }


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


@lru_cache(maxsize=1024)
def _schema_digest(model: type[BaseModel]) -> str:
    data = orjson.dumps(response_schema(model), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(data).hexdigest()[:16]


def _message(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        document["tool_calls"] = [dict(tool_call) for tool_call in message.tool_calls]
    if message.tool_call_id is not None:
        document["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        document["name"] = message.name
    if message.parts:
        document["parts"] = [_shown_part(part) for part in message.parts]
    return document


def _shown_part(part: Any) -> Any:
    """Return a content part with its data as their digest and size: a replay needs the key only."""
    if isinstance(part, Mapping):
        return {name: _shown_part(value) for name, value in part.items()}
    if isinstance(part, str) and len(part) > _SHOWN_CHARS:
        digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{part[:_SHOWN_HEAD_CHARS]}… sha256 {digest}, {len(part)} characters"
    return part


def _settings(call: Call) -> dict[str, Any]:
    """Return the rest of a call's identity, small enough to be compared by eye."""
    settings = _non_default(call.sampling)
    if call.response_model is not None:
        settings["response_model"] = call.response_model.__name__
        settings["response_schema"] = _schema_digest(call.response_model)
    if call.tools:
        settings["tools"] = [dict(tool) for tool in call.tools]
    if call.tool_choice is not None:
        settings["tool_choice"] = call.tool_choice
    if call.sample:
        settings["sample"] = call.sample
    if call.repair:
        settings["repair"] = call.repair
    return settings


def prompt_of(call: Call) -> dict[str, Any]:
    """Return what was asked, as a cassette writes it."""
    prompt: dict[str, Any] = {}
    if call.messages:
        prompt["messages"] = [_message(message) for message in call.messages]
    if call.inputs:
        prompt["inputs"] = list(call.inputs)
    settings = _settings(call)
    if settings:
        prompt["settings"] = settings
    return prompt


def _scrubbed(value: Any, scrub: Scrub) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {name: _scrubbed(item, scrub) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item, scrub) for item in value]
    return value


def _reply(reply: Reply) -> dict[str, Any]:
    document = {"text": reply.text, **_non_default(reply, *_OF_OWN_FORM)}
    if reply.tool_calls:
        document["tool_calls"] = [dict(tool_call) for tool_call in reply.tool_calls]
    usage = _non_default(reply.usage)
    if usage:
        document["usage"] = usage
    if reply.token_logprobs:
        document["token_logprobs"] = document_of_logprobs(reply.token_logprobs)
    return document


def _error(error: RecordedError, scrub: Scrub) -> dict[str, Any]:
    document = _non_default(error, "detail")
    document["message"] = scrub(error.message)
    if error.detail:
        document["detail"] = _scrubbed(error.detail, scrub)
    return document


def encode_exchange(
    key: CallKey, call: Call, where: Where, exchange: RecordedExchange, *, scrub: Scrub
) -> bytes:
    """Return an exchange as one line, its end included.

    Raises:
        TypeError: when a tool call or an error's detail holds what JSON cannot.
        ValueError: when a tool call or an error's detail holds itself.
    """
    document: dict[str, Any] = {
        "key": key,
        "lane": lane_digest(where.scope).hex(),
        "scope": where.scope,
        "conversation": where.conversation,
        "turn": where.turn,
        "node": where.node,
        "role": where.role.value,
        "purpose": where.purpose.value,
        "endpoint": where.endpoint,
        "model": where.model,
        **prompt_of(call),
        "outcome": exchange.outcome.value,
        **_non_default(exchange, "outcome", "reply", "error"),
    }
    if exchange.reply is not None:
        document["reply"] = _reply(exchange.reply)
    if exchange.error is not None:
        document["error"] = _error(exchange.error, scrub)
    return _line_of(document)


def _read_reply(document: Mapping[str, Any]) -> Reply:
    values = dict(document)
    for name in _LISTS.intersection(values):
        values[name] = tuple(values[name])
    if "vectors" in values:
        values["vectors"] = tuple(map(tuple, values["vectors"]))
    if "usage" in values:
        values["usage"] = Usage(**values["usage"])
    if "token_logprobs" in values:
        values["token_logprobs"] = logprobs_of_document(values["token_logprobs"])
    return Reply(**values)


_OF_OWN_FORM = ("text", "parsed", "usage", "tool_calls", "token_logprobs")
_LISTS = frozenset({"choices", "tool_calls", "chunks"})
_COUNTS = frozenset(field.name for field in fields(RecordedExchange)) - {
    "outcome",
    "reply",
    "error",
}


def decode_exchange(document: Mapping[str, Any]) -> RecordedExchange:
    """Return the exchange of a line's JSON object.

    Raises:
        ValueError: when it is not an exchange as `encode_exchange` writes it.
    """
    try:
        reply, error = document.get("reply"), document.get("error")
        return RecordedExchange(
            outcome=Outcome(document["outcome"]),
            reply=None if reply is None else _read_reply(reply),
            error=None if error is None else RecordedError(**error),
            **{name: document[name] for name in _COUNTS.intersection(document)},
        )
    except (KeyError, TypeError) as problem:
        raise ValueError(f"not an exchange: {problem!r}") from problem

"""One exchange as one line of a cassette, and back.

A line starts with what the index needs, each at a fixed place, so that opening a
cassette reads the first bytes of a line and parses none of it:

    {"key":"<64 hex digits>","lane":"<16 hex digits>","check":"<24 hex digits>","scope":…}

`lane` is a digest of the scope's path; `check` is three numbers that tell when a line was
damaged; see `cassette_check`. After them come who asked, the prompt (so that a
miss can be explained), and how the call ended. Fields at their default are left out.
Only what a call, its place and its end are made of is ever written: no header, no URL,
no environment, so the only place for a secret is the text of an error,
and that passes the recorder's redaction first.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any, NoReturn

import orjson

from callwise.budget.recorder import CallOrigin, RecordedError, RecordedExchange, error_of_record
from callwise.budget.usage import JSON_NAMES, Usage
from callwise.calls.call import Call, Message
from callwise.calls.choice import Choice
from callwise.calls.delivery import DIRECT, Delivery
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply, document_of_logprobs, logprobs_of_document
from callwise.calls.schema import schema_digest
from callwise.recordings.typed_json import json_reader, read_dataclass

__all__ = [
    "COUNT_NAMES",
    "HEAD_BYTES",
    "Redact",
    "asked_of",
    "check_needed",
    "check_types",
    "decode_exchange",
    "exchange_document",
    "lane_digest",
    "parse_line",
    "prompt_of",
    "split_head",
]

Redact = Callable[[str], str]
"""Takes secrets out of a text."""

_HEAD = b'{"key":"'
_MIDDLE = b'","lane":"'
_KEY_END = len(_HEAD) + 64
_LANE_START = _KEY_END + len(_MIDDLE)

_ASKED = re.compile(rb'","(?:check":"[^"]*",")?asked":\[(\d{1,20}),(\d{1,20})\]')

HEAD_BYTES = _LANE_START + 16
"""Length of the part of a line that the index is built from."""

_NOT_AN_EXCHANGE = "it does not start with a key and a lane, as a recorded call does"

_SHOWN_CHARS = 512
"""Longest text inside of a content part that a line repeats, in characters."""

_SHOWN_HEAD_CHARS = 32
"""Characters of a longer one that it repeats: the type of a `data:` URL."""


@lru_cache(maxsize=256)
def lane_digest(scope: str) -> bytes:
    """Return the 8 bytes that identify a scope's path."""
    return hashlib.blake2b(scope.encode("utf-8", "backslashreplace"), digest_size=8).digest()


def split_head(line: bytes) -> tuple[bytes, bytes]:
    """Return a line's key (32 bytes) and lane (8 bytes).

    Raises:
        ValueError: when it does not start as an exchange does.
    """
    if line[: len(_HEAD)] != _HEAD or line[_KEY_END:_LANE_START] != _MIDDLE:
        raise ValueError(_NOT_AN_EXCHANGE)
    key = bytes.fromhex(line[len(_HEAD) : _KEY_END].decode("ascii"))
    lane = bytes.fromhex(line[_LANE_START:HEAD_BYTES].decode("ascii"))
    if len(key) != 32 or len(lane) != 8:
        raise ValueError(_NOT_AN_EXCHANGE)
    return key, lane


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def asked_of(line: bytes) -> tuple[int, int]:
    """Return a line's session, and its place in the order in which calls were asked there.

    Lines that do not say it come before those that do.
    """
    found = _ASKED.match(line, HEAD_BYTES)
    return (int(found[1]), int(found[2])) if found else (-1, 0)


def parse_line(line: bytes) -> dict[str, Any]:
    """Return a line's JSON object.

    Raises:
        ValueError: when it is not one.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        # A lone surrogate, written by the fallback of `line_of`: json reads it.
        try:
            document = json.loads(line, parse_constant=_refuse_constant)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error for one cause
    return document


def check_types(document: Mapping[str, Any]) -> None:
    """Check the types of what a line has besides how the call ended.

    Raises:
        ValueError: names the field that is unknown or of another type.
    """
    for name, value in document.items():
        reader = _PLACE_AND_PROMPT.get(name)
        if reader is not None:
            reader(value, name)
        elif name not in _ENDS:
            raise ValueError(
                f"it has the field {name[:40]!r}, which this Callwise does not know: a newer one "
                "wrote it"
            )


def check_needed(document: Mapping[str, Any]) -> None:
    """Check that no field is missing without which an exchange is none.

    Raises:
        ValueError: names the field.
    """
    if not document.keys() >= _NEEDED:
        raise ValueError(f"it has no field {min(_NEEDED - document.keys())}")


@lru_cache(maxsize=16)
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Return the fields of a dataclass with their defaults; `MISSING` where it has none."""
    return tuple(
        (each.name, each.default if each.default_factory is MISSING else each.default_factory())
        for each in fields(kind)
    )


def _non_default(record: Any, *left_out: str) -> dict[str, Any]:
    """Return a dataclass's fields that differ from their default."""
    return {
        name: value
        for name, default in _defaults(record.__class__)
        if (value := getattr(record, name)) != default and name not in left_out
    }


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
        settings["response_schema"] = schema_digest(call.response_model)[:16]
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


def _redacted(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _redacted(item, redact) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redact) for item in value]
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


def _error(error: RecordedError, redact: Redact) -> dict[str, Any]:
    document = _non_default(error, "detail")
    document["message"] = redact(error.message)
    if error.detail:
        document["detail"] = _redacted(error.detail, redact)
    return document


def exchange_document(
    key: CallKey,
    call: Call,
    where: CallOrigin,
    exchange: RecordedExchange,
    *,
    redact: Redact,
    session: int = 0,
) -> dict[str, Any]:
    """Return an exchange as a JSON object.

    Args:
        session: grows from one recording process to the next; puts their calls in order.
    """
    document: dict[str, Any] = {
        "key": key,
        "lane": lane_digest(where.scope).hex(),
        **({"asked": [session, exchange.sequence]} if exchange.sequence else {}),
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
        **_counts(exchange),
    }
    if exchange.delivery != DIRECT:
        document["delivery"] = exchange.delivery.to_json()
    if exchange.choice is not None:
        document["choice"] = exchange.choice.to_json()
    if exchange.reply is not None:
        document["reply"] = _reply(exchange.reply)
    if exchange.error is not None:
        document["error"] = _error(exchange.error, redact)
    return document


def _counts(exchange: RecordedExchange) -> dict[str, Any]:
    """Return what an exchange spent, by flat names; zeros left out."""
    values: dict[str, Any] = {
        **exchange.usage.to_json(),
        "latency_seconds": exchange.latency_seconds,
        "usage_note": exchange.usage_note,
    }
    document = {name: values[name] for name in COUNT_NAMES}
    document["usd"] = exchange.usd
    return {name: v for name, v in document.items() if v or (name == "usd" and v is not None)}


_OF_OWN_FORM = ("text", "parsed", "usage", "tool_calls", "token_logprobs", "delivery")
_FIRST_COUNTS = (
    *("attempts", "requests", "latency_seconds", "input_tokens", "output_tokens", "cached_tokens"),
    *("usd", "unknown_usage", "charged_tokens", "charged_usd", "over_tokens", "over_usd"),
    *("usage_note", "unknown_usd", "retry_seconds"),
)
COUNT_NAMES = tuple(
    name
    for name in dict.fromkeys((*_FIRST_COUNTS, *JSON_NAMES))
    if name not in {"sent", "work_seconds"}
)
"""Names of an exchange's counts, in the order in which a line has them."""

_COUNT_READERS = {
    name: json_reader(
        str if name == "usage_note" else float if name.endswith(("usd", "seconds")) else int
    )
    for name in COUNT_NAMES
} | {"usd": json_reader(float | None), "unknown_usd": json_reader(int)}

_ENDS = _COUNT_READERS.keys() | {"outcome", "reply", "error", "delivery", "choice"}
_PLACE_AND_PROMPT = {
    **dict.fromkeys(("key", "lane", "check", "scope", "role", "purpose"), json_reader(str)),
    **dict.fromkeys(("endpoint", "model", "common", "after"), json_reader(str)),
    **dict.fromkeys(("conversation", "turn", "node"), json_reader(str | None)),
    "asked": json_reader(tuple[int, int]),
    "messages": json_reader(tuple[Mapping[str, Any], ...]),
    "inputs": json_reader(tuple[str, ...]),
    "settings": json_reader(Mapping[str, Any]),
}
_NEEDED = frozenset({"key", "lane", "scope", "outcome"})


def _read_reply(document: Any) -> Reply | None:
    if document is None:
        return None
    given: dict[str, Any] = {}
    if isinstance(document, dict) and "delivery" in document:
        raise ValueError("the field reply.delivery belongs to the exchange, not to its reply")
    if isinstance(document, dict) and "token_logprobs" in document:
        document = dict(document)
        try:
            given["token_logprobs"] = logprobs_of_document(document.pop("token_logprobs"))
        except TypeError as problem:
            raise ValueError(f"reply.token_logprobs: {problem}") from problem
    reply = read_dataclass(Reply, document, "reply", given=given)
    _require_amounts({"latency_seconds": reply.latency_seconds}, "reply")
    _require_amounts(document.get("usage", {}), "reply.usage")
    return reply


def _read_error(document: Any) -> RecordedError | None:
    if document is None:
        return None
    error = read_dataclass(RecordedError, document, "error")
    try:
        error_of_record(error)
    except (TypeError, ValueError, AttributeError) as problem:
        raise ValueError(f"error.detail is no detail of {error.type_name[:40]}") from problem
    return error


def _read_object(document: Mapping[str, Any], name: str, read: Any, usual: Any) -> Any:
    """Return a field that is a record with another form; what is usual where it is not there."""
    found = document.get(name)
    if found is None:
        return usual
    if not isinstance(found, dict):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the program
            f"the field {name} must be an object, found {found!r:.60}"
        )
    return read(found)


_MAX_AMOUNT = 1e12
"""Most seconds or USD of a call: sums are kept in whole millionths, and more is no call's."""


def _require_amounts(amounts: Mapping[str, Any], where: str) -> None:
    for name, value in amounts.items():
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"the field {where}.{name} must be 0 or more, found {value!r}")
        if isinstance(value, float) and value > _MAX_AMOUNT:
            raise ValueError(f"the field {where}.{name} is too large: {value!r}")


def decode_exchange(document: Mapping[str, Any]) -> RecordedExchange:
    """Return the exchange of a line's JSON object.

    Raises:
        ValueError: when it is not an exchange as `exchange_document` writes it; names the
            field.
    """
    counts = {name: document[name] for name in COUNT_NAMES if name in document}
    for name, value in counts.items():
        _COUNT_READERS[name](value, f"the exchange.{name}")
    _require_amounts(counts, "the exchange")
    given = {
        "reply": _read_reply(document.get("reply")),
        "error": _read_error(document.get("error")),
        "usage": Usage.from_json(counts),
        "delivery": _read_object(document, "delivery", Delivery.from_json, DIRECT),
        "choice": _read_object(document, "choice", Choice.from_json, None),
    }
    own = ("outcome", "latency_seconds", "usage_note")
    ends = {name: document[name] for name in own if name in document}
    return read_dataclass(RecordedExchange, ends, "the exchange", given=given)

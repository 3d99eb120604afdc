"""One exchange as a line, and back."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget.recorder import CallOrigin, RecordedError, RecordedExchange
from callwise.budget.usage import Usage
from callwise.calls import (
    Call,
    CallKey,
    Delivery,
    Message,
    Outcome,
    Purpose,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.reply import TokenLogprobs
from callwise.recordings.cassette_format import (
    check_needed,
    check_types,
    decode_exchange,
    exchange_document,
    lane_digest,
    parse_line,
    split_head,
)
from callwise.recordings.cassette_sharing import line_of

Ask = Callable[..., tuple[CallKey, Call, CallOrigin]]
TEXT = st.text(st.characters(codec="utf-8") | st.just("\ud800"))
COUNT = st.integers(0, 2**63)
SECONDS = st.floats(0, 1e9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TOKEN = st.builds(
    TokenLogprobs, TEXT, FINITE, st.lists(st.tuples(TEXT, FINITE), max_size=2).map(tuple)
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=2)
REPLY = st.builds(
    Reply,
    TEXT,
    choices=st.lists(TEXT, max_size=2).map(tuple),
    vectors=st.lists(st.lists(st.floats(-1, 1), max_size=3).map(tuple), max_size=2).map(tuple),
    tool_calls=st.lists(OBJECT, max_size=2).map(tuple),
    usage=st.builds(ReportedUsage, st.none() | COUNT, st.none() | COUNT, usd=st.none() | SECONDS),
    model=TEXT,
    finish_reason=st.none() | TEXT,
    latency_seconds=SECONDS,
    chunks=st.lists(TEXT, max_size=2).map(tuple),
    is_simulated=st.booleans(),
    token_logprobs=st.lists(TOKEN, max_size=2).map(tuple),
)
ERROR = st.builds(
    RecordedError,
    TEXT,
    TEXT,
    status=st.none() | COUNT,
    retry_after_seconds=st.none() | SECONDS,
    detail=OBJECT,
)
AMOUNT = st.integers(0, 10**15)
EXCHANGE = st.builds(
    RecordedExchange,
    st.sampled_from(Outcome),
    reply=st.none() | REPLY,
    error=st.none() | ERROR,
    usage=st.builds(
        lambda *amounts: Usage(*amounts[:2], 0, *amounts[2:]),
        COUNT,
        st.integers(3, 9),
        *(COUNT,) * 3,
        AMOUNT,
        COUNT,
        st.integers(0, 2),
        COUNT,
        AMOUNT,
        st.just(0),
        AMOUNT,
        AMOUNT,
        COUNT,
        AMOUNT,
    ),
    latency_seconds=SECONDS,
    delivery=st.builds(
        Delivery,
        TEXT,
        TEXT,
        TEXT,
        st.integers(0, 9),
        st.booleans(),
        st.integers(0, 9),
        st.floats(0, 1),
        TEXT,
        st.floats(0, 1),
    ),
)
KEY = CallKey("0123456789abcdef" * 4)
WHERE = CallOrigin("run/conv:a", "a", None, None, Role.MAIN, Purpose.PLAN, "local", "tiny")
CALL = Call(Role.MAIN, Purpose.PLAN, (Message("user", "Hi."),))


def encode(exchange: RecordedExchange, **changes: Any) -> bytes:
    """Return an exchange's line, without redaction."""
    asked = {"key": KEY, "call": CALL, "where": WHERE, "redact": str, **changes}
    redact = asked.pop("redact")
    return line_of(exchange_document(*asked.values(), exchange, redact=redact))


@given(exchange=EXCHANGE, scope=TEXT, prompt=TEXT.filter(bool))
def test_every_exchange_comes_back(exchange: RecordedExchange, scope: str, prompt: str) -> None:
    """A call with any outcome, asked anywhere, is one line and is read back equal."""
    call = replace(CALL, messages=(Message("user", prompt),))

    line = encode(exchange, call=call, where=replace(WHERE, scope=scope))

    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert split_head(line) == (bytes.fromhex(KEY), lane_digest(scope))
    assert decode_exchange(parse_line(line)) == exchange


def test_the_line_says_who_asked_what() -> None:
    """A line reads by itself: place, prompt and the rest of the call's identity."""

    class Mood(BaseModel):
        valence: float

    tool = {"type": "function", "function": {"name": "look"}}
    call = Call(
        Role.MAIN,
        Purpose.PLAN,
        (Message("user", "Hi."), Message("tool", "4", tool_call_id="t1", name="sum")),
        response_model=Mood,
        sampling=Sampling(temperature=0.5, stop=("END",)),
        tools=(tool,),
        tool_choice="auto",
        sample=2,
    )

    document = parse_line(encode(RecordedExchange(Outcome.REFUSED), call=call))

    settings = document.pop("settings")
    assert len(settings.pop("response_schema")) == 16
    assert settings == {
        "temperature": 0.5,
        "stop": ["END"],
        "response_model": "Mood",
        "tools": [tool],
        "tool_choice": "auto",
        "sample": 2,
    }
    assert document == {
        "key": KEY,
        "lane": lane_digest("run/conv:a").hex(),
        "scope": "run/conv:a",
        "conversation": "a",
        "turn": None,
        "node": None,
        "role": "main",
        "purpose": "plan",
        "endpoint": "local",
        "model": "tiny",
        "messages": [
            {"role": "user", "content": "Hi."},
            {"role": "tool", "content": "4", "tool_call_id": "t1", "name": "sum"},
        ],
        "outcome": "refused",
    }


def test_logprobs_stand_in_a_line_only_where_there_are_some() -> None:
    """A recording without any is byte for byte what it was before there were any."""
    reply = Reply("7", model="tiny")
    without = encode(RecordedExchange(Outcome.SERVED, reply=reply))
    assert without.endswith(b'"outcome":"served","reply":{"text":"7","model":"tiny"}}\n')

    tokens = (TokenLogprobs("7", -0.5, (("7", -0.5), ("8", -1.0))),)
    asked = replace(CALL, sampling=Sampling(top_logprobs=2))
    line = encode(
        RecordedExchange(Outcome.SERVED, reply=replace(reply, token_logprobs=tokens)), call=asked
    )
    assert b'"settings":{"top_logprobs":2}' in line
    assert b'"token_logprobs":[["7",-0.5,[["7",-0.5],["8",-1.0]]]]' in line


def test_errors_are_redacted() -> None:
    """A secret in an error's text, or deep in its detail, does not reach the line."""
    error = RecordedError("AuthFailed", "bad key sk-123", detail={"body": ["sk-123 again"]})

    line = encode(
        RecordedExchange(Outcome.FAILED, error=error),
        redact=lambda text: text.replace("sk-123", "***"),
    )

    assert b"sk-123" not in line
    read = decode_exchange(parse_line(line)).error
    assert read == RecordedError("AuthFailed", "bad key ***", detail={"body": ["*** again"]})


SERVED = {"outcome": "served"}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "no field outcome"),
        ({"outcome": "lost"}, "exchange.outcome must be one of served"),
        ({"outcome": ["served"]}, "exchange.outcome must be one of"),
        ({**SERVED, "reply": {"txt": "a"}}, "'txt', which this Callwise does not know"),
        ({**SERVED, "reply": {}}, "reply has no field text"),
        ({**SERVED, "reply": "a"}, "reply must be a JSON object"),
        ({**SERVED, "reply": {"text": 5}}, "reply.text must be a text, found 5"),
        ({**SERVED, "reply": {"text": "a", "choices": 3}}, "reply.choices must be a list"),
        ({**SERVED, "reply": {"text": "a", "choices": [3]}}, "reply.choices must be a text"),
        ({**SERVED, "reply": {"text": "a", "parsed": {}}}, "reply.parsed must be left out"),
        ({**SERVED, "reply": {"text": "a", "vectors": [["x"]]}}, "reply.vectors must be a number"),
        ({**SERVED, "reply": {"text": "a", "usage": []}}, "reply.usage must be a JSON object"),
        (
            {**SERVED, "reply": {"text": "a", "usage": {"input_tokens": "9"}}},
            "reply.usage.input_tokens must be a whole number",
        ),
        (
            {**SERVED, "reply": {"text": "a", "usage": {"input_tokens": -9}}},
            "reply.usage.input_tokens must be 0 or more",
        ),
        (
            {**SERVED, "reply": {"text": "a", "usage": {"input_tokens": True}}},
            "reply.usage.input_tokens must be a whole number",
        ),
        ({**SERVED, "reply": {"text": "a", "token_logprobs": 3}}, "reply.token_logprobs"),
        ({**SERVED, "reply": {"text": "a", "token_logprobs": [["a", None, []]]}}, "token and its"),
        ({"outcome": "failed", "error": {"message": "a"}}, "error has no field type_name"),
        (
            {"outcome": "refused", "error": {"type_name": "CallRefused", "message": "a"}},
            "error.detail is no detail of CallRefused",
        ),
        ({**SERVED, "requests": "two"}, "exchange.requests must be a whole number"),
        ({**SERVED, "requests": -1}, "exchange.requests must be 0 or more"),
        ({**SERVED, "latency_seconds": None}, "exchange.latency_seconds must be a number"),
        ({**SERVED, "latency_seconds": 1e308}, "exchange.latency_seconds is too large"),
        ({**SERVED, "reply": {"text": "a", "latency_seconds": 1e308}}, "reply.latency_seconds is"),
        ({**SERVED, "usd": float("inf")}, "exchange.usd must be a number"),
    ],
)
def test_what_is_no_exchange(document: dict[str, Any], field: str) -> None:
    """A field that is missing, unknown or of another type is an error that names it."""
    with pytest.raises(ValueError, match=re.escape(field)):
        decode_exchange(document)


def _check(document: dict[str, Any]) -> None:
    check_types(document)
    check_needed(document)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": 7}, "scope must be a text"),
        ({"conversation": []}, "conversation must be a text"),
        ({"messages": "hi"}, "messages must be a list"),
        ({"messages": ["hi"]}, "messages must be a JSON object"),
        ({"inputs": [1]}, "inputs must be a text"),
        ({"settings": None}, "settings must be a JSON object"),
        ({"mood": "good"}, "'mood', which this Callwise does not know: a newer one wrote it"),
    ],
)
def test_place_and_prompt_have_types_too(change: dict[str, Any], field: str) -> None:
    """What a miss is explained by, and a sweep sorts by, is checked on reading."""
    document = {**parse_line(encode(RecordedExchange(Outcome.SERVED))), **change}
    with pytest.raises(ValueError, match=re.escape(field)):
        _check(document)


@pytest.mark.parametrize(
    "line",
    [b'{"a": NaN}', b'{"a": -Infinity, "b": "\\ud800"}', b'{"a":' * 200_000, b"[]", b"\xff"],
)
def test_what_is_no_json_object(line: bytes) -> None:
    """Numbers that JSON lacks, and nesting without end, are one kind of error."""
    with pytest.raises(ValueError):  # noqa: PT011 - of many texts
        parse_line(line)


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b'{"key":"0', b'{"key": "' + b"0" * 64, b"x" * 200, b'{"key":"' + b"zz" * 90],
)
def test_what_has_no_head(line: bytes) -> None:
    """A line that does not start as an exchange does is told by its first bytes."""
    with pytest.raises(ValueError, match=r"a key and a lane|non-hexadecimal"):
        split_head(line)

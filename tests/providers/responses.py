"""Responses of odd form under status 200, and failures that pass: the parts around the text."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.providers.behaviour import (
    Behaviour,
    Expected,
    Odd,
    asked_no_more_tokens,
    content,
    is_judge,
    message,
    once,
    read,
    reply,
    scripted,
    scripted_for_each_server,
    survives,
    wants_candidates,
)
from tests.providers.refusals import (
    FILTERED_AT_AZURE,
    error,
    first,
    first_of,
    refuses,
    refusing,
)
from tests.providers.server import Asked, Sent

__all__ = ["RESPONSES", "as_tool_call"]

HTML = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


# Responses that are no chat completion.


def _emptied(changes: Mapping[str, Any]) -> Odd:
    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        return Sent({**good, **changes}, is_usable=False, has_usage=False)

    return odd


def _once_emptied(name: str, changes: Mapping[str, Any], source: str) -> Behaviour:
    return Behaviour(
        name,
        "requests",
        scripted(_emptied(changes), first()),
        reply(extra_requests=1, is_exact=True),
        source,
        counts_tokens=False,
    )


JUDGE_LOST = survives(calls=8, requests=5 + 3 * 3, degraded=("judge",))
"""Every judge call fails after its attempts; the turn goes on without a judgement."""

_NO_COMPLETION = [
    _once_emptied("choices: [] once", {"choices": []}, "Azure OpenAI"),
    _once_emptied(
        "message: null once",
        {"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]},
        "proxies",
    ),
    once(
        "an HTML page once",
        Sent(HTML, headers={"Content-Type": "text/html"}, is_usable=False, has_usage=False),
        "gateways",
    ),
    once(
        "an HTML page with status 502 once",
        Sent(HTML, status=502, headers={"Content-Type": "text/html"}, is_usable=False),
        "gateways",
    ),
    once(
        "an error under 200 once",
        Sent({"error": "upstream busy"}, is_usable=False, has_usage=False),
        "proxies",
    ),
    once(
        "an error with a code under 200 once",
        Sent(
            {"error": {"message": "Provider returned error", "code": 502}},
            is_usable=False,
            has_usage=False,
        ),
        "OpenRouter",
    ),
    Behaviour(
        "an HTML page always, from the judge",
        "reporting",
        scripted(
            lambda _asked, _good: Sent(
                HTML, headers={"Content-Type": "text/html"}, is_usable=False, has_usage=False
            ),
            is_judge,
        ),
        JUDGE_LOST,
        "gateways",
        counts_tokens=False,
    ),
    Behaviour(
        "choices: [] always, from the judge",
        "reporting",
        scripted(_emptied({"choices": []}), is_judge),
        JUDGE_LOST,
        "proxies",
        counts_tokens=False,
    ),
    Behaviour(
        "an HTML page always",
        "requests",
        scripted(
            lambda _asked, _good: Sent(
                HTML, headers={"Content-Type": "text/html"}, is_usable=False, has_usage=False
            )
        ),
        Expected(ends="error", error="BadResponse", says=("html",), requests=24),
        "gateways",
    ),
]

# Answers in another field than `content`.


def as_tool_call(arguments: Callable[[str], Any]) -> Odd:
    """Return a behaviour that puts an answer into a tool call."""

    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        text = content(good)
        function = {"name": "answer", "arguments": arguments(text)}
        message(good)["content"] = None
        message(good)["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        good["choices"][0]["finish_reason"] = "tool_calls"
        return Sent(good)

    return odd


def _as_reasoning(field: str, left: str | None) -> Odd:
    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        message(good)[field] = content(good)
        message(good)["content"] = left
        return Sent(good)

    return odd


def _thought_over(_asked: Asked, good: dict[str, Any]) -> Sent:
    """Thinking has used up all tokens of the answer."""
    message(good)["content"] = ""
    message(good)["reasoning_content"] = "The user has lost a job. Let me think it over. " * 40
    good["choices"][0]["finish_reason"] = "length"
    good["usage"]["completion_tokens_details"] = {
        "reasoning_tokens": good["usage"]["completion_tokens"]
    }
    return Sent(good, is_usable=False)


def _empty(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["content"] = ""
    return Sent(good, is_usable=False)


_ELSEWHERE = [
    read("content null, JSON in tool_calls", as_tool_call(str), source="vLLM"),
    read("content null, an object in tool_calls", as_tool_call(json.loads), source="Ollama"),
    read(
        "content null, the answer in reasoning_content",
        _as_reasoning("reasoning_content", None),
        source="vLLM",
    ),
    read("content blank, the answer in reasoning", _as_reasoning("reasoning", "\n"), source="vLLM"),
    Behaviour(
        "thinking eats max_tokens, first request",
        "answers",
        scripted(_thought_over, first()),
        reply(extra_requests=1, is_exact=True),
        "DeepSeek",
    ),
    Behaviour(
        "thinking eats max_tokens until more are allowed, every call",
        "answers",
        scripted_for_each_server(_thought_over, asked_no_more_tokens),
        survives(calls=8, requests=16),
        "several",
    ),
    Behaviour(
        "content empty once",
        "answers",
        scripted(_empty, first()),
        reply(extra_requests=1, is_exact=True),
        "several",
    ),
]

# Usage.


def _usage(change: Callable[[dict[str, Any]], Any]) -> Odd:
    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        usage = change(dict(good.pop("usage")))
        return Sent(good if usage is _GONE else {**good, "usage": usage}, has_usage=False)

    return odd


_GONE = object()
UNKNOWN = reply(unknown_usage=8)
ABSURD = reply(unknown_usage=8, notices=("usage|token|cost",))


def _infinite(_asked: Asked, good: dict[str, Any]) -> Sent:
    good["usage"] = {"prompt_tokens": float("inf"), "completion_tokens": float("inf")}
    return Sent(json.dumps(good).encode(), has_usage=False)  # `Infinity`, which is no JSON


def _absurd(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda usage: {**usage, "prompt_tokens": value, "completion_tokens": value}


def _cost(value: Any) -> Odd:
    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        good["usage"]["cost"] = value
        return Sent(good)

    return odd


_USAGE = (
    [
        read(f"usage: {name}", _usage(change), expected=UNKNOWN, counts_tokens=False)
        for name, change in [
            ("none", lambda _usage: _GONE),
            ("null", lambda _usage: None),
            ("null counts", _absurd(None)),
        ]
    ]
    + [
        read(
            "usage: zero",
            _usage(lambda usage: dict.fromkeys(usage, 0)),
            expected=reply(unknown_usage=8),
            counts_tokens=False,
        )
    ]
    + [
        read(f"usage: {name}", _usage(_absurd(value)), expected=ABSURD, counts_tokens=False)
        for name, value in [
            ("1e300", 1e300),
            ("10 to the power of 30", 10**30),
            ("true", True),
            ("negative", -7),
            ("text", "many"),
        ]
    ]
    + [read("usage: Infinity", _infinite, expected=ABSURD, counts_tokens=False)]
    + [
        read(f"cost: {name}", _cost(value), expected=reply(unknown_usd=8), source="OpenRouter")
        for name, value in [("true", True), ("1e300", 1e300), ("negative", -1.0), ("text", "0.1")]
    ]
)


# What survives already.


def _refusal(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good).update(content=None, refusal="I'm sorry, I can't help with that.")
    return Sent(good)


def _filtered(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["content"] = None
    good["choices"][0]["finish_reason"] = "content_filter"
    return Sent(good)


TRY_AGAIN = reply(extra_requests=1, is_exact=True)

_SURVIVED = [
    Behaviour(
        "a refusal field once",
        "answers",
        scripted_for_each_server(_refusal, first_of(wants_candidates)),
        survives(calls=8, requests=8),
        "OpenAI",
        counts_tokens=False,
    ),
    Behaviour(
        "finish_reason content_filter once",
        "answers",
        scripted_for_each_server(_filtered, first_of(wants_candidates)),
        survives(calls=8, requests=8),
        "Azure OpenAI",
        counts_tokens=False,
    ),
    Behaviour(
        "content_filter for the first request",
        "answers",
        refuses(first(), FILTERED_AT_AZURE),
        survives(calls=11, requests=11, degraded=(".",)),
        "Azure OpenAI",
    ),
    Behaviour(
        "overloaded 529 once",
        "requests",
        refuses(first(), error("Overloaded", type="overloaded_error"), 529),
        TRY_AGAIN,
        "Anthropic's compatible API",
    ),
    Behaviour(
        "429 with Retry-After twice",
        "requests",
        refuses(
            first(2),
            error("Rate limit reached for requests", type="requests", code="rate_limit_exceeded"),
            429,
            {"Retry-After": "0.02"},
        ),
        reply(extra_requests=2, is_exact=True),
        "OpenAI",
    ),
    Behaviour(
        "429 with a date in Retry-After once",
        "requests",
        refuses(
            first(),
            error("Too many requests"),
            429,
            {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"},
        ),
        TRY_AGAIN,
        "gateways",
    ),
    Behaviour(
        "the connection dropped once",
        "requests",
        scripted(lambda _asked, _good: Sent(None, is_usable=False), first()),
        TRY_AGAIN,
        "gateways",
    ),
    Behaviour(
        "500 once",
        "requests",
        scripted(refusing({"error": {"message": "The server had an error"}}, 500), first()),
        TRY_AGAIN,
        "OpenAI",
    ),
]


RESPONSES = [*_NO_COMPLETION, *_ELSEWHERE, *_USAGE, *_SURVIVED]
"""One behaviour for each form, line by line of the second table."""

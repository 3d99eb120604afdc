"""Endpoints that cannot be reached, are slow, change, or are set up wrong by hand."""

from collections.abc import Callable
from typing import Any

from tests.providers.behaviour import (
    Behaviour,
    Expected,
    content,
    every,
    is_judge,
    message,
    reply,
    scripted,
    stops,
    survives,
)
from tests.providers.refusals import (
    LEARNT_IN_SEARCH,
    error,
    field_refused,
    has_fixed_temperature,
    has_format,
    has_schema,
    refuses,
    refusing,
)
from tests.providers.server import Asked, Script, Sent

__all__ = ["ENDPOINTS"]

CLOSED_PORT = "http://127.0.0.1:1/v1"
"""Nothing listens there."""

SHORT_SECONDS = 0.4
"""Longest time for an attempt that is never answered."""


# Keys, models and URLs.

_ACCESS = [
    Behaviour(
        f"wrong key: {source}",
        "requests",
        refuses(every, document, status),
        stops("AuthFailed", "key|auth"),
        source,
    )
    for source, status, document in [
        (
            "OpenAI",
            401,
            error(
                "Incorrect API key provided: sk-1234*****cdef.",
                code="invalid_api_key",
            ),
        ),
        (
            "DeepSeek",
            401,
            error(
                "Authentication Fails, Your api key: ****cdef is invalid",
                type="authentication_error",
                code="invalid_request_error",
            ),
        ),
        ("OpenRouter", 401, {"error": {"message": "No auth credentials found", "code": 401}}),
        ("plain proxies", 403, {"error": {"message": "Invalid API key", "code": 403}}),
    ]
] + [
    Behaviour(
        f"unknown model: {source}",
        "requests",
        refuses(every, document, status),
        stops("UnknownModel", "model"),
        source,
    )
    for source, status, document in [
        (
            "OpenAI",
            404,
            error(
                "The model `main-model` does not exist or you do not have access to it.",
                code="model_not_found",
            ),
        ),
        (
            "vLLM",
            404,
            {
                "object": "error",
                "message": "The model `main-model` does not exist.",
                "type": "NotFoundError",
                "param": None,
                "code": 404,
            },
        ),
        (
            "Ollama",
            404,
            error('model "main-model" not found, try pulling it first', type="api_error"),
        ),
        ("DeepSeek", 400, error("Model Not Exist", code="invalid_request_error")),
        (
            "OpenRouter",
            400,
            {"error": {"message": "main-model is not a valid model ID", "code": 400}},
        ),
        (
            "DashScope",
            404,
            error(
                "The model `main-model` does not exist or you do not have access to it.",
                code="model_not_found",
            ),
        ),
    ]
]

_URLS = [
    Behaviour(
        "base URL with a slash at its end",
        "settings",
        None,
        reply(),
        "users",
        path="/v1/",
        shows=False,
    ),
    Behaviour(
        "base URL without /v1",
        "requests",
        None,
        Expected(ends="either", error="EndpointError", is_same=True, requests=9),
        "users",
        path="",
        shows=False,
    ),
    Behaviour(
        "base URL with the route in it",
        "requests",
        None,
        Expected(ends="either", error="EndpointError", is_same=True, requests=9),
        "users",
        path="/v1/chat/completions",
        shows=False,
    ),
    Behaviour(
        "a redirect to https",
        "requests",
        scripted(
            lambda _asked, _good: Sent(
                b"<html>moved</html>",
                status=301,
                headers={"Content-Type": "text/html", "Location": "https://127.0.0.1/v1"},
                is_usable=False,
            )
        ),
        Expected(ends="error", error="EndpointError", says=("https://127.0.0.1/v1",), requests=24),
        "hosts that want https",
    ),
]


# Endpoints that fail for good.

_GONE_JUDGE = survives(calls=8, requests=5, degraded=("judge", "127.0.0.1"))

_DOWN = [
    Behaviour(
        "nothing listens",
        "requests",
        None,
        stops("ConnectionFailed", "127.0.0.1", requests=0),
        "users",
        begins_down=True,
        shows=False,
    ),
    Behaviour(
        "500 always",
        "requests",
        refuses(every, error("The server had an error", type="server_error"), 500),
        stops("EndpointError", "500", requests=6),
        "several",
    ),
    Behaviour(
        "501 always",
        "requests",
        refuses(every, error("This server does not support chat completions"), 501),
        stops("EndpointError", "501", requests=8),
        "llama.cpp in embedding mode",
    ),
    Behaviour(
        "405 always",
        "requests",
        refuses(every, {"detail": "Method Not Allowed"}, 405),
        stops("EndpointError", "405", requests=8),
        "gateways",
    ),
    Behaviour(
        "the judge's host refuses connections",
        "reporting",
        None,
        _GONE_JUDGE,
        "users",
        knobs=(f"endpoints.judge.base_url={CLOSED_PORT}", "endpoints.judge.model=judge-model"),
        shows=False,
    ),
    Behaviour(
        "the fast role's host refuses connections",
        "reporting",
        None,
        survives(calls=10, requests=7, degraded=("fast", "127.0.0.1")),
        "users",
        knobs=(f"endpoints.fast.base_url={CLOSED_PORT}", "endpoints.fast.model=fast-model"),
        shows=False,
    ),
    Behaviour(
        "the judge's endpoint has no such model",
        "requests",
        refuses(is_judge, error("The model `judge-model` does not exist."), 404),
        stops("UnknownModel", "model", requests=7),
        "users",
        has_judge_model=True,
    ),
    Behaviour(
        "the judge never answers, its endpoint has a time limit",
        "settings",
        scripted(lambda _asked, _good: Sent(None, delay_seconds=None, is_usable=False), is_judge),
        survives(calls=8, requests=11, degraded=("judge",)),
        "users",
        knobs=(
            "endpoints.judge.base_url={main}",
            "endpoints.judge.model=judge-model",
            f"endpoints.judge.timeout_seconds={SHORT_SECONDS}",
        ),
        counts_tokens=False,
    ),
    Behaviour(
        "the judge never answers, its purpose has a time limit",
        "settings",
        scripted(lambda _asked, _good: Sent(None, delay_seconds=None, is_usable=False), is_judge),
        survives(calls=8, requests=11, degraded=("judge",)),
        "users",
        knobs=(f"sampling.judge.timeout_seconds={SHORT_SECONDS}",),
        has_judge_model=True,
        counts_tokens=False,
    ),
    Behaviour(
        "the judge is slow",
        "requests",
        scripted(lambda _asked, good: Sent(good, delay_seconds=0.03), is_judge),
        reply(),
        "local servers",
        has_judge_model=True,
    ),
    Behaviour(
        "every answer is slow",
        "requests",
        scripted(lambda _asked, good: Sent(good, delay_seconds=0.02)),
        reply(),
        "local servers",
    ),
]


# Endpoints that change in the middle of a turn.


def _from(number: int, odd: Callable[[Asked, dict[str, Any]], Sent | None]) -> Callable[[], Script]:
    return scripted(odd, lambda asked: asked.number >= number)


def _refused_when(
    when: Callable[[Asked], bool], document: Any
) -> Callable[[Asked, dict[str, Any]], Sent | None]:
    return lambda asked, good: refusing(document)(asked, good) if when(asked) else None


def _fenced(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["content"] = f"<think>hm</think>```json\n{content(good)}\n```"
    return Sent(good)


_CHANGING = [
    Behaviour(
        "schemas refused from the fifth request on",
        "requests",
        _from(5, _refused_when(has_schema, error("This response_format type is unavailable now"))),
        LEARNT_IN_SEARCH,
        "OpenRouter, another provider",
    ),
    Behaviour(
        "response_format refused from the fourth request on",
        "requests",
        _from(
            4,
            _refused_when(
                has_format, error("Unrecognized request argument supplied: response_format")
            ),
        ),
        LEARNT_IN_SEARCH,
        "OpenRouter, another provider",
    ),
    Behaviour(
        "temperature refused from the eighth request on",
        "requests",
        _from(
            8,
            _refused_when(
                field_refused("temperature"),
                error(
                    "Unsupported parameter: 'temperature' is not supported with this model.",
                    param="temperature",
                ),
            ),
        ),
        reply(extra_requests=1),
        "a model's alias moved",
    ),
    Behaviour(
        "thoughts and fences from the third answer on",
        "answers",
        _from(3, _fenced),
        reply(),
        "OpenRouter, another provider",
    ),
    Behaviour(
        "quota exhausted at the fifth request",
        "requests",
        _from(
            5,
            refusing(
                error(
                    "You exceeded your current quota, please check your plan and billing details.",
                    type="insufficient_quota",
                    code="insufficient_quota",
                ),
                429,
            ),
        ),
        stops("QuotaExhausted", "quota", requests=7),
        "OpenAI",
    ),
    Behaviour(
        "key withdrawn at the sixth request",
        "requests",
        _from(6, refusing(error("Incorrect API key provided", code="invalid_api_key"), 401)),
        stops("AuthFailed", "key", requests=7),
        "OpenAI",
    ),
]


# What was set by hand.


def _thinks_long(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good).update(content="", reasoning_content="Let me think it over. " * 40)
    good["choices"][0]["finish_reason"] = "length"
    return Sent(good, is_usable=False)


_BY_HAND = [
    Behaviour(
        "JSON mode set, and the server takes no response_format",
        "settings",
        refuses(has_format, error("Unrecognized request argument supplied: response_format")),
        reply(extra_requests=1),
        "users",
        knobs=("endpoints.main.schema_mode=json_object",),
    ),
    Behaviour(
        "schemas set, and the server has none",
        "settings",
        refuses(has_schema, error("This response_format type is unavailable now")),
        reply(extra_requests=1),
        "users",
        knobs=("endpoints.main.schema_mode=json_schema",),
    ),
    Behaviour(
        "prompt mode set, for a server that could do more",
        "settings",
        refuses(has_format, error("response_format is not supported by this model")),
        reply(),
        "users",
        knobs=("endpoints.main.schema_mode=prompt",),
        shows=False,
    ),
    Behaviour(
        "max_completion_tokens set, and the server knows only max_tokens",
        "settings",
        refuses(
            field_refused("max_completion_tokens"),
            error("Unrecognized request argument supplied: max_completion_tokens"),
        ),
        reply(extra_requests=1),
        "users",
        knobs=("endpoints.main.token_limit_field=max_completion_tokens",),
    ),
    Behaviour(
        "fields set as refused are never sent",
        "settings",
        refuses(
            lambda asked: "temperature" in asked.body or "seed" in asked.body,
            error("Unsupported parameter: 'temperature'", param="temperature"),
        ),
        reply(is_same=False),
        "users",
        knobs=("endpoints.main.refused=[temperature, seed]",),
        shows=False,
    ),
    Behaviour(
        "no temperature set for a model whose temperature is fixed",
        "settings",
        refuses(
            field_refused("temperature"),
            error("invalid temperature: only 1 is allowed for this model"),
        ),
        reply(is_same=False),
        "users",
        knobs=("sampling.default.temperature=none",),
        shows=False,
    ),
    Behaviour(
        "a temperature set for a model whose temperature is fixed",
        "settings",
        refuses(
            has_fixed_temperature,
            error("invalid temperature: only 1 is allowed for this model"),
        ),
        reply(extra_requests=1),
        "users",
        knobs=("sampling.default.temperature=0.7",),
    ),
    Behaviour(
        "more fields set for thinking models",
        "settings",
        refuses(
            lambda asked: (
                asked.body.get("enable_thinking") is not False
                or asked.body.get("reasoning_effort") != "low"
                or asked.max_tokens < 6000
            ),
            error("parameter.enable_thinking must be set to false for non-streaming calls"),
        ),
        reply(is_same=False),
        "DashScope",
        knobs=(
            "sampling.default.extra_body={enable_thinking: false}",
            "sampling.default.reasoning_effort=low",
            "sampling.default.max_tokens=6000",
        ),
        shows=False,
    ),
    Behaviour(
        "more tokens set for a model that thinks",
        "settings",
        scripted(_thinks_long, lambda asked: asked.max_tokens < 4000),
        reply(),
        "DeepSeek",
        knobs=("sampling.default.max_tokens=4000",),
        shows=False,
    ),
    Behaviour(
        "roles inherit what was set for main",
        "settings",
        refuses(
            lambda asked: (
                has_format(asked) or asked.body.get("model") not in {"main-model", "judge-model"}
            ),
            error("response_format is not supported by this model"),
        ),
        reply(),
        "users",
        knobs=("endpoints.main.schema_mode=prompt", "endpoints.judge.model=judge-model"),
        shows=False,
    ),
]

ENDPOINTS = [*_ACCESS, *_URLS, *_DOWN, *_CHANGING, *_BY_HAND]
"""One behaviour for each way in which an endpoint is not what its user thinks."""

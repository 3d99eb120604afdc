"""Requests that are refused: the first table, each line in the words of several providers."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.providers.behaviour import (
    Behaviour,
    Expected,
    When,
    is_judge,
    reply,
    scripted,
    scripted_for_each_server,
    stops,
    survives,
    wants_candidates,
)
from tests.providers.server import Asked, Script, Sent, chars_of, text_of

__all__ = [
    "LEARNT_IN_SEARCH",
    "REFUSALS",
    "error",
    "extra_field",
    "field_refused",
    "first",
    "refuses",
    "refusing",
]

HISTORY_WORD = "ferry"
"""What the long messages of earlier turns are made of."""


def error(message: str, **fields: Any) -> dict[str, Any]:
    """Return an error body in OpenAI's form."""
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return {"error": {**body, **fields}}


def extra_field(*location: str, message: str = "Extra inputs are not permitted") -> dict[str, Any]:
    """Return the body of a server that validates requests with pydantic."""
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", *location], "msg": message}]}


def refusing(
    document: Any, status: int = 400, headers: Mapping[str, str] | None = None
) -> Callable[[Asked, dict[str, Any]], Sent]:
    """Return what refuses a request with a body and a status."""

    def odd(_asked: Asked, _good: dict[str, Any]) -> Sent:
        return Sent(document, status=status, headers=headers or {}, is_usable=False)

    return odd


def refuses(
    when: When, document: Any, status: int = 400, headers: Mapping[str, str] | None = None
) -> Callable[[], Script]:
    """Return what makes a script that refuses the requests of a kind."""
    return scripted(refusing(document, status, headers), when)


def first(count: int = 1) -> When:
    """Return whether a request is among the first so many."""
    return lambda asked: asked.number <= count


def first_of(kind: When) -> Callable[[], When]:
    """Return what makes a condition: a request is the first of its kind."""

    def make() -> When:
        is_over = False

        def is_first(asked: Asked) -> bool:
            nonlocal is_over
            was_over, is_over = is_over, is_over or kind(asked)
            return is_over and not was_over

        return is_first

    return make


def _format(asked: Asked) -> str | None:
    asked_format = asked.body.get("response_format")
    return None if asked_format is None else str(asked_format.get("type"))


def has_schema(asked: Asked) -> bool:
    """Return whether a form is asked for by schema."""
    return _format(asked) == "json_schema"


def has_format(asked: Asked) -> bool:
    """Return whether a form is asked for by any field."""
    return _format(asked) is not None


def field_refused(name: str) -> When:
    """Return whether a request has a field."""
    return lambda asked: name in asked.body


def has_fixed_temperature(asked: Asked) -> bool:
    """Return whether a request sets another temperature than 1."""
    return asked.body.get("temperature", 1) != 1


def _has_system(asked: Asked) -> bool:
    return any(message.get("role") == "system" for message in asked.body["messages"])


def _asks_logprobs(asked: Asked) -> bool:
    return "logprobs" in asked.body or "top_logprobs" in asked.body


def _asks_more_than(tokens: int) -> When:
    return lambda asked: asked.max_tokens > tokens


LEARNS = reply(extra_requests=1)
"""One refused request for one fact about the endpoint."""

LEARNT_IN_SEARCH = reply(extra_requests=4, is_same=False, min_answered=5)
"""A refused request is one of the six that the search may send, so it may judge less."""


def _learned(name: str, when: When, document: Any, source: str, **more: Any) -> Behaviour:
    """Return a behaviour that teaches one fact."""
    expected = more.pop("expected", LEARNS)
    status = more.pop("status", 400)
    return Behaviour(name, "requests", refuses(when, document, status), expected, source, **more)


SCHEMA_LEARNED = reply(extra_requests=1, notices=("schema|response_format|json",))

_SCHEMA = [
    _learned(
        f"schema: {source}", has_schema, document, source, status=status, expected=SCHEMA_LEARNED
    )
    for source, status, document in [
        (
            "DeepSeek",
            400,
            error("This response_format type is unavailable now", code="invalid_request_error"),
        ),
        (
            "DeepSeek, deserializer",
            422,
            error(
                "Failed to deserialize the JSON body into the target type: response_format: "
                "response_format.type `json_schema` is unavailable now at line 1 column 1193"
            ),
        ),
        (
            "Groq",
            400,
            error(
                "This model does not support response format `json_schema`. See supported "
                "models at https://console.groq.com/docs/structured-outputs#supported-models",
                param="response_format",
            ),
        ),
        (
            "OpenAI, older models",
            400,
            error(
                "Invalid parameter: 'response_format' of type 'json_schema' is not supported "
                "with this model.",
                param="response_format",
            ),
        ),
        (
            "OpenAI, schema of another dialect",
            400,
            error(
                "Invalid schema for response_format 'answer': In context=('properties', "
                "'score'), 'minimum' is not permitted.",
                param="response_format",
                code="invalid_json_schema",
            ),
        ),
        (
            "vLLM, older",
            400,
            {
                "object": "error",
                "message": "[{'type': 'literal_error', 'loc': ('body', 'response_format', "
                "'type'), 'msg': \"Input should be 'text' or 'json_object'\", "
                "'input': 'json_schema'}]",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        (
            "Zhipu",
            400,
            {
                "error": {
                    "code": "1210",
                    "message": "API 调用参数有误，请检查文档。response_format.type 仅支持 "
                    "text 或 json_object",
                }
            },
        ),
    ]
]

_NO_FORMAT = [
    _learned(
        f"no response_format: {source}",
        has_format,
        document,
        source,
        status=status,
        expected=reply(extra_requests=2),
    )
    for source, status, document in [
        ("OpenAI", 400, error("Unrecognized request argument supplied: response_format")),
        (
            "OpenAI, newer",
            400,
            error(
                "Unknown parameter: 'response_format'.",
                param="response_format",
                code="unknown_parameter",
            ),
        ),
        ("FastAPI servers", 422, extra_field("response_format")),
        ("proxies", 400, error("response_format is not supported by this model")),
    ]
]


def _wants_the_word(document: Any) -> Callable[[], Script]:
    """Return what makes a script without schemas, whose JSON mode wants the word json."""

    def odd(asked: Asked, _good: dict[str, Any]) -> Sent | None:
        if has_schema(asked):
            return refusing(error("This response_format type is unavailable now"))(asked, {})
        words = " ".join(text_of(message) for message in asked.body["messages"])
        if has_format(asked) and "json" not in words.lower():
            return refusing(document)(asked, {})
        return None

    return scripted(odd)


_WORD = [
    Behaviour(f"word json wanted: {source}", "requests", _wants_the_word(document), LEARNS, source)
    for source, document in [
        (
            "OpenAI",
            error(
                "'messages' must contain the word 'json' in some form, to use "
                "'response_format' of type 'json_object'.",
                param="messages",
            ),
        ),
        (
            "DeepSeek",
            error(
                "Prompt must contain the word 'json' in some form to use 'response_format' "
                "of type 'json_object'.",
                code="invalid_request_error",
            ),
        ),
    ]
]

_TEMPERATURE = [
    _learned(
        f"temperature: {source}",
        has_fixed_temperature,
        document,
        source,
        expected=reply(extra_requests=1, notices=("temperature",)),
    )
    for source, document in [
        (
            "OpenAI o-series and gpt-5",
            error(
                "Unsupported value: 'temperature' does not support 0.6 with this model. Only "
                "the default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            ),
        ),
        (
            "OpenAI o1",
            error(
                "Unsupported parameter: 'temperature' is not supported with this model.",
                param="temperature",
                code="unsupported_parameter",
            ),
        ),
        (
            "Anthropic's compatible API",
            error("`temperature` may only be set to 1 when thinking is enabled.", code=400),
        ),
        ("Moonshot", error("invalid temperature: only 1 is allowed for this model")),
    ]
]

_TOKENS = [
    _learned(
        "max_tokens: OpenAI o-series and gpt-5",
        field_refused("max_tokens"),
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        ),
        "OpenAI",
        expected=reply(extra_requests=1, notices=("max_tokens|max_completion_tokens",)),
    ),
    _learned(
        "max_tokens: Azure deployments",
        field_refused("max_tokens"),
        error(
            "this model is not supported MaxTokens, please use MaxCompletionTokens: "
            "'max_tokens' is not supported, use 'max_completion_tokens' instead",
            type="",
        ),
        "Azure OpenAI",
    ),
    _learned(
        "max_tokens above the model's: OpenAI",
        _asks_more_than(1024),
        error(
            "max_tokens is too large: 1300. This model supports at most 1024 completion "
            "tokens, whereas you provided 1300.",
            param="max_tokens",
            code="invalid_value",
        ),
        "OpenAI",
    ),
    _learned(
        "max_tokens above the model's: DashScope",
        _asks_more_than(1024),
        error("Range of max_tokens should be [1, 1024]", code="invalid_parameter_error"),
        "DashScope",
    ),
]

_SYSTEM = [
    _learned(f"no system role: {source}", _has_system, document, source, status=status)
    for source, status, document in [
        (
            "OpenAI o1-mini",
            400,
            error(
                "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                param="messages[0].role",
                code="unsupported_value",
            ),
        ),
        (
            "vLLM with Gemma",
            400,
            {
                "object": "error",
                "message": "System role not supported",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        (
            "SGLang with Gemma",
            500,
            b"Internal Server Error: jinja2.exceptions.TemplateError: System role not supported",
        ),
        (
            "llama.cpp",
            500,
            {
                "error": {
                    "code": 500,
                    "message": "While executing CallExpression at line 1, column 69 in source:"
                    "\n... raise_exception('System role not supported') ...\nError: Jinja "
                    "Exception: System role not supported",
                    "type": "server_error",
                }
            },
        ),
        (
            "templates that alternate",
            400,
            {
                "object": "error",
                "message": "Conversation roles must alternate user/assistant/user/assistant/...",
                "type": "BadRequestError",
                "code": 400,
            },
        ),
        (
            "Gemma at Google",
            400,
            [
                {
                    "error": {
                        "code": 400,
                        "message": "Developer instruction is not enabled for models/gemma-3-27b-it",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ],
        ),
    ]
]

_LOGPROBS = [
    _learned(
        f"logprobs: {source}",
        _asks_logprobs,
        document,
        source,
        knobs=("search.judge_logprobs=5",),
        expected=LEARNT_IN_SEARCH,
    )
    for source, document in [
        ("proxies", error("logprobs is not supported")),
        (
            "OpenAI o-series",
            error(
                "You are not allowed to request logprobs from this model",
                param=None,
                code="invalid_request_error",
            ),
        ),
        ("Groq", error("`logprobs` is not supported with this model", param="logprobs")),
        ("Gemini", [{"error": {"code": 400, "message": "Logprobs is not enabled for this model"}}]),
    ]
]


def _too_long(write: Callable[[int, int], Any], status: int = 400) -> Callable[[], Script]:
    """Return what makes a script that takes no prompt with more than half of the history.

    Args:
        write: makes the body of the limit and the tokens of the prompt.
        status: HTTP status.
    """

    def make() -> Script:
        most = 0

        def script(asked: Asked, _good: dict[str, Any]) -> Sent | None:
            nonlocal most
            words = " ".join(text_of(message) for message in asked.body["messages"])
            count = words.count(HISTORY_WORD)
            most = max(most, count)
            if count <= most / 2:
                return None
            prompt_tokens = chars_of(asked.body) // 4
            excess = (count - most // 2) * (len(HISTORY_WORD) + 1) // 4
            document = write(prompt_tokens - excess, prompt_tokens)
            return Sent(document, status=status, is_usable=False)

        return script

    return make


def _context_of_prompt_and_answer() -> Script:
    """Return a script of a model whose context the first request overruns by half the history."""
    length = 0

    def script(asked: Asked, _good: dict[str, Any]) -> Sent | None:
        nonlocal length
        prompt, most = chars_of(asked.body) // 4, asked.max_tokens
        if not length:
            words = " ".join(text_of(message) for message in asked.body["messages"])
            length = prompt + most - words.count(HISTORY_WORD) * (len(HISTORY_WORD) + 1) // 8
        if prompt + most <= length:
            return None
        document = error(
            f"This model's maximum context length is {length} tokens. However, you requested "
            f"{prompt + most} tokens ({prompt} in the messages, {most} in the completion). "
            "Please reduce the length of the messages or completion.",
            param="messages",
            code="context_length_exceeded",
        )
        return Sent(document, status=400, is_usable=False)

    return script


CLIPPED = Expected(calls=12, repairs=6, may_degrade=True, min_answered=3)
"""Each call is asked once more with a shorter history, which counts as a repair. The search
asks no more than its six calls, repairs among them. Its five judge calls travel together, so
where all are refused it ends without a judgement; later turns know the length."""

_TOO_LONG = [
    Behaviour(
        f"context too long: {source}",
        "prompts",
        _too_long(write, status),
        CLIPPED,
        source,
        earlier_turns=3,
        counts_tokens=False,
    )
    for source, status, write in [
        (
            "llama.cpp",
            400,
            lambda limit, prompt: {
                "error": {
                    "code": 400,
                    "message": f"the request exceeds the available context size ({limit} "
                    "tokens), try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": prompt,
                    "n_ctx": limit,
                }
            },
        ),
        (
            "vLLM",
            400,
            lambda limit, prompt: {
                "object": "error",
                "message": f"This model's maximum context length is {limit} tokens. However, "
                f"your request has {prompt} input tokens. Please reduce the length of the "
                "input messages.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        (
            "Anthropic's compatible API",
            400,
            lambda limit, prompt: error(f"prompt is too long: {prompt} tokens > {limit} maximum"),
        ),
        (
            "SGLang",
            400,
            lambda limit, prompt: {
                "object": "error",
                "message": f"The input ({prompt} tokens) is longer than the model's context "
                f"length ({limit} tokens).",
                "type": "BadRequestError",
                "code": 400,
            },
        ),
        (
            "DashScope",
            400,
            lambda limit, _prompt: error(
                "<400> InternalError.Algo.InvalidParameter: Range of input length should be "
                f"[1, {limit}]",
                code="invalid_parameter_error",
            ),
        ),
        (
            "Gemini",
            400,
            lambda limit, prompt: [
                {
                    "error": {
                        "code": 400,
                        "message": f"The input token count ({prompt}) exceeds the maximum "
                        f"number of tokens allowed ({limit}).",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ],
        ),
    ]
]


def _small_context(asked: Asked) -> bool:
    return chars_of(asked.body) // 4 + asked.max_tokens > 1024


_TOO_SHORT = [
    Behaviour(
        "context too long: OpenAI",
        "prompts",
        _context_of_prompt_and_answer,
        CLIPPED,
        "OpenAI",
        earlier_turns=3,
        counts_tokens=False,
    ),
    Behaviour(
        "context too long: the first request, and there is no history",
        "prompts",
        refuses(
            first(),
            error(
                "This model's maximum context length is 4096 tokens. However, your messages "
                "resulted in 4310 tokens. Please reduce the length of the messages.",
                code="context_length_exceeded",
            ),
        ),
        survives(degraded=("ContextTooLong|context",)),
        "OpenAI",
    ),
    Behaviour(
        "context of 1,024 tokens",
        "prompts",
        refuses(
            _small_context,
            error("the request exceeds the available context size (1024 tokens)", n_ctx=1024),
        ),
        Expected(
            ends="fallback",
            calls=None,
            repairs=99,
            requests=32,
            degraded=("ContextTooLong|context",),
            may_degrade=True,
        ),
        "llama.cpp",
    ),
]

FILTERED_AT_AZURE = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
        "content management policy. Please modify your prompt and retry.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
        },
    }
}

FLAGGED_AT_OPENROUTER = {
    "error": {
        "message": 'Input requires moderation on OpenAI. Your input was flagged for "violence".',
        "code": 403,
        "metadata": {
            "reasons": ["violence"],
            "flagged_input": "I lost my job…",
            "provider_name": "OpenAI",
            "model_slug": "openai/gpt-4o",
        },
    }
}

INSPECTED_AT_DASHSCOPE = error(
    "Input data may contain inappropriate content.",
    type="data_inspection_failed",
    code="data_inspection_failed",
)

THOUGHTS_APART = survives(calls=11, requests=11, degraded=(".",))
"""The first call of the turn fails, and its three parts are asked apart."""

_MODERATED = [
    Behaviour(
        "moderated: OpenRouter, the first request",
        "requests",
        refuses(first(), FLAGGED_AT_OPENROUTER, 403),
        THOUGHTS_APART,
        "OpenRouter",
    ),
    Behaviour(
        "moderated: Azure, one request for candidates",
        "requests",
        scripted_for_each_server(refusing(FILTERED_AT_AZURE), first_of(wants_candidates)),
        survives(calls=8, requests=8),
        "Azure OpenAI",
    ),
    Behaviour(
        "moderated: DashScope, the judge always",
        "reporting",
        refuses(is_judge, INSPECTED_AT_DASHSCOPE),
        survives(calls=8, requests=8, degraded=("judge", "ContentRefused|inappropriate")),
        "DashScope",
    ),
    Behaviour(
        "moderated: Moonshot, the first request",
        "requests",
        refuses(
            first(),
            error(
                "The request was rejected because it was considered high risk",
                type="content_filter",
            ),
        ),
        THOUGHTS_APART,
        "Moonshot",
    ),
    Behaviour(
        "moderated: OpenRouter, always",
        "requests",
        refuses(lambda _asked: True, FLAGGED_AT_OPENROUTER, 403),
        Expected(
            ends="fallback",
            calls=None,
            requests=16,
            degraded=("ContentRefused|moderation",),
            may_degrade=True,
        ),
        "OpenRouter",
    ),
]

NO_QUOTA = stops("QuotaExhausted", "quota|credit|balance|good standing")

_QUOTA = [
    Behaviour(
        f"quota: {source}",
        "requests",
        refuses(lambda _asked: True, document, status),
        NO_QUOTA,
        source,
    )
    for source, status, document in [
        (
            "OpenAI",
            429,
            error(
                "You exceeded your current quota, please check your plan and billing details.",
                type="insufficient_quota",
                code="insufficient_quota",
            ),
        ),
        ("DeepSeek", 402, error("Insufficient Balance", type="unknown_error")),
        (
            "OpenRouter",
            402,
            {"error": {"message": "Insufficient credits. Add more to continue.", "code": 402}},
        ),
        (
            "Moonshot",
            429,
            error(
                "Your account org-1 is suspended due to insufficient balance, please recharge "
                "your account or check your plan and billing details",
                type="exceeded_current_quota_error",
            ),
        ),
        (
            "DashScope",
            400,
            error(
                "Access denied, please make sure your account is in good standing.",
                type="Arrearage",
                code="Arrearage",
            ),
        ),
    ]
]

_LOADING = [
    Behaviour(
        f"model loading: {source}",
        "requests",
        refuses(first(5), document, 503),
        reply(extra_requests=5, is_exact=True),
        source,
    )
    for source, document in [
        (
            "llama.cpp",
            {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        ),
        (
            "Hugging Face",
            {"error": "Model Qwen/Qwen3-8B is currently loading", "estimated_time": 20.0},
        ),
        ("Ollama", error("llm server loading model", type="api_error")),
    ]
]

REFUSALS = [
    *_SCHEMA,
    *_NO_FORMAT,
    *_WORD,
    *_TEMPERATURE,
    *_TOKENS,
    *_SYSTEM,
    *_LOGPROBS,
    *_TOO_LONG,
    *_TOO_SHORT,
    *_MODERATED,
    *_QUOTA,
    *_LOADING,
]
"""One behaviour for each provider's words, line by line of the table."""

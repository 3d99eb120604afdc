"""Behaviours of the same kinds as the tables' lines, as users of other projects report them."""

import json
import re
from dataclasses import replace
from typing import Any

from tests.providers.behaviour import (
    Behaviour,
    Expected,
    content,
    every,
    is_judge,
    message,
    odd_document,
    odd_text,
    once,
    read,
    reply,
    scripted,
    stops,
    survives,
    wants_candidates,
)
from tests.providers.refusals import (
    LEARNT_IN_SEARCH,
    error,
    extra_field,
    field_refused,
    first,
    has_fixed_temperature,
    has_schema,
    refuses,
)
from tests.providers.responses import as_tool_call
from tests.providers.server import Asked, Sent
from tests.providers.texts import DRAFT, cut_in_item, draft_of

__all__ = ["UNSEEN"]

NO_DRAFT = reply(never=(DRAFT,))


def _camel(document: Any, _asked: Asked) -> Any:
    def renamed(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                re.sub(r"_(\w)", lambda found: found[1].upper(), name): renamed(value)
                for name, value in node.items()
            }
        return [renamed(item) for item in node] if isinstance(node, list) else node

    return renamed(document)


def _legacy_function_call(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["function_call"] = {"name": "answer", "arguments": content(good)}
    message(good)["content"] = None
    good["choices"][0]["finish_reason"] = "function_call"
    return Sent(good)


def _as_parts(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["content"] = [{"type": "text", "text": content(good)}]
    return Sent(good)


def _as_parts_with_thoughts(_asked: Asked, good: dict[str, Any]) -> Sent:
    thoughts = [{"type": "text", "text": draft_of(content(good))}]
    message(good)["content"] = [
        {"type": "thinking", "thinking": thoughts},
        {"type": "text", "text": content(good)},
    ]
    return Sent(good)


def _as_object(_asked: Asked, good: dict[str, Any]) -> Sent:
    message(good)["content"] = json.loads(content(good))
    return Sent(good)


def _after_blank_lines(_asked: Asked, good: dict[str, Any]) -> Sent:
    return Sent(b"\n\n\n\n" + json.dumps(good).encode())


def _as_event_stream(_asked: Asked, good: dict[str, Any]) -> Sent:
    choice = {"index": 0, "delta": message(good), "finish_reason": "stop"}
    chunk = {**good, "object": "chat.completion.chunk", "choices": [choice]}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
    return Sent(
        data, headers={"Content-Type": "text/event-stream"}, is_usable=False, has_usage=False
    )


def _broken_off(_asked: Asked, good: dict[str, Any]) -> Sent:
    data = json.dumps(good).encode()
    return Sent(data[: len(data) // 2], promised_bytes=len(data), is_usable=False, has_usage=False)


def _finish_reason(value: str | None) -> Any:
    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        good["choices"][0]["finish_reason"] = value
        return Sent(good)

    return odd


def _candidates_as_texts(document: Any, _asked: Asked) -> Any:
    return {**document, "candidates": [each["reply"] for each in document["candidates"]]}


def _verdicts_by_label(document: Any, _asked: Asked) -> Any:
    return {"verdicts": {each.pop("id"): each for each in document["verdicts"]}}


def _list_alone(document: Any, _asked: Asked) -> Any:
    lists = [value for value in document.values() if isinstance(value, list)]
    return lists[0]


def _null_as_text(document: Any, _asked: Asked) -> Any:
    def changed(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                name: "null" if name in {"stage_hint", "persona"} else changed(value)
                for name, value in node.items()
            }
        return [changed(item) for item in node] if isinstance(node, list) else node

    return changed(document)


def _not_available(document: Any, _asked: Asked) -> Any:
    for verdict in document["verdicts"]:
        verdict["persona"] = "N/A"
    return document


def _full_width(text: str) -> str:
    """Return an answer whose punctuation between texts is Chinese."""
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
    return "".join(
        part if part.startswith('"') else part.replace(":", "：").replace(",", "，")
        for part in parts
    )


def _schema_around(text: str) -> str:
    return json.dumps({"type": "object", "properties": json.loads(text)}, ensure_ascii=False)


_HARMONY = (
    "<|channel|>analysis<|message|>{thoughts}<|end|><|start|>assistant<|channel|>final"
    "<|constrain|>json<|message|>{text}"
)


def _in_channels(text: str) -> str:
    return _HARMONY.format(thoughts=f"We need JSON, say {draft_of(text)}.", text=text)


def _channels_without_marks(text: str) -> str:
    return f"analysisWe need to answer with JSON, warmly.assistantfinal{text}"


_READ = [
    read(name, odd, when, source=source, expected=expected)
    for name, source, when, odd, expected in [
        (
            "channels of harmony in the text",
            "reported for llama.cpp",
            every,
            odd_text(_in_channels),
            NO_DRAFT,
        ),
        (
            "channels of harmony without their marks",
            "reported for mlx-lm",
            every,
            odd_text(_channels_without_marks),
            reply(),
        ),
        (
            "a tool call in the text",
            "reported for vLLM",
            every,
            odd_text(lambda text: f'{{"name": "answer", "parameters": {text}}}'),
            reply(),
        ),
        (
            "a tool call in tags in the text",
            "reported for vLLM",
            every,
            odd_text(
                lambda text: f'<tool_call>\n{{"name": "answer", "arguments": {text}}}\n</tool_call>'
            ),
            reply(),
        ),
        (
            "arguments nested in arguments",
            "reported for Ollama",
            every,
            as_tool_call(lambda text: f'{{"name": "answer", "arguments": {text}}}'),
            reply(),
        ),
        (
            "the older function_call",
            "reported for LangChain",
            every,
            _legacy_function_call,
            reply(),
        ),
        ("content as typed parts", "reported for LangChain", every, _as_parts, reply()),
        (
            "content as parts, thoughts first",
            "reported for Mistral's client",
            every,
            _as_parts_with_thoughts,
            NO_DRAFT,
        ),
        ("content as an object", "reported for litellm", every, _as_object, reply()),
        (
            "blank lines before the response",
            "documented by DeepSeek",
            every,
            _after_blank_lines,
            reply(),
        ),
        (
            "end marks of a template after the JSON",
            "reported for vLLM",
            every,
            odd_text(lambda text: f"{text}<|im_end|>\n<|endoftext|></s>"),
            reply(),
        ),
        (
            "the last brace left out",
            "reported for Qwen",
            every,
            odd_text(lambda text: text.rstrip()[:-1]),
            reply(),
        ),
        (
            "an example in a fence before the answer",
            "reported for instructor",
            every,
            odd_text(
                lambda text: (
                    f"For example:\n```json\n{draft_of(text)}\n```\nSo my answer is:\n"
                    f"```json\n{text}\n```"
                )
            ),
            NO_DRAFT,
        ),
        (
            "a draft and its revision",
            "reported for LangChain",
            every,
            odd_text(lambda text: f"Draft: {draft_of(text)}\n\nRevised: {text}"),
            NO_DRAFT,
        ),
        (
            "Chinese colons and commas",
            "reported for Qwen",
            every,
            odd_text(_full_width),
            reply(),
        ),
        ("finish_reason null", "reported for LiteLLM", every, _finish_reason(None), reply()),
        ("finish_reason eos", "reported for TGI", every, _finish_reason("eos_token"), reply()),
        ("finish_reason STOP", "reported for Gemini", every, _finish_reason("STOP"), reply()),
        (
            "keys in camel case",
            "reported for instructor",
            every,
            odd_document(_camel),
            reply(),
        ),
        (
            "null as text",
            "reported for instructor",
            every,
            odd_document(_null_as_text),
            reply(is_same=False),
        ),
        (
            "N/A instead of a score",
            "reported for LangChain",
            is_judge,
            odd_document(_not_available),
            reply(is_same=False),
        ),
        (
            "verdicts by label",
            "reported for LangChain",
            is_judge,
            odd_document(_verdicts_by_label),
            reply(),
        ),
        (
            "the list alone",
            "reported for Ollama",
            is_judge,
            odd_document(_list_alone),
            reply(),
        ),
        (
            "candidates as texts",
            "reported for Ollama",
            wants_candidates,
            odd_document(_candidates_as_texts),
            reply(is_same=False),
        ),
        (
            "cut without a finish_reason",
            "reported for OpenRouter",
            wants_candidates,
            odd_text(lambda text: cut_in_item(text, 2)),
            reply(is_same=False),
        ),
        (
            "reasoning_details besides the answer",
            "reported for OpenRouter",
            every,
            lambda _asked, good: Sent(
                {
                    **good,
                    "choices": [
                        {
                            **good["choices"][0],
                            "message": {
                                **message(good),
                                "reasoning": draft_of(content(good)),
                                "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
                            },
                        }
                    ],
                    "provider": "Together",
                }
            ),
            NO_DRAFT,
        ),
    ]
]

_ONCE = [
    once(
        "choices null and a 429 under 200 once",
        Sent(
            {
                "id": None,
                "choices": None,
                "usage": None,
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "Too Many Requests", "provider_name": "Hyperbolic"},
                },
            },
            is_usable=False,
            has_usage=False,
        ),
        "reported for inspect_ai",
    ),
    Behaviour(
        "an event stream that nothing asked for, once",
        "requests",
        scripted(_as_event_stream, first()),
        Expected(extra_requests=1),
        "reported for one-api",
        counts_tokens=False,
    ),
    Behaviour(
        "the body broken off once",
        "requests",
        scripted(_broken_off, first()),
        reply(extra_requests=1, is_exact=True),
        "reported for aiohttp",
        counts_tokens=False,
    ),
    once(
        "an empty body once",
        Sent(b"", is_usable=False, has_usage=False),
        "reported for LocalAI",
    ),
    once(
        "a page of a firewall with status 524 once",
        Sent(
            b"<html><title>524: A timeout occurred</title></html>",
            status=524,
            headers={"Content-Type": "text/html"},
            is_usable=False,
        ),
        "reported for Cloudflare",
    ),
    Behaviour(
        "JSON that the server found invalid, once",
        "requests",
        refuses(
            first(),
            {
                "error": {
                    "message": "Failed to generate JSON. Please adjust your prompt. See "
                    "'failed_generation' for more details.",
                    "type": "invalid_request_error",
                    "code": "json_validate_failed",
                    "failed_generation": '{"detection": {"context": "The user',
                }
            },
        ),
        survives(calls=11, requests=12),
        "reported for Groq",
        counts_tokens=False,
    ),
    Behaviour(
        "the schema around the answer, once",
        "answers",
        scripted(odd_text(_schema_around), first()),
        survives(calls=9, requests=9, repairs=1, may_degrade=False),
        "reported for LangChain",
    ),
    Behaviour(
        "408 once",
        "requests",
        refuses(first(), {"error": {"message": "Request timed out", "code": 408}}, 408),
        reply(extra_requests=1, is_exact=True),
        "reported for OpenRouter",
    ),
    Behaviour(
        "429 three times without Retry-After",
        "requests",
        refuses(first(3), {"error": {"message": "Rate limit exceeded", "code": 429}}, 429),
        reply(extra_requests=3, is_exact=True),
        "reported for OpenRouter",
    ),
    Behaviour(
        "503 overloaded once",
        "requests",
        refuses(first(), b"no available server", 503),
        reply(extra_requests=1, is_exact=True),
        "reported for vLLM behind Traefik",
    ),
    Behaviour(
        "prose instead of JSON, once",
        "answers",
        scripted(
            odd_text(lambda _text: "I'm sorry to hear that. Would you like to talk about it?"),
            first(),
        ),
        survives(
            calls=9, requests=9, repairs=1, min_repairs=1, min_unreadable=1, may_degrade=False
        ),
        "reported for small models",
    ),
    Behaviour(
        "prose instead of scores, always",
        "reporting",
        scripted(
            odd_text(lambda _text: "They are all quite good, but the third one is warmest."),
            is_judge,
        ),
        survives(calls=8, requests=8, min_unreadable=5, degraded=("judge",)),
        "reported for small models",
    ),
]

_REFUSED = [
    Behaviour(
        f"schema: {source}",
        "requests",
        refuses(has_schema, document, status),
        reply(extra_requests=1),
        source,
    )
    for source, status, document in [
        (
            "reported for Gemini",
            400,
            [
                {
                    "error": {
                        "code": 400,
                        "message": 'Invalid JSON payload received. Unknown name "$defs" at '
                        "'generation_config.response_schema': Cannot find field.",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ],
        ),
        (
            "reported for llama.cpp",
            400,
            {
                "error": {
                    "code": 400,
                    "message": "Failed to parse grammar",
                    "type": "invalid_request_error",
                }
            },
        ),
        ("reported for Fireworks", 400, error("json_schema is not supported for this model")),
        (
            "reported for xgrammar in vLLM",
            400,
            {
                "object": "error",
                "message": "The provided JSON schema contains features not supported by xgrammar.",
                "type": "BadRequestError",
                "code": 400,
            },
        ),
    ]
] + [
    Behaviour(
        "temperature: deprecated, reported for Claude",
        "requests",
        refuses(has_fixed_temperature, error("`temperature` is deprecated for this model.")),
        reply(extra_requests=1),
        "reported for Claude",
    ),
    Behaviour(
        "seed: reported for Mistral",
        "requests",
        refuses(field_refused("seed"), extra_field("seed"), 422),
        LEARNT_IN_SEARCH,
        "reported for Mistral",
        shows=False,
    ),
    Behaviour(
        "seed: reported for OpenAI-compatible proxies",
        "requests",
        refuses(field_refused("seed"), error("Unrecognized request argument supplied: seed")),
        LEARNT_IN_SEARCH,
        "reported for litellm",
        shows=False,
    ),
    Behaviour(
        "two facts in one turn: schema and temperature",
        "requests",
        scripted(
            lambda asked, _good: Sent(
                error("This response_format type is unavailable now")
                if has_schema(asked)
                else error("invalid temperature: only 1 is allowed for this model"),
                status=400,
                is_usable=False,
            ),
            lambda asked: has_schema(asked) or has_fixed_temperature(asked),
        ),
        reply(extra_requests=2),
        "reported for Kimi at DeepSeek-like gateways",
    ),
    Behaviour(
        "four facts in one turn",
        "requests",
        scripted(
            lambda asked, _good: Sent(
                error("Unsupported parameter: 'response_format'", param="response_format")
                if "response_format" in asked.body
                else error("Unsupported parameter: 'temperature'", param="temperature")
                if "temperature" in asked.body
                else error(
                    "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
                    param="max_tokens",
                ),
                status=400,
                is_usable=False,
            ),
            lambda asked: bool(
                {"response_format", "temperature", "max_tokens"} & asked.body.keys()
            ),
        ),
        reply(extra_requests=4),
        "reported for o1-preview",
    ),
]

_STOPPED = [
    Behaviour(
        "a wrong key as 400",
        "requests",
        refuses(
            every,
            [
                {
                    "error": {
                        "code": 400,
                        "message": "API key not valid. Please pass a valid API key.",
                        "status": "INVALID_ARGUMENT",
                        "details": [{"reason": "API_KEY_INVALID"}],
                    }
                }
            ],
        ),
        stops("AuthFailed", "key"),
        "reported for Gemini",
    ),
    Behaviour(
        "a country that is not served",
        "requests",
        refuses(
            every,
            error(
                "Country, region, or territory not supported",
                code="unsupported_country_region_territory",
                type="request_forbidden",
            ),
            403,
        ),
        stops("EndpointError", "country"),
        "reported for OpenAI",
    ),
    Behaviour(
        "no credits, under 200",
        "requests",
        scripted(
            lambda _asked, _good: Sent(
                {"error": {"message": "Insufficient credits", "code": 402}},
                is_usable=False,
                has_usage=False,
            )
        ),
        stops("QuotaExhausted", "credit|quota"),
        "reported for OpenRouter",
    ),
    Behaviour(
        "quota: in Chinese",
        "requests",
        refuses(
            every, {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}}, 429
        ),
        stops("QuotaExhausted", "欠费|quota"),
        "reported for Zhipu",
    ),
    Behaviour(
        "a parameter that must be set and is not",
        "settings",
        refuses(
            lambda asked: asked.body.get("enable_thinking") is not False,
            error(
                "parameter.enable_thinking must be set to false for non-streaming calls",
                code="invalid_parameter_error",
            ),
        ),
        Expected(ends="error", error="BadRequest", says=("enable_thinking",), requests=16),
        "reported for DashScope",
    ),
    Behaviour(
        "a request too large for the minute's tokens",
        "prompts",
        refuses(
            first(),
            error(
                "Request too large for model `llama-3` on tokens per minute (TPM): Limit 6000, "
                "Requested 9876, please reduce your message size and try again.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
            413,
        ),
        survives(degraded=(".",)),
        "reported for Groq",
    ),
    Behaviour(
        "moderated: a code that says so with another status",
        "requests",
        refuses(
            first(),
            error(
                "Invalid prompt: your prompt was flagged as potentially violating our usage "
                "policy.",
                code="invalid_prompt",
            ),
        ),
        survives(calls=11, requests=11, degraded=(".",)),
        "reported for OpenAI",
    ),
]

UNSEEN = [replace(each, is_extra=True) for each in (*_READ, *_ONCE, *_REFUSED, *_STOPPED)]
"""None of them is a line of the tables; each is of a kind that is."""

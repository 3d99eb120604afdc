"""Usage as a provider reports it, checked so that its figures can be added up.

Every figure has a defined result. One that is no number, negative, or larger than any call can
use (`MAX_TOKENS`, `MAX_USD`) is unknown. Figures that contradict each other are read as what
may be billed at most: a total above the sum of its parts adds to the output, thoughts that
exceed the output are counted apart from it, and no more of a prompt is cached than it has.
Whatever had to be read so is noted in `ReportedUsage.odd`.

A figure that is possible and far beyond the size of the texts is counted as reported, because
it may be billed, and noted (`usage_note`).
"""

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any

import orjson

from callwise.calls.call import Call
from callwise.calls.payload import member
from callwise.calls.reply import Reply, ReportedUsage

__all__ = [
    "MAX_TOKENS",
    "MAX_USD",
    "checked_usage",
    "known_usage",
    "usage_note",
    "usage_of_body",
]

MAX_TOKENS, MAX_USD = 10**9, 10.0**4
"""The most that one call can plausibly use and cost; a larger figure is unknown."""

MAX_SHOWN_CHARS = 20
"""Length of a figure that cannot be right that is repeated, in characters."""

SLACK_TOKENS = 4096
"""Tokens beyond one for each byte of the texts that are not remarked on: chat templates,
images, and thoughts that a provider counts without showing them."""


def usage_of_body(body: Mapping[str, Any]) -> ReportedUsage:
    """Return the usage that a response body reports."""
    usage = body.get("usage")
    cached = member(member(usage, "prompt_tokens_details"), "cached_tokens")
    if cached is None:
        cached = member(usage, "prompt_cache_hit_tokens")  # DeepSeek's name for it
    prompt, completion = member(usage, "prompt_tokens"), member(usage, "completion_tokens")
    cost = member(usage, "cost")  # OpenRouter's
    reasoning = member(member(usage, "completion_tokens_details"), "reasoning_tokens")
    total = member(usage, "total_tokens")
    # No prompt has no tokens: servers that do not count report 0.
    if prompt == 0 and not isinstance(prompt, bool):
        prompt = None
    reported = ReportedUsage(prompt, completion, cached, cost, reasoning)
    if _is_possible(reported) and (
        total is None or (type(total) is int and total == prompt + completion)
    ):
        return reported
    return _settled(prompt, completion, cached, cost, reasoning, total=total)


def known_usage(body: Mapping[str, Any]) -> ReportedUsage | None:
    """Return the usage that a response without an answer reports; None where it reports none."""
    usage = usage_of_body(body)
    return None if usage.input_tokens is None and usage.output_tokens is None else usage


def checked_usage(usage: ReportedUsage) -> ReportedUsage:
    """Return a client's usage with every figure possible; the same object where it is so."""
    if _is_possible(usage):
        return usage
    prompt, completion, usd = usage.input_tokens, usage.output_tokens, usage.usd
    cached, reasoning = usage.cached_tokens, usage.reasoning_tokens
    settled = _settled(prompt, completion, cached, usd, reasoning, odd=usage.odd)
    is_whole = {type(each) for each in (prompt, completion, cached, reasoning)} <= {int, NoneType}
    return usage if is_whole and settled == usage else settled


def usage_note(call: Call, reply: Reply) -> str:
    """Return what is to be remarked on the usage of an answer; empty where nothing is."""
    usage = reply.usage
    notes = [usage.odd] if usage.odd else []
    input_tokens = usage.input_tokens or 0
    # Characters first, which are at most as many as bytes, and need no encoding.
    if input_tokens > SLACK_TOKENS + sum(len(message.content) for message in call.messages):
        size = _prompt_bytes(call)
        if input_tokens > SLACK_TOKENS + size:
            notes.append(f"{input_tokens:,} prompt tokens of a prompt of {size:,} bytes")
    output_tokens = (usage.output_tokens or 0) - (usage.reasoning_tokens or 0)
    if output_tokens > SLACK_TOKENS:
        size = _answer_bytes(reply)
        if output_tokens > SLACK_TOKENS + size:
            notes.append(f"{output_tokens:,} completion tokens of an answer of {size:,} bytes")
    return f"odd usage ({'; '.join(notes)})" if notes else ""


def _is_possible(usage: ReportedUsage) -> bool:
    """Return whether prompt and answer were counted, and no figure contradicts another."""
    usd, cached, reasoning = usage.usd, usage.cached_tokens, usage.reasoning_tokens
    return (
        _is_within(usage.input_tokens, MAX_TOKENS)
        and _is_within(usage.output_tokens, MAX_TOKENS)
        and (cached is None or _is_within(cached, usage.input_tokens or 0))
        and (reasoning is None or _is_within(reasoning, usage.output_tokens or 0))
        and (usd is None or (type(usd) is float and 0.0 <= usd <= MAX_USD))
    )


def _is_within(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _settled(
    prompt: Any,
    completion: Any,
    cached: Any,
    cost: Any,
    reasoning: Any,
    *,
    total: Any = None,
    odd: str = "",
) -> ReportedUsage:
    notes = [odd] if odd else []

    def tokens(name: str, value: Any) -> int | None:
        number = _number(value, MAX_TOKENS)
        if number is None and value is not None:
            notes.append(f"{name} {_shown(value)}")
        return None if number is None else math.ceil(number)

    input_tokens = tokens("prompt_tokens", prompt)
    output_tokens = tokens("completion_tokens", completion)
    cached_tokens = tokens("cached_tokens", cached)
    reasoning_tokens = tokens("reasoning_tokens", reasoning)
    total_tokens = tokens("total_tokens", total)
    usd = _number(cost, MAX_USD)
    if usd is None and cost is not None:
        notes.append(f"cost {_shown(cost)}")
    input_tokens, output_tokens = _with_total(input_tokens, output_tokens, total_tokens, notes)
    if output_tokens is not None and (reasoning_tokens or 0) > output_tokens:
        notes.append(f"reasoning_tokens {reasoning_tokens} of {output_tokens}")
        output_tokens = min(output_tokens + (reasoning_tokens or 0), MAX_TOKENS)
    if cached_tokens is not None and input_tokens is not None and cached_tokens > input_tokens:
        notes.append(f"cached_tokens {cached_tokens} of {input_tokens}")
        cached_tokens = input_tokens
    return ReportedUsage(
        input_tokens, output_tokens, cached_tokens, usd, reasoning_tokens, odd=", ".join(notes)
    )


def _with_total(
    input_tokens: int | None, output_tokens: int | None, total: int | None, notes: list[str]
) -> tuple[int | None, int | None]:
    """Return input and output tokens with what the total adds to them."""
    if total is None:
        return input_tokens, output_tokens
    if input_tokens is None and output_tokens is not None:
        return (total - output_tokens if total > output_tokens else None), output_tokens
    if input_tokens is None or (output_tokens is None and total <= input_tokens):
        return input_tokens, output_tokens
    if output_tokens is None or total == input_tokens + output_tokens:
        return input_tokens, total - input_tokens
    notes.append(f"total_tokens {total} of {input_tokens} and {output_tokens}")
    return input_tokens, max(output_tokens, total - input_tokens)


def _number(value: Any, most: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= most else None


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"of {value.bit_length()} bits"
    return repr(value)[:MAX_SHOWN_CHARS]


def _prompt_bytes(call: Call) -> int:
    texts = [*call.inputs, *(message.content for message in call.messages)]
    extras = [message.tool_calls for message in call.messages if message.tool_calls]
    size = sum(len(str(text).encode("utf-8", "surrogatepass")) for text in texts)
    model = call.response_model
    schema = model.model_json_schema() if model is not None else None
    return size + len(orjson.dumps([extras, call.tools, schema], default=dict))


def _answer_bytes(reply: Reply) -> int:
    texts = (reply.text, reply.reasoning_text, *reply.choices)
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return size + len(orjson.dumps(list(reply.tool_calls), default=dict))

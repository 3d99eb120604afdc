"""Conversations that share one request: its body, and its response as one reply for each.

The route takes a list of conversations with one set of parameters, and answers one choice for
each, by index. It reports its usage as one sum, which is apportioned: every whole number of it
is given to one of the calls, by the length of their texts.

Invariant: the parts of a usage add up to what was reported, figure by figure.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, TypeVar

from callwise.calls.call import Call
from callwise.calls.errors import BadResponse, BatchFailed, CallError
from callwise.calls.payload import document_of, member
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.reported_usage import known_usage, usage_of_body
from callwise.calls.wire import reply_of_chat

__all__ = [
    "apportioned",
    "apportioned_usage",
    "failures_of",
    "input_weight",
    "joint_body",
    "replies_of_choices",
    "reported_by",
    "usage_sum",
]

N = TypeVar("N", int, float)

MESSAGE_BYTES = 16
"""Bytes that a message adds to its text: its role and its delimiters."""

PICODOLLARS = 10**12


def joint_body(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the request body of several conversations.

    Raises:
        ValueError: when they differ in something that the request has once.
    """
    first, *others = ({**body, "messages": None} for body in bodies)
    for other in others:
        if other != first:
            names = sorted(first.keys() | other.keys())
            different = [name for name in names if first.get(name) != other.get(name)]
            raise ValueError(f"conversations of one request differ in {', '.join(different)}")
    return {**first, "messages": [body["messages"] for body in bodies]}


def apportioned(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole parts of a total, in proportion to weights; equal ones where all are 0."""
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    edges = [total * part // whole for part in accumulate(weights, initial=0)]
    return [upper - lower for lower, upper in pairwise(edges)]


def apportioned_usage(
    usage: ReportedUsage, input_weights: Sequence[int], output_weights: Sequence[int]
) -> list[ReportedUsage]:
    """Return each call's part of a usage that was reported as one sum.

    What was not reported is unknown for each of them.

    Args:
        input_weights: length of each call's prompt, in any unit.
        output_weights: length of each call's answer, likewise; 0 where it got none.
    """
    count = len(input_weights)
    unknown: list[None] = [None] * count
    inputs: Sequence[int | None] = unknown
    outputs: Sequence[int | None] = unknown
    cached: Sequence[int | None] = unknown
    reasoning: Sequence[int | None] = unknown
    usd: Sequence[float | None] = unknown
    if usage.input_tokens is not None:
        inputs = parts = apportioned(usage.input_tokens, input_weights)
        if usage.cached_tokens is not None:
            cached = apportioned(usage.cached_tokens, parts)
    if usage.output_tokens is not None:
        outputs = parts = apportioned(usage.output_tokens, output_weights)
        if usage.reasoning_tokens is not None:
            reasoning = apportioned(usage.reasoning_tokens, parts)
    if usage.usd is not None:
        weights = list(map(sum, zip(input_weights, output_weights, strict=True)))
        picodollars = apportioned(round(usage.usd * PICODOLLARS), weights)
        usd = [part / PICODOLLARS for part in picodollars]
    return [
        ReportedUsage(*figures, odd=usage.odd)
        for figures in zip(inputs, outputs, cached, usd, reasoning, strict=True)
    ]


def usage_sum(usages: Sequence[ReportedUsage]) -> ReportedUsage:
    """Return several usages as one; what is unknown of one of them is unknown of the sum."""
    first, *others = usages
    for other in others:
        first = ReportedUsage(
            _sum(first.input_tokens, other.input_tokens),
            _sum(first.output_tokens, other.output_tokens),
            _sum(first.cached_tokens, other.cached_tokens),
            _sum(first.usd, other.usd),
            _sum(first.reasoning_tokens, other.reasoning_tokens),
            odd=first.odd or other.odd,
        )
    return first


def input_weight(call: Call) -> int:
    """Return the length of a call's prompt, about, in bytes."""
    size = sum(_bytes(message.content) + MESSAGE_BYTES for message in call.messages)
    return size + sum(map(_bytes, call.inputs))


def replies_of_choices(
    document: Mapping[str, Any], calls: Sequence[Call], *, latency_seconds: float
) -> list[Reply | CallError]:
    """Return the reply to each of the conversations that one response answers.

    A conversation without a choice of its index, or with several, got no answer: it ends in
    `BatchFailed`, with its part of the usage, and is asked alone. So do all of them where
    indices are counted from another number than 0, such as 1.

    Raises:
        BadResponse: when the document is no chat completion.
    """
    choices = document.get("choices")
    if not isinstance(choices, list):
        error = BadResponse(
            "expected a chat completion with one of `choices[]` for each conversation, "
            f"got an object with keys {sorted(map(str, document))[:8]}",
            latency_seconds=latency_seconds,
        )
        error.usage = known_usage(document)
        raise error
    by_index: dict[int, list[Any]] = {}
    for choice in choices:
        index = member(choice, "index")
        if type(index) is int:
            by_index.setdefault(index, []).append(choice)
    first = min(by_index, default=0)
    if first and by_index.keys() == set(range(first, first + len(calls))):
        by_index.clear()
    results: list[Reply | CallError] = []
    for index, call in enumerate(calls):
        given = by_index.get(index, [])
        if len(given) == 1 and not member(given[0], "error"):
            one = {**document, "choices": given, "usage": None}
            results.append(_result(one, call, latency_seconds))
            continue
        found = "an error" if len(given) == 1 else f"{len(given)} choices"
        problem = f"{len(calls)} conversations were answered with {found} for that of index {index}"
        results.append(BatchFailed.by(BadResponse(problem, latency_seconds=latency_seconds)))
    weights = [_output_weight(result) for result in results]
    usage = usage_of_body(document)
    if usage.output_tokens == 0 and any(weights):
        usage = ReportedUsage(usage.input_tokens, None, usage.cached_tokens, usage.usd)
    parts = apportioned_usage(usage, list(map(input_weight, calls)), weights)
    return [_with_usage(result, part) for result, part in zip(results, parts, strict=True)]


def failures_of(failure: CallError, calls: Sequence[Call]) -> list[Reply | CallError]:
    """Return the failure of each call of a request that failed, with its part of the usage."""
    failures = [copy(failure) for _ in calls]
    if failure.usage is not None:
        weights = list(map(input_weight, calls))
        parts = apportioned_usage(failure.usage, weights, weights)
        for each, part in zip(failures, parts, strict=True):
            each.usage = part
    return list(failures)


def reported_by(content: bytes) -> ReportedUsage | None:
    """Return the usage in the body of a response that failed; None where it has none."""
    try:
        document = document_of(content)
    except ValueError:
        return None
    return known_usage(document) if isinstance(document, Mapping) else None


def _result(document: Mapping[str, Any], call: Call, latency_seconds: float) -> Reply | CallError:
    """Return how one conversation of a batch ended, without its usage."""
    is_structured = call.response_model is not None
    try:
        return reply_of_chat(document, latency_seconds=latency_seconds, is_structured=is_structured)
    except BadResponse as error:
        return BatchFailed.by(error)
    except CallError as error:
        return error


def _with_usage(result: Reply | CallError, usage: ReportedUsage) -> Reply | CallError:
    if isinstance(result, Reply):
        return replace(result, usage=usage)
    if usage.total_tokens is not None:
        result.usage = usage
    return result


def _output_weight(result: Reply | CallError) -> int:
    if not isinstance(result, Reply):
        return 0
    return _bytes(result.text) + _bytes(result.reasoning_text)


def _sum(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))

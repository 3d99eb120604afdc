"""Responses of the simulated server: OpenAI bodies, whole, in chunks, failing or cut."""

import base64
import math
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from callwise.calls.reply import ReportedUsage, TokenLogprobs
from callwise.simulator.faults import Fault
from callwise.simulator.model import (
    SimulatedAnswer,
    pieces_of,
    simulated_name,
)
from callwise.simulator.service_limits import RefusedByLimit

__all__ = [
    "SIMULATED_HEADERS",
    "chat_batch_response",
    "chat_response",
    "cut",
    "embeddings_response",
    "error_response",
    "failure",
    "json_response",
    "limit_response",
    "sse_events",
    "status_of",
    "stream",
]

CREATED = 0
"""`created` of every response: no clock, so that equal requests get equal bytes."""


def _usage(usage: ReportedUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _head(kind: str, model: str, request_id: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-simulated-{request_id}",
        "object": kind,
        "created": CREATED,
        "model": simulated_name(model),
    }


def chat_response(answer: SimulatedAnswer, *, model: str, request_id: str) -> dict[str, Any]:
    """Return a chat completion body; `request_id` is a part of the completion's id."""
    choices = []
    for index, text in enumerate(answer.texts):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if answer.tool_calls:
            message["content"] = None
            message["tool_calls"] = [dict(call) for call in answer.tool_calls]
        choice = {"index": index, "message": message, "finish_reason": answer.finish_reason}
        if answer.odds:
            choice["logprobs"] = _logprobs(answer.odds[index].tokens_of(text))
        choices.append(choice)
    head = _head("chat.completion", model, request_id)
    return {**head, "choices": choices, "usage": _usage(answer.usage)}


def chat_batch_response(
    answers: Sequence[SimulatedAnswer], *, model: str, request_id: str
) -> dict[str, Any]:
    """Return one body for several conversations: a choice for each, their usage together."""
    bodies = [chat_response(answer, model=model, request_id=request_id) for answer in answers]
    choices = [{**body["choices"][0], "index": index} for index, body in enumerate(bodies)]
    usage = ReportedUsage(
        sum(answer.usage.input_tokens or 0 for answer in answers),
        sum(answer.usage.output_tokens or 0 for answer in answers),
        cached_tokens=0,
    )
    return {**bodies[0], "choices": choices, "usage": _usage(usage)}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": None}


def _logprobs(tokens: Sequence[TokenLogprobs]) -> dict[str, Any]:
    """Return the `logprobs` of a choice."""
    content = [
        {
            **_token(each.token, each.logprob),
            "top_logprobs": [_token(*other) for other in each.alternatives],
        }
        for each in tokens
    ]
    return {"content": content, "refusal": None}


def _text_deltas(
    index: int, text: str, tokens: Sequence[TokenLogprobs] | None
) -> Iterator[dict[str, Any]]:
    """Yield a choice's text in pieces, each with the tokens that begin in it."""
    rest, start, reached = deque(tokens or ()), 0, 0
    for piece in pieces_of(text):
        delta = {"index": index, "delta": {"content": piece}, "finish_reason": None}
        reached += len(piece)
        begun = []
        while rest and start < reached:
            begun.append(rest.popleft())
            start += len(begun[-1].token)
        yield delta if tokens is None else {**delta, "logprobs": _logprobs(begun)}


def _deltas(answer: SimulatedAnswer) -> Iterator[dict[str, Any]]:
    for index, text in enumerate(answer.texts):
        role = {"role": "assistant", "content": ""}
        yield {"index": index, "delta": role, "finish_reason": None}
        if answer.tool_calls:
            calls = [{"index": at, **call} for at, call in enumerate(answer.tool_calls)]
            yield {"index": index, "delta": {"tool_calls": calls}, "finish_reason": None}
        tokens = answer.odds[index].tokens_of(text) if answer.odds else None
        yield from _text_deltas(index, text, tokens)
        yield {"index": index, "delta": {}, "finish_reason": answer.finish_reason}


def sse_events(
    answer: SimulatedAnswer, *, model: str, request_id: str, has_usage: bool
) -> list[bytes]:
    """Return the server-sent events of a streamed answer, `[DONE]` last.

    `has_usage` adds a chunk with the usage, as `stream_options` asked.
    """
    head = _head("chat.completion.chunk", model, request_id)
    chunks = [{**head, "choices": [delta]} for delta in _deltas(answer)]
    if has_usage:
        chunks.append({**head, "choices": [], "usage": _usage(answer.usage)})
    return [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def embeddings_response(
    vectors: Sequence[Sequence[float]], usage: ReportedUsage, *, model: str, as_base64: bool
) -> dict[str, Any]:
    """Return an embeddings body, its vectors as numbers or as base64 of 32-bit floats."""
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": (
                base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
                if as_base64
                else list(vector)
            ),
        }
        for index, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": rows,
        "model": simulated_name(model),
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens},
    }


SIMULATED_HEADERS = {"X-Callwise-Simulated": "1"}
"""Headers of every response: a mark that no language model answered."""

_FAILURES: Mapping[Fault, tuple[int, str, str]] = {
    Fault.RATE_LIMITED: (429, "too many requests", "rate_limit_error"),
    Fault.SERVER_ERROR: (500, "internal server error", "server_error"),
    Fault.AUTH: (401, "the key is refused", "invalid_api_key"),
}
"""Status, message and kind of each fault with an error body."""


def status_of(fault: Fault) -> int | None:
    """Return the HTTP status of an attempt; None without a response."""
    if fault is Fault.TIMEOUT:
        return None
    return _FAILURES[fault][0] if fault in _FAILURES else 200


def json_response(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a labelled JSON response."""
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        content_type="application/json",
        headers={**SIMULATED_HEADERS, **(headers or {})},
    )


def error_response(
    message: str, kind: str, *, status: int, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a labelled error in OpenAI's form."""
    error = {"message": f"simulated: {message}", "type": kind, "code": kind}
    return json_response({"error": error}, status=status, headers=headers)


def failure(fault: Fault, *, retry_after_seconds: float) -> web.Response:
    """Return the response of a fault that has one: 429 (with `Retry-After`), 401, 500 or HTML."""
    if fault is Fault.HTML:
        page = "<!doctype html><title>Simulated gateway</title><p>Please try later."
        return web.Response(text=page, content_type="text/html", headers=SIMULATED_HEADERS)
    status, message, kind = _FAILURES[fault]
    wait = {"Retry-After": f"{retry_after_seconds:g}"} if fault is Fault.RATE_LIMITED else None
    return error_response(message, kind, status=status, headers=wait)


def limit_response(refused: RefusedByLimit) -> web.Response:
    """Return the 429 of a limit, with the time to wait where there is one."""
    wait_seconds = refused.wait_seconds
    headers = {}
    if 0.0 < wait_seconds < float("inf"):
        headers = {
            "Retry-After": str(math.ceil(wait_seconds)),
            "retry-after-ms": str(math.ceil(wait_seconds * 1000)),
        }
    message = f"the limit on {refused.dimension.replace('_', ' ')} is reached"
    return error_response(message, "rate_limit_error", status=429, headers=headers)


async def _started(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=SIMULATED_HEADERS)
    response.content_type = "text/event-stream"
    await response.prepare(request)
    return response


async def stream(request: web.Request, events: Sequence[bytes]) -> web.StreamResponse:
    """Send a whole stream of server-sent events."""
    response = await _started(request)
    for event in events:
        await response.write(event)
    await response.write_eof()
    return response


async def cut(request: web.Request, events: Sequence[bytes]) -> web.StreamResponse:
    """Send the first half of a stream, or nothing at all, and break the connection."""
    response = web.StreamResponse(headers=SIMULATED_HEADERS)
    if events:
        response = await _started(request)
        for event in events[: max(len(events) // 2, 1)]:
            await response.write(event)
    if request.transport is not None:
        request.transport.close()
    return response

"""Responses of the simulated server: OpenAI bodies, whole, in chunks, failing or cut."""

import base64
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from callwise.calls.reply import TokenLogprobs
from callwise.simulator.faults import Fault
from callwise.simulator.model import (
    SimulatedAnswer,
    SimulatedUsage,
    malformed,
    pieces_of,
    simulated_name,
)

__all__ = [
    "SIMULATED_HEADERS",
    "chat_response",
    "cut",
    "embeddings_response",
    "error_response",
    "failure",
    "json_response",
    "sse_events",
    "status_of",
    "stream",
    "texts_of",
]

CREATED = 0
"""`created` of every response: no clock, so that equal requests get equal bytes."""


def texts_of(answer: SimulatedAnswer, *, spoil: int | None = None) -> list[str]:
    """Return the texts of all choices, the first one spoilt where asked.

    Args:
        answer: the answer.
        spoil: which way to spoil it, see `malformed`; None leaves it whole.
    """
    texts = list(answer.choices or (answer.text,))
    if spoil is not None:
        texts[0] = malformed(texts[0], spoil)
    return texts


def _usage(usage: SimulatedUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _head(kind: str, model: str, request_id: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-simulated-{request_id}",
        "object": kind,
        "created": CREATED,
        "model": simulated_name(model),
    }


def chat_response(
    answer: SimulatedAnswer, texts: Sequence[str], *, model: str, request_id: str
) -> dict[str, Any]:
    """Return a chat completion body.

    Args:
        answer: the answer.
        texts: its choices' texts, as `texts_of` returns them.
        model: the model that was asked for.
        request_id: part of the completion's id.
    """
    choices = []
    for index, text in enumerate(texts):
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


def _deltas(answer: SimulatedAnswer, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for index, text in enumerate(texts):
        role = {"role": "assistant", "content": ""}
        yield {"index": index, "delta": role, "finish_reason": None}
        if answer.tool_calls:
            calls = [{"index": at, **call} for at, call in enumerate(answer.tool_calls)]
            yield {"index": index, "delta": {"tool_calls": calls}, "finish_reason": None}
        tokens = answer.odds[index].tokens_of(text) if answer.odds else None
        yield from _text_deltas(index, text, tokens)
        yield {"index": index, "delta": {}, "finish_reason": answer.finish_reason}


def sse_events(
    answer: SimulatedAnswer,
    texts: Sequence[str],
    *,
    model: str,
    request_id: str,
    has_usage: bool,
) -> list[bytes]:
    """Return the server-sent events of a streamed answer, `[DONE]` last.

    Args:
        answer: the answer.
        texts: its choices' texts, as `texts_of` returns them.
        model: the model that was asked for.
        request_id: part of the completion's id.
        has_usage: whether the last chunk tells the usage, as `stream_options` asked.
    """
    head = _head("chat.completion.chunk", model, request_id)
    chunks = [{**head, "choices": [delta]} for delta in _deltas(answer, texts)]
    if has_usage:
        chunks.append({**head, "choices": [], "usage": _usage(answer.usage)})
    return [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def embeddings_response(
    vectors: Sequence[Sequence[float]], usage: SimulatedUsage, *, model: str, as_base64: bool
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


def error_response(message: str, kind: str) -> Mapping[str, Any]:
    """Return an error body in OpenAI's form."""
    return {"error": {"message": f"simulated: {message}", "type": kind, "code": kind}}


SIMULATED_HEADERS = {"X-Callwise-Simulated": "1"}
"""On every response, so that nobody takes it for a model's."""

_STATUS: Mapping[Fault, int | None] = {
    Fault.RATE_LIMITED: 429,
    Fault.SERVER_ERROR: 500,
    Fault.TIMEOUT: None,
    Fault.AUTH: 401,
}


def status_of(fault: Fault) -> int | None:
    """Return the status that an attempt gets; None when it gets no response."""
    return _STATUS.get(fault, 200)


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


def failure(fault: Fault, *, retry_after_seconds: float) -> web.Response:
    """Return the response of a fault that has one: 429, 401, HTML or 500.

    Args:
        fault: which one.
        retry_after_seconds: what a 429 asks to wait.
    """
    match fault:
        case Fault.RATE_LIMITED:
            return json_response(
                error_response("too many requests", "rate_limit_error"),
                status=429,
                headers={"Retry-After": f"{retry_after_seconds:g}"},
            )
        case Fault.AUTH:
            return json_response(
                error_response("the key is refused", "invalid_api_key"), status=401
            )
        case Fault.HTML:
            page = "<!doctype html><title>Simulated gateway</title><p>Please try later."
            return web.Response(text=page, content_type="text/html", headers=SIMULATED_HEADERS)
        case _:
            return json_response(
                error_response("internal server error", "server_error"), status=500
            )


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

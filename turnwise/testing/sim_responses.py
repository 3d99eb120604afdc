"""How the simulated server puts an answer, a failure or half a stream on the wire."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from turnwise.calls.simulated.faults import Fault
from turnwise.testing.sim_bodies import error_response

__all__ = ["SIMULATED_HEADERS", "cut", "failure", "json_response", "status_of", "stream"]

SIMULATED_HEADERS = {"X-Turnwise-Simulated": "1"}
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

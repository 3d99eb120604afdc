"""The routes of the service: the page, the websocket, messages over HTTP, health and metrics.

| route | token | |
| --- | --- | --- |
| `GET /` | no | the page; it has no data |
| `GET /health` | no | 200 while the process answers |
| `GET /ready` | no | 200 while the room runs, else 503 |
| `GET /metrics` | yes | the text format of Prometheus |
| `GET /messages?after=N` | yes | lines after a number |
| `POST /messages` | yes | a person's line |
| `POST /wake` | yes | wakes the present hour, or the next |
| `POST /feedback` | yes | feedback on an agent's reply |
| `/socket` | in its first message, or a header | lines as they come |

There are no headers of CORS: a page of another origin reads nothing. A request that names another
server is refused, and so is one of a page of another origin.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.report.feedback import FeedbackNotKept
from callwise.serve.access import Access
from callwise.serve.connections import MAX_CLIENTS
from callwise.serve.messages import MAX_MESSAGE_BYTES, Refused, Say, problems_of, read_message
from callwise.serve.metrics import CONTENT_TYPE, RoomMetrics
from callwise.serve.reply_feedback import UnknownReply
from callwise.serve.room_host import Busy, NotReady, RoomHost
from callwise.serve.room_page import page_policy, room_page
from callwise.serve.room_socket import ABORT_SECONDS, HELLO_SECONDS, RoomSocket, said
from callwise.wake.wake_report import one_line

__all__ = ["BODY_SECONDS", "RoomApp"]

MOST_READ_BYTES = 4 * 1024 * 1024
"""Most bytes of a too long body that are read, so that its sender gets an answer."""

BODY_SECONDS = 30.0
"""Time in which a message over HTTP must come."""

CLOSE_SECONDS = 0.5
"""Longest time in which all connections are closed with a reason."""

_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}

_LOGGER = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]


def _refused(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


class _Unread(CallwiseError):
    """The message of a client that cannot be read, and the status of its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def _failed(_: Request, error: Exception) -> Response:
    """Return the answer to a request that cannot be served; one of the store is logged."""
    if isinstance(error, _Unread):
        return _refused(error.status, str(error))
    if isinstance(error, ConfigError):
        return _refused(409, str(error))
    if isinstance(error, Busy | NotReady):
        return _refused(503, str(error))
    _LOGGER.error("a request was not served: %s", one_line(error, "a request"))
    return _refused(503, "the store cannot be read or written now. Send it again later")


async def _left(_: Request, __: Exception) -> Response:
    """Return an answer for a client that has left while it sent its message; it is not sent."""
    return _refused(400, "the message ends before its length")


class _KnownHosts:
    """Refuses requests that name another server, or come from a page of another origin."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem: tuple[int, str] | None = None
        if not self._access.is_known_host(headers):
            problem = (421, "this is another server than the one that the request names")
        elif not self._access.is_known_origin(headers):
            problem = (403, "pages of this origin may not connect; see --origin")
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(_refused(*problem))
        else:
            await _refused(*problem)(scope, receive, send)


class RoomApp:
    """The ASGI application of one room.

    Args:
        max_clients: most connections; further ones are refused.
        hello_seconds: time that a client has for its first message.
        abort_seconds: time that one has for its closing frame where it takes nothing.
        body_seconds: time in which a message over HTTP must come.

    Attributes:
        app: the application.
        ended: connections that have ended, by why.
    """

    def __init__(
        self,
        host: RoomHost,
        access: Access,
        *,
        max_clients: int = MAX_CLIENTS,
        hello_seconds: float = HELLO_SECONDS,
        abort_seconds: float = ABORT_SECONDS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._host, self._access = host, access
        self._max_clients, self._body_seconds = max_clients, body_seconds
        self._hello_seconds, self._abort_seconds = hello_seconds, abort_seconds
        self._sockets: set[RoomSocket] = set()
        self._bodies: set[asyncio.Timeout] = set()
        self._is_open = True
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.ended: Counter[str] = Counter()
        self._metrics_of_room = RoomMetrics(host, self.ended)
        routes = [
            Route("/", self._page),
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._with_token(self._metrics)),
            Route("/messages", self._with_token(self._lines)),
            Route("/messages", self._with_token(self._say), methods=["POST"]),
            Route("/wake", self._with_token(self._wake), methods=["POST"]),
            Route("/feedback", self._with_token(self._feedback), methods=["POST"]),
            WebSocketRoute("/socket", self._socket),
        ]
        handlers: dict[Any, Any] = {CallwiseError: _failed, ClientDisconnect: _left}
        self.app: ASGIApp = _KnownHosts(
            Starlette(routes=routes, exception_handlers=handlers), access
        )

    async def close_sockets(self) -> None:
        """Close all connections, since the server stops; return soon, closed or not."""
        self._is_open = False
        for each in self._sockets:
            each.end("stopping")
        for limit in self._bodies:
            if not limit.expired():
                limit.reschedule(0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._is_empty.wait()

    def _with_token(self, answer: Answer) -> Answer:
        async def checked(request: Request) -> Response:
            if not self._access.is_bearer(request.headers):
                refused = _refused(401, "give the token as `Authorization: Bearer TOKEN`")
                refused.headers["www-authenticate"] = "Bearer"
                return refused
            return await answer(request)

        return checked

    async def _page(self, _: Request) -> Response:
        headers = {**_HEADERS, "content-security-policy": page_policy()}
        return HTMLResponse(room_page(), headers=headers)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_HEADERS)

    async def _ready(self, _: Request) -> Response:
        state = self._host.state
        try:
            self._host.undelivered()
        except CallwiseError:
            state = "without a store"
        return JSONResponse({"status": state}, 200 if state == "running" else 503, _HEADERS)

    async def _metrics(self, _: Request) -> Response:
        text = self._metrics_of_room.text()
        return PlainTextResponse(text, media_type=None, headers={"content-type": CONTENT_TYPE})

    async def _lines(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdecimal() and len(after) < 16):
            return _refused(400, "`after` is the number of the last line that you have")
        lines = [text for _, text in self._host.feed.lines(int(after))]
        body = f'{{"last":{self._host.feed.head},"messages":[{",".join(lines)}]}}'
        return Response(body, media_type="application/json", headers=_HEADERS)

    async def _say(self, request: Request) -> Response:
        try:
            say = Say.model_validate(await self._document(request))
        except ValidationError as error:
            self._host.counted["refused messages"] += 1
            return _refused(400, problems_of(error))
        event = await said(self._host, say)
        return JSONResponse(event, 202, headers=_HEADERS)

    async def _feedback(self, request: Request) -> Response:
        feedback = self._host.feedback
        if feedback is None:
            return _refused(
                409, "no feedback is kept here: start the server with --feedback FOLDER"
            )
        document = await self._document(request)
        message_id = document.get("message")
        if not isinstance(message_id, str):
            return _refused(422, "message: give the `id` of the reply that it is about")
        try:
            kept = await feedback.add(message_id, feedback.fields_of(document))
        except UnknownReply as error:
            return _refused(404, str(error))
        except ValidationError as error:
            return _refused(422, problems_of(error))
        except FeedbackNotKept as error:
            _LOGGER.error("feedback was not kept: %s", error)  # noqa: TRY400 - one line
            return _refused(503, "the feedback cannot be written now. Send it again later")
        except ConfigError as error:
            return _refused(422, str(error))
        body = {"message": message_id, **kept.model_dump(mode="json", exclude_defaults=True)}
        return JSONResponse(body, 201, headers=_HEADERS)

    async def _document(self, request: Request) -> dict[str, object]:
        """Return the JSON object that a client has sent.

        Raises:
            _Unread: when it is none, is too long, or does not come in time.
        """
        try:
            return read_message(await self._received(request))
        except TimeoutError:
            if not self._is_open:
                raise _Unread(503, "the server stops. Send it again later") from None
            late = f"the message did not come within {self._body_seconds:g} s"
            raise _Unread(408, late) from None
        except Refused as refused:
            self._host.counted["refused messages"] += 1
            raise _Unread(413 if "bytes" in str(refused) else 400, str(refused)) from refused

    async def _received(self, request: Request) -> bytes:
        """Return a request's body.

        Raises:
            TimeoutError: when it does not come in time, or the server stops.
            Refused: when it is too long.
        """
        async with asyncio.timeout(self._body_seconds if self._is_open else 0.0) as limit:
            self._bodies.add(limit)
            try:
                return await _body(request)
            finally:
                self._bodies.discard(limit)

    async def _wake(self, _: Request) -> Response:
        report = await self._host.wake_early()
        document: dict[str, Any] = asdict(report)
        return Response(
            orjson.dumps(_plain(document), default=str),
            media_type="application/json",
            headers=_HEADERS,
        )

    async def _socket(self, websocket: WebSocket) -> None:
        if len(self._sockets) >= self._max_clients:
            self.ended["too many"] += 1
            text = f"{self._max_clients} clients are connected. Connect again later"
            await websocket.send_denial_response(_refused(503, text))
            return
        socket = RoomSocket(
            websocket,
            self._host,
            self._access,
            hello_seconds=self._hello_seconds,
            abort_seconds=self._abort_seconds,
        )
        self._sockets.add(socket)
        self._is_empty.clear()
        if not self._is_open:
            socket.end("stopping")
        try:
            self.ended[await socket.run()] += 1
        finally:
            self._sockets.discard(socket)
            if not self._sockets:
                self._is_empty.set()


def _plain(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report without its texts, which the chat has."""
    replies = [{k: v for k, v in each.items() if k != "text"} for each in report["replies"]]
    return {**report, "replies": replies}


async def _body(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        Refused: when it is too long.
    """
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size <= MAX_MESSAGE_BYTES:
            parts.append(part)
        if size > MOST_READ_BYTES:
            break
    if size > MAX_MESSAGE_BYTES:
        raise Refused(f"the message has {size:,} bytes. Send at most {MAX_MESSAGE_BYTES:,}")
    return b"".join(parts)

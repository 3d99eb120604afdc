"""The server of one room: a socket, uvicorn on the running loop, and the end in order."""

import asyncio
import contextlib
import socket
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Iterator
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from callwise.serve.access import Access
from callwise.serve.connections import REQUEST_SECONDS, Connections, Limits, log_accepting
from callwise.serve.room_host import RoomHost
from callwise.serve.room_socket import ABORT_SECONDS, NO_ANSWER
from callwise.serve.web_app import BODY_SECONDS, RoomApp

__all__ = ["DRAIN_SECONDS", "serve_room"]

DRAIN_SECONDS = 3.0
"""Time that calls under way have after a signal. The whole end takes 2 seconds more at most."""

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Longest message that is read; a longer one closes its connection. Of one that is shorter and
still too long, the sender is given an answer."""

PING_SECONDS = 20.0
"""Time between two pings of a websocket, and for their answers."""

SEND_BUFFER_BYTES = 128 * 1024
"""Memory that the system has for what waits for one client."""

ACCEPTED_TOGETHER = 16
"""Most connections that are accepted in one pass of the loop. They are counted, and those that are
too many closed, some three passes later, so that four times as many files are open for a moment."""

WAITING_CONNECTIONS = 2_048
"""Most connections that the system keeps until they are accepted."""


class _Config(uvicorn.Config):
    """A configuration that all protocols of one server are given."""

    def __init__(self, app: ASGIApp, connections: Connections, **options: Any) -> None:
        super().__init__(app, **options)
        self.room_connections = connections


class _RequestProtocol(H11Protocol):
    """A connection whose requests must be whole in time."""

    def __init__(self, config: uvicorn.Config, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._counted = cast("_Config", config).room_connections

    def connection_made(self, transport: BaseTransport) -> None:
        """Count it."""
        super().connection_made(cast("Transport", transport))
        self._counted.opened(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._counted.closed(self.transport)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Limit the time no longer once a request's header is there."""
        super().handle_events()
        if not getattr(self.cycle, "response_complete", True):
            self._counted.has_request(self.transport)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Limit the time no longer."""
        self._counted.has_request(self.transport)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Limit the time until the next request."""
        self._counted.waits(self.transport)
        super().on_response_complete()


class _RoomProtocol(WebSocketsSansIOProtocol):
    """A websocket that can be ended although its client takes nothing."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        cast("_Config", self.config).room_connections.closed(self.transport)
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """Send something; a refusal that is sent ends the handshake, and is no error."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def handle_connect(self, event: Request) -> None:
        """Let the application end it."""
        super().handle_connect(event)
        scope = getattr(self, "scope", None)
        if scope is not None:
            scope["extensions"]["callwise.abort"] = self.abort

    def keepalive_timeout(self) -> None:
        """End a connection whose client has not answered."""
        if not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": NO_ANSWER})
        super().keepalive_timeout()
        self.transport.abort()

    def abort(self, code: int, reason: str, seconds: float) -> None:
        """Put a closing frame behind what waits, and give up after some seconds."""
        if self.transport.is_closing() or self.close_sent:
            return
        self.stop_keepalive()
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(seconds, self.transport.abort)


class _Server(uvicorn.Server):
    """A server whose signals the command handles, and that reports when it listens."""

    def __init__(
        self,
        app: ASGIApp,
        connections: Connections,
        on_listening: Callable[[], None],
        ping_seconds: float | None,
    ) -> None:
        super().__init__(
            _Config(
                app,
                connections,
                http=_RequestProtocol,
                backlog=ACCEPTED_TOGETHER,
                ws=_RoomProtocol,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                ws_max_size=MAX_FRAME_BYTES,
                ws_per_message_deflate=False,
                ws_ping_interval=ping_seconds,
                ws_ping_timeout=ping_seconds,
                timeout_graceful_shutdown=1,
            )
        )
        self._on_listening = on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(WAITING_CONNECTIONS)
        self._on_listening()


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound.

    Raises:
        OSError: when the address is not of this machine, or the port is in use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


async def serve_room(
    host: RoomHost,
    access: Access,
    *,
    port: int = 0,
    limits: Limits = Limits(),  # noqa: B008 - it does not change
    request_seconds: float = REQUEST_SECONDS,
    body_seconds: float = BODY_SECONDS,
    abort_seconds: float = ABORT_SECONDS,
    ping_seconds: float | None = PING_SECONDS,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run a room and serve it until `host.drain` has ended it, or it is cancelled.

    Args:
        host: the room; not run yet.
        access: has the address to listen at.
        port: 0 for a free one.
        limits: most connections; further ones are refused.
        request_seconds: time in which the header of a request must be whole.
        body_seconds: time in which a message over HTTP must come.
        abort_seconds: time that a client which takes nothing has for its closing frame.
        ping_seconds: time between two pings of a websocket, and for their answers; None for no
            pings.
        on_ready: called once with the server's URL, when it listens.

    Raises:
        OSError: when it cannot listen there.
        StoreFailed: when the room ends since its store cannot be read or written.
    """
    listening = _listening(access.host, port)
    name, number = listening.getsockname()[:2]
    url = f"http://{f'[{name}]' if ':' in name else name}:{number}"
    room = RoomApp(
        host,
        access,
        max_clients=limits.clients,
        abort_seconds=abort_seconds,
        body_seconds=body_seconds,
    )
    server = _Server(
        room.app,
        Connections(limits.connections, request_seconds),
        lambda: on_ready(url) if on_ready is not None else None,
        ping_seconds,
    )
    stop_logging = log_accepting()
    running = asyncio.create_task(host.run())
    serving = asyncio.create_task(server.serve([listening]))
    stopping = asyncio.create_task(host.stopped.wait())
    try:
        await asyncio.wait({running, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
    finally:
        await room.close_sockets()
        server.should_exit = True
        stopping.cancel()
        running.cancel()
        await asyncio.gather(serving, running, stopping, return_exceptions=True)
        listening.close()
        stop_logging()

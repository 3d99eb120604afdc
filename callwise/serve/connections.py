"""The connections of one server: how many there may be, and how long one may send nothing whole.

Problem: a connection costs an open file, and one that sends no whole request needs no token. With
as many of them as the process may open files nothing else can connect, and neither can the store
or a model be reached.
Choice: fewer connections than files. Of one that waits for a request the time is limited, and where
there are too many of them, the one that has waited longest makes room.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = [
    "MAX_CLIENTS",
    "OTHERS",
    "REQUEST_SECONDS",
    "Connections",
    "Limits",
    "limits_of",
    "log_accepting",
    "raised_file_limit",
]

_LOGGER = logging.getLogger(__name__)

MAX_CLIENTS = 2_000
"""Most clients; fewer where the process may not open as many files."""

OTHERS = 128
"""Most connections next to those of the clients: requests over HTTP."""

KEPT_FILES = 256
"""Open files that are left for the store, for models, and for connections that are refused."""

REQUEST_SECONDS = 10.0
"""Time in which a request's header must be whole, from the connection or the last answer on."""

_TELL_SECONDS = 60.0
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b'content-length: 49\r\n\r\n{"error":"too many connections. Try again later"}'
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Most connections of a server.

    Args:
        clients: most websockets.
        connections: most connections of all kinds.
    """

    clients: int = MAX_CLIENTS
    connections: int = MAX_CLIENTS + OTHERS


def limits_of(files: int | None, clients: int = MAX_CLIENTS) -> Limits:
    """Return most connections for a number of files.

    Args:
        files: files that the process may open; None where that has no limit.
        clients: most websockets where there are files enough.
    """
    connections = clients + OTHERS
    if files is not None:
        connections = min(connections, max(files - min(KEPT_FILES, files // 2), 2))
    return Limits(min(clients, connections - min(OTHERS, connections // 2)), connections)


def raised_file_limit() -> int | None:
    """Let the process open as many files as all connections need, where the system allows it.

    Returns:
        How many it may open; None where that is unknown.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MAX_CLIENTS + OTHERS + KEPT_FILES
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return needed if soft == resource.RLIM_INFINITY else soft
    with suppress(ValueError, OSError):  # it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Connections:
    """All connections of one server.

    Args:
        most: how many there may be.
        request_seconds: time that one has for the header of a request.
    """

    def __init__(self, most: int, request_seconds: float = REQUEST_SECONDS) -> None:
        self._most, self._request_seconds = most, request_seconds
        self._open: set[asyncio.Transport] = set()
        self._waiting: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def opened(self, transport: asyncio.Transport) -> None:
        """Take a new connection; where there are too many, end the one that has waited longest.

        Where all others are in use, the new one is refused.
        """
        if len(self._open) >= self._most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                transport.write(_FULL)
                transport.close()
                return
            self.closed(oldest)
            oldest.abort()
        self._open.add(transport)
        self.waits(transport)

    def waits(self, transport: asyncio.Transport) -> None:
        """Limit the time until the next request of a connection is whole."""
        if transport in self._open:
            self.has_request(transport)
            self._waiting[transport] = asyncio.get_running_loop().call_later(
                self._request_seconds, self._expire, transport
            )

    def has_request(self, transport: asyncio.Transport) -> None:
        """Limit it no longer: a request is being answered, or the connection is a websocket."""
        if (timer := self._waiting.pop(transport, None)) is not None:
            timer.cancel()

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection. Safe to call twice."""
        self.has_request(transport)
        self._open.discard(transport)

    def _expire(self, transport: asyncio.Transport) -> None:
        """End a connection; what it has not taken of its last answer has as long again."""
        del self._waiting[transport]
        if transport.is_closing() or not transport.get_write_buffer_size():
            transport.abort()
            return
        transport.close()
        self.waits(transport)


def log_accepting() -> Callable[[], None]:
    """Log in one line, once a minute, that the running loop cannot accept connections.

    By itself the loop logs a traceback for each attempt, thousands in a second.

    Returns:
        Undoes it.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    told_at: float | None = None

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told_at
        message = str(context.get("message"))
        if "socket.accept() out of system resource" in message:
            if told_at is None or loop.time() - told_at >= _TELL_SECONDS:
                told_at = loop.time()
                _LOGGER.error(
                    "no connection can be accepted now: %s. Raise the limit on open files "
                    "(`ulimit -n`)",
                    context.get("exception"),
                )
        elif told_at is not None and "_start_serving" in message:
            return  # the end came before the next attempt
        elif before is None:
            loop.default_exception_handler(context)
        else:
            before(loop, context)

    loop.set_exception_handler(handle)
    return lambda: loop.set_exception_handler(before)

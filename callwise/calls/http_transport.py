"""One HTTP request over a pool of connections, and the moment that it leaves the machine.

Problem: a ledger must count a request exactly when a server could have received
it: not when a connection was refused, not when the call was cancelled while it
waited for one, but when it was cancelled, cut or timed out afterwards.
Choice: the body marks the moment itself. aiohttp buffers the headers and asks the body to
write itself in the same step of the event loop in which both go to the socket.
Rejected: aiohttp's trace signals (they cost as much as the rest of a request together),
and its own limit of connections: a request that is cancelled just as a connection
becomes free for it takes that along, and all that wait behind it wait in vain.
Invariant: `on_sent` is called at most once per request, before any byte of it leaves.

An answer is read up to a limit in bytes, counted after unpacking. Packed answers are
unpacked here, in small pieces, so that a few bytes that unpack to gigabytes cost no more
memory than any other answer. Redirects are not followed: a key never reaches another host.
"""

import asyncio
import os
import ssl
import weakref
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from callwise.calls.errors import BadResponse, ConfigError
from callwise.calls.hosts import is_this_machine

__all__ = [
    "MAX_ANSWER_BYTES",
    "HttpResponse",
    "HttpTransport",
    "RequestMoment",
    "Response",
    "Route",
    "Transport",
    "TransportFailed",
]

KEEPALIVE_SECONDS = 15.0
"""Time that an idle connection is kept. Shorter than most servers keep it, so that
a request is seldom written to a connection that is just being closed."""

CONNECT_SECONDS = 10.0
"""Longest time for the TCP and TLS handshakes of one connection."""

MAX_ANSWER_BYTES = 32 * 2**20
"""Longest answer that is read where nothing else is set, unpacked. A streamed token takes some
300 bytes, and some 2,000 with its likeliest alternatives."""

EMBEDDING_BYTES = 128 * 2**10
"""Bytes that one embedding may add to an answer: some 5,000 numbers as text."""

PIECE_BYTES = 2**16
"""Bytes of a packed answer that are unpacked, and of a long body that are written, at a time."""

_PACKED = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Encodings of packed answers, and zlib's window for each."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class TransportFailed(Exception):
    """Raised when a connection could not be made, or broke."""


class RequestMoment:
    """Whether the request of one attempt has left, and a callback for when it does.

    Args:
        max_answer_bytes: longest answer that is read, unpacked.
        embeddings: how many embeddings the answer may have beyond that.
    """

    __slots__ = ("_on_sent", "max_answer_bytes", "was_sent")

    def __init__(
        self,
        on_sent: Callable[[], None] | None = None,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        embeddings: int = 0,
    ) -> None:
        self.was_sent = False
        self.max_answer_bytes = max_answer_bytes + EMBEDDING_BYTES * embeddings
        self._on_sent = on_sent

    def mark(self) -> None:
        """Note that the request leaves now. Later marks of one attempt do nothing."""
        if not self.was_sent:
            self.was_sent = True
            if self._on_sent is not None:
                self._on_sent()


@dataclass(frozen=True, slots=True)
class Route:
    """Route to a host: read once, outside the event loop, since it reads files.

    Args:
        tls: what is trusted, for https: the certificates of the system, or those that
            `SSL_CERT_FILE` or `SSL_CERT_DIR` name.
        proxy: URL of the proxy; may contain a password, so it is never shown.
    """

    tls: ssl.SSLContext | None
    proxy: str | None = field(repr=False)

    @classmethod
    def to(cls, base_url: str) -> Self:
        """Return the route to a URL's host, by the environment's proxy and certificates.

        Raises:
            ConfigError: when the environment names a proxy that is not an HTTP proxy.
        """
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        proxy = None
        if not is_this_machine(host) and not proxy_bypass(host):
            proxies = getproxies()
            proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy is not None and not proxy.startswith(("http://", "https://")):
            raise ConfigError(
                f"the proxy that the environment names for {host} is not an HTTP proxy: "
                f"set {parts.scheme}_proxy to an http:// URL, or the host in no_proxy"
            )
        if parts.scheme != "https":
            return cls(None, proxy)
        import httpx2  # noqa: PLC0415 - heavy, and needed for https alone

        return cls(httpx2.create_ssl_context(), proxy)


class Response(Protocol):
    """A response whose body is still to be read, or has been."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""

    async def read(self) -> bytes:
        """Return the whole body, unpacked.

        Raises:
            BadResponse: when it is longer than the limit.
            TransportFailed: when the connection breaks.
        """

    def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body as it comes; raises what `read` raises."""

    def close(self) -> None:
        """Release the connection; what has not been read is given up. Safe to call twice."""


class Transport(Protocol):
    """Sender of the requests of one endpoint."""

    async def send(self, method: str, path: str, content: bytes, moment: RequestMoment) -> Response:
        """Send one request and return its response once the headers are there.

        Args:
            path: below the base URL, or a whole URL.

        Raises:
            TransportFailed: when no connection was made, or it broke.
            TimeoutError: when connecting took too long.
            BadResponse: when the answer is packed in a way that was not offered.
        """

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice."""


def redirect_of(response: Response) -> str | None:
    """Return where a response redirects to; None where it does not."""
    return response.headers.get("Location") if response.status in _REDIRECTS else None


class _Body(aiohttp.payload.Payload):
    """A request body that marks the moment at which it is written, with its headers."""

    _value: bytes

    def __init__(self, content: bytes, moment: RequestMoment) -> None:
        super().__init__(content, content_type="application/json")
        self._size = len(content)
        self._moment = moment

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        del content_length  # its own size
        await self.write(writer)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._moment.mark()
        if len(self._value) <= PIECE_BYTES:
            await writer.write(self._value)
            return
        for start in range(0, len(self._value), PIECE_BYTES):
            await writer.write(self._value[start : start + PIECE_BYTES])


def _failed(error: Exception) -> TransportFailed:
    return TransportFailed(str(error) or type(error).__name__)


def _unpacked(packed: bytes, unpacker: "zlib._Decompress") -> Iterator[bytes]:
    """Yield what a piece of a packed answer unpacks to, in pieces of bounded size.

    Raises:
        zlib.error: when it is broken.
    """
    while True:
        piece = unpacker.decompress(packed, PIECE_BYTES)
        packed = unpacker.unconsumed_tail
        yield piece
        if not piece and not packed:
            return


class HttpResponse:
    """The response to one request of `HttpTransport`.

    Args:
        max_bytes: longest body that is read, unpacked.

    Raises:
        BadResponse: when it is packed in a way that was not offered.
    """

    __slots__ = ("_host", "_max_bytes", "_on_closed", "_response", "_unpacker", "headers", "status")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        host: str,
        on_closed: Callable[[], None],
        *,
        max_bytes: int,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._host = host
        self._max_bytes = max_bytes
        self._on_closed: Callable[[], None] | None = on_closed
        self._unpacker = None
        packed = self.headers.get("Content-Encoding")
        if packed is None:
            return
        packed = packed.strip().lower()
        if packed in _PACKED:
            self._unpacker = zlib.decompressobj(_PACKED[packed])
        elif packed not in {"", "identity"}:
            raise BadResponse(
                f"{host}: packed as {packed[:20]!r}, which was not offered", status=self.status
            )

    async def read(self) -> bytes:
        """Return the whole body, unpacked."""
        length = self._response.content_length
        if self._unpacker is None and length is not None and length <= self._max_bytes:
            try:
                return await self._response.read()
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise _failed(error) from error
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body, unpacked, as it comes."""
        came = unpacked = 0
        unpacker = self._unpacker
        try:
            async for piece in self._response.content.iter_any():
                came += len(piece)
                for part in (piece,) if unpacker is None else _unpacked(piece, unpacker):
                    unpacked += len(part)
                    if max(came, unpacked) > self._max_bytes:
                        raise BadResponse(
                            f"{self._host}: an answer longer than {self._max_bytes:,} bytes, "
                            "which was not read further; raise `max_answer_bytes` of the "
                            "endpoint if answers may be so long",
                            status=self.status,
                        )
                    yield part
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            if isinstance(error, TimeoutError):
                raise
            raise _failed(error) from error

    def close(self) -> None:
        """Release the connection, or close it where something of the body is left."""
        # A body that was read to its end has given its connection back already;
        # of any other the rest must not be waited for.
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            self._response.close()
            on_closed()


class HttpTransport:
    """One pooled aiohttp session for one endpoint. Make it inside the loop that will use it.

    Args:
        base_url: what paths are below.
        max_connections: most connections open at a time. A request beyond them waits.
    """

    def __init__(
        self,
        base_url: str,
        route: Route,
        *,
        max_connections: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).hostname or ""
        self._proxy = route.proxy
        self._places = asyncio.Semaphore(max_connections)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # see `_places`
                keepalive_timeout=KEEPALIVE_SECONDS,
                ssl=route.tls or True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "gzip, deflate", **(headers or {})},
            auto_decompress=False,
            # The whole attempt is timed by the client; only connecting is timed here.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )
        _OPEN.add(self)

    def leave_to_parent(self) -> None:
        """Forget the connections in a forked process.

        To close them there, as aiohttp does at the process's end, would take their sockets out
        of the selector that both processes share, and the parent would wait for ever.
        """
        connector = self._session.connector
        self._session.detach()
        if connector is not None:
            connector._closed = True  # noqa: SLF001 - aiohttp has no public way to forget

    async def send(
        self,
        method: str,
        path: str,
        content: bytes,
        moment: RequestMoment,
        headers: Any = None,
    ) -> HttpResponse:
        """Send one request and return its response; see `Transport`.

        `headers` are those of this request besides those of every one.
        """
        await self._places.acquire()
        try:
            try:
                response = await self._session.request(
                    method,
                    path if "://" in path else f"{self._base_url}{path}",
                    data=_Body(content, moment),
                    headers=headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise _failed(error) from error
            try:
                return HttpResponse(
                    response, self._host, self._places.release, max_bytes=moment.max_answer_bytes
                )
            except BadResponse:
                response.close()
                raise
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice."""
        await self._session.close()


_OPEN: weakref.WeakSet[HttpTransport] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for transport in tuple(_OPEN):
        transport.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)

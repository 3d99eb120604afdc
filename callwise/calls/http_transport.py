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
import weakref
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError

from callwise.calls.errors import BadResponse
from callwise.calls.host_route import Route

__all__ = [
    "CONNECT_SECONDS",
    "KEEPALIVE_SECONDS",
    "MAX_ANSWER_BYTES",
    "ConnectTimedOut",
    "HttpResponse",
    "HttpTransport",
    "RequestMoment",
    "Response",
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

MAX_HEADER_BYTES = 2**16
"""Longest header of a response, in bytes. Long cookies and policies exceed aiohttp's 8,190."""

MAX_HEADERS = 1000
"""Most headers of a response."""

_PACKED = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Encodings of packed answers, and zlib's window for each."""

_PACKED_BYTES = 4096
"""Bytes that are given to zlib at a time: it copies the rest at each end of a gzip member."""

_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
"""OpenSSL's codes of certificates that become valid once their issuer is trusted."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class TransportFailed(Exception):
    """Raised when a connection could not be made, or broke."""


class ConnectTimedOut(TimeoutError):
    """Raised when no connection was made in the time for connecting.

    Args:
        seconds: that time.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no connection in {seconds:g} s")
        self.seconds = seconds


class RequestMoment:
    """Whether the request of one attempt has left, and a callback for when it does.

    Args:
        max_answer_bytes: longest answer that is read, unpacked.
        embeddings: how many embeddings the answer may have beyond that.
        content_type: of the request's body.
    """

    __slots__ = ("_on_sent", "content_type", "max_answer_bytes", "was_sent")

    def __init__(
        self,
        on_sent: Callable[[], None] | None = None,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        embeddings: int = 0,
        content_type: str = "application/json",
    ) -> None:
        self.was_sent = False
        self.content_type = content_type
        self.max_answer_bytes = max_answer_bytes + EMBEDDING_BYTES * embeddings
        self._on_sent = on_sent

    def mark(self) -> None:
        """Note that the request leaves now. Later marks of one attempt do nothing."""
        if not self.was_sent:
            self.was_sent = True
            if self._on_sent is not None:
                self._on_sent()


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
            ConnectTimedOut: when connecting took too long.
            BadResponse: when the answer is packed in a way that was not offered.
        """

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice."""


def redirect_of(status: int, headers: Mapping[str, str]) -> str | None:
    """Return where a response redirects to; None where it does not."""
    return headers.get("Location") if status in _REDIRECTS else None


class _Body(aiohttp.payload.Payload):
    """A request body that marks the moment at which it is written, with its headers."""

    _value: bytes

    def __init__(self, content: bytes, moment: RequestMoment) -> None:
        super().__init__(content, content_type=moment.content_type)
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
    """Return aiohttp's error without its status 400, which no server sent, and without URLs."""
    match error:
        case aiohttp.ClientHttpProxyError():
            text = f"the proxy answered {error.status} {error.message}"
        case aiohttp.ClientResponseError():
            text = f"no valid HTTP response: {error.message.rstrip('^ ')}"
        case aiohttp.ClientConnectorCertificateError(certificate_error=problem):
            text = f"its certificate is refused: {getattr(problem, 'verify_message', problem)}"
            if getattr(problem, "verify_code", None) in _UNKNOWN_ISSUER:
                text += "; to trust it, set SSL_CERT_FILE to a file with its issuer's certificate"
        case aiohttp.ClientPayloadError(__cause__=HttpProcessingError() as cause):
            text = f"the answer broke off: {cause.message}"
        case aiohttp.ServerDisconnectedError() if not isinstance(error.message, str):
            text = "the server closed the connection before the end of the headers"
        case _:
            text = str(error) or type(error).__name__
    return TransportFailed(text)


class _Unpacker:
    """Unpacks one body: gzip, also of several members, and deflate with or without its frame."""

    def __init__(self, encoding: str) -> None:
        self._window = _PACKED[encoding]
        self._inner: zlib._Decompress | None = None

    def unpacked(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece of the body unpacks to, in pieces of bounded size.

        Raises:
            zlib.error: when it is broken.
        """
        for start in range(0, len(piece), _PACKED_BYTES):
            packed = piece[start : start + _PACKED_BYTES]
            part = b""
            while packed or part:
                inner = self._inner
                if inner is None:
                    inner = self._inner = self._begun(packed)
                elif inner.eof and packed:
                    if not packed.startswith(b"\x1f"):  # padding
                        return
                    inner = self._inner = zlib.decompressobj(self._window)
                part = inner.decompress(packed, PIECE_BYTES)
                packed = inner.unused_data if inner.eof else inner.unconsumed_tail
                yield part

    def _begun(self, packed: bytes) -> "zlib._Decompress":
        # A zlib frame begins with method 8 and a window of at most 7; some servers send none.
        is_bare = self._window == zlib.MAX_WBITS and packed[0] & 0x8F != 0x08
        return zlib.decompressobj(-zlib.MAX_WBITS if is_bare else self._window)


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
        self._unpacker: _Unpacker | None = None
        packed = self.headers.get("Content-Encoding")
        if packed is None:
            return
        packed = packed.strip().lower()
        if packed in _PACKED:
            self._unpacker = _Unpacker(packed)
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
                for part in (piece,) if unpacker is None else unpacker.unpacked(piece):
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
        connect_seconds: longest time to make a connection.
        keepalive_seconds: time that an idle connection is kept; 0 keeps none.
    """

    def __init__(
        self,
        base_url: str,
        route: Route,
        *,
        max_connections: int,
        headers: Mapping[str, str] | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).hostname or ""
        self._proxy = route.proxy
        self._places = asyncio.Semaphore(max_connections)
        self._headers = headers
        self._connect_seconds = connect_seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # see `_places`
                keepalive_timeout=keepalive_seconds or None,
                force_close=keepalive_seconds == 0,
                ssl=route.tls or True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No others: aiohttp sends a session's headers to the proxy, too.
            headers={"Accept-Encoding": "gzip, deflate"},
            auto_decompress=False,
            # The whole attempt is timed by the client; only connecting is timed here.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
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

        `headers` are those of this request; None sends those of every request.
        """
        await self._places.acquire()
        try:
            try:
                response = await self._session.request(
                    method,
                    path if "://" in path else f"{self._base_url}{path}",
                    data=_Body(content, moment),
                    headers=self._headers if headers is None else headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise ConnectTimedOut(self._connect_seconds) from error
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

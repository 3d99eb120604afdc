"""One HTTP request over aiohttp, and the moment that it leaves the machine.

Problem: a ledger must count a request exactly when a server could have received
it: not when a connection was refused, not when the call was cancelled while it
waited for one, but when it was cancelled, cut or timed out afterwards.
Choice: a transport of our own under the `openai` client. aiohttp's trace signal
`on_request_chunk_sent` fires in the writer, in the same step of the event loop
that hands headers and body to the socket (the signal for headers fires earlier,
when they are only buffered, and a cancellation can fall in between).
Rejected: the transport that `openai` ships for aiohttp. It reports a connection
that broke after the request as a connect timeout, and says nothing of sending. And
aiohttp's own limit of connections: a request that is cancelled just as a connection
becomes free for it takes that along, and all that wait behind it wait in vain.
Invariant: `on_sent` is called at most once a request, before any byte of it leaves.

An answer is read up to a limit in bytes, counted as they are after unpacking. Packed answers
are unpacked here, in small pieces, so that a few bytes that unpack to gigabytes cost no more
memory than any other answer.
"""

import asyncio
import io
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

from turnwise.calls.errors import BadResponse, ConfigError
from turnwise.calls.hosts import is_this_machine

__all__ = ["MAX_ANSWER_BYTES", "SENDING", "AiohttpTransport", "Route", "Sending"]

KEEPALIVE_SECONDS = 15.0
"""How long an idle connection is kept. Shorter than most servers keep it, so that
a request is seldom written to a connection that is just being closed."""

CONNECT_SECONDS = 10.0
"""Longest time for the TCP and TLS handshakes of one connection."""

LARGE_BODY_BYTES = 2**20
"""From this size on aiohttp wants a body as a file, to write it in pieces."""


MAX_ANSWER_BYTES = 32 * 2**20
"""Longest answer that is read where nothing else is set, unpacked. A streamed token takes some
300 bytes, and some 2,000 with its likeliest alternatives."""

EMBEDDING_BYTES = 128 * 2**10
"""What one embedding may add to an answer: some 5,000 numbers as text."""

PIECE_BYTES = 2**16
"""How much of a packed answer is unpacked at a time."""

_PACKED = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""How answers may be packed, and zlib's window for it."""


class Sending:
    """Whether the request of one attempt has left, and whom to tell when it does.

    Args:
        on_sent: called once, when the request leaves.

    Attributes:
        was_sent: whether it has left.
        max_answer_bytes: longest answer that is read, unpacked.
    """

    def __init__(self, on_sent: Callable[[], None] | None = None) -> None:
        self.was_sent = False
        self.max_answer_bytes = MAX_ANSWER_BYTES
        self._on_sent = on_sent

    def allow(self, max_answer_bytes: int, *, embeddings: int) -> None:
        """Set the longest answer that is read, and what each embedding may add to it."""
        self.max_answer_bytes = max_answer_bytes + EMBEDDING_BYTES * embeddings

    def mark(self) -> None:
        """Say that the request leaves now. Later marks of one attempt do nothing."""
        if not self.was_sent:
            self.was_sent = True
            if self._on_sent is not None:
                self._on_sent()


SENDING: ContextVar[Sending] = ContextVar("turnwise_sending")
"""The attempt that the current task is making. Set by the client around each send."""


@dataclass(frozen=True, slots=True)
class Route:
    """How to get to a host: read once, outside the event loop, since it reads files.

    Args:
        tls: what is trusted, for https.
        proxy: URL of the proxy; may hold a password, so it is never shown.
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
        return cls(httpx2.create_ssl_context() if parts.scheme == "https" else None, proxy)


@contextmanager
def _httpx_errors(request: httpx2.Request) -> Iterator[None]:
    """Raise aiohttp's errors as the httpx errors that the `openai` client maps."""
    try:
        yield
    except TimeoutError as error:
        raise httpx2.TimeoutException(str(error), request=request) from error
    except aiohttp.ClientConnectorError as error:
        raise httpx2.ConnectError(str(error), request=request) from error
    except zlib.error as error:
        raise httpx2.DecodingError(str(error), request=request) from error
    except (aiohttp.ClientError, OSError) as error:
        words = str(error) or type(error).__name__
        raise httpx2.ReadError(words, request=request) from error


def _unpacked(packed: bytes, unpacker: "zlib._Decompress") -> Iterator[bytes]:
    """Yield what a piece of a packed answer unpacks to, in pieces of bounded size.

    Raises:
        zlib.error: when it is not packed as it says.
    """
    while packed:
        piece = unpacker.decompress(packed, PIECE_BYTES)
        packed = unpacker.unconsumed_tail
        yield piece
        if not piece and not packed:
            return


class _Body(httpx2.AsyncByteStream):
    """The bytes of a response, unpacked, as they come.

    Args:
        response: whose.
        request: what it answers.
        max_bytes: longest body that is read.
        on_closed: called once, when the connection is free.

    Raises:
        BadResponse: when it is packed in a way that was not offered.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        request: httpx2.Request,
        on_closed: Callable[[], None],
        *,
        max_bytes: int,
    ) -> None:
        self._response = response
        self._request = request
        self._max_bytes = max_bytes
        self._on_closed: Callable[[], None] | None = on_closed
        packed = response.headers.get("Content-Encoding", "identity").strip().lower()
        if packed not in {*_PACKED, "", "identity"}:
            raise BadResponse(
                f"{request.url.host}: packed as {packed[:20]!r}, which was not offered",
                status=response.status,
            )
        self._unpacker = zlib.decompressobj(_PACKED[packed]) if packed in _PACKED else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        came = unpacked = 0
        with _httpx_errors(self._request):
            async for piece in self._response.content.iter_any():
                came += len(piece)
                parts = (piece,) if self._unpacker is None else _unpacked(piece, self._unpacker)
                for part in parts:
                    unpacked += len(part)
                    if max(came, unpacked) > self._max_bytes:
                        raise BadResponse(
                            f"{self._request.url.host}: an answer longer than "
                            f"{self._max_bytes:,} bytes, which was not read further; raise "
                            "`max_answer_bytes` of the endpoint if answers may be so long",
                            status=self._response.status,
                        )
                    yield part

    async def aclose(self) -> None:
        # A body that was read to its end has given its connection back already;
        # of any other the rest must not be waited for.
        self._response.close()
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """An httpx transport over one pooled aiohttp session.

    Make it inside the running loop that will use it.

    Args:
        route: how to get to the host that every request goes to.
        max_connections: most connections open at a time. A request beyond them waits.
    """

    def __init__(self, route: Route, *, max_connections: int) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(self._on_chunk_sent)
        self._proxy = route.proxy
        self._places = asyncio.Semaphore(max_connections)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # see `_places`
                keepalive_timeout=KEEPALIVE_SECONDS,
                ssl=route.tls or True,
            ),
            trace_configs=[trace],
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and return its response, the body still to be read."""
        content = await request.aread()
        sending = SENDING.get(None)
        request.headers["Accept-Encoding"] = "gzip, deflate"
        await self._places.acquire()
        try:
            with _httpx_errors(request):
                response = await self._session.request(
                    request.method,
                    str(request.url),
                    headers=request.headers.multi_items(),
                    data=content if len(content) < LARGE_BODY_BYTES else io.BytesIO(content),
                    allow_redirects=False,
                    auto_decompress=False,
                    proxy=self._proxy,
                    # The whole attempt is timed by the client; only connecting is timed here.
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                    trace_request_ctx=sending,
                )
            max_bytes = MAX_ANSWER_BYTES if sending is None else sending.max_answer_bytes
            try:
                body = _Body(response, request, self._places.release, max_bytes=max_bytes)
            except BadResponse:
                response.close()
                raise
            return httpx2.Response(
                status_code=response.status,
                headers=[
                    (name, value)
                    for name, value in response.raw_headers
                    if name.lower() != b"content-encoding"  # it has been unpacked
                ],
                stream=body,
                request=request,
            )
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice."""
        await self._session.close()

    @staticmethod
    async def _on_chunk_sent(
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        _chunk: aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        sending = context.trace_request_ctx
        if sending is not None:
            sending.mark()

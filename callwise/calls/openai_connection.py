"""The way to one OpenAI-compatible endpoint: its pool of connections, its times and its failures.

Each request is one attempt: no retries, no redirects. Secrets are removed from what comes back.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlsplit

from callwise.calls import errors
from callwise.calls.call import Call, Purpose
from callwise.calls.capabilities import Capabilities
from callwise.calls.host_route import Route
from callwise.calls.hosts import openai_headers, shown_url
from callwise.calls.http_transport import (
    CONNECT_SECONDS,
    KEEPALIVE_SECONDS,
    MAX_ANSWER_BYTES,
    ConnectTimedOut,
    HttpTransport,
    RequestMoment,
    Response,
    Transport,
    TransportFailed,
)
from callwise.calls.learning import Learner
from callwise.calls.provider_errors import failure_of, utc_now
from callwise.calls.responses import ResponseReader
from callwise.calls.time_limit import time_limit

__all__ = ["TIMEOUT_SECONDS", "OpenAIConnection"]

TIMEOUT_SECONDS: Mapping[Purpose, float] = {
    Purpose.DETECT: 45.0,
    Purpose.INTENT: 45.0,
    Purpose.JUDGE: 60.0,
    Purpose.CHECK: 45.0,
    Purpose.REFEREE: 120.0,
    Purpose.EVOLVE: 60.0,
    Purpose.REMEMBER: 90.0,
    Purpose.MONOLOGUE: 90.0,
    Purpose.REASON: 120.0,
    Purpose.PLAN: 120.0,
    Purpose.HUMANIZE: 120.0,
    Purpose.EXPAND: 180.0,
    Purpose.FUSE: 180.0,
    Purpose.EMBED: 30.0,
    Purpose.RETRIEVE: 30.0,
    Purpose.RERANK: 30.0,
    Purpose.SUMMARIZE: 120.0,
    Purpose.OTHER: 180.0,
}
"""Longest time for one attempt, from asking to the last byte, waiting for a connection
included. Short for what a person waits for and the fallback is cheap, long for long answers."""

ResultT = TypeVar("ResultT")

_VERSION = re.compile(r"/v\d")
"""A path of a base URL that names a version of the interface."""

_TLS_MISMATCH = re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|record layer failure")
"""Errors of a server that answers a TLS handshake in plain HTTP."""


class OpenAIConnection(Learner):
    """One OpenAI-compatible endpoint, with one pool of connections to it.

    The pool is made on first use, inside the running loop; used from another loop
    later, the client makes a new pool there. Close it before its loop ends.

    Args:
        base_url: up to and with the version, e.g. `https://api.deepseek.com/v1`.
        api_key: sent as a bearer token; None sends none. Read it from the environment.
        capabilities: what every model there is taken to take at first; None begins by
            the table of known endpoints.
        is_confirmed: whether `capabilities` are known to be right, so that no call waits
            for another to find out. A refusal changes them all the same.
        max_connections: most connections at a time; at least 1. More calls wait.
        connect_seconds: longest time to make a connection; it is part of the attempt's.
        keepalive_seconds: time that an idle connection is kept; 0 keeps none.
        stream_idle_seconds: longest time without a byte of a streamed answer, once its
            headers came; then it counts as broken off. None waits for the whole attempt.
        max_answer_bytes: longest answer that is read; see `http_transport`.
        timeout_seconds: longest time for one attempt, by purpose; what is not named
            keeps `TIMEOUT_SECONDS`. `Call.timeout_seconds` goes before both.
        clock: monotonic seconds, for latencies.
        now: the current time with a time zone, for `Retry-After` dates.

    Raises:
        ConfigError: when the URL, the key or the environment's proxy cannot be used.
            None of them is repeated.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        capabilities: Capabilities | None = None,
        is_confirmed: bool = False,
        max_connections: int = 64,
        connect_seconds: float = CONNECT_SECONDS,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        stream_idle_seconds: float | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        timeout_seconds: Mapping[Purpose, float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise errors.ConfigError(
                "an endpoint's base URL starts with http:// or https:// and a host"
            )
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
            raise errors.ConfigError(
                f"the key for {parts.hostname} cannot be sent as a header: it is empty, or has "
                "line breaks or characters outside ASCII"
            )
        super().__init__(base_url, capabilities=capabilities, is_confirmed=is_confirmed)
        self._host = parts.hostname
        self._route = Route.to(base_url)
        self._api_key = api_key
        self._max_connections = max_connections
        self._connect_seconds = connect_seconds
        self._keepalive_seconds = keepalive_seconds
        self._stream_idle_seconds = stream_idle_seconds
        self._max_answer_bytes = max_answer_bytes
        self._timeout_seconds = {**TIMEOUT_SECONDS, **(timeout_seconds or {})}
        self._clock = clock
        bare_url = re.sub(r"/(?:chat/completions|embeddings)?/*$", "", base_url)
        likely_url = bare_url if _VERSION.search(parts.path) else f"{bare_url}/v1"
        hint = "is the base URL right?"
        if likely_url != base_url.rstrip("/"):
            hint = f"try the base URL {shown_url(likely_url)}"
        self._reader = ResponseReader(self._host, api_key=api_key, now=now, hint=hint)
        self._transport: Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._header_listeners: dict[str, list[Callable[[Mapping[str, str]], None]]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._host!r})"

    async def get(
        self, url: str, *, timeout_seconds: float, on_sent: Callable[[], None] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of a GET with the endpoint's key; see `client.Getter`."""
        response, body = await self._answered(
            "GET", url, b"", RequestMoment(on_sent), timeout_seconds
        )
        return response.status, body

    async def request(
        self,
        method: str,
        url: str,
        content: bytes = b"",
        *,
        content_type: str,
        timeout_seconds: float,
        max_answer_bytes: int,
        on_sent: Callable[[], None] | None = None,
    ) -> bytes:
        """Return the body of a successful response; see `batch_interface.BatchClient`."""
        moment = RequestMoment(
            on_sent, max_answer_bytes=max_answer_bytes, content_type=content_type
        )
        response, body = await self._answered(method, url, content, moment, timeout_seconds)
        if not 200 <= response.status < 300:
            raise failure_of(self._reader.refusal_of_response(response, body))
        return body

    def report_headers(self, model: str, listener: Callable[[Mapping[str, str]], None]) -> None:
        """Call a function with the headers of each response for a model."""
        self._header_listeners.setdefault(model, []).append(listener)

    def _report_headers_of(self, model: str, response: Response) -> None:
        for listener in self._header_listeners.get(model, ()):
            listener(response.headers)

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice; the next call opens a new pool."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def _connected(self) -> Transport:
        loop = asyncio.get_running_loop()
        if self._transport is None or self._loop is not loop:
            self._loop = loop
            self._transport = self._open()
        return self._transport

    def _open(self) -> Transport:
        headers = {
            "Accept": "application/json",
            "User-Agent": "callwise",
            **openai_headers(self._host, os.environ),
        }
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return self._new_http(headers)

    def _new_http(self, headers: Mapping[str, str] | None = None) -> HttpTransport:
        return HttpTransport(
            self._base_url,
            self._route,
            max_connections=self._max_connections,
            headers=headers,
            connect_seconds=self._connect_seconds,
            keepalive_seconds=self._keepalive_seconds,
        )

    async def _answered(
        self, method: str, url: str, content: bytes, moment: RequestMoment, timeout_seconds: float
    ) -> tuple[Response, bytes]:
        """Return a response, which is closed, and its body.

        Raises:
            CallError: when none came.
        """
        started = self._clock()
        try:
            async with time_limit(timeout_seconds):
                response = await self._connected().send(method, url, content, moment)
                try:
                    return response, await response.read()
                finally:
                    response.close()
        except (TimeoutError, TransportFailed) as error:
            raise self._unanswered(error, moment, timeout_seconds, started) from None

    async def _in_time(
        self,
        exchange: Callable[[], Awaitable[ResultT]],
        calls: Sequence[Call],
        moment: RequestMoment,
        started: float,
    ) -> ResultT:
        """Return the result of an exchange within the time that one of the calls may take.

        Raises:
            CallError: when it ended without one, too late, or on the way.
            Refused: when it was refused.
        """
        limit_seconds = max(
            self._timeout_seconds[call.purpose]
            if call.timeout_seconds is None
            else call.timeout_seconds
            for call in calls
        )
        try:
            async with time_limit(limit_seconds):
                return await exchange()
        except (TimeoutError, TransportFailed) as error:
            raise self._unanswered(error, moment, limit_seconds, started) from None

    def _unanswered(
        self,
        error: TimeoutError | TransportFailed,
        moment: RequestMoment,
        limit_seconds: float,
        started: float,
    ) -> errors.CallError:
        seconds = self._clock() - started
        if isinstance(error, ConnectTimedOut):
            limit_seconds = error.seconds
        if isinstance(error, TimeoutError):
            words = (
                f"{self._host} did not answer in {limit_seconds:g} s"
                if moment.was_sent
                else f"no connection to {self._host} in {limit_seconds:g} s"
            )
            return errors.CallTimeout(words, was_sent=moment.was_sent, latency_seconds=seconds)
        words = str(error)
        kind: type[errors.ConnectionFailed | errors.WrongAddress] = errors.ConnectionFailed
        if _TLS_MISMATCH.search(words):
            kind = errors.WrongAddress
            words = f"answers in plain HTTP: begin the base URL with http:// ({words})"
        return kind(
            self._reader.error_text(words), was_sent=moment.was_sent, latency_seconds=seconds
        )

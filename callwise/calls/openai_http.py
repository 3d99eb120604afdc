"""Any OpenAI-compatible endpoint as a client: OpenAI, DeepSeek, Groq, OpenRouter, vLLM, Ollama.

One attempt per call, no retries, no redirects: each call is at most one HTTP request,
and `on_sent` is called at the moment it leaves (see `http_transport`). What a model there
takes is learned from what it refuses (see `capabilities`, `learning`): the call that was
refused ends in `ParameterRefused`, and its repetition sends what was learned.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from callwise.calls import errors
from callwise.calls.batch_api import LineResult
from callwise.calls.call import Call, Purpose
from callwise.calls.capabilities import Capabilities
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
from callwise.calls.openai_stream import StreamAssembly
from callwise.calls.payload import body_bytes
from callwise.calls.provider_errors import failure_of, utc_now
from callwise.calls.reply import Reply
from callwise.calls.responses import Refused, ResponseReader
from callwise.calls.route import Route
from callwise.calls.together import failures_of_body, joint_body, replies_of_choices
from callwise.calls.wire import (
    chat_body,
    embedding_body,
    reply_of_chat,
    reply_of_embeddings,
)

__all__ = ["TIMEOUT_SECONDS", "OpenAIClient"]

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

DRAIN_SECONDS = 0.5
"""Time that the end of a stream is waited for after its end marker, to keep the connection."""

ResultT = TypeVar("ResultT")

_VERSION = re.compile(r"/v\d")
"""A path of a base URL that names a version of the interface."""

_TLS_MISMATCH = re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|record layer failure")
"""Errors of a server that answers a TLS handshake in plain HTTP."""


class OpenAIClient(Learner):
    """A client of one OpenAI-compatible endpoint, with one pool of connections.

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

    is_simulated = False

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

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | errors.CallError]:
        """Answer each call with its own request, all at the same time."""
        reports = [partial(on_sent, index) if on_sent else None for index in range(len(calls))]
        if len(calls) == 1:
            return [await self._attempt(calls[0], model, reports[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._attempt(call, model, report))
                for call, report in zip(calls, reports, strict=True)
            ]
        return [task.result() for task in tasks]

    async def answer_conversations(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        path: str,
        on_sent: Callable[[], None] | None = None,
    ) -> Sequence[Reply | errors.CallError]:
        """Answer chat calls with one request; see `client.BatchClient`."""
        moment = RequestMoment(on_sent, max_answer_bytes=self._max_answer_bytes)
        started = self._clock()
        failure: errors.CallError
        try:
            exchange = partial(self._conversations, calls, model, path, moment, started)
            return await self._in_time(exchange, calls, moment, started)
        except errors.CallError as error:
            failure = error
        except Refused as refused:
            failure = failure_of(refused.refusal, latency_seconds=self._clock() - started)
        return [copy(failure) for _ in calls]

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
    ) -> bytes:
        """Return the body of a successful response; see `batch_api.BatchClient`."""
        moment = RequestMoment(max_answer_bytes=max_answer_bytes, content_type=content_type)
        response, body = await self._answered(method, url, content, moment, timeout_seconds)
        if not 200 <= response.status < 300:
            raise failure_of(self._reader.refusal_of_response(response, body))
        return body

    @property
    def batch_api(self) -> str:
        """The batch interface of its host; see `batch_api.BatchClient`."""
        return "openrouter" if self._host.endswith("openrouter.ai") else "openai"

    def batch_line(self, call: Call, *, model: str) -> tuple[str, dict[str, Any]]:
        """Return the path of a call's interface, and its request body."""
        call = replace(call, stream=False) if call.stream else call
        return _path(call), _body(call, model, self._known(model).capabilities)

    def batch_answer(
        self, call: Call, body: Mapping[str, Any], result: LineResult
    ) -> Reply | errors.CallError:
        """Return the reply or the error that the result of a line means."""
        try:
            return self._reply(call, self._reader.line(result.status, result.body), 0.0)
        except errors.CallError as error:
            return error
        except Refused as refused:
            return self._error_of(
                refused.refusal,
                body,
                lambda capabilities: _body(call, body["model"], capabilities),
                latency_seconds=0.0,
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
            async with asyncio.timeout(timeout_seconds):
                response = await self._connected().send(method, url, content, moment)
                try:
                    return response, await response.read()
                finally:
                    response.close()
        except (TimeoutError, TransportFailed) as error:
            raise self._unanswered(error, moment, timeout_seconds, started) from None

    def report_headers(self, model: str, listener: Callable[[Mapping[str, str]], None]) -> None:
        """Call a function with the headers of each response for a model."""
        self._header_listeners.setdefault(model, []).append(listener)

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice; the next call opens a new pool."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def _report(self, body: Mapping[str, Any], response: Response) -> None:
        for listener in self._header_listeners.get(body["model"], ()):
            listener(response.headers)

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

    async def _attempt(
        self, call: Call, model: str, on_sent: Callable[[], None] | None
    ) -> Reply | errors.CallError:
        """Make one attempt and return its end, whatever it is. Only cancellation is raised."""
        moment = RequestMoment(
            on_sent, max_answer_bytes=self._max_answer_bytes, embeddings=len(call.inputs)
        )
        known = self._known(model)
        body = _body(call, model, known.capabilities)
        if known.takes(body):
            return await self._timed_attempt(call, body, moment)
        async with known.asking(lambda: _body(call, model, known.capabilities)):
            body = _body(call, model, known.capabilities)
            result = await self._timed_attempt(call, body, moment)
            if isinstance(result, Reply):
                known.confirm(body)
            return result

    async def _timed_attempt(
        self, call: Call, body: dict[str, Any], moment: RequestMoment
    ) -> Reply | errors.CallError:
        started = self._clock()
        try:
            return await self._in_time(
                partial(self._exchange, call, body, moment, started), (call,), moment, started
            )
        except errors.CallError as error:
            return error
        except Refused as refused:
            latency_seconds = self._clock() - started
            if refused.was_streamed and refused.refusal.status == 200:
                return errors.StreamCut(str(refused), status=200, latency_seconds=latency_seconds)
            return self._error_of(
                refused.refusal,
                body,
                lambda capabilities: _body(call, body["model"], capabilities),
                latency_seconds=latency_seconds,
            )

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
            async with asyncio.timeout(limit_seconds):
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

    async def _exchange(
        self, call: Call, body: dict[str, Any], moment: RequestMoment, started: float
    ) -> Reply:
        """Return the answer to a call.

        Raises:
            CallError: what has a class already.
            Refused: a status that means failure, or an error under another one.
            TransportFailed: when no connection was made, or it broke.
        """
        response = await self._connected().send("POST", _path(call), _encoded(body), moment)
        try:
            self._report(body, response)
            if not 200 <= response.status < 300:
                content = await response.read()
                raise Refused(self._reader.refusal_of_response(response, content))
            if not call.stream or call.is_embedding:
                return await self._whole(call, response, started)
            if "text/event-stream" in response.headers.get("content-type", ""):
                return await self._streamed(call, response, started)
            reply = await self._whole(call, response, started)  # as some answer a stream
            return replace(reply, chunks=(reply.text,) if reply.text else ())
        finally:
            response.close()

    async def _conversations(
        self, calls: Sequence[Call], model: str, path: str, moment: RequestMoment, started: float
    ) -> Sequence[Reply | errors.CallError]:
        """Return the answers to conversations; raises as `_exchange` does."""
        known = self._known(model).capabilities
        body = joint_body([_body(call, model, known) for call in calls])
        response = await self._connected().send("POST", path, _encoded(body), moment)
        try:
            self._report(body, response)
            content = await response.read()
        finally:
            response.close()
        seconds = self._clock() - started
        if 200 <= response.status < 300:
            document = self._reader.document(response, content, latency_seconds=seconds)
            return replies_of_choices(document, calls, latency_seconds=seconds)
        refusal = self._reader.refusal_of_response(response, content)
        return failures_of_body(content, calls, failure_of(refusal, latency_seconds=seconds))

    async def _whole(self, call: Call, response: Response, started: float) -> Reply:
        content = await response.read()
        latency_seconds = self._clock() - started
        document = self._reader.document(response, content, latency_seconds=latency_seconds)
        return self._reply(call, document, latency_seconds)

    async def _streamed(self, call: Call, response: Response, started: float) -> Reply:
        """Return the answer that a stream brings.

        Raises:
            StreamCut: when it broke off before its end.
        """
        assembly = StreamAssembly(None if call.listener is None else call.listener.on_piece)
        timer = asyncio.timeout(self._stream_idle_seconds)
        try:
            async with timer, aclosing(response.pieces()) as pieces:
                problem = await assembly.read(
                    pieces if timer.when() is None else self._watched(pieces, timer),
                    broken=TransportFailed,
                    drain_seconds=DRAIN_SECONDS,
                )
        except TimeoutError:
            if not timer.expired():
                raise
            problem = f"nothing came for {self._stream_idle_seconds:g} s"
        if assembly.error is not None:
            raise Refused(self._reader.refusal_in_body(assembly.error), was_streamed=True)
        latency_seconds = self._clock() - started
        if not assembly.is_whole:
            words = f"broke off a stream after {len(assembly.chunks)} pieces: {problem}"
            raise errors.StreamCut(
                self._reader.error_text(words),
                status=response.status,
                latency_seconds=latency_seconds,
            )
        body = assembly.body()
        document = self._reader.redacted(body)
        reply = self._reply(call, document, latency_seconds, assembly.chunks)
        if document != body:  # a key may be cut by the pieces of a stream
            reply = replace(reply, chunks=(reply.text,) if reply.text else ())
        return reply

    async def _watched(
        self, pieces: AsyncIterator[bytes], timer: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        """Yield pieces, and give the next one its time from when each came."""
        loop = asyncio.get_running_loop()
        async for piece in pieces:
            timer.reschedule(loop.time() + (self._stream_idle_seconds or 0.0))
            yield piece

    def _reply(
        self,
        call: Call,
        document: Mapping[str, Any],
        seconds: float,
        chunks: tuple[str, ...] = (),
    ) -> Reply:
        if call.is_embedding:
            count = len(call.inputs)
            reply = reply_of_embeddings(document, expected=count, latency_seconds=seconds)
        else:
            is_structured = call.response_model is not None and not call.tools
            reply = reply_of_chat(
                document, latency_seconds=seconds, is_structured=is_structured, chunks=chunks
            )
        if reply.usage.odd:
            self._notice("usage", self._reader.error_text(f"odd usage ({reply.usage.odd})"))
        return reply


def _path(call: Call) -> str:
    return "/embeddings" if call.is_embedding else "/chat/completions"


def _body(call: Call, model: str, capabilities: Capabilities) -> dict[str, Any]:
    make = embedding_body if call.is_embedding else chat_body
    return make(call, model=model, capabilities=capabilities)


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Return a request body's bytes.

    Raises:
        BadRequest: when JSON cannot express it; nothing was sent.
    """
    try:
        return body_bytes(body)
    except TypeError as error:
        raise errors.BadRequest(
            f"the call cannot be written as JSON: {error}", was_sent=False
        ) from error

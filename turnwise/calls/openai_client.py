"""Any OpenAI-compatible endpoint as a client: OpenAI, DeepSeek, Groq, OpenRouter, vLLM, Ollama.

One attempt a call, no retries, no redirects: each call is at most one HTTP request,
and `on_sent` hears of it at the moment it leaves (see `transport`).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from turnwise.calls.call import Call
from turnwise.calls.capabilities import SchemaMode, TokenLimitField
from turnwise.calls.errors import (
    BadRequest,
    BadResponse,
    CallError,
    CallTimeout,
    ConfigError,
    ConnectionFailed,
    StreamCut,
)
from turnwise.calls.payload import body_bytes
from turnwise.calls.reply import Reply
from turnwise.calls.responses import ResponseReader
from turnwise.calls.stream import StreamAssembly, server_sent_data
from turnwise.calls.transport import SENDING, AiohttpTransport, Route, Sending
from turnwise.calls.vocabulary import Purpose
from turnwise.calls.wire import (
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
    Purpose.OTHER: 180.0,
}
"""Longest time for one attempt, from asking to the last byte, waiting for a connection
included. Short for what a person waits for and the fallback is cheap, long for long answers."""

DRAIN_SECONDS = 0.5
"""How long the end of a stream is waited for after its end marker, to keep the connection."""

OPENAI_HOST = "api.openai.com"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OpenAIClient:
    """A client of one OpenAI-compatible endpoint, with one pool of connections.

    The pool is made on first use, inside the running loop; used from another loop
    later, the client makes a new pool there. Close it before its loop ends.

    Args:
        base_url: up to and with the version, e.g. `https://api.deepseek.com/v1`.
        api_key: sent as a bearer token; None sends none. Read it from the environment.
        schema_mode: how the endpoint is told the form of an answer.
        token_limit_field: what it calls the limit on output tokens; None takes
            `max_completion_tokens` for OpenAI itself and `max_tokens` for others.
        max_connections: most connections at a time; at least 1. More calls wait.
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
        schema_mode: SchemaMode = "json_schema",
        token_limit_field: TokenLimitField | None = None,
        max_connections: int = 64,
        timeout_seconds: Mapping[Purpose, float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError("an endpoint's base URL starts with http:// or https:// and a host")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
            raise ConfigError(
                f"the key for {parts.hostname} cannot be sent as a header: it is empty, or has "
                "line breaks or characters outside ASCII"
            )
        self._base_url = base_url
        self._host = parts.hostname
        self._route = Route.to(base_url)
        self._api_key = api_key
        self._schema_mode: SchemaMode = schema_mode
        if token_limit_field is None:
            is_openai = self._host == OPENAI_HOST
            token_limit_field = "max_completion_tokens" if is_openai else "max_tokens"
        self._token_limit_field: TokenLimitField = token_limit_field
        self._max_connections = max_connections
        self._timeout_seconds = {**TIMEOUT_SECONDS, **(timeout_seconds or {})}
        # Whatever the environment says of organizations is OpenAI's business only, and
        # where there is no key, none of the environment's may take its place.
        left_out = () if self._host == OPENAI_HOST else ("OpenAI-Organization", "OpenAI-Project")
        if api_key is None:
            left_out = (*left_out, "Authorization")
        self._headers = dict.fromkeys(left_out, openai.Omit())
        self._clock = clock
        self._reader = ResponseReader(self._host, api_key=api_key, now=now)
        self._api: openai.AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"OpenAIClient({self._host!r}, schema_mode={self._schema_mode!r})"

    @property
    def is_simulated(self) -> bool:
        """False: what answers over there is not ours to label."""
        return False

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer each call with one request of its own, all at the same time."""
        reports = [partial(on_sent, index) if on_sent else None for index in range(len(calls))]
        if len(calls) == 1:
            return [await self._attempt(calls[0], model, Sending(reports[0]))]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._attempt(call, model, Sending(report)))
                for call, report in zip(calls, reports, strict=True)
            ]
        return [task.result() for task in tasks]

    async def get(self, url: str) -> httpx2.Response:
        """Return the response to a GET, by the same way and with the same key; see `look_up`."""
        options: openai.RequestOptions = {"headers": self._headers}
        return await self._connected().get(url, cast_to=httpx2.Response, options=options)

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice; the next call opens a new pool."""
        api, self._api = self._api, None
        if api is not None:
            await api.close()

    def _connected(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        if self._api is None or self._loop is not loop:
            self._loop = loop
            self._api = openai.AsyncOpenAI(
                base_url=self._base_url,
                api_key=self._api_key or "",
                admin_api_key="",
                max_retries=0,
                timeout=None,  # each attempt has its own limit, in `_attempt`
                http_client=httpx2.AsyncClient(
                    transport=AiohttpTransport(self._route, max_connections=self._max_connections),
                    follow_redirects=False,
                ),
                _enforce_credentials=False,
            )
        return self._api

    async def _attempt(self, call: Call, model: str, sending: Sending) -> Reply | CallError:
        """Make one attempt and return its end, whatever it is. Only cancellation is raised."""
        started = self._clock()
        limit_seconds = call.timeout_seconds
        if limit_seconds is None:
            limit_seconds = self._timeout_seconds[call.purpose]
        token = SENDING.set(sending)
        try:
            async with asyncio.timeout(limit_seconds):
                return await self._exchange(call, model, started)
        except CallError as error:
            return error
        except (TimeoutError, httpx2.TimeoutException, openai.APITimeoutError):
            return CallTimeout(
                f"{self._host} did not answer in {limit_seconds:g} s"
                if sending.was_sent
                else f"no connection to {self._host} in {limit_seconds:g} s",
                was_sent=sending.was_sent,
                latency_seconds=self._clock() - started,
            )
        except openai.APIStatusError as error:
            return self._reader.failure_of_response(
                error.response, error.body, latency_seconds=self._clock() - started
            )
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return ConnectionFailed(
                self._reader.scrubbed(str(error.__cause__ or error)),
                was_sent=sending.was_sent,
                latency_seconds=self._clock() - started,
            )
        finally:
            SENDING.reset(token)

    async def _exchange(self, call: Call, model: str, started: float) -> Reply:
        """Return the answer to a call.

        Raises:
            CallError: what this room can name.
            openai.APIError: what the way there raised.
        """
        if call.is_embedding:
            body = embedding_body(call, model=model)
            document = await self._fetch("/embeddings", body, started)
            return reply_of_embeddings(
                document, expected=len(call.inputs), latency_seconds=self._clock() - started
            )
        body = chat_body(
            call,
            model=model,
            schema_mode=self._schema_mode,
            token_limit_field=self._token_limit_field,
        )
        if call.stream:
            return await self._fetch_stream(body, started)
        document = await self._fetch("/chat/completions", body, started)
        return reply_of_chat(document, latency_seconds=self._clock() - started)

    async def _fetch(self, path: str, body: dict[str, Any], started: float) -> Mapping[str, Any]:
        response = await self._connected().post(
            path,
            cast_to=httpx2.Response,
            content=_encoded(body),
            options={"headers": self._headers},
        )
        return self._reader.document(
            response, response.content, latency_seconds=self._clock() - started
        )

    async def _fetch_stream(self, body: dict[str, Any], started: float) -> Reply:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        response = await self._connected().post(
            "/chat/completions",
            cast_to=httpx2.Response,
            content=_encoded(body),
            options={"headers": self._headers},
            stream=True,
            stream_cls=openai.AsyncStream[Any],
        )
        if not isinstance(response, httpx2.Response):
            raise BadResponse(f"{self._host}: expected a raw response, got {type(response)}")
        try:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                # Some servers answer whole although they were asked for a stream.
                content = await response.aread()
                latency_seconds = self._clock() - started
                document = self._reader.document(response, content, latency_seconds=latency_seconds)
                reply = reply_of_chat(document, latency_seconds=latency_seconds)
                return replace(reply, chunks=(reply.text,) if reply.text else ())
            assembly = await self._assembled(response, started)
        finally:
            await response.aclose()
        if assembly.error is not None:
            raise self._reader.failure_in_body(
                assembly.error, latency_seconds=self._clock() - started, was_streamed=True
            )
        reply = reply_of_chat(assembly.body(), latency_seconds=self._clock() - started)
        return replace(reply, chunks=assembly.chunks)

    async def _assembled(self, response: httpx2.Response, started: float) -> StreamAssembly:
        """Read a stream to its end.

        Raises:
            StreamCut: when it broke off before.
        """
        assembly = StreamAssembly()
        problem = "it ended without its end marker"
        async with aclosing(server_sent_data(response.aiter_bytes())) as events:
            try:
                async for data in events:
                    assembly.add(data)
                    if assembly.is_done or assembly.error is not None:
                        break
            except (httpx2.HTTPError, ValueError) as error:
                problem = str(error)
            if assembly.is_done:
                with suppress(TimeoutError, httpx2.HTTPError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        async for _ in events:
                            pass
        if not assembly.is_whole and assembly.error is None:
            raise StreamCut(
                self._reader.scrubbed(
                    f"broke off a stream after {len(assembly.chunks)} pieces: {problem}"
                ),
                status=response.status_code,
                latency_seconds=self._clock() - started,
            )
        return assembly


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Return a request body's bytes.

    Raises:
        BadRequest: when it holds something that JSON cannot; nothing was sent.
    """
    try:
        return body_bytes(body)
    except TypeError as error:
        raise BadRequest(f"the call cannot be written as JSON: {error}", was_sent=False) from error

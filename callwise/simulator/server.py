"""The simulated model as an OpenAI-compatible HTTP server that logs every request.

A ledger is compared with the log, over a real socket: retries, timeouts and cancellations
included; see `request_log`.

The server gives the same bytes as `SimulatedClient` for the same body. A body's seed is the
index of its sample. One departure: without a seed, the index is the number of equal bodies
answered before; a request that failed, or whose client left before the answer, does not
count. Concurrent equal bodies get their indices in the order of arrival.

Every answer names a model `simulated-…` and carries `X-Callwise-Simulated: 1`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import orjson
from aiohttp import web

from callwise.simulator.faults import Fault, FaultPlan, RequestCounter
from callwise.simulator.model import (
    SchemaRefused,
    SimulatedAnswer,
    SimulatedModel,
    body_digest,
    sample_of,
)
from callwise.simulator.request import asked_schema
from callwise.simulator.request_log import LogEntry, RequestLog
from callwise.simulator.server_requests import (
    problem_of_chat,
    problem_of_chat_batch,
    problem_of_embeddings,
)
from callwise.simulator.server_responses import (
    SIMULATED_HEADERS,
    chat_batch_response,
    chat_response,
    cut,
    embeddings_response,
    error_response,
    failure,
    json_response,
    limit_response,
    sse_events,
    status_of,
    stream,
)
from callwise.simulator.service_limits import ServiceGate
from callwise.simulator.simulator_settings import SimulatedSettings

__all__ = ["SimServer", "serve"]


MAX_BODY_BYTES = 8 * 1024 * 1024
"""Longest body that is read; a longer one is a 413. Two million tokens fit."""

_PAGE = (
    "This is Callwise's simulated model.\n\n"
    "It answers in the OpenAI format, from a seed and without a language model. It proves\n"
    "counting, capping and scheduling; it proves nothing about language.\n\n"
    "POST /v1/chat/completions   POST /v1/chat/completions/batch   POST /v1/embeddings\n"
    "GET /v1/models   GET /__log\n"
)


class SimServer:
    """A simulated model behind a socket on this machine.

    Use it as `async with SimServer(settings) as server:` and give `server.base_url` to
    any OpenAI-compatible client, with any key.

    Args:
        settings: of the model and its faults; None is a model without faults.
        faults: faults of the first requests, in the order of arrival; later ones are drawn
            by the settings' rates.
        failing_paths: paths of URLs at which every request is answered 500.
        host: address to listen at.
        port: 0 takes a free one.
        log_file: file to which each received request is appended as a JSON line, or None.
        model: answers in place of the simulated model of the settings.
        sleep: lets `real_time_scale` pass.
        now: monotonic seconds, for the limits per minute.

    Attributes:
        gate: keeps the limits of the settings; None without any.
    """

    def __init__(
        self,
        settings: SimulatedSettings | None = None,
        *,
        faults: Iterable[Fault | str] = (),
        failing_paths: Collection[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        log_file: Path | None = None,
        model: SimulatedModel | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or SimulatedSettings()
        self.model = model or SimulatedModel(settings=self.settings)
        self.log = RequestLog(log_file)
        self._faults = FaultPlan(self.settings, faults)
        self._failing_paths = failing_paths
        self._answered = RequestCounter()
        self._host = host
        self._port = port
        self._sleep = sleep
        self._now = now
        limits = self.settings.limits
        self.gate = None if limits is None else ServiceGate(limits)
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._open = ExitStack()

    @property
    def base_url(self) -> str:
        """The URL for an OpenAI client, `/v1` included. Known once the server runs."""
        return f"{self.origin}/v1"

    @property
    def origin(self) -> str:
        """The URL without a path.

        Raises:
            RuntimeError: when the server does not run.
        """
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the server is not running. Use it as `async with server:`")
        port = self._runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        """Open the log and listen."""
        self._open.enter_context(self.log)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/__log", self._log),
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/chat/completions/batch", self._chat_batch),
                web.post("/v1/embeddings", self._embeddings),
            ]
        )
        app.on_response_prepare.append(self._add_limits)
        # A handler is cancelled when its client has left; hanging ones end with it.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0
        )
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release hanging requests, and stop."""
        await self._close()

    async def crash(self) -> None:
        """Break every connection and listen no longer, as a server that dies does."""
        if self._runner is not None and self._runner.server is not None:
            for site in tuple(self._runner.sites):
                await site.stop()
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await self._close()

    async def _close(self) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self._open.close()

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, headers=SIMULATED_HEADERS)

    async def _log(self, _request: web.Request) -> web.Response:
        return json_response({"requests": list(map(asdict, self.log))})

    async def _models(self, _request: web.Request) -> web.Response:
        names = ["simulated-main", "simulated-judge", "simulated-fast", "simulated-embed"]
        rows = [{"id": name, "object": "model", "owned_by": "callwise"} for name in names]
        return json_response({"object": "list", "data": rows})

    def _received(self, request: web.Request) -> LogEntry:
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        return self.log.received(request.path, client_port=peer[1] if peer else 0)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        entry = self._received(request)
        body = await self._body_of(request, entry, problem_of_chat)
        if isinstance(body, web.Response):
            return body
        fault = self._arrived(entry, body, is_structured=asked_schema(body) is not None)
        if fault not in {Fault.OK, Fault.MALFORMED_JSON, Fault.CUT_STREAM}:
            return await self._failed(request, fault)
        is_counted = sample_of(body) is None
        if is_counted:
            self._answered.add(entry.body_digest)
        try:
            answer = self.model.answer(body, entry.sample, digest=entry.body_digest)
            refusal = await self._serve(entry, [answer])
            if is_counted and (refusal is not None or fault is Fault.CUT_STREAM):
                self._answered.take_back(entry.body_digest)
            return refusal or await self._answer(request, body, answer, entry)
        except (SchemaRefused, asyncio.CancelledError) as error:
            if is_counted:
                self._answered.take_back(entry.body_digest)
            if isinstance(error, asyncio.CancelledError):
                raise
            entry.status = 400
            return error_response(str(error), "invalid_request_error", status=400)

    async def _chat_batch(self, request: web.Request) -> web.StreamResponse:
        """Answer each conversation as its own request would be, in one response."""
        entry = self._received(request)
        body = await self._body_of(request, entry, problem_of_chat_batch)
        if isinstance(body, web.Response):
            return body
        bodies = [{**body, "messages": messages} for messages in body["messages"]]
        entry.items = len(bodies)
        is_structured = asked_schema(bodies[0]) is not None
        fault = self._arrived(entry, body, is_structured=is_structured)
        if fault not in {Fault.OK, Fault.MALFORMED_JSON}:
            return await self._failed(request, fault)
        counted: list[str] = []
        try:
            answers = [self._answer_of(each, counted) for each in bodies]
            refusal = await self._serve(entry, answers)
        except (SchemaRefused, asyncio.CancelledError) as error:
            self._take_back(counted)
            if isinstance(error, asyncio.CancelledError):
                raise
            entry.status = 400
            return error_response(str(error), "invalid_request_error", status=400)
        if refusal is not None:
            self._take_back(counted)
            return refusal
        if fault is Fault.MALFORMED_JSON:
            answers[0] = answers[0].spoilt(entry.body_digest)
        response = chat_batch_response(
            answers, model=entry.model, request_id=entry.body_digest[:16]
        )
        return await self._written(request, entry, json_response(response))

    def _answer_of(self, body: Mapping[str, Any], counted: list[str]) -> SimulatedAnswer:
        """Return the answer to one conversation; its digest is counted where it has no seed."""
        digest, sample = body_digest(body), sample_of(body)
        if sample is None:
            sample = self._answered.add(digest)
            counted.append(digest)
        return self.model.answer(body, sample, digest=digest)

    def _take_back(self, counted: Iterable[str]) -> None:
        for digest in counted:
            self._answered.take_back(digest)

    async def _serve(
        self, entry: LogEntry, answers: Sequence[SimulatedAnswer]
    ) -> web.Response | None:
        """Count the request against the limits and let its latency pass; return a refusal."""
        input_tokens = sum(answer.usage.input_tokens or 0 for answer in answers)
        output_tokens = sum(answer.usage.output_tokens or 0 for answer in answers)
        gate = self.gate
        if gate is not None:
            refused = gate.admit(
                self._now(), input_tokens=input_tokens, output_tokens=output_tokens
            )
            if refused is not None:
                entry.status, entry.limit = 429, refused.dimension
                return limit_response(refused)
        entry.input_tokens, entry.output_tokens = input_tokens, output_tokens
        try:
            await self._pass(max(answer.latency_seconds for answer in answers))
        finally:
            if gate is not None:
                gate.release()
        return None

    async def _add_limits(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.gate is not None and request.method == "POST":
            response.headers.update(self.gate.headers(self._now()))

    async def _answer(
        self,
        request: web.Request,
        body: Mapping[str, Any],
        answer: SimulatedAnswer,
        entry: LogEntry,
    ) -> web.StreamResponse:
        """Send a chat answer, whole or as a stream, with its entry's fault."""
        if entry.fault == Fault.MALFORMED_JSON:
            answer = answer.spoilt(entry.body_digest)
        named = {"model": entry.model, "request_id": entry.body_digest[:16]}
        is_cut = entry.fault == Fault.CUT_STREAM
        if not entry.is_stream:
            if is_cut:
                return await cut(request, [])
            return await self._written(
                request, entry, json_response(chat_response(answer, **named))
            )
        options = body.get("stream_options")
        has_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        events = sse_events(answer, has_usage=has_usage, **named)
        if is_cut:
            return await cut(request, events)
        response = await stream(request, events)
        entry.is_answered = True
        return response

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        entry = self._received(request)
        body = await self._body_of(request, entry, problem_of_embeddings)
        if isinstance(body, web.Response):
            return body
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        entry.items = len(texts)
        fault = self._arrived(entry, body, is_structured=False)
        if fault not in {Fault.OK, Fault.MALFORMED_JSON}:
            return await self._failed(request, fault)
        vectors, usage, latency_seconds = self.model.embed(texts)
        refusal = await self._serve(entry, [SimulatedAnswer("", usage, latency_seconds, "stop")])
        if refusal is not None:
            return refusal
        as_base64 = body.get("encoding_format") == "base64"
        response = embeddings_response(vectors, usage, model=entry.model, as_base64=as_base64)
        return await self._written(request, entry, json_response(response))

    async def _body_of(
        self,
        request: web.Request,
        entry: LogEntry,
        problem_of: Callable[[Mapping[str, Any]], str | None],
    ) -> dict[str, Any] | web.Response:
        """Return the request's JSON object, or the response to a body that is not understood.

        A body that is nested too deeply to be written again is not understood either.
        """
        problem: str | None = "expected a JSON object"
        try:
            body = orjson.loads(await request.read())
            orjson.dumps(body)
            if isinstance(body, dict) and (problem := problem_of(body)) is None:
                return body
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            pass
        except BaseException:
            self.log.write(entry)  # the client left before its body had arrived
            raise
        entry.status = 400
        self.log.write(entry)
        return error_response(problem or "", "invalid_request_error", status=400)

    def _arrived(self, entry: LogEntry, body: Mapping[str, Any], *, is_structured: bool) -> Fault:
        """Complete and write the log entry, and return the attempt's fault."""
        entry.model = str(body.get("model") or "")
        entry.is_stream = bool(body.get("stream"))
        entry.body_digest = body_digest(body)
        sample = sample_of(body)
        entry.sample = self._answered.count(entry.body_digest) if sample is None else sample
        if entry.path in self._failing_paths:
            fault = Fault.SERVER_ERROR
        else:
            fault = self._faults.next(
                (entry.body_digest, entry.sample),
                is_stream=entry.is_stream,
                is_structured=is_structured,
            )
        entry.fault = fault.value
        entry.status = status_of(fault)
        self.log.write(entry)
        return fault

    async def _written(
        self, request: web.Request, entry: LogEntry, response: web.Response
    ) -> web.Response:
        """Write a whole answer, and note that it was; a client that has left gets none."""
        with suppress(ConnectionResetError):
            await response.prepare(request)
            await response.write_eof()
            entry.is_answered = True
        return response

    async def _failed(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault is Fault.TIMEOUT:
            # No answer until the client leaves, the time is over, or the server stops.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.timeout_seconds):
                    await self._closing.wait()
        if fault in {Fault.TIMEOUT, Fault.CUT_STREAM}:
            return await cut(request, [])
        return failure(fault, retry_after_seconds=self.settings.retry_after_seconds)

    async def _pass(self, latency_seconds: float) -> None:
        """Wait for the virtual latency, as far as the settings make it real."""
        if self.settings.real_time_scale > 0.0:
            await self._sleep(latency_seconds * self.settings.real_time_scale)


async def serve(
    host: str,
    port: int,
    settings: SimulatedSettings,
    log_file: Path | None = None,
    *,
    faults: Iterable[Fault | str] = (),
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the simulated model until cancelled; see `SimServer`.

    `on_ready` is called once with the base URL, when the server listens.

    Raises:
        OSError: when it cannot listen there, or cannot write the log.
    """
    async with SimServer(
        settings, faults=faults, host=host, port=port, log_file=log_file
    ) as server:
        if on_ready is not None:
            on_ready(server.base_url)
        await asyncio.Event().wait()

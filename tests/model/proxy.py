"""A recording proxy before an OpenAI-compatible server, in a separate thread.

What it received is counted apart from the product, so that a ledger can be compared with
it. A model cut to two layers answers nonsense; the proxy can put another answer in its
place and leave the server's usage as it is, so that prompts, tokens and caches stay real.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web

__all__ = ["CHAT", "Exchange", "Proxy", "StandIn", "answered_by"]

MAX_BODY_BYTES = 64 * 1024 * 1024
CHAT = "/chat/completions"
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

StandIn = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Returns a choice (`message`, `finish_reason`) for the body of a chat request."""


@dataclass(slots=True)
class Exchange:
    """One received request and what came of it.

    Args:
        path: below the base URL, or the whole path where that is another one.
        body: the request as it was received.
        status: of the response; None while there is none.
        usage: as the server counted it; empty where it did not.
        content: of the first choice, as it was passed on.
        seconds: time that the server took.
    """

    path: str
    body: Mapping[str, Any]
    status: int | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""
    seconds: float = 0.0

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt."""
        return int(self.usage.get("prompt_tokens") or 0)

    @property
    def output_tokens(self) -> int:
        """Tokens that the server generated."""
        return int(self.usage.get("completion_tokens") or 0)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that the server had in its cache."""
        return int((self.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="model-proxy")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _posted(session: aiohttp.ClientSession, url: str, body: Any) -> tuple[int, str, bytes]:
    async with session.post(url, json=body) as response:
        return response.status, response.content_type, await response.read()


def answered_by(base_url: str) -> StandIn:
    """Return a stand-in that asks another server the same."""

    async def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = {name: value for name, value in body.items() if not name.startswith("stream")}
        async with aiohttp.ClientSession() as session:
            status, _, data = await _posted(session, base_url + CHAT, asked)
        if status != web.HTTPOk.status_code:
            raise RuntimeError(f"the stand-in answered {status}: {data[:200]!r}")
        return dict(json.loads(data)["choices"][0])

    return ask


def _events(data: bytes) -> list[dict[str, Any]]:
    """Return the chunks of a stream."""
    lines = (line.removeprefix(b"data: ") for line in data.splitlines() if line[:5] == b"data:")
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def _as_stream(choice: Mapping[str, Any], chunks: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a choice as a stream that ends with the usage chunk of the server's."""
    head = {name: chunks[0][name] for name in ("id", "object", "created", "model")}
    parts = [
        {**head, "choices": [{"index": 0, "delta": choice["message"], "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        *({**head, "choices": [], "usage": each["usage"]} for each in chunks if each.get("usage")),
    ]
    lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


class Proxy:
    """A recording proxy; use it as `with Proxy(url) as proxy:`.

    Args:
        upstream: base URL of the server behind it, `/v1` included.
        stand_in: answers in the model's place; None passes on the model's answers.
        max_output_tokens: most tokens that the server may generate for an answer, so that
            nonsense ends; None leaves the request's own limit.
        fixed: fields that every chat request is sent with, such as a seed.
        max_in_flight: most requests that the server has at a time; None is no limit.
        stops_after: after so many requests the port is closed, as when a server is stopped,
            until `listen`; None is never.
    """

    def __init__(
        self,
        upstream: str,
        *,
        stand_in: StandIn | None = None,
        max_output_tokens: int | None = None,
        fixed: Mapping[str, Any] | None = None,
        max_in_flight: int | None = None,
        stops_after: int | None = None,
    ) -> None:
        self.log: list[Exchange] = []
        self._upstream = upstream
        self.stand_in = stand_in
        self._max_output_tokens = max_output_tokens
        self._fixed = dict(fixed or {})
        self._stops_after = stops_after
        self._max_in_flight = max_in_flight or sys.maxsize
        self._loop = _running_loop()
        self._port = 0

    @property
    def base_url(self) -> str:
        """The URL to ask, `/v1` included."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._in = self._loop.__enter__()
        asyncio.run_coroutine_threadsafe(self._start(), self._in).result()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, and end what is in flight."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._in).result()
        self._loop.__exit__(None, None, None)

    async def _start(self) -> None:
        no_limit = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(timeout=no_limit)
        self._places = asyncio.Semaphore(self._max_in_flight)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([web.route("*", "/{path:.*}", self._pass_on)])
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0
        )
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    def listen(self) -> None:
        """Open the port again, for good."""
        self._stops_after = None
        asyncio.run_coroutine_threadsafe(self._listen(), self._in).result()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1")
        url = self._upstream + path
        if request.method != "POST":
            async with self._session.get(url) as response:
                return web.Response(status=response.status, body=await response.read())
        exchange = Exchange(path, json.loads(await request.read()))
        self.log.append(exchange)
        if len(self.log) == self._stops_after:
            await self._site.stop()
        if path == request.path:
            exchange.status = 404
            return web.json_response({"error": {"message": "File Not Found"}}, status=404)
        response = await self._answered(exchange, url)
        if self._stops_after is not None:
            response.force_close()  # so that no kept connection reaches a closed port
        return response

    async def _answered(self, exchange: Exchange, url: str) -> web.Response:
        sent = self._as_sent(exchange.path, exchange.body)
        try:
            async with self._places:
                begun = time.monotonic()
                status, kind, data = await _posted(self._session, url, sent)
                exchange.seconds = time.monotonic() - begun
        except aiohttp.ClientError as error:
            exchange.status = 502
            return web.json_response({"error": {"message": f"no server: {error}"}}, status=502)
        exchange.status = status
        if status == web.HTTPOk.status_code:
            data = await self._recorded(exchange, data, is_stream=kind == "text/event-stream")
        return web.Response(status=status, body=data, content_type=kind)

    def _as_sent(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request as the server gets it."""
        if path != CHAT:
            return dict(body)
        sent = {**body, **self._fixed}
        if self._max_output_tokens is not None:
            name = next((name for name in TOKEN_LIMITS if name in body), TOKEN_LIMITS[0])
            sent[name] = min(self._max_output_tokens, body.get(name) or self._max_output_tokens)
        return sent

    async def _recorded(self, exchange: Exchange, data: bytes, *, is_stream: bool) -> bytes:
        """Keep the usage of an answer, and return it as it is passed on."""
        chunks = _events(data) if is_stream else [json.loads(data)]
        exchange.usage = next((each["usage"] for each in chunks if each.get("usage")), {})
        if exchange.path != CHAT:
            return data
        choice = _joined(chunks) if is_stream else chunks[0]["choices"][0]
        if self.stand_in is not None:
            choice = await self.stand_in(exchange.body)
            document = {**chunks[0], "choices": [{**choice, "index": 0}]}
            data = _as_stream(choice, chunks) if is_stream else json.dumps(document).encode()
        exchange.content = choice["message"].get("content") or ""
        return data


def _joined(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first choice of a stream as a whole."""
    parts = [part for chunk in chunks for part in chunk.get("choices") or ()]
    text = "".join(part["delta"].get("content") or "" for part in parts)
    reason = next((part["finish_reason"] for part in parts if part.get("finish_reason")), None)
    return {"message": {"role": "assistant", "content": text}, "finish_reason": reason}

"""A recording proxy before an OpenAI-compatible server, in a thread of its own.

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
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

__all__ = ["Exchange", "Proxy", "Replaces", "StandIn", "answered_by"]

MAX_BODY_BYTES = 64 * 1024 * 1024
CHAT = "/chat/completions"
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

Replaces = Literal["all", "unreadable", "nothing"]
"""Which answers are replaced. An answer is unreadable when it was asked to be JSON and is not,
or was cut."""

StandIn = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Returns a choice (`message`, `finish_reason`) for the body of a chat request."""


@dataclass(slots=True)
class Exchange:
    """One received request and what came of it.

    Args:
        path: below the base URL.
        body: the request as it was received.
        status: of the response; None while there is none.
        usage: as the server counted it; empty where it did not.
        content: of the first choice, as it was passed on.
        is_replaced: whether that is the stand-in's answer.
        seconds: time that the server took.
    """

    path: str
    body: Mapping[str, Any]
    status: int | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""
    is_replaced: bool = False
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


def _is_readable(body: Mapping[str, Any], choice: Mapping[str, Any]) -> bool:
    if choice.get("finish_reason") == "length":
        return False
    if "response_format" not in body:
        return True
    try:
        json.loads(choice["message"].get("content") or "")
    except ValueError:
        return False
    return True


class Proxy:
    """A recording proxy; use it as `with Proxy(url) as proxy:`.

    Args:
        upstream: base URL of the server behind it, `/v1` included.
        stand_in: answers in the model's place; None replaces nothing.
        replaces: which answers are replaced.
        max_output_tokens: most tokens that the server may generate for an answer, so that
            nonsense ends; None leaves the request's own limit.
        fixed: fields that every chat request is sent with, such as a seed.
        max_in_flight: most requests that the server has at a time; None is no limit.
    """

    def __init__(
        self,
        upstream: str,
        *,
        stand_in: StandIn | None = None,
        replaces: Replaces = "all",
        max_output_tokens: int | None = None,
        fixed: Mapping[str, Any] | None = None,
        max_in_flight: int | None = None,
    ) -> None:
        self.log: list[Exchange] = []
        self._upstream = upstream
        self.stand_in = stand_in
        self._replaces = replaces if stand_in else "nothing"
        self._max_output_tokens = max_output_tokens
        self._fixed = dict(fixed or {})
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
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        if not request.path.startswith("/v1/"):
            return web.json_response({"error": {"message": "File Not Found"}}, status=404)
        url = self._upstream + request.path.removeprefix("/v1")
        if request.method != "POST":
            async with self._session.get(url) as response:
                return web.Response(status=response.status, body=await response.read())
        body = json.loads(await request.read())
        exchange = Exchange(request.path.removeprefix("/v1"), body)
        self.log.append(exchange)
        try:
            async with self._places:
                begun = time.monotonic()
                sent = self._as_sent(exchange.path, body)
                status, kind, data = await _posted(self._session, url, sent)
                exchange.seconds = time.monotonic() - begun
        except aiohttp.ClientError as error:
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
        is_kept = self._replaces == "nothing" or (
            self._replaces == "unreadable" and _is_readable(exchange.body, choice)
        )
        if self.stand_in is not None and not is_kept:
            choice = await self.stand_in(exchange.body)
            exchange.is_replaced = True
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

"""Served rooms on free ports of loopback, and clients of them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from callwise.serve import Access, RoomHost, serve_room
from callwise.wake import Agent, WakeKnobs, WakeSettings, WakeStore

TOKEN = "correct-horse-battery"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
PERSONA = "A retired sailor who answers in few words."

PASSES_SECONDS = 300.0
"""Longest wait for what has to come, on a busy machine."""


def wall_within_an_hour():
    """Return a wall clock that goes on as time does, and begins ten minutes after a full hour."""
    began = time.monotonic()
    return lambda: 1_800_000_600.0 + time.monotonic() - began


class Served:
    """A room that is served.

    Args:
        url: of the server.
        session: HTTP client without a token.
    """

    def __init__(self, url, host, store, session, task):
        self.url, self.host, self.store, self.session = url, host, store, session
        self.task = task

    def say(self, text, author="Mia", **fields):
        """Return the answer to a line over HTTP."""
        return self.post("/messages", {"author": author, "text": text, **fields})

    async def post(self, path, body=None, headers=AUTHORIZED, data=None):
        """Return status and JSON of a request."""
        async with self.session.post(
            self.url + path, json=body, data=data, headers=headers
        ) as response:
            return response.status, await response.json()

    async def get(self, path, headers=AUTHORIZED):
        """Return status and text of a request."""
        async with self.session.get(self.url + path, headers=headers) as response:
            return response.status, await response.text()

    @asynccontextmanager
    async def connected(self, after=0, token=TOKEN, fields=None, **options):
        """Connect, and say hello, with further fields or without `after` where it is None."""
        hello = {"type": "hello", "token": token, "after": after, **(fields or {})}
        async with self.session.ws_connect(self.url + "/socket", **options) as socket:
            await socket.send_json({name: each for name, each in hello.items() if each is not None})
            yield socket

    def fill(self, count, size=10):
        """Let messages come into the log as they would from other agents."""
        for _ in range(count):
            number = self.host.feed.head + 1
            message = self.store.rooms.say(
                self.host.room, "other", f"{number} ".ljust(size, "x"), id=f"f{number}", at=1.0
            )
            self.host.on_message(message)


async def event_of(socket, kind):
    """Return the next event of a type."""
    async with asyncio.timeout(PASSES_SECONDS):
        while True:
            message = await socket.receive()
            assert message.type == aiohttp.WSMsgType.TEXT, message
            event = json.loads(message.data)
            if event["type"] == kind:
                return event


async def lines_of(socket, count):
    """Return the next lines."""
    return [await event_of(socket, "message") for _ in range(count)]


async def closed(socket):
    """Return code and reason of the frame that closes a connection."""
    async with asyncio.timeout(PASSES_SECONDS):
        while True:
            message = await socket.receive()
            if message.type == aiohttp.WSMsgType.CLOSE:
                return message.data, message.extra
            if message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}:
                return socket.close_code, ""


def settings_of(**knobs):
    """Return the settings of five agents on two models, simulated, without delays."""
    agents = [
        Agent(id=name, name=name.title(), persona=PERSONA, model=model)
        for name, model in zip("abcde", ("one", "two", "one", "two", "one"), strict=True)
    ]
    knobs = {"delay_seconds": (0.0, 0.0), "fallback": "everyone", **knobs}
    return WakeSettings(
        agents=tuple(agents), models={"one": {}, "two": {}}, wake=WakeKnobs(**knobs)
    )


@pytest.fixture
async def serve() -> AsyncIterator[Callable]:
    """Return a function that serves a room, and stops it afterwards."""
    async with AsyncExitStack() as stack:

        async def start(
            store=None, settings=None, endpoints=None, access=None, server=None, **options
        ):
            settings = settings or settings_of(intent_daily_calls=0)
            store = store or stack.enter_context(WakeStore(":memory:"))
            options = {"wall": wall_within_an_hour(), **options}
            host = RoomHost(settings, store, endpoints or settings.served_by({}), **options)
            url = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(
                serve_room(host, access or Access(TOKEN), on_ready=url.set_result, **(server or {}))
            )
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
            await asyncio.wait({task, url}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            )
            return Served(url.result(), host, store, session, task)

        yield start

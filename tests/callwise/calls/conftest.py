"""A small real HTTP server on loopback that answers as each test scripts it."""

import asyncio
import json
import socket
from collections import deque

import pytest
from aiohttp import web

from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.openai_sdk import OpenAISdkClient


def chat_document(text="hello", **changes):
    """Return a whole chat completion."""
    return {
        "id": "1",
        "object": "chat.completion",
        "model": "served-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    } | changes


def events(*documents, done=True):
    """Return documents as a server-sent event stream."""
    lines = [b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def delta(text, *, finish_reason=None, **more):
    """Return one event of a streamed answer."""
    choice = {"index": 0, "delta": {"content": text, **more}, "finish_reason": finish_reason}
    return {"model": "served-model", "choices": [choice]}


class ScriptedServer:
    """Answers `/v1/...`; what the next requests get is put into `script`, in order.

    An entry is a function of (request, body) that returns a response; without one,
    a chat request is answered with its last message's text (`hold` waits for `release`,
    `fail` is a 500), and an embeddings request with two numbers a text.
    """

    def __init__(self):
        self.script = deque()
        self.bodies = []
        self.headers = []
        self.paths = []
        self.connections = set()
        self.arrived = asyncio.Semaphore(0)
        self.release = asyncio.Event()
        self.url = ""

    async def start(self):
        """Listen on a free port."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/{route:.*}", self._serve)
        app.router.add_post("/openai/deployments/{route:.*}", self._serve)
        app.router.add_get("/v1/{route:.*}", self._describe)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/v1"

    async def stop(self):
        """Release all waiting handlers, and close."""
        self.release.set()
        await self._runner.cleanup()

    async def _serve(self, request):
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(request.headers)
        self.paths.append(request.path_qs)
        self.connections.add(request.transport.get_extra_info("peername"))
        self.arrived.release()
        if self.script:
            return await self.script.popleft()(request, body)
        if request.path.endswith("/embeddings"):
            rows = [
                {"index": index, "embedding": [float(len(text)), 1.0]}
                for index, text in enumerate(body["input"])
            ]
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            # Out of order, as the protocol allows.
            return web.json_response({"model": "e", "data": rows[::-1], "usage": usage})
        text = body["messages"][-1]["content"]
        if text == "hold":
            await self.release.wait()
        if text == "fail":
            return web.json_response({"error": {"message": "boom"}}, status=500)
        if body.get("stream"):
            usage = {"choices": [], "usage": chat_document()["usage"]}
            stream = events(delta(text[:2]), delta(text[2:], finish_reason="stop"), usage)
            return web.Response(body=stream, content_type="text/event-stream")
        return web.json_response(chat_document(text))

    async def _describe(self, request):
        self.headers.append(request.headers)
        if request.path.endswith("/hold"):
            await self.release.wait()
        return web.json_response({"data": []})

    def then(
        self,
        *,
        status=200,
        text=None,
        document=None,
        content_type=None,
        charset=None,
        headers=None,
    ):
        """Script the next answer."""
        if document is not None:
            text, content_type = json.dumps(document), content_type or "application/json"

        async def respond(_request, _body):
            return web.Response(
                status=status,
                body=text if isinstance(text, bytes) else (text or "").encode(),
                content_type=content_type or "text/plain",
                charset=charset,
                headers=headers,
            )

        self.script.append(respond)

    def then_hang_up(self, after=None):
        """Script a connection that breaks, before an answer or after some of a stream."""

        async def respond(request, _body):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            if after is not None:
                await response.prepare(request)
                await response.write(after)
            request.transport.close()
            return response

        self.script.append(respond)


@pytest.fixture
async def server():
    """A scripted server on a free port of loopback."""
    scripted = ScriptedServer()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture(params=[OpenAIClient, OpenAISdkClient])
def client_class(request):
    """Each client of OpenAI-compatible endpoints in turn: they promise the same."""
    return request.param


@pytest.fixture
def unused_port():
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def ask():
    """Make a chat call from a text, and whatever else it needs."""

    def make(text="hi", /, *, messages=None, **fields):
        fields = {"role": Role.MAIN, "purpose": Purpose.OTHER} | fields
        return Call(messages=messages or (Message("user", text),), **fields)

    return make


@pytest.fixture
def wire_words():
    """The functions that write scripted answers: whole documents, deltas, event streams."""

    class Words:
        chat_document = staticmethod(chat_document)
        events = staticmethod(events)
        delta = staticmethod(delta)

    return Words

"""A server on loopback that answers every request with one fixed chat completion, or a stream.

It runs in a separate process and does next to nothing, so that what is timed against
it is the client. Not for anything else: it neither reads nor checks what it is asked.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.figures import ROOT

__all__ = ["loopback_server"]

_BODY = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "local-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Read the one about the lighthouse."},
            }
        ],
        "usage": {"prompt_tokens": 700, "completion_tokens": 12, "total_tokens": 712},
    }
).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)

_WORDS = ["Read ", "the ", "one ", "about ", "the ", "light", "tower", "."] * 8
"""The texts of a streamed answer."""


def _stream() -> bytes:
    """Return a streamed answer in the form of a whole response."""
    events = [
        {**json.loads(_BODY), "object": "chat.completion.chunk", "usage": None, "choices": [choice]}
        for choice in [
            {"index": 0, "delta": {"content": word}, "finish_reason": None} for word in _WORDS
        ]
        + [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    ]
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    body += b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


_STREAM = _stream()


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until it closes."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length))
            writer.write(_STREAM if b'"stream":true' in body.replace(b" ", b"") else _ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_serve_one, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@asynccontextmanager
async def loopback_server() -> AsyncIterator[str]:
    """Give the base URL of a running server; it stops at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.loopback", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        port = int(await process.stdout.readline()) if process.stdout else 0
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve())

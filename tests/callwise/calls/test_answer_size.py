"""Answers without end: read up to a limit, packed or not, streamed or not."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from functools import lru_cache

import pytest
from aiohttp import web

from callwise.calls import Call, Purpose, Reply, Role
from callwise.calls.errors import BadResponse

LIMIT = 200_000


@pytest.fixture
async def client(client_class, server):
    """A client that reads short answers only."""
    made = client_class(server.url, max_answer_bytes=LIMIT)
    yield made
    await made.aclose()


async def answer(client, call):
    """Return the answer to one call."""
    [reply] = await client.answer([call], model="m")
    return reply


def packed(body: bytes, coding: str) -> bytes:
    """Return a body packed as its coding says."""
    return {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding](body)


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_beyond_the_limit_is_no_answer(  # noqa: PLR0917 - fixtures
    client, server, ask, wire_words, coding, stream, status
):
    """Whole or streamed, packed or not, whatever its status: a `BadResponse` that says so."""
    body = json.dumps(wire_words.chat_document("a" * LIMIT)).encode()
    kind = "text/event-stream" if stream else "application/json"
    if stream:
        body = b"data: " + body + b"\n\n"
    headers = {"Content-Encoding": coding}
    server.then(text=packed(body, coding), content_type=kind, headers=headers, status=status)
    failed = await answer(client, ask(stream=stream))
    assert isinstance(failed, BadResponse)
    assert "longer than 200,000 bytes" in str(failed)
    assert "max_answer_bytes" in str(failed)
    assert (await answer(client, ask("next"))).text == "next"


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_within_the_limit_is_read_whole(  # noqa: PLR0917 - fixtures
    client, server, ask, wire_words, coding, stream
):
    """Packing changes nothing, and the last byte is there."""
    text = "好" * 20_000 + "end"
    body = json.dumps(wire_words.chat_document(text), ensure_ascii=False).encode()
    kind = "application/json"
    if stream:
        body = wire_words.events(wire_words.delta(text, finish_reason="stop"))
        kind = "text/event-stream"
    headers = {"Content-Encoding": coding}
    server.then(text=packed(body, coding), content_type=kind, headers=headers)
    assert (await answer(client, ask(stream=stream))).text == text


@lru_cache
def bomb() -> bytes:
    """Return spaces, 256 MB of them, packed."""
    packing = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    megabyte = b" " * 2**20
    return b"".join(packing.compress(megabyte) for _ in range(256)) + packing.flush()


@pytest.mark.slow
async def test_what_unpacks_to_gigabytes_is_never_held(client, server, ask):
    """A bomb of a gigabyte in a megabyte costs about the limit in memory."""
    server.then(text=bomb(), content_type="application/json", headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        failed = await answer(client, ask())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(failed, BadResponse)
    assert most < 16 * 2**20


async def test_a_stream_that_never_ends_is_left(client, server, ask):
    """Events without an end marker, for as long as someone reads."""
    written = 0

    async def respond(request, _body):
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while written < 2**26:
                await response.write(b": nothing yet\n\n" * 1000)
                written += 15_000
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        return response

    server.script.append(respond)
    failed = await answer(client, ask(stream=True))
    assert isinstance(failed, BadResponse)
    assert written < 2**26


async def test_a_packing_that_was_not_offered_is_refused(client, server, ask):
    """Only what can be unpacked piece by piece is asked for."""
    server.then(text=b"??", content_type="application/json", headers={"Content-Encoding": "br"})
    failed = await answer(client, ask())
    assert isinstance(failed, BadResponse)
    assert "packed as 'br', which was not offered" in str(failed)
    assert server.headers[0]["Accept-Encoding"] == "gzip, deflate"


async def test_embeddings_may_be_as_long_as_they_are_many(client, server):
    """The limit grows by the texts, since a hundred vectors are no error."""
    vectors = [{"index": index, "embedding": [0.123456789] * 1000} for index in range(100)]
    server.then(document={"data": vectors, "model": "e"})
    reply = await answer(client, Call(Role.EMBED, Purpose.EMBED, inputs=("text",) * 100))
    assert isinstance(reply, Reply)
    assert len(reply.vectors) == 100

"""Clients that do not take what they are sent, next to others that do."""

import asyncio
import base64
import json
import resource
import socket
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from callwise.serve.room_feed import KEPT_LINES, MAX_BEHIND

from .conftest import PASSES_SECONDS, TOKEN, event_of, lines_of

FILLS_BUFFERS = 100
"""Long lines that are more than all buffers between server and client take."""

LONG_LINE = 8_000


@asynccontextmanager
async def stalled(room):
    """Connect with little memory, say hello, and read no line; give the stream to read from."""
    address = room.url.removeprefix("http://").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (address[0], int(address[1])))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1_024)
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        f"GET /socket HTTP/1.1\r\nHost: {':'.join(address)}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        "".encode()
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    hello = json.dumps({"type": "hello", "token": TOKEN}).encode()
    assert len(hello) < 126
    writer.write(bytes((0x81, 0x80 | len(hello), 0, 0, 0, 0)) + hello)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def read_until(stream, end):
    """Return all that is received until some bytes are in it."""
    data = bytearray()
    while data.find(end, max(len(data) - 66_000, 0)) == -1:
        part = await stream.read(65_536)
        assert part, "the connection has ended"
        data += part
    return bytes(data)


async def metric(room, name):
    """Return a sample of the metrics; None where there is none."""
    _, text = await room.get("/metrics")
    found = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(found[0]) if found else None


async def until(room, name, value):
    """Wait for a sample of the metrics."""
    async with asyncio.timeout(PASSES_SECONDS):
        while await metric(room, name) != value:
            pass  # each question is a request, in which the server has its turn


STALLED = 'callwise_connections_ended_total{reason="stalled"}'


async def test_a_client_that_stalls_is_closed_with_a_reason(serve):
    """The others have each line; before `MAX_BEHIND` lines wait, it is only slow."""
    patient = {"abort_seconds": PASSES_SECONDS, "ping_seconds": None}
    room = await serve(stall_seconds=0.0, server=patient)
    async with stalled(room) as stream:
        await until(room, "callwise_clients", 1)
        room.fill(FILLS_BUFFERS, LONG_LINE)
        async with room.connected(after=FILLS_BUFFERS) as other:
            await until(room, "callwise_clients", 2)
            for number in range(FILLS_BUFFERS + 1, FILLS_BUFFERS + MAX_BEHIND + 1):
                room.fill(1)
                assert (await lines_of(other, 1))[0]["sequence"] == number
                if number == FILLS_BUFFERS + MAX_BEHIND // 2:
                    assert await metric(room, STALLED) is None
            room.fill(2)
            assert len(await lines_of(other, 2)) == 2
            await until(room, STALLED, 1)
            await until(room, "callwise_clients", 1)
            reason = b"connect again with your last number"
            await asyncio.wait_for(read_until(stream, reason), PASSES_SECONDS)
            room.fill(1)
            assert len(await lines_of(other, 1)) == 1


async def test_a_slow_client_has_every_line(serve):
    """One that takes lines again is not closed, however far it is behind."""
    room = await serve(stall_seconds=PASSES_SECONDS, server={"ping_seconds": None})
    async with stalled(room) as stream:
        await until(room, "callwise_clients", 1)
        room.fill(FILLS_BUFFERS, LONG_LINE)
        await until(room, "callwise_clients", 1)
        room.fill(KEPT_LINES + 100)
        data = await asyncio.wait_for(read_until(stream, b'"id":"f1224"'), PASSES_SECONDS)
        numbers = [data.find(f'"id":"f{number}"'.encode()) for number in range(1, 1_225)]
        assert -1 not in numbers
        assert numbers == sorted(numbers)
        assert [data.count(f'"id":"f{number}"'.encode()) for number in (1, 500, 1_224)] == [1] * 3


async def test_a_client_that_answers_no_ping_is_disconnected(serve):
    """Although no line comes; with its own reason in the metrics."""
    room = await serve(server={"ping_seconds": 0.01})
    async with stalled(room):
        await until(room, 'callwise_connections_ended_total{reason="no answer"}', 1)
        assert await metric(room, "callwise_clients") == 0


async def test_a_burst_of_overdue_lines_closes_no_client(serve):
    """More than `MAX_BEHIND` lines that come in one moment are sent one after another."""
    room = await serve(stall_seconds=0.0)
    async with room.connected() as first, room.connected() as second:
        await until(room, "callwise_clients", 2)
        room.fill(2 * KEPT_LINES)
        for each in (first, second):
            lines = await lines_of(each, 2 * KEPT_LINES)
            assert [line["sequence"] for line in lines] == list(range(1, 2 * KEPT_LINES + 1))


@pytest.mark.slow
async def test_a_thousand_clients_and_one_that_stalls(serve):
    """Each of the others has each line once and in order, and stays connected."""
    count = 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * count + 200:
        pytest.skip(f"at most {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count + 200), hard))
    try:
        room = await serve(server={"ping_seconds": None})
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stalled(room))
            await until(room, "callwise_clients", 1)
            room.fill(FILLS_BUFFERS, LONG_LINE)
            others = []
            for _ in range(count):
                socket_ = await stack.enter_async_context(room.connected(after=FILLS_BUFFERS))
                await event_of(socket_, "hello")
                others.append(socket_)
            await until(room, "callwise_clients", count + 1)
            for _ in range(MAX_BEHIND // 8 + 1):
                room.fill(8)
                taken = await asyncio.gather(*(lines_of(each, 8) for each in others))
                first = room.host.feed.head - 7
                assert all(
                    [line["sequence"] for line in lines] == list(range(first, first + 8))
                    for lines in taken
                )
            await until(room, STALLED, 1)
            await until(room, "callwise_clients", count)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_too_many_clients_are_refused(serve):
    """With 503 and a reason, before they cost anything."""
    room = await serve(server={"max_clients": 1})
    async with room.connected() as socket_:
        await event_of(socket_, "hello")
        async with room.session.get(
            room.url + "/socket",
            headers={
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
            },
        ) as response:
            assert response.status == 503
            assert "Connect again later" in (await response.json())["error"]

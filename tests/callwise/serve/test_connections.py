"""Connections that send no whole request, and more of them than there may be."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack

import aiohttp
import pytest

from callwise.serve.connections import (
    KEPT_FILES,
    MAX_CLIENTS,
    OTHERS,
    Connections,
    Limits,
    limits_of,
    log_accepting,
    raised_file_limit,
)

from .conftest import PASSES_SECONDS, TOKEN, event_of

UNFINISHED = b"GET / HTTP/1.1\r\nHost: 127"
HALF_A_MESSAGE = (
    f"POST /messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Length: 500\r\n\r\n{}"
).encode()


async def connect(room, data=UNFINISHED):
    """Open a connection, send something, and return its two streams."""
    host, port = room.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    return reader, writer


async def rest_of(reader):
    """Return all that a connection sends until its end, however that comes."""
    try:
        async with asyncio.timeout(PASSES_SECONDS):
            return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        UNFINISHED,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
        b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ],
)
async def test_a_connection_without_a_whole_request_is_ended(serve, data):
    """The first request of it, and a later one; also where its body does not come."""
    room = await serve(server={"request_seconds": 0.05})
    reader, writer = await connect(room, data)
    answer = await rest_of(reader)
    writer.close()
    assert answer.count(b"HTTP/1.1 ") == data.count(b"\r\n\r\n")


async def test_a_websocket_and_a_slow_answer_outlast_the_time_of_requests(serve):
    """The time is that of a request, not of a connection."""
    room = await serve(server={"request_seconds": 0.02})
    async with room.connected() as socket_:
        await event_of(socket_, "hello")
        reader, writer = await connect(room)
        assert await rest_of(reader) == b""
        writer.close()
        room.fill(1)
        assert (await event_of(socket_, "message"))["sequence"] == 1


async def test_unfinished_requests_make_room_for_others(serve):
    """With all connections taken by them, those that have waited longest are ended."""
    room = await serve(server={"limits": Limits(clients=2, connections=4)})
    async with AsyncExitStack() as stack:
        for _ in range(12):
            _, writer = await connect(room)
            stack.callback(writer.close)
        assert (await room.get("/health", {}))[0] == 200
        async with room.connected() as socket_:
            await event_of(socket_, "hello")


async def test_further_connections_are_refused_where_all_are_in_use(serve):
    """With 503; the clients that are connected stay."""
    room = await serve(server={"limits": Limits(clients=4, connections=2)})
    async with room.connected() as first, room.connected() as second:
        await event_of(first, "hello")
        await event_of(second, "hello")
        reader, writer = await connect(room, b"")
        answer = await rest_of(reader)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        room.fill(1)
        for each in (first, second):
            assert (await event_of(each, "message"))["sequence"] == 1
    while (await status_of(room)) != 200:
        pass


async def test_a_message_that_does_not_come_whole_is_no_failure(serve, caplog):
    """Its client has left: nothing is said, and nothing is logged."""
    room = await serve()
    reader, writer = await connect(room, HALF_A_MESSAGE)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    assert (await room.get("/health", {}))[0] == 200
    assert room.host.feed.head == 0
    assert caplog.text == ""


async def test_a_message_that_comes_too_slowly_is_refused(serve):
    """With 408, also where its client goes on waiting."""
    room = await serve(server={"body_seconds": 0.01})
    reader, writer = await connect(room, HALF_A_MESSAGE)
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def status_of(room):
    """Return the status of a request; 0 where the connection has ended."""
    try:
        return (await room.get("/health", {}))[0]
    except aiohttp.ClientError:
        return 0


async def test_unfinished_requests_do_not_hold_up_the_end(serve, caplog):
    """Their connections are closed, and nothing is logged."""
    room = await serve()
    async with AsyncExitStack() as stack:
        reader, writer = await connect(room, HALF_A_MESSAGE)
        stack.callback(writer.close)
        for _ in range(20):
            _, writer = await connect(room)
            stack.callback(writer.close)
        await room.get("/health", {})
        await room.host.drain(0.0, reason="a test ended it")
        await asyncio.wait_for(room.task, PASSES_SECONDS)
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 503 ")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("files", "clients", "connections"),
    [
        (None, MAX_CLIENTS, MAX_CLIENTS + OTHERS),
        (1_048_576, MAX_CLIENTS, MAX_CLIENTS + OTHERS),
        (1_024, 1_024 - KEPT_FILES - OTHERS, 1_024 - KEPT_FILES),
        (256, 64, 128),
        (4, 1, 2),
    ],
)
def test_clients_are_fewer_where_few_files_may_be_open(files, clients, connections):
    """Some are left for the store, for models, and for other requests."""
    assert limits_of(files) == Limits(clients, connections)


def test_the_limit_of_files_is_raised(monkeypatch):
    """To what all connections need, or to what the system allows."""
    resource = pytest.importorskip("resource")
    needed = MAX_CLIENTS + OTHERS + KEPT_FILES
    allowed = [1_024, 1_048_576]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(allowed))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: allowed.__setitem__(0, both[0]))
    assert raised_file_limit() == needed == allowed[0]
    allowed[:] = 256, 1_000
    assert raised_file_limit() == 1_000
    allowed[:] = 256, resource.RLIM_INFINITY
    assert raised_file_limit() == needed
    allowed[:] = 100_000, 1_048_576
    assert raised_file_limit() == allowed[0] == 100_000


async def test_accepting_that_fails_is_one_line(caplog):
    """However often the loop tries; other errors are logged as ever."""
    loop = asyncio.get_running_loop()
    undo = log_accepting()
    with caplog.at_level(logging.ERROR):
        for _ in range(1_000):
            loop.call_exception_handler(
                {
                    "message": "socket.accept() out of system resource",
                    "exception": OSError(24, "Too many open files"),
                }
            )
        loop.call_exception_handler({"message": "another one"})
    undo()
    assert [each.levelname for each in caplog.records] == ["ERROR", "ERROR"]
    assert "ulimit -n" in caplog.records[0].message
    assert "another one" in caplog.records[1].message
    assert loop.get_exception_handler() is None


async def test_a_connection_is_counted_once():
    """Until it is closed."""
    left, right = socket.socketpair()
    with right:
        connections = Connections(1)
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=left
        )
        connections.opened(transport)
        connections.waits(transport)
        assert len(connections) == 1
        connections.closed(transport)
        connections.closed(transport)
        assert len(connections) == 0
        transport.abort()

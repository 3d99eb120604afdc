"""A thousand clients of one served room, with and without one among them that stalls.

The server is one process, its clients are two others. Lines come evenly; a client's wait for a line
is the time from its entry in the room's log, by the log's own time, to the receipt. Rounds without
and with a stalled client take turns in one run, so that other work on the machine meets both. The
stalled client has full buffers from the beginning of its round, and reads after the round's end.
Pings are off, so that it is closed for its lines however long a round takes.
"""

import asyncio
import gc
import json
import socket
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import orjson

from benchmarks.figures import ROOT, Figure, Measured
from benchmarks.load.meters import percentile, rss_bytes
from callwise.serve import Access, RoomHost, serve_room
from callwise.serve.room_feed import KEPT_LINES, MAX_BEHIND, STALL_SECONDS
from callwise.wake import Agent, WakeKnobs, WakeSettings, WakeStore

__all__ = ["Round", "measure", "run_rounds"]

CLIENTS, CLIENT_PROCESSES = 1_000, 2
ROUNDS = 3
"""Rounds of each kind."""
LINES = MAX_BEHIND + 64
"""Lines of a round: enough for a client that takes none to be closed."""
PACE_SECONDS = 0.12
FULL_AT = 200
"""Line of a round at which the memory is read: all buffers are full, and none is closed yet."""
LONG_LINES, LONG_LINE = 100, 8_000
"""Earlier lines and their characters; more than all buffers between server and client take."""
ABORT_SECONDS = 600.0
"""The stalled client reads its closing frame after the round."""

TOKEN = "a-token-of-the-benchmark"  # noqa: S105 - of a server on loopback that ends with its run
PIPE_BYTES = 2**28


class Round(NamedTuple):
    """The end of one round.

    Args:
        waits: seconds from the log to the receipt, of each line and client.
        wrong: clients that did not have each line once and in order.
        growth: bytes by which the server's memory has grown until line `FULL_AT`.
        closed: code and reason of the stalled client's closing frame; None without one.
    """

    waits: list[float]
    wrong: int
    growth: int
    closed: tuple[int, str] | None


class _Process:
    """Another process of this module, which answers each line with a line of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, *command: float | str) -> Any:
        """Return the answer to a command; without one, what it begins with."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        if command:
            self._process.stdin.write(" ".join(map(str, command)).encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process ended before it answered {command}; see above")
        return orjson.loads(answer)


@asynccontextmanager
async def _running(*arguments: str) -> AsyncIterator[_Process]:
    """Give another process; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.wake.sockets", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=PIPE_BYTES,
    )
    try:
        yield _Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _commands() -> AsyncIterator[list[str]]:
    """Yield the words of each line of standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        yield line


def _print(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


# The server's process.


async def _serve(stall_seconds: float) -> None:
    agent = Agent(id="alice", persona="A sailor.", model="one")
    settings = WakeSettings(agents=(agent,), models={"one": {}}, wake=WakeKnobs())
    with WakeStore(":memory:") as store:
        host = RoomHost(settings, store, settings.served_by({}), stall_seconds=stall_seconds)
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve_room(
                host,
                Access(TOKEN),
                on_ready=url.set_result,
                abort_seconds=ABORT_SECONDS,
                ping_seconds=None,
            )
        )
        _print(await url)
        for number in range(LONG_LINES + KEPT_LINES):
            await host.say("Mia", "x" * (LONG_LINE if number < LONG_LINES else 10), id=f"e{number}")
        async for command in _commands():
            match command:
                case ["say", count, pace]:
                    _print(await _said(host, int(count), float(pace)))
                case _:
                    raise SystemExit(f"no command {' '.join(command)!r}")
        serving.cancel()


async def _said(host: RoomHost, count: int, pace: float) -> dict[str, int]:
    """Say lines evenly, and return the last number and the growth of the memory."""
    gc.collect()
    before, growth, begins = rss_bytes(), 0, time.perf_counter()
    first = host.feed.last_stored()
    for number in range(count):
        await asyncio.sleep(max(begins + number * pace - time.perf_counter(), 0.0))
        await host.say(
            "Mia", f"Line {number} of a chat that is not short.", id=f"s{first}-{number}"
        )
        if number == FULL_AT:
            growth = rss_bytes() - before
    return {"last": host.feed.last_stored(), "growth": growth}


# A process of clients.


class _Client:
    """One client: its waits since they were last asked for, and whether a line was missed."""

    def __init__(self, after: int) -> None:
        self.last, self.is_wrong = after, False
        self.waits: list[float] = []
        self._come = asyncio.Event()

    async def read(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        """Read lines until the connection ends."""
        async for message in connection:
            event = orjson.loads(message.data)
            if event["type"] == "message":
                self.waits.append(time.time() - event["at"])
                self.is_wrong = self.is_wrong or event["sequence"] != self.last + 1
                self.last = event["sequence"]
                self._come.set()
        self.is_wrong = True
        self._come.set()

    async def has(self, number: int) -> None:
        """Return once a line has come, or none can come any more."""
        while self.last < number and not self.is_wrong:
            self._come.clear()
            await self._come.wait()


async def _read(url: str, count: int, after: int) -> None:
    clients = [_Client(after) for _ in range(count)]
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        readers = []
        for client in clients:
            connection = await session.ws_connect(url + "/socket")
            await connection.send_json({"type": "hello", "token": TOKEN, "after": after})
            await connection.receive()
            readers.append(group.create_task(client.read(connection)))
        _print("connected")
        async for command in _commands():
            match command:
                case ["until", number]:
                    for client in clients:
                        await client.has(int(number))
                    waits = [wait for client in clients for wait in client.waits]
                    for client in clients:
                        client.waits.clear()
                    _print({"waits": waits, "wrong": sum(each.is_wrong for each in clients)})
                case _:
                    raise SystemExit(f"no command {' '.join(command)!r}")
        for reader in readers:
            reader.cancel()


# The measurement.


def _stall(url: str) -> socket.socket:
    """Connect with little memory, say hello for all lines, and read none of them."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stalled.connect((host, int(port)))
    stalled.sendall(
        f"GET /socket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += stalled.recv(1)
    hello = json.dumps({"type": "hello", "token": TOKEN}).encode()
    stalled.sendall(bytes((0x81, 0x80 | len(hello), 0, 0, 0, 0)) + hello)
    return stalled


def _closed(stalled: socket.socket) -> tuple[int, str]:
    """Return code and reason of the frame that ends a connection; 0 where it ends without."""
    data = bytearray()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    with stalled:
        while part := stalled.recv(65_536):
            data = (data + part)[-130:]
            begin = data.rfind(b"\x88")  # opcode of a closing frame; one byte has its length
            if begin >= 0 and len(data) == begin + 2 + data[begin + 1]:
                code = int.from_bytes(data[begin + 2 : begin + 4], "big")
                return code, data[begin + 4 :].decode()
    return 0, ""


async def run_rounds(
    count: int,
    *,
    rounds: int = ROUNDS,
    lines: int = LINES,
    pace_seconds: float = PACE_SECONDS,
    stall_seconds: float = STALL_SECONDS,
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> tuple[list[Round], list[Round]]:
    """Return the rounds without a stalled client, and those with one.

    Args:
        count: clients that read.
        rounds: of each kind.
        lines: of each round.
        pace_seconds: time between two lines.
        stall_seconds: see `RoomFeed`.
        report: receives a line after each round.
    """
    found: tuple[list[Round], list[Round]] = ([], [])
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(_running("serve", str(stall_seconds)))
        url = await server.do()
        last = (await server.do("say", 1, 0.0))["last"]
        readers = []
        for number in range(CLIENT_PROCESSES):
            part = (count + number) // CLIENT_PROCESSES
            reader = _running("read", url, str(part), str(last))
            readers.append(await stack.enter_async_context(reader))
            await readers[-1].do()

        async def said(lines: int, stalled: socket.socket | None) -> Round:
            answer = await server.do("say", lines, pace_seconds)
            ends = await asyncio.gather(*(each.do("until", answer["last"]) for each in readers))
            closed = None if stalled is None else await asyncio.to_thread(_closed, stalled)
            waits = [wait for each in ends for wait in each["waits"]]
            wrong = sum(each["wrong"] for each in ends)
            return Round(waits, wrong, answer["growth"], closed)

        await said(min(lines, 20), None)  # the first lines are slower
        for number in range(2 * rounds):
            stalled = await asyncio.to_thread(_stall, url) if number % 2 else None
            ended = await said(lines, stalled)
            found[number % 2].append(ended)
            report(f"{('without', 'with')[number % 2]}: {_milliseconds([ended])}, {ended.closed}")
    return found


def _waits(rounds: Sequence[Round]) -> list[float]:
    return [wait for each in rounds for wait in each.waits]


def _milliseconds(rounds: Sequence[Round]) -> str:
    waits = _waits(rounds)
    return " / ".join(f"{percentile(waits, each) * 1000:.0f}" for each in (50, 95, 99))


def _growths(rounds: Sequence[Round]) -> str:
    return ", ".join(f"{each.growth / 1e6:.1f}" for each in rounds)


def _figures(usual: Sequence[Round], stalled: Sequence[Round]) -> list[Figure]:
    rate = percentile(_waits(stalled), 95) / percentile(_waits(usual), 95)
    every = [*usual, *stalled]
    wrong, received = sum(each.wrong for each in every), len(_waits(every))
    promised = CLIENTS * LINES * len(every)
    closed = [each.closed for each in stalled if each.closed is not None]
    named = sum(code == 4429 and "last number" in reason for code, reason in closed)
    parts = [f"{percentile(each.waits, 95) * 1000:.0f}" for each in every]
    pairs = ", ".join(
        f"{a} and {b}" for a, b in zip(parts[: len(usual)], parts[len(usual) :], strict=True)
    )
    return [
        Figure(
            f"waits of {CLIENTS:,} clients for {LINES} lines, one each {PACE_SECONDS} s, in "
            f"{len(usual)} rounds without and {len(stalled)} with a stalled client, p50 / p95 / "
            "p99, ms",
            f"{_milliseconds(usual)}, {_milliseconds(stalled)}: p95 {rate:.2f} times",
            "p95 <= 1.2 times",
            rate <= 1.2,
            note="9: all processes share the machine's two cores; a line is one frame to each of "
            f"{CLIENTS:,} sockets, so the last client's wait is the time of all these frames",
        ),
        Figure("p95 of each round without and the next one with a stalled client, ms", pairs),
        Figure(
            "lines received by the clients that read; clients that missed one, had one twice or "
            "out of order, or were disconnected",
            f"{received:,} of {promised:,}, {wrong}",
            "all, 0",
            received == promised and not wrong,
        ),
        Figure(
            "stalled clients that were closed with 4429 and its reason",
            f"{named} of {len(stalled)}",
            "all",
            named == len(stalled),
        ),
        Figure(
            f"growth of the server's memory in the first {FULL_AT} lines of each round without, "
            "and with a stalled client, MB",
            f"{_growths(usual)}; {_growths(stalled)}",
        ),
    ]


def measure() -> Measured:
    """Return the waits of both kinds of rounds, and what came of the stalled clients."""
    return Measured("sockets", _figures(*asyncio.run(run_rounds(CLIENTS))))


def _main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["serve", stall_seconds]:
            asyncio.run(_serve(float(stall_seconds)))
        case ["read", url, count, after]:
            asyncio.run(_read(url, int(count), int(after)))
        case _:
            raise SystemExit("this runs the other processes of `python -m benchmarks.wake sockets`")


if __name__ == "__main__":
    _main(sys.argv[1:])

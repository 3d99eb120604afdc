"""Processes that wake agents, killed or stopped at chosen points, and run again until all is done.

Points are statements of the store, counted in the process from the opening of the file on, those
of triggers included, and conversations that a simulated server in this process is asked to
answer. A stopped process lives on after another one has taken its work over.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from callwise.budget import Budgeter
from callwise.calls import Endpoint, Role
from callwise.calls.openai_http import OpenAIClient
from callwise.memory.memory_errors import StoreFailed
from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedAnswer, SimulatedModel
from callwise.simulator.server import SimServer
from callwise.wake import Agent, RoomMessage, WakeKnobs, WakeService, WakeStore

__all__ = ["AGENTS", "Ended", "Point", "choose_points", "run_at", "survey"]

REPOSITORY = Path(__file__).parents[3]

START, HOUR = 1_800_000_000.0, 3600.0
AGENTS = tuple(f"a{number}" for number in range(6))
HOURS = 2
START_CREDITS = 20
LOCK_SECONDS = 0.5
"""Busy timeout of each process: one may be stopped within a transaction."""

_POLL_SECONDS = 0.01
_LOCKED = 3
"""Exit status of a process that met a lock for longer than the busy timeout."""


class Point(NamedTuple):
    """A place at which a process is killed or stopped.

    Args:
        kind: what is counted.
        number: from 1; 0 for none.
        signal: SIGKILL or SIGSTOP.
    """

    kind: Literal["statement", "conversation"]
    number: int
    signal: int = signal.SIGKILL


class Ended(NamedTuple):
    """The end of runs on one store.

    Args:
        was_met: whether the first process came as far as its point.
        was_locked: whether a process that took over met the lock of one that was stopped.
        problems: what is wrong in the store or with the reader; empty.
        conversations: that the server answered, those of all runs.
        statements: of the store in the last run.
    """

    was_met: bool
    was_locked: bool
    problems: list[str]
    conversations: int
    statements: int


class _Points:
    """Counts, and sends a signal at one point."""

    def __init__(self, number: int, what: int) -> None:
        self.passed = 0
        self._number, self._what = number, what

    def __call__(self, process: int) -> None:
        self.passed += 1
        if self.passed == self._number:
            os.kill(process, self._what)


class _CountingModel(SimulatedModel):
    """A model whose intent wakes everyone, and which sends a process a signal at a point.

    Attributes:
        process: the one that is sent the signal.
    """

    def __init__(self, points: _Points) -> None:
        super().__init__(settings=SimulatedSettings(boolean_true_rate=1.0))
        self.points = points
        self.process = 0

    def answer(
        self, body: Mapping[str, Any], sample: int = 0, *, digest: str | None = None
    ) -> SimulatedAnswer:
        """Answer a conversation; its sample is always the first, as if none was asked before."""
        with suppress(ProcessLookupError):
            self.points(self.process)
        return super().answer(body, 0, digest=digest)


class _Reader:
    """A client of the room that is there all the time, and asks for what follows its number."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.messages: list[RoomMessage] = []

    async def run(self) -> None:
        """Read until cancelled, each time through a new connection."""
        while True:
            self.read()
            await asyncio.sleep(_POLL_SECONDS * 5)

    def read(self) -> None:
        """Read once, and acknowledge."""
        # A process that is stopped while it makes the file has it locked.
        with suppress(StoreFailed), WakeStore(self._file, busy_timeout_seconds=0.01) as store:
            last = self.messages[-1].sequence if self.messages else 0
            self.messages += store.rooms.messages("main", after=last)
            if self.messages:
                store.rooms.acknowledge("reader", "main", self.messages[-1].sequence)


def agents() -> list[Agent]:
    """Return agents of two models."""
    return [
        Agent(id=name, persona=f"{name} has a boat.", model=f"m{number % 2}")
        for number, name in enumerate(AGENTS)
    ]


# The process that is killed.


async def _wake_all(settings: Mapping[str, Any]) -> None:
    """Wake all hours in this process, with a message that addresses an agent in each."""
    points = _Points(settings["number"], settings["signal"])
    connect = sqlite3.connect

    def counted(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(lambda _: points(os.getpid()))
        return connection

    sqlite3.connect = counted  # type: ignore[assignment]
    knobs = WakeKnobs(start_credits=START_CREDITS, batch_wait_seconds=0.02)
    served: dict[str, Endpoint] = {
        name: Endpoint(name, name, OpenAIClient(settings["url"]))
        for name in ("m0", "m1", Role.FAST)
    }
    now = START
    with WakeStore(settings["file"], busy_timeout_seconds=LOCK_SECONDS) as store:
        budgeter = Budgeter(served, load=knobs.load())
        service = WakeService(agents(), store, budgeter, knobs, wall=lambda: now)
        replies = []
        for hour in range(HOURS):
            now = START + hour * HOUR
            replies += (await service.wake(now)).replies
            now += 60
            store.rooms.deliver_due(now)
            report = await service.say("Mia", f"@{AGENTS[0]} hello", id=f"m{hour}")
            replies += report.replies if report is not None else ()
            store.rooms.deliver_due(now)
        await budgeter.aclose()
    failed = [each for each in replies if each.outcome == "failed"]
    if any("StoreLocked" in each.reason for each in failed):
        raise SystemExit(_LOCKED)
    if failed:
        raise RuntimeError(failed[0].reason)
    sys.stdout.buffer.write(b"%d" % points.passed)


# The process that runs it.


class _Run:
    """A running process that wakes all hours."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def started(cls, file: Path, url: str, point: Point) -> "_Run":
        number = point.number if point.kind == "statement" else 0
        settings = {"file": str(file), "url": url, "number": number, "signal": point.signal}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                orjson.dumps(settings).decode(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )
        )

    async def stopped(self) -> bool:
        """Return whether the process has stopped, once it has or has ended."""
        while self.process.returncode is None:
            if _is_stopped(self.process.pid):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def ended(self) -> tuple[int, int]:
        """Return the exit status and the number of statements."""
        output, errors = await self.process.communicate()
        status = self.process.returncode
        if status is None or status not in {0, -signal.SIGKILL, _LOCKED}:
            text = errors.decode(errors="replace")
            if "StoreLocked" in text:
                return _LOCKED, 0
            raise RuntimeError(f"a process ended with {status}: {text[-2000:]}")
        return status, int(output or b"0")


def _is_stopped(process: int) -> bool:
    which = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        state = os.waitid(os.P_PID, process, which)
        return state is not None and state.si_code == os.CLD_STOPPED
    return False


async def run_at(file: Path, point: Point) -> Ended:
    """Run a process up to a point, and others until all is done; return what came of it."""
    number = point.number if point.kind == "conversation" else 0
    model = _CountingModel(_Points(number, point.signal))
    reader = _Reader(file)
    async with SimServer(model=model) as server:
        reading = asyncio.create_task(reader.run())
        was_met = was_locked = False
        first = await _Run.started(file, server.base_url, point)
        runs = [first]
        model.process = first.process.pid
        try:
            if point.signal == signal.SIGSTOP:
                was_met = await first.stopped()
                second = await _Run.started(file, server.base_url, Point("statement", 0))
                runs.append(second)
                if was_met and point.number % 2:
                    await _asks(model, second)  # they go on together
                    first.process.send_signal(signal.SIGCONT)
                was_locked = (await second.ended())[0] == _LOCKED
                if was_met and not point.number % 2:
                    first.process.send_signal(signal.SIGCONT)
                await first.ended()
            else:
                status, _ = await first.ended()
                was_met = status == -signal.SIGKILL
            last = await _Run.started(file, server.base_url, Point("statement", 0))
            runs.append(last)
            _, statements = await last.ended()
        finally:
            reading.cancel()
            for run in runs:
                if run.process.returncode is None:
                    run.process.kill()
        reader.read()
    problems = [*_problems(file), *_reader_problems(reader.messages)]
    return Ended(was_met, was_locked, problems, model.points.passed, statements)


async def _asks(model: _CountingModel, run: _Run) -> None:
    """Return once a process has asked for a conversation, or has ended."""
    before = model.points.passed
    while model.points.passed == before and run.process.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


def _expected() -> dict[str, str]:
    """Return the author of each message that has to be in the log."""
    found = {}
    for hour in range(HOURS):
        slot = int(START // HOUR) + hour
        found.update((f"main:{slot}:{agent}", agent) for agent in AGENTS)
        found.update({f"m{hour}": "Mia", f"main:@m{hour}:{AGENTS[0]}": AGENTS[0]})
    return found


def _problems(file: Path) -> Iterator[str]:
    """Yield what is wrong in a store in which all is done."""
    expected = _expected()
    with WakeStore(file) as store:
        messages = store.rooms.messages("main")
        ids = Counter(each.id for each in messages)
        if {each.id: each.author for each in messages} != expected:
            yield f"messages that are missing or too many: {set(ids) ^ set(expected)}"
        if any(count > 1 for count in ids.values()):
            yield f"messages that are there twice: {ids}"
        if [each.sequence for each in messages] != list(range(1, len(messages) + 1)):
            yield "a gap in the log"
        if store.rooms.undelivered():
            yield "messages in the outbox"
        if store.credits.total():
            yield f"legs sum to {store.credits.total()}"
        if store.credits.open_holds():
            yield f"open holds: {store.credits.open_holds()}"
        for agent in AGENTS:
            written = sum(author == agent for author in expected.values())
            balance = store.credits.balance(agent)
            if balance != START_CREDITS - written:
                yield f"{agent} has {balance} credits after {written} messages"
            notes = store.notes.search(agent, "", limit=100)
            if len(notes) != written:
                yield f"{agent} has {len(notes)} notes of {written} messages"


def _reader_problems(messages: list[RoomMessage]) -> Iterator[str]:
    if [each.sequence for each in messages] != list(range(1, len(_expected()) + 1)):
        yield f"the reader has {[each.sequence for each in messages]}"


async def survey(file: Path) -> tuple[int, int]:
    """Return statements and conversations of a process that is neither killed nor stopped."""
    model = _CountingModel(_Points(0, signal.SIGKILL))
    async with SimServer(model=model) as server:
        run = await _Run.started(file, server.base_url, Point("statement", 0))
        _, statements = await run.ended()
    problems = list(_problems(file))
    if problems:
        raise RuntimeError("; ".join(problems))
    return statements, model.points.passed


def choose_points(
    statements: int, conversations: int, *, kills: int, stops: int, seed: int
) -> list[Point]:
    """Return drawn points: two of three are statements, the others conversations."""
    draw = random.Random(seed)

    def some(count: int, what: int) -> list[Point]:
        asked = min(count // 3, conversations)
        numbers = draw.sample(range(1, statements + 1), count - asked)
        points = [Point("statement", number, what) for number in sorted(numbers)]
        numbers = draw.sample(range(1, conversations + 1), asked)
        return points + [Point("conversation", number, what) for number in sorted(numbers)]

    return some(kills, signal.SIGKILL) + some(stops, signal.SIGSTOP)


if __name__ == "__main__":
    asyncio.run(_wake_all(orjson.loads(sys.argv[1])))

"""A real Redis server for each test file, on 127.0.0.1 and a free port."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from callwise.budget.clock import Clock, SystemClock
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_budget import SharedBudget
from callwise.calls.load.fleet_knobs import FleetKnobs, FleetLimits
from callwise.calls.load.load_knobs import LoadKnobs


@pytest.fixture(scope="session", autouse=True)
def _needs_the_extra() -> None:
    """Skip where the extra `redis` is not installed."""
    for package in ("redis", "hiredis"):
        pytest.importorskip(package, reason="the extra `redis` is not installed")


UNGIVEN_PORTS = (12_000, 32_000)
"""First port, and the one after the last: below those that Linux gives."""

MAX_STARTS = 100

_STARTS = itertools.count()


class RedisServer:
    """A server that a test may stop, freeze and start again; it keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        # Other programs may take a port between two starts of the server: not one of these, which
        # the system gives to no connection and to no server that leaves the choice to it.
        ports = range(*UNGIVEN_PORTS)
        for attempt in range(MAX_STARTS):
            self.port = ports[(os.getpid() * MAX_STARTS + next(_STARTS) + attempt) % len(ports)]
            if self._is_started():
                return
        raise AssertionError(f"redis-server has not started on any of {MAX_STARTS} ports")

    @property
    def url(self) -> str:
        """Its address for a client."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        assert self._is_started(), "redis-server has ended before it was ready"

    def _is_started(self) -> bool:
        program = shutil.which("redis-server")
        assert program is not None
        self._process = subprocess.Popen(  # noqa: S603 - our own arguments
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "no", "--dir", str(self._folder), *self._options),
            ],
            stdout=subprocess.PIPE,
        )
        log = self._process.stdout
        assert log is not None
        for line in log:
            if b"Ready to accept connections" in line:
                return True
        self.stop()
        return False

    def freeze(self) -> None:
        """Stop it from answering, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it; what it had in memory is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.communicate()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[object]:
    """Return a function that starts servers, which are stopped after the test."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server is installed")
    servers: list[RedisServer] = []

    def make(*options: str) -> RedisServer:
        servers.append(RedisServer(tmp_path, *options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a server that tests share; each uses other names in it."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server is installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a name that no other test shares under."""
    return "".join(c if c.isalnum() else "-" for c in request.node.nodeid)[-150:]


@pytest.fixture
async def make_budget(name: str):
    """Return a function that makes budgets, which are closed after the test."""
    made: list[tuple[SharedBudget, RedisLink]] = []

    def make(
        url: str, *, timeout_seconds: float = 30.0, clock: Clock | None = None, **knobs: object
    ) -> SharedBudget:
        limits = FleetLimits.model_validate(knobs.pop("limits", {}))
        all_knobs = FleetKnobs.model_validate({"name": name, "limits": limits, **knobs})
        link = RedisLink(url, timeout_seconds=timeout_seconds)
        made.append((SharedBudget(all_knobs, lambda: link, clock or SystemClock()), link))
        return made[-1][0]

    yield make
    for budget, link in made:
        await budget.aclose()
        await link.aclose()


def knobs(name, **fleet):
    """Load knobs of a fleet."""
    fleet = {"heartbeat_seconds": 2.0, **fleet}
    others = {each: fleet.pop(each, None) for each in ("rate", "batch", "schedule")}
    return LoadKnobs(fleet=FleetKnobs.model_validate({"name": name, **fleet}), **others)


@pytest.fixture
async def make_fleet_budgeter(make_budgeter, redis_url, name, monkeypatch):
    """Return a function that makes budgeters which share; they are closed after the test."""
    made = []
    monkeypatch.setenv("CALLWISE_REDIS_URL", redis_url)

    def make(client=None, *, fleet=None, **changes):
        made.append(
            make_budgeter(
                client, load=knobs(name, **{"timeout_seconds": 30, **(fleet or {})}), **changes
            )
        )
        return made[-1]

    yield make
    for budgeter in made:
        await budgeter.aclose()
        budgeter.ledger.check()


async def age_leases(url: str, name: str, seconds: float) -> None:
    """Let the leases of all processes end earlier, as if so much time had passed."""
    link = RedisLink(url, timeout_seconds=30.0)
    leases = f"callwise:{{{name}}}:leases"
    for token in await link.command("ZRANGE", leases, 0, -1):
        await link.command("ZINCRBY", leases, -1000 * seconds, token)
    await link.aclose()


async def until(is_so: object, *, seconds: float = 60.0) -> None:
    """Wait until a condition is met, which may be a coroutine function; fail after a time."""
    async with asyncio.timeout(seconds):
        while True:
            result = is_so()  # type: ignore[operator]
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.005)

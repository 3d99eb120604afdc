"""Several processes that share a budget: exactly the limit, deaths, wrong clocks, a lost server.

Starts a Redis server and four processes of `tests/callwise/budget/fleet/member.py`, all on
127.0.0.1; skipped without `redis-server`.
"""

import asyncio
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, Measured, markdown
from callwise.budget.clock import SystemClock
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_budget import SharedBudget
from callwise.budget.limits import Amounts
from callwise.calls.errors import BudgetStoreLost, CallRefused
from callwise.calls.load.fleet_knobs import FleetKnobs, FleetLimits

__all__ = ["measure"]

PROGRAM = ROOT / "tests" / "callwise" / "budget" / "fleet" / "member.py"
PROCESSES, CALLS, QUOTA, REPEATS = 4, 64, 5, 100
WRONG_SECONDS = (-30.0, 0.0, 0.5, 30.0)
"""Errors of the clocks of the processes."""

HEARTBEAT_SECONDS = 0.5
USUAL_HEARTBEAT_SECONDS = 5.0
LOST_SECONDS = 10.0
WAITERS = (1, 32, 256)
USUAL = {"heartbeat_seconds": HEARTBEAT_SECONDS, "on_lost": "fail", "clock_error_seconds": 0.0}


class _Redis:
    """A server on a free port, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = (
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)  # noqa: S603
        for line in self._process.stdout or ():
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError("redis-server has ended before it was ready")

    def stop(self) -> None:
        """End it; what it had is gone."""
        self._process.terminate()
        self._process.communicate()


class _Member:
    """One of the processes."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CALLWISE_REDIS_URL": url},
        )

    def give(self, **command: Any) -> None:
        """Give it a command."""
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps({**USUAL, **command}) + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return its answer."""
        line = self.process.stdout.readline() if self.process.stdout is not None else "{}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


async def _used(url: str, name: str) -> list[int]:
    """Return what is counted for a name."""
    link = RedisLink(url)
    fields = [f"used run {each}" for each in Amounts._fields]
    reply = await link.command("HMGET", f"callwise:{{{name}}}:counts", *fields)
    await link.aclose()
    return [int(each or 0) for each in reply]


def _exact(url: str, members: list[_Member]) -> list[Figure]:
    """Return how often exactly the limit was served, for three quantities."""
    figures = []
    # Each attempt reserves and uses 17 tokens, and 22e-6 USD.
    by_quantity: dict[str, dict[str, float]] = {
        "calls": {"max_calls": QUOTA},
        "tokens": {"max_tokens": QUOTA * 17},
        "USD": {"max_usd": QUOTA * 22e-6},
    }
    for quantity, limits in by_quantity.items():
        exact = 0
        for number in range(REPEATS):
            name = f"exact-{quantity}-{number}"
            for member, error in zip(members, WRONG_SECONDS, strict=True):
                command = {"name": name, "limits": limits, "calls": CALLS}
                command["heartbeat_seconds"] = USUAL_HEARTBEAT_SECONDS
                member.give(do="ask", clock_error_seconds=error, **command)
            answers = [member.answer() for member in members]
            ledgers = [sum(each) for each in zip(*(a["ledger"] for a in answers), strict=True)]
            sent = sum(each["sent"] for each in answers)
            is_counted = asyncio.run(_used(url, name)) == ledgers
            exact += sent == sum(each["served"] for each in answers) == QUOTA and is_counted
        figures.append(
            Figure(
                f"10 · {PROCESSES} processes x {CALLS} calls, quota of {QUOTA} {quantity}: "
                f"exactly {QUOTA} sent, counts = ledgers",
                f"{exact} of {REPEATS}",
                f"{REPEATS} of {REPEATS}",
                exact == REPEATS,
                "the clocks of the four processes are wrong by -30, 0, 0.5 and 30 s",
            )
        )
    return figures


def _deaths(url: str, members: list[_Member]) -> list[Figure]:
    """Return what becomes of reservations of a process that is stopped, and of one killed."""
    limits = {"max_calls": QUOTA}
    stopped, other, killed = members[0], members[1], members[-1]

    def free_after(name: str) -> float:
        began = time.monotonic()
        served = 0
        while served < QUOTA:
            other.give(do="ask", name=name, limits=limits, calls=QUOTA - served)
            served += other.answer()["served"]
        return time.monotonic() - began

    stopped.give(do="hold", name="stopped", limits=limits, calls=QUOTA)
    stopped.answer()
    stopped.process.send_signal(signal.SIGSTOP)
    free_after("stopped")
    stopped.process.send_signal(signal.SIGCONT)
    stopped.give(do="answer")
    served = stopped.answer()["served"]
    used = asyncio.run(_used(url, "stopped"))[0]
    killed.give(do="hold", name="killed", limits=limits, calls=QUOTA)
    killed.answer()
    killed.end()
    seconds = free_after("killed")
    return [
        Figure(
            "10 · heartbeats until the calls of a killed process are free",
            f"{seconds / HEARTBEAT_SECONDS:.2f}",
            "<= 2",
            seconds <= 2 * HEARTBEAT_SECONDS + 0.1,
            f"a heartbeat is {HEARTBEAT_SECONDS:g} s; the time includes the asking (0.1 s allowed)",
        ),
        Figure(
            "10 · calls counted after a stopped process went on (it had sent 5, the others 5)",
            f"{used}",
            "10: what was spent, once",
            used == served + QUOTA == 2 * QUOTA,
        ),
    ]


class _Outage:
    """Two processes' parts of one budget, asked while the server is away."""

    TOTAL, EACH_SECOND = 400, 20

    def __init__(self, url: str, knobs: FleetKnobs) -> None:
        self.links = [RedisLink(url, timeout_seconds=0.5) for _ in range(2)]
        self.budgets = [SharedBudget(knobs, lambda at=at: at, SystemClock()) for at in self.links]
        self.ends = {"served": 0, "refused": 0, "failed": 0}

    async def ask(self) -> None:
        """Ask one call of each."""
        await asyncio.gather(*map(self._ask, self.budgets))

    async def _ask(self, budget: SharedBudget) -> None:
        try:
            reservation = await budget.reserve(("run",), Amounts(1, 1, 17, 22))
        except CallRefused:
            self.ends["refused"] += 1
        except BudgetStoreLost:
            self.ends["failed"] += 1
        else:
            budget.settle(reservation, Amounts(1, 1, 15, 20))
            self.ends["served"] += 1

    async def aclose(self) -> None:
        """Close both."""
        for budget, link in zip(self.budgets, self.links, strict=True):
            await budget.aclose()
            await link.aclose()


async def _lost(server: _Redis, on_lost: str) -> Figure:
    """Return what happens while the server is away for 10 s, asked every 50 ms."""
    total, each_second = _Outage.TOTAL, _Outage.EACH_SECOND
    knobs = FleetKnobs(
        name=f"lost-{on_lost}",
        limits=FleetLimits(max_calls=total),
        heartbeat_seconds=HEARTBEAT_SECONDS,
        on_lost="local" if on_lost == "local" else "fail",
    )
    outage = _Outage(server.url, knobs)
    await outage.ask()
    await asyncio.sleep(2 * HEARTBEAT_SECONDS)
    server.stop()
    for _ in range(round(LOST_SECONDS * each_second)):
        await outage.ask()
        await asyncio.sleep(1 / each_second)
    ends = dict(outage.ends)
    server.start()
    await asyncio.sleep(4 * HEARTBEAT_SECONDS)
    await outage.ask()
    budgets = outage.budgets
    used, ledgers = await budgets[0].used(), budgets[0].spent() + budgets[1].spent()
    await outage.aclose()
    is_as_chosen = ends["served"] <= total and (ends["served"] > 2) is (on_lost == "local")
    return Figure(
        f"11 · Redis stopped for 10 s, on_lost: {on_lost}",
        f"served {ends['served']}, refused {ends['refused']}, failed {ends['failed']}; "
        f"counted {used.calls}, ledgers {ledgers.calls}",
        "as chosen; counted = ledgers",
        used == ledgers and is_as_chosen,
        f"two processes' parts of {total} calls, {2 * each_second} calls a second; the server "
        "comes back empty",
    )


async def _microseconds(url: str, waiters: int) -> float:
    """Return the time of one reservation with its settlement."""
    link = RedisLink(url)
    budget = SharedBudget(FleetKnobs(name=f"speed-{waiters}"), lambda: link, SystemClock())
    rounds = max(2000 // waiters, 4)

    async def work() -> None:
        for _ in range(rounds):
            reservation = await budget.reserve(("run",), Amounts(1, 1, 17, 22))
            budget.settle(reservation, Amounts(1, 1, 15, 20))

    seconds = math.inf
    for _ in range(3):
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(waiters)))
        seconds = min(seconds, time.perf_counter() - began)
    await budget.aclose()
    await link.aclose()
    return seconds / (rounds * waiters) * 1e6


def _speed(url: str, waiters: int) -> Figure:
    microseconds = asyncio.run(_microseconds(url, waiters))
    return Figure(
        f"reservation and settlement with {waiters} waiting, us each",
        f"{microseconds:.0f}",
        "<= 200" if waiters > 1 else "",
        microseconds <= 200 if waiters > 1 else None,
        "best of three; one connection, two scripts each; a connection a waiter costs 640 to 1,090",
    )


def measure() -> Measured:
    """Return the figures of rows 10 and 11, and the time of a reservation."""
    if shutil.which("redis-server") is None:
        return Measured("processes", skipped="no redis-server is installed")
    with tempfile.TemporaryDirectory() as folder:
        server = _Redis(Path(folder))
        members = [_Member(server.url) for _ in range(PROCESSES)]
        try:
            figures = [*_exact(server.url, members), *_deaths(server.url, members)]
            figures += [_speed(server.url, waiters) for waiters in WAITERS]
            figures += [asyncio.run(_lost(server, on_lost)) for on_lost in ("fail", "local")]
        finally:
            for member in members:
                member.end()
            server.stop()
    return Measured("processes", figures)


if __name__ == "__main__":
    print(markdown([measure()]))

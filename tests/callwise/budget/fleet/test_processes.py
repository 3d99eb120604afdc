"""Real processes that share: exactly the limit, whatever dies, is stopped or has a wrong clock."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.fleet.redis_link import RedisLink
from tests.callwise.budget.fleet.conftest import age_leases

pytestmark = pytest.mark.slow

HEARTBEAT_SECONDS = 60
"""Longer than any of these tests: no lease ends before a test lets it."""

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = Path(__file__).with_name("member.py")


class Process:
    """One process that asks."""

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
        stdin = self.process.stdin
        assert stdin is not None
        usual = {
            "heartbeat_seconds": HEARTBEAT_SECONDS,
            "on_lost": "fail",
            "clock_error_seconds": 0.0,
        }
        command = {**usual, **command}
        stdin.write(json.dumps(command) + "\n")
        stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what it answers."""
        stdout = self.process.stdout
        assert stdout is not None
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def processes(redis_url: str) -> Iterator[list[Process]]:
    """Return four processes, the last of which may be killed."""
    started = [Process(redis_url) for _ in range(4)]
    yield started
    for process in started:
        process.end()


def used_of(name: str) -> list[Any]:
    """Return the command that reads what is counted for a name."""
    quantities = ("calls", "requests", "tokens", "picodollars")
    return ["HMGET", f"callwise:{{{name}}}:counts", *(f"used run {each}" for each in quantities)]


async def test_four_processes_get_exactly_the_limit(processes, redis_url, name):
    """64 calls in each of 4 processes, whose clocks are wrong by up to 30 s, and a quota of 5."""
    link = RedisLink(redis_url, timeout_seconds=60)
    for limits in ({"max_calls": 5}, {"max_tokens": 5 * 17}, {"max_usd": 5 * 22e-6}):
        for number in range(3):
            shared = f"{name}-{next(iter(limits))}-{number}"
            asked = {"name": shared, "limits": limits, "calls": 64}
            for process, error in zip(processes, (-30.0, 0.0, 0.5, 30.0), strict=True):
                process.give(do="ask", clock_error_seconds=error, **asked)
            answers = [process.answer() for process in processes]
            assert sum(each["served"] for each in answers) == 5
            assert sum(each["sent"] for each in answers) == 5
            assert {error for each in answers for error in each["errors"]} == {"CallRefused"}
            ledgers = [each["ledger"] for each in answers]
            ledger = [sum(amounts) for amounts in zip(*ledgers, strict=True)]
            used = [int(each or 0) for each in await link.command(*used_of(shared))]
            assert used == ledger == [5, 5, 5 * 17, 5 * 22_000_000]
    await link.aclose()


def test_four_processes_keep_to_the_rates_of_users_together(processes, name):
    """Five requests of one user and three of another; those without a limit all go."""
    rates = {"ann": {"requests_per_minute": 5}, "bob": {"requests_per_minute": 3}}
    asked = {
        "name": name,
        "limits": {},
        "rate": {"window": "sliding", "users": rates},
        "users": ["ann", "bob", "cy"],
        "calls": 9,
        "deadline_seconds": 20.0,
    }
    for process, error in zip(processes, (-30.0, 0.0, 0.5, 30.0), strict=True):
        process.give(do="ask", clock_error_seconds=error, **asked)
    answers = [process.answer() for process in processes]
    assert sum(each["served"] for each in answers) == 5 + 3 + 4 * 3
    assert sum(each["sent"] for each in answers) == 5 + 3 + 4 * 3
    assert {error for each in answers for error in each["errors"]} == {"CallTimeout"}


async def test_a_process_that_was_stopped_for_long_is_fenced(processes, redis_url, name):
    """It goes on with what it has sent, frees nothing a second time, and all is counted once."""
    stopped, other = processes[:2]
    limits = {"max_calls": 5}
    stopped.give(do="hold", name=name, limits=limits, calls=5)
    assert stopped.answer() == {"sent": 5}
    stopped.signal(signal.SIGSTOP)

    await age_leases(redis_url, name, 2 * HEARTBEAT_SECONDS)
    other.give(do="ask", name=name, limits=limits, calls=3)
    assert other.answer()["served"] == 3
    stopped.signal(signal.SIGCONT)
    stopped.give(do="answer")
    answer = stopped.answer()
    assert answer["served"] == 5
    link = RedisLink(redis_url, timeout_seconds=60)
    # 5 that were sent before it was stopped, and 3 by the other: what was spent is spent.
    assert [int(each) for each in await link.command(*used_of(name))][:2] == [8, 8]
    assert await link.command("ZCARD", f"callwise:{{{name}}}:leases") == 0
    await link.aclose()
    other.give(do="ask", name=name, limits=limits, calls=3)
    assert other.answer()["served"] == 0


async def test_a_killed_process_gives_back_what_it_had_in_flight(processes, redis_url, name):
    """Its 5 calls are free two heartbeats later, and not before."""
    other, killed = processes[0], processes[-1]
    limits = {"max_calls": 5}
    killed.give(do="hold", name=name, limits=limits, calls=64)
    assert killed.answer() == {"sent": 5}
    other.give(do="ask", name=name, limits=limits, calls=3)
    assert other.answer()["served"] == 0
    killed.signal(signal.SIGKILL)
    await age_leases(redis_url, name, 2 * HEARTBEAT_SECONDS)
    served = 0
    for _ in range(3):
        other.give(do="ask", name=name, limits=limits, calls=2)
        served += other.answer()["served"]
    assert served == 5
    link = RedisLink(redis_url, timeout_seconds=60)
    assert [int(each) for each in await link.command(*used_of(name))][:2] == [5, 5]
    await link.aclose()

"""The reply pipeline on a service with a batch route, with and without batching.

Users of `classic_parallel` talk at the same time, each in a conversation; then a sweep buys
the calls of twenty settings that a recording lacks. Both run over HTTP against the simulated
model, at a tenth of its latency. What is asked has to be the same, and so has every reply.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from benchmarks.figures import ROOT, Figure, Measured
from benchmarks.load.service import running_service
from callwise.recordings.app_protocol import TurnInput
from callwise.simulator import SimulatedSettings
from callwise.simulator.request_log import LogEntry
from graph.app import app

__all__ = ["Talked", "measure", "talk"]

USERS = (1, 8, 32)
TURNS = 2
SETTINGS = SimulatedSettings(real_time_scale=0.1)
ROUTE = "/chat/completions/batch"
SCHEDULE = {"load.schedule.max_concurrency": 64, "load.schedule.max_tasks": 64}
BATCHING = {"load.batch.chat_path": ROUTE}
KEY = {"CALLWISE_API_KEY": "none"}

MESSAGES = (
    "I have moved to another city and know no one here.",
    "My days at work are long, and I sleep badly.",
    "Which novel would you read on a long train?",
    "Yesterday I spoke with my sister again.",
)
SWEEP_TURNS = 4

SWEEPS = {
    "20 sizes of search, whose passes have seeds": (
        "search.max_calls=3,4,5,6,7,8,9,10,11,12",
        "search.policy=listwise,auto",
    ),
    "20 personas": (
        "persona.name=" + ",".join(f"Friend {letter}" for letter in ascii_uppercase[:20]),
    ),
}
"""Grids of 20 settings. The recorded conversation has no persona, so each asks in other words."""


class Talked(NamedTuple):
    """The outcome of the users' turns.

    Args:
        replies: by user and turn.
        rounds: of the turns, the most.
        sizes: requests by the number of calls that they carried, by the server's log.
    """

    replies: Mapping[tuple[str, int], str]
    asked: int
    requests: int
    rounds: int
    seconds: float
    sizes: Counter[int]


async def talk(users: int, base_url: str, knobs: Mapping[str, Any]) -> Talked:
    """Let so many users talk at the same time, and return what came of it."""
    overrides = {
        "endpoints.main.kind": "openai",
        "endpoints.main.base_url": base_url,
        "endpoints.main.model": "simulated-main",
        "endpoints.embed.model": "simulated-embed",
        **SCHEDULE,
        **knobs,
    }
    settings = app.settings("classic_parallel", overrides)
    replies: dict[tuple[str, int], str] = {}
    records: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with app.open(settings, folder=Path(folder)) as session:

            async def user(number: int) -> None:
                name = f"user {number}"
                for turn in range(TURNS):
                    text = f"{MESSAGES[(number + turn) % len(MESSAGES)]} ({name})"
                    result = await session.run_turn(TurnInput(name, turn, text, user_id=name))
                    replies[name, turn] = str(result.record["reply"])
                    records.append(result.record)

            began = time.perf_counter()
            await asyncio.gather(*(user(number) for number in range(users)))
            seconds = time.perf_counter() - began
            session.engine.budgeter.ledger.check()
    return Talked(
        replies,
        asked=sum(record["asked"] for record in records),
        requests=sum(record["requests"] for record in records),
        rounds=max(record["rounds"]["turn"] for record in records),
        seconds=seconds,
        sizes=Counter(),
    )


async def _talked(users: int, knobs: Mapping[str, Any]) -> tuple[Talked, list[LogEntry]]:
    async with running_service(SETTINGS) as service:
        outcome = await talk(users, service.base_url, knobs)
        log = await service.log()
    return outcome._replace(sizes=Counter(entry.items for entry in log)), log


def _user_figures() -> Iterator[Figure]:
    for users in USERS:
        alone, alone_log = asyncio.run(_talked(users, {}))
        together, log = asyncio.run(_talked(users, BATCHING))
        differing = sum(alone.replies[key] != together.replies.get(key) for key in alone.replies)
        counts_agree = together.requests == len(log) and alone.requests == len(alone_log)
        yield Figure(
            f"{users} user{'s' * (users > 1)}, {TURNS} turns each: asked, requests, rounds, "
            "seconds, without and with batching; replies that differ",
            f"{alone.asked}, {alone.requests}, {alone.rounds}, {alone.seconds:.1f} -> "
            f"{together.asked}, {together.requests}, {together.rounds}, "
            f"{together.seconds:.1f}; {differing}",
            "as they come; asked and replies equal, requests as logged",
            alone.asked == together.asked and not differing and counts_agree,
            note=f"{users}: calls by request with batching: "
            + ", ".join(f"{count} x {size}" for size, count in sorted(together.sizes.items())),
        )


class Bought(NamedTuple):
    """The outcome of a sweep that buys what is not recorded."""

    requests: int
    calls: int
    seconds: float
    replies: str


def _command(folder: str, base_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [str(Path(sys.executable).with_name("callwise")), *arguments],
        cwd=folder,
        env={
            **KEY,
            "CALLWISE_BASE_URL": base_url,
            "CALLWISE_MODEL": "simulated-main",
            "CALLWISE_EMBED_MODEL": "simulated-embed",
            "PYTHONPATH": str(ROOT),
            "HOME": folder,
            "PATH": str(Path(sys.executable).parent),
        },
        capture_output=True,
        text=True,
        check=True,
    )


async def _bought(grid: Sequence[str], knobs: Mapping[str, Any]) -> Bought:
    sets = [
        part
        for name, value in {**SCHEDULE, **knobs}.items()
        for part in ("--set", f"{name}={value}")
    ]
    lines = [
        {"conversation_id": "talk", "turn": turn, "user_text": MESSAGES[turn]}
        for turn in range(SWEEP_TURNS)
    ]
    talk = "\n".join(map(json.dumps, lines))
    with tempfile.TemporaryDirectory() as folder:
        talk_file = Path(folder, "talk.jsonl")
        await asyncio.to_thread(talk_file.write_text, talk, encoding="utf-8")
        async with running_service(SETTINGS) as service:
            replay = ("replay", str(talk_file), "--preset", "balanced")
            await asyncio.to_thread(
                _command, folder, service.base_url, *replay, *sets, "--out", "run"
            )
            before = await service.log()
            began = time.perf_counter()
            knob_options = [part for knob in grid for part in ("--knob", knob)]
            tune = ("tune", "run", *knob_options, "--buy", "--yes", "--jobs", "1", "--out", "sweep")
            done = await asyncio.to_thread(
                _command, folder, service.base_url, *tune, "--max-concurrency", "20", "--json"
            )
            seconds = time.perf_counter() - began
            log = (await service.log())[len(before) :]
        document = json.loads(done.stdout)
    return Bought(len(log), sum(entry.items for entry in log), seconds, json.dumps(document))


def _sweep_figures() -> Iterator[Figure]:
    for name, grid in SWEEPS.items():
        alone = asyncio.run(_bought(grid, {}))
        together = asyncio.run(_bought(grid, BATCHING))
        yield Figure(
            f"`tune --buy` of {name}, {SWEEP_TURNS} turns each: calls, requests, seconds, without "
            "and with batching",
            f"{alone.calls}, {alone.requests}, {alone.seconds:.1f} -> "
            f"{together.calls}, {together.requests}, {together.seconds:.1f}",
            "as they come; calls equal",
            alone.calls == together.calls,
        )


def measure() -> Measured:
    """Return calls, requests, rounds and seconds with and without batching."""
    return Measured("pipeline", [*_user_figures(), *_sweep_figures()])

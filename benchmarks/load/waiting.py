"""Ten thousand calls that wait, a flood of background work, and calls that are cancelled.

All of it over HTTP, against a service in another process, in real time.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import chat_call, loaded, timed
from benchmarks.load.meters import percentile
from benchmarks.load.service import running_service
from callwise.budget import Budgeter
from callwise.calls import Priority
from callwise.calls.errors import CallError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator import SimulatedSettings

__all__ = ["measure"]

WAITING, WAIT_SECONDS = 10_000, 60.0
SLOTS = 5
SERVICE_SECONDS = 0.2
FLOOD, INTERACTIVE = 5_000, 30
DEADLINE_SECONDS = 1.0
"""Feasible: a person's call waits for one service at most, and takes one."""
CANCELLED = 4_096


def _service(seconds: float) -> SimulatedSettings:
    """Return a service that takes this long for each answer."""
    return SimulatedSettings(
        latency_base_seconds=seconds,
        latency_seconds_per_input_token=0.0,
        latency_seconds_per_output_token=0.0,
        latency_sigma=0.0,
        real_time_scale=1.0,
        timeout_seconds=600.0,
    )


def _scheduled(base_url: str) -> Budgeter:
    knobs = ScheduleKnobs(max_concurrency=SLOTS, max_waiting=100_000)
    return loaded(OpenAIClient(base_url, max_connections=SLOTS), LoadKnobs(schedule=knobs))


async def _cancel(tasks: list[asyncio.Task[float | None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _waiting() -> tuple[float, int, int]:
    """Return the part of a core that waiting calls take, and timers and grants."""
    async with running_service(_service(WAIT_SECONDS * 3)) as service:
        budgeter = _scheduled(service.base_url)
        tasks = [
            asyncio.create_task(
                timed(
                    budgeter,
                    chat_call(
                        f"{number}",
                        priority=Priority(number % len(Priority)),
                        timeout_seconds=WAIT_SECONDS * 4,
                        deadline_seconds=WAIT_SECONDS * 4,
                    ),
                )
            )
            for number in range(WAITING + SLOTS)
        ]
        await asyncio.sleep(5.0)  # all of them are asked
        began, cpu_began = time.monotonic(), time.process_time()
        await asyncio.sleep(WAIT_SECONDS)
        part = (time.process_time() - cpu_began) / (time.monotonic() - began)
        statistics = budgeter.statistics()["schedule"]
        await _cancel(tasks)
        await budgeter.aclose()
    if statistics["waiting"] != WAITING:
        raise RuntimeError(f"{statistics['waiting']} calls wait, and not {WAITING}")
    return part, int(statistics["timers"]), int(statistics["granted"])


class Flooded(NamedTuple):
    """Latencies of a person's calls, and background calls served meanwhile."""

    latencies: list[float | None]
    served: dict[Priority, int]


async def _interactive(flood: int) -> Flooded:
    """Ask one call per second as a person does, next to a flood of other work."""
    async with running_service(_service(SERVICE_SECONDS)) as service:
        budgeter = _scheduled(service.base_url)
        below = (Priority.BACKGROUND, Priority.LOW, Priority.NORMAL)
        tasks = [
            asyncio.create_task(
                timed(budgeter, chat_call(f"{number}", priority=below[number % 10 % len(below)]))
            )
            for number in range(flood)
        ]
        await asyncio.sleep(6.0 if flood else 0.5)  # the flood has aged
        asked = []
        for number in range(INTERACTIVE):
            call = chat_call(
                f"person {number}",
                priority=Priority.CRITICAL,
                deadline_seconds=DEADLINE_SECONDS,
            )
            asked.append(asyncio.create_task(timed(budgeter, call)))
            await asyncio.sleep(1.0)
        latencies = await asyncio.gather(*asked)
        served = {
            each: sum(
                task.done()
                for number, task in enumerate(tasks)
                if below[number % 10 % len(below)] is each
            )
            for each in below
        }
        if tasks:
            await _cancel(tasks)
        await budgeter.aclose()
    return Flooded(latencies, served)


async def _cancelled() -> tuple[int, int, int, int]:
    """Return answered and cancelled calls, orphans, and requests that differ from the log."""
    draw = random.Random(0)
    async with running_service(_service(0.02)) as service:
        budgeter = _scheduled(service.base_url)

        async def ask(number: int) -> bool:
            try:
                await budgeter.ask(chat_call(f"{number}", priority=Priority(number % 5)))
            except CallError:
                return False
            return True

        tasks = [asyncio.create_task(ask(number)) for number in range(CANCELLED)]
        for task in draw.sample(tasks, len(tasks)):
            if draw.random() < 0.25:
                await asyncio.sleep(draw.random() * 0.004)
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.5)
        budgeter.ledger.check()
        statistics = budgeter.statistics()["schedule"]
        orphans = int(statistics["waiting"] + statistics["running"]) + budgeter.in_flight
        answer = await timed(budgeter, chat_call("the slots are free"))
        orphans += answer is None
        counts = budgeter.ledger.counts()
        log = await service.log()
        await budgeter.aclose()
    cancelled = sum(task.cancelled() for task in tasks)
    return len(tasks) - cancelled, cancelled, orphans, counts.requests - len(log)


def _waiting_figures() -> Iterator[Figure]:
    part, timers, grants = asyncio.run(_waiting())
    yield Figure(
        f"3 · {WAITING:,} calls wait for {WAIT_SECONDS:g} s: part of a core",
        f"{part:.2%}",
        "<= 1 %",
        part <= 0.01,
    )
    yield Figure(
        f"3 · {WAITING:,} calls wait for {WAIT_SECONDS:g} s: timers / grants",
        f"{timers} / {grants}",
        "timers <= grants + 10",
        timers <= grants + 10,
    )


def _flood_figures() -> Iterator[Figure]:
    idle = asyncio.run(_interactive(0))
    flooded = asyncio.run(_interactive(FLOOD))
    missed = sum(each is None for each in flooded.latencies)
    p95s = [
        percentile([each for each in run.latencies if each is not None], 95)
        for run in (idle, flooded)
    ]
    most = 1.1 * p95s[0] + SERVICE_SECONDS
    yield Figure(
        f"4 · a person's calls next to {FLOOD:,} others, p95, ms (idle)",
        f"{p95s[1] * 1000:.0f} ({p95s[0] * 1000:.0f})",
        f"<= 1.1 x idle + one service time = {most * 1000:.0f}",
        p95s[1] <= most,
        note=f"4: {SLOTS} slots, one service takes {SERVICE_SECONDS:g} s, "
        f"{INTERACTIVE} calls of a person, one per second",
    )
    yield Figure(
        f"4 · deadlines of {DEADLINE_SECONDS:g} s that were missed",
        f"{missed} of {INTERACTIVE}",
        "0",
        not missed,
    )
    served = ", ".join(f"{each.name} {count}" for each, count in sorted(flooded.served.items()))
    yield Figure(
        "4 · others served meanwhile, by class",
        served,
        "none is starved",
        all(flooded.served.values()),
    )


def _cancel_figures() -> Iterator[Figure]:
    answered, cancelled, orphans, difference = asyncio.run(_cancelled())
    yield Figure(
        f"4 · {CANCELLED:,} calls cancelled in random order: orphans",
        f"{orphans} ({cancelled:,} cancelled, {answered:,} were answered before)",
        "0",
        not orphans,
        note=f"4: requests in the ledger and in the server's log differ by {difference} "
        "(a request that is cancelled as it leaves may not be received)",
    )


def measure() -> Measured:
    """Return what waiting costs, and how much it delays interactive calls."""
    return Measured("waiting", [*_waiting_figures(), *_flood_figures(), *_cancel_figures()])

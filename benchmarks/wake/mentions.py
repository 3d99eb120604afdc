"""Messages that mention an agent while 10,000 agents wake, compared with the same while none does.

One message every 0.3 s, each to another agent, is answered alone and before others. The server is
in another process and takes as long for its answers as the simulated model's latency, some 1 s.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.meters import LoopLag, percentile
from benchmarks.wake.crowd import EVERYONE, Crowd, running_crowd

__all__ = ["measure"]

AGENTS, MODELS, BATCH = 10_000, 5, 100
IDLE_MESSAGES = 60
TOKENS = 40
PACE_SECONDS = 0.3
WAKES = 2


class _Waits(NamedTuple):
    """Seconds from a message to its answer in the outbox, and the lag of the loop.

    Args:
        idle: while no agents wake; so with `idle_lag`.
        waking_work: processor time of the loop's thread within each time of `waking_lag`.
        wake_seconds: of each wake.
    """

    idle: list[float]
    idle_lag: list[float]
    waking: list[float]
    waking_lag: list[float]
    waking_work: list[float]
    wake_seconds: list[float]


async def _mention(crowd: Crowd, number: int, waits: list[float]) -> None:
    agent = crowd.agents[(number * 7919) % len(crowd.agents)].id
    began = time.perf_counter()
    report = await crowd.service.say("Mia", f"@{agent} are you there?", id=f"m{number}")
    seconds = time.perf_counter() - began
    if report is None or [each.outcome for each in report.replies] != ["published"]:
        raise RuntimeError(f"message {number} was not answered: {report}")
    waits.append(seconds)


async def _measured(count: int) -> _Waits:
    found = _Waits([], [], [], [], [], [])
    settings = EVERYONE.model_copy(update={"real_time_scale": 1.0})
    with tempfile.TemporaryDirectory(prefix="callwise-") as name:
        async with running_crowd(
            count,
            models=MODELS,
            folder=Path(name),
            settings=settings,
            has_full_length=True,
            batch_size=BATCH,
            reply_tokens=TOKENS,
        ) as crowd:
            number = 0
            lag = LoopLag()
            async with lag.measured(), asyncio.TaskGroup() as group:
                for number in range(1, IDLE_MESSAGES + 1):
                    group.create_task(_mention(crowd, number, found.idle))
                    await asyncio.sleep(PACE_SECONDS)
            found.idle_lag.extend(lag.seconds)
            for hour in range(WAKES):
                lag = LoopLag()
                async with lag.measured(), asyncio.TaskGroup() as group:
                    began = time.perf_counter()
                    waking = group.create_task(crowd.service.wake(crowd.at_hour(hour)))
                    while not waking.done():
                        number += 1
                        group.create_task(_mention(crowd, number, found.waking))
                        await asyncio.wait([waking], timeout=PACE_SECONDS)
                    found.wake_seconds.append(time.perf_counter() - began)
                found.waking_lag.extend(lag.seconds)
                found.waking_work.extend(lag.work_seconds)
            crowd.budgeter.ledger.check()
    return found


def _figures(waits: _Waits) -> Iterator[Figure]:
    idle, waking = percentile(waits.idle, 95), percentile(waits.waking, 95)
    yield Figure(
        f"p95 (median) of {len(waits.waking)} answers during {len(waits.wake_seconds)} wakes of "
        f"{AGENTS:,} agents, of {len(waits.idle)} without one, s",
        f"{waking:.2f} ({percentile(waits.waking, 50):.2f}), {idle:.2f} "
        f"({percentile(waits.idle, 50):.2f}): {waking / idle:.2f} times",
        "<= 1.2 times",
        waking <= 1.2 * idle,
        note="6: the default knobs: four batches are under way at an endpoint at most. Both "
        "processes, the service and the simulated server, share the machine's two cores with "
        "others; the server answers 100 conversations in one step of its loop",
    )
    lag, quiet = percentile(waits.waking_lag, 99) * 1000, percentile(waits.idle_lag, 99) * 1000
    yield Figure(
        "lag of the loop during the wakes, p99 (p50), without one p99, ms",
        f"{lag:.0f} ({percentile(waits.waking_lag, 50) * 1000:.0f}), {quiet:.0f}",
        "p99 <= 50",
        lag <= 50,
    )
    work = percentile(waits.waking_work, 99) * 1000
    yield Figure(
        "the same in processor time of the loop's thread, p99 (longest), ms",
        f"{work:.0f} ({max(waits.waking_work) * 1000:.0f})",
        "p99 <= 50",
        work <= 50,
        note="6: the processor time that the loop used between two readings, 10 ms of waiting "
        "included, is what its lag would be on a machine without other work. The longest are full "
        "collections of garbage",
    )
    seconds = ", ".join(f"{each:.1f}" for each in waits.wake_seconds)
    yield Figure("seconds of the wakes, with a request's latency of some 2 s", seconds)


def measure(count: int = AGENTS) -> Measured:
    """Return the waits of both, and the loop's lag."""
    return Measured("mentions", [*_figures(asyncio.run(_measured(count)))])

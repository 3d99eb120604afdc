"""Twenty agents that wake together against a server that answers five requests at a time.

The server is in another process, refuses a sixth request with 429, and takes as long for its
answers as the simulated model's latency.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.wake.crowd import EVERYONE, running_crowd
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.simulator.service_limits import SimulatedLimits

__all__ = ["measure"]

AGENTS, LIMIT = 20, 5


class _Burst(NamedTuple):
    """A wake.

    Args:
        requests: that the server has answered, the intent's included.
        refused: requests over the limit.
        published: messages.
        seconds: from the beginning of the wake to its end.
    """

    requests: int
    refused: int
    published: int
    seconds: float


async def _burst(models: int, schedule: ScheduleKnobs, **knobs: Any) -> _Burst:
    settings = EVERYONE.model_copy(
        update={"limits": SimulatedLimits(max_in_flight=LIMIT), "real_time_scale": 1.0}
    )
    with tempfile.TemporaryDirectory(prefix="callwise-") as name:
        async with running_crowd(
            AGENTS,
            models=models,
            folder=Path(name),
            settings=settings,
            load=LoadKnobs(schedule=schedule),
            **knobs,
        ) as crowd:
            began = time.perf_counter()
            report = await crowd.service.wake(crowd.at_hour(0))
            seconds = time.perf_counter() - began
            log = await crowd.server.log()
            crowd.budgeter.ledger.check()
    published = sum(each.outcome == "published" for each in report.replies)
    refused = sum(entry.limit != "" for entry in log)
    return _Burst(len(log) - refused, refused, published, seconds)


def _figure(name: str, burst: _Burst, *, is_promised: bool) -> Figure:
    return Figure(
        f"{name}: requests answered, refused by the limit, messages, makespan in seconds",
        f"{burst.requests}, {burst.refused}, {burst.published} of {AGENTS}, {burst.seconds:.1f}",
        "0 refused, all" if is_promised else "",
        (burst.refused, burst.published) == (0, AGENTS) if is_promised else None,
    )


def measure() -> Measured:
    """Return requests, errors and makespan of each way."""
    usual, run = ScheduleKnobs(), ScheduleKnobs(max_concurrency=LIMIT, max_tasks=LIMIT)
    wide = ScheduleKnobs(max_concurrency=AGENTS)
    figures = []
    for name, models, schedule, variant, is_promised in (
        ("one model, batched, default knobs", 1, usual, "server_batch", True),
        ("one model, one by one, default knobs", 1, usual, "mixed", True),
        ("two models, batched, default knobs", 2, usual, "server_batch", True),
        ("two models, one by one, `max_tasks` 5", 2, run, "mixed", True),
        ("one model, one by one, `max_concurrency` 20, to see the limit", 1, wide, "mixed", False),
    ):
        burst = asyncio.run(_burst(models, schedule, variant=variant))
        figures.append(_figure(name, burst, is_promised=is_promised))
    return Measured("burst", figures)

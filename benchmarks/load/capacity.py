"""A service whose capacity changes from 32 to 8 to 64 requests in flight, over HTTP.

What is beyond its capacity it answers 429 with a Retry-After of 89 seconds. The number of
requests under way has to follow, and a call that was refused must not stop the others.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import chat_call, loaded, timed
from benchmarks.load.service import running_service
from callwise.budget import Budgeter
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from callwise.simulator import SimulatedSettings
from callwise.simulator.service_limits import SimulatedLimits

__all__ = ["measure"]

CAPACITIES = (32, 8, 64)
ROUND_SECONDS = 1.0
"""One service time."""
ROUNDS, SETTLED = 30, 12
RETRY_AFTER_SECONDS = 89.0


class Phase(NamedTuple):
    """Behaviour at one capacity.

    Args:
        reached: first round in which the limit was within 10 % of the capacity; None for none.
        goodput: part of the capacity that was used in the rounds after the twelfth.
        fewest: fewest answers in a round after the twelfth, as a part of the capacity.
    """

    capacity: int
    reached: int | None
    goodput: float
    fewest: float


async def _followed() -> tuple[list[Phase], int, int]:
    """Return the phases, the requests refused, and all requests."""
    settings = SimulatedSettings(
        latency_base_seconds=ROUND_SECONDS,
        latency_seconds_per_input_token=0.0,
        latency_seconds_per_output_token=0.0,
        latency_sigma=0.2,
        real_time_scale=1.0,
        retry_after_seconds=RETRY_AFTER_SECONDS,
        limits=SimulatedLimits(max_in_flight=CAPACITIES[0]),
    )
    async with running_service(settings) as service:
        client = OpenAIClient(service.base_url, max_connections=256)
        budgeter = loaded(
            client,
            LoadKnobs(schedule=ScheduleKnobs(is_adaptive=True, max_waiting=100_000)),
            retry=RetryPolicy(rate_limited_attempts=50, max_retry_after_seconds=90.0),
        )
        calls = int(sum(CAPACITIES) * ROUNDS * 1.2)
        tasks = [asyncio.create_task(timed(budgeter, chat_call(f"{i}"))) for i in range(calls)]
        phases = []
        for capacity in CAPACITIES:
            await service.set_capacity(capacity)
            phases.append(await _phase(budgeter, capacity, tasks))
        log = await service.log()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await budgeter.aclose()
    return phases, sum(bool(entry.limit) for entry in log), len(log)


async def _phase(
    budgeter: Budgeter, capacity: int, tasks: Sequence[asyncio.Task[float | None]]
) -> Phase:
    reached = None
    done: list[int] = []
    for number in range(1, ROUNDS + 1):
        await asyncio.sleep(ROUND_SECONDS)
        limit = budgeter.statistics()["schedule"]["limit"]
        if reached is None and abs(limit - capacity) <= 0.1 * capacity:
            reached = number
        done.append(sum(task.done() for task in tasks))
    per_round = [later - earlier for earlier, later in pairwise(done)]
    settled = per_round[SETTLED - 1 :]
    return Phase(
        capacity,
        reached,
        sum(settled) / len(settled) / capacity,
        min(settled) / capacity,
    )


def measure() -> Measured:
    """Return how soon and how closely the number under way follows the capacity."""
    phases, refused, sent = asyncio.run(_followed())
    figures = [
        Figure(
            f"capacity {phase.capacity}: first round within 10 % / part of it used after round "
            f"{SETTLED} (fewest in a round)",
            f"{phase.reached} / {phase.goodput:.0%} ({phase.fewest:.0%})",
            f"<= {SETTLED}, no freeze",
            phase.reached is not None and phase.reached <= SETTLED and phase.fewest > 0,
        )
        for phase in phases
    ]
    figures.append(
        Figure(
            f"429s, of {sent:,} requests",
            f"{refused / sent:.1%}",
            "<= 3 %",
            refused <= 0.03 * sent,
            note=f"each 429 asks to wait {RETRY_AFTER_SECONDS:g} s; a round is one service time",
        )
    )
    return Measured("capacity", figures)

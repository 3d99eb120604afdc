"""Two endpoints of one model, one of which is dead, over HTTP in real time.

It dies in three ways: it answers 500, it never answers, or nothing listens where it was. The
first is asked first; the other one has to take over, and the dead one is asked only to find out
whether it is back.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import MODEL, PRICES, ROOMY, chat_call
from benchmarks.load.meters import percentile
from benchmarks.load.service import running_service
from callwise.budget import Budgeter
from callwise.calls import Endpoint, Role
from callwise.calls.errors import CallError
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from callwise.simulator import SimulatedSettings

__all__ = ["measure"]

CALLS, CALLERS = 400, 4
TIMEOUT_SECONDS = 0.5
HEALTHY = SimulatedSettings(
    latency_base_seconds=0.05,
    latency_seconds_per_input_token=0.0,
    latency_seconds_per_output_token=0.0,
    latency_sigma=0.1,
    real_time_scale=1.0,
)
WAYS = {
    "answers 500": {"error_rate_500": 1.0},
    "never answers": {"timeout_rate": 1.0},
    "is gone": None,
}
BREAKER = BreakerKnobs(min_attempts=5, open_seconds=1.0, trials=1)


class Survived(NamedTuple):
    """The outcome next to a dead endpoint.

    Args:
        sent_to_dead: attempts that were given to it: by its log, or, where nothing listens, by
            the failed connections.
        most: how many there may be: those that open the breaker, those under way when it
            opens, and a trial for each time that it was open.
        after_trip: latencies of calls that began after the first failures.
    """

    sent_to_dead: int
    most: int
    failed: int
    after_trip: list[float]


async def _asked(way: dict[str, float] | None, *, is_healthy: bool = False) -> Survived:
    async with AsyncExitStack() as stack:
        settings = HEALTHY if is_healthy else HEALTHY.model_copy(update=way or {})
        first = await stack.enter_async_context(running_service(settings))
        second = await stack.enter_async_context(running_service(HEALTHY))
        if way is None and not is_healthy:
            await first.crash()
        clients = [OpenAIClient(service.base_url) for service in (first, second)]
        other = Endpoint("second", MODEL, clients[1], PRICES)
        asked = Endpoint("first", MODEL, clients[0], PRICES, alternatives=(other,))
        budgeter = Budgeter(
            {Role.MAIN: asked},
            limits=ROOMY,
            retry=RetryPolicy(first_wait_seconds=0.05, max_wait_seconds=0.5),
            load=LoadKnobs(breaker=BREAKER, route=RouteKnobs(policy="fallback")),
        )
        await budgeter.prepare()
        latencies: list[tuple[float, float]] = []
        failed = 0

        async def caller(number: int) -> None:
            nonlocal failed
            for turn in range(CALLS // CALLERS):
                call = chat_call(f"{number} {turn}", timeout_seconds=TIMEOUT_SECONDS)
                began = time.perf_counter()
                try:
                    await budgeter.ask(call)
                except CallError:
                    failed += 1
                latencies.append((began, time.perf_counter() - began))

        began = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        seconds = time.perf_counter() - began
        budgeter.ledger.check()
        log = await first.log()
        statistics = budgeter.statistics()
        attempts = int(statistics["send"]["attempts"])
        await budgeter.aclose()
        answered = len(await second.log())
    sent = len(log) if way is not None or is_healthy else attempts - answered
    opened = int(seconds / BREAKER.open_seconds) + 1
    most = BREAKER.min_attempts + CALLERS - 1 + opened * BREAKER.trials
    # The breaker opens within the time of its first failures.
    settled = began + 2 * TIMEOUT_SECONDS * BREAKER.min_attempts / CALLERS
    after = [latency for start, latency in latencies if start >= settled]
    return Survived(sent, most, failed, after)


def measure() -> Measured:
    """Return how often a dead endpoint is asked, and what that costs the calls."""
    healthy = asyncio.run(_asked({}, is_healthy=True))
    p95 = percentile(healthy.after_trip, 95)
    figures = []
    for name, way in WAYS.items():
        run = asyncio.run(_asked(way))
        figures.append(
            Figure(
                f"the first endpoint {name}, {CALLS} calls: attempts at it; calls that failed",
                f"{run.sent_to_dead}; {run.failed}",
                f"<= n + trials = {run.most}; 0",
                run.sent_to_dead <= run.most and not run.failed,
                note=f"n is {BREAKER.min_attempts} attempts that open the breaker and those under "
                f"way then, of {CALLERS} callers; a trial each {BREAKER.open_seconds:g} s",
            )
        )
        mine = percentile(run.after_trip, 95)
        figures.append(
            Figure(
                f"the first endpoint {name}: p95 after the trip, ms (both healthy)",
                f"{mine * 1000:.0f} ({p95 * 1000:.0f})",
                f"<= 1.1 x healthy = {p95 * 1100:.0f}",
                mine <= 1.1 * p95,
            )
        )
    return Measured("dead_endpoint", figures)

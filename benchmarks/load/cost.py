"""Cost per call of the schedule, the limits, the breaker and the route.

In process, where the client answers immediately: the processor time that each adds to a
call of the budgeter, in blocks that alternate with bare ones. Over loopback HTTP: the whole
client compared with a bare `AsyncOpenAI`, with everything on.
"""

import asyncio
from collections.abc import Iterator
from statistics import median

from benchmarks.budgeter import MODEL, PRICES, ROOMY, InstantClient, over_loopback, overheads
from benchmarks.figures import Figure, Measured
from callwise.calls import Endpoint
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs

__all__ = ["measure"]

MAX_SECONDS = 15e-6

SCHEDULE = ScheduleKnobs(max_concurrency=512, max_tasks=512)
RATE = RateLimits(
    requests_per_minute=1e9,
    tokens_per_minute=1e12,
    burst_seconds=3600,
)
PARTS = {
    "schedule": LoadKnobs(schedule=SCHEDULE),
    "schedule and limits": LoadKnobs(schedule=SCHEDULE, rate=RATE),
    "breaker": LoadKnobs(breaker=BreakerKnobs()),
    "breaker and route over two endpoints": LoadKnobs(
        breaker=BreakerKnobs(), route=RouteKnobs(policy="least_busy")
    ),
    "schedule, limits, breaker and route": LoadKnobs(
        schedule=SCHEDULE,
        rate=RATE,
        breaker=BreakerKnobs(),
        route=RouteKnobs(policy="least_busy"),
    ),
}
WHOLE = "schedule, limits, breaker and route"


def _added(load: LoadKnobs | None, callers: int) -> float:
    """Return the seconds that the budgeter adds to a call of a bare client."""
    others = []
    if load is not None and load.route is not None:
        others = [Endpoint("other", MODEL, InstantClient(), PRICES)]
    _, added = asyncio.run(overheads(ROOMY, callers, load, others))
    return median(added)


def _in_process() -> Iterator[Figure]:
    for callers in (1, 32):
        without = _added(None, callers)
        for name, load in PARTS.items():
            cost = _added(load, callers) - without
            is_whole = name == WHOLE
            yield Figure(
                f"{name}, {callers} in flight, us per call",
                f"{cost * 1e6:.1f}",
                f"<= {MAX_SECONDS * 1e6:g}" if is_whole else "",
                cost <= MAX_SECONDS if is_whole else None,
                note="added to the budgeter without them, in processor time; 3 KB prompt, limits "
                "of every kind in three scopes",
            )


def _over_http() -> Iterator[Figure]:
    for callers, promised in ((32, 6), (256, 7)):
        alone, asked = asyncio.run(over_loopback(callers, "3 KB", PARTS[WHOLE]))
        times = median(bare / mine for mine, bare in zip(asked, alone, strict=True))
        yield Figure(
            f"over loopback HTTP, {callers} in flight, everything on: us per call (times as fast "
            "as a bare `AsyncOpenAI`)",
            f"{median(asked) * 1e6:.0f} ({times:.1f})",
            f">= {promised} times",
            times >= promised,
        )


def measure() -> Measured:
    """Return what load costs a call."""
    return Measured("cost", [*_in_process(), *_over_http()])

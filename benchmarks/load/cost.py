"""Cost per call of the schedule, the limits, the breaker and the route.

In process, where the client answers immediately: the processor time that each adds to a
call of the budgeter. Blocks of a budgeter without them and of one with each part take turns, and
each difference is of neighbours: from minute to minute one budgeter differs by more than a part
costs. Over loopback HTTP: the whole client compared with a bare `AsyncOpenAI`, with everything on.
"""

import asyncio
from collections.abc import Iterator
from statistics import median, quantiles

from benchmarks.budgeter import alternating, over_loopback
from benchmarks.figures import Figure, Measured
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


WITHOUT = "the budgeter without them"


def _in_process() -> Iterator[Figure]:
    for callers in (1, 32):
        seconds = asyncio.run(alternating({WITHOUT: None, **PARTS}, callers))
        without = seconds[WITHOUT]
        yield Figure(f"{WITHOUT}, {callers} in flight, us per call", f"{median(without) * 1e6:.1f}")
        for name in PARTS:
            added = [more - less for more, less in zip(seconds[name], without, strict=True)]
            cost, quarters = median(added), quantiles(added, n=4)
            is_whole = name == WHOLE
            yield Figure(
                f"{name}, {callers} in flight, us per call (middle half)",
                f"{cost * 1e6:.1f} ({quarters[0] * 1e6:.1f}-{quarters[2] * 1e6:.1f})",
                f"<= {MAX_SECONDS * 1e6:g}" if is_whole else "",
                cost <= MAX_SECONDS if is_whole else None,
                note="added to the budgeter without them, in processor time; 3 KB prompt, limits "
                "of every kind in three scopes; the route is over two endpoints",
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

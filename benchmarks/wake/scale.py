"""Ten thousand agents on five models: requests, seconds, memory, and how they grow."""

import asyncio
import gc
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.meters import LoopLag, percentile, rss_bytes
from benchmarks.wake.crowd import START, Crowd, running_crowd
from callwise.wake import WakeReport

__all__ = ["measure"]

AGENTS, FEWER, MODELS, BATCH = 10_000, 1_000, 5, 100
WAKES = 24
WAIT = 5.0
"""`batch_wait_seconds`: a loop that others delay fills a list of 100 later than by default."""
LINES, NOTES = 30, 5
"""Of the chat, and of each agent, before the first wake: as many as a prompt has."""
MEGABYTE = 1_000_000


class _Day(NamedTuple):
    """Wakes one after the other.

    Args:
        seconds: of each wake.
        processor_seconds: of the service's process in each wake.
        requests: that the server has logged in each wake.
        growth: of the resident memory, in bytes, from the end of the first wake.
        late_growth: the same from the end of the sixth wake, or of the first of fewer.
        lags: of the loop during the first wake, in seconds.
    """

    seconds: list[float]
    processor_seconds: list[float]
    requests: list[int]
    growth: int
    late_growth: int
    lags: list[float]
    first: WakeReport
    published: int
    delivered: int
    file_bytes: int


def _seed(crowd: Crowd) -> None:
    """Give the chat lines and each agent notes: the first prompts are as long as later ones."""
    words = "The fog is back and the radio is silent about when the ferry will leave. "
    for number in range(LINES):
        text = f"{number}: {words * 3}"
        crowd.store.rooms.say("main", "Mia", text, id=f"line{number}", at=START - LINES + number)
    for agent in crowd.agents:
        for number in range(NOTES):
            crowd.store.notes.add(agent.id, f"I wrote: {number} {words * 3}", at=START - NOTES)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


async def _day(count: int, wakes: int, *, reads_memory: bool) -> _Day:
    """Wake agents.

    Args:
        reads_memory: collect garbage after each wake and read the resident memory. Collections
            that are due within wakes are part of their time; a wake of few agents would have none
            if one came before it.
    """
    seconds: list[float] = []
    processor_seconds: list[float] = []
    requests: list[int] = []
    memory: list[int] = []
    lags: list[float] = []
    published = 0
    first: WakeReport | None = None
    with tempfile.TemporaryDirectory(prefix="callwise-") as name:
        async with running_crowd(
            count, models=MODELS, folder=Path(name), batch_size=BATCH, batch_wait_seconds=WAIT
        ) as crowd:
            _seed(crowd)
            logged = 0
            for hour in range(wakes):
                at = crowd.at_hour(hour)
                lag = LoopLag()
                async with lag.measured():
                    began, used = time.perf_counter(), time.process_time()
                    report = await crowd.service.wake(at)
                    seconds.append(time.perf_counter() - began)
                    processor_seconds.append(time.process_time() - used)
                if first is None:
                    first, lags = report, list(lag.seconds)
                published += sum(each.outcome == "published" for each in report.replies)
                total = len(await crowd.server.log()) if hour in (0, wakes - 1) else logged
                requests.append(report.requests)
                if hour == 0 and total != report.requests:
                    raise RuntimeError(f"the server has {total} requests, the report another count")
                logged = total
                del report
                if reads_memory:
                    gc.collect()
                memory.append(rss_bytes())
            crowd.at_hour(wakes)
            crowd.store.rooms.deliver_due(crowd.now[0])
            delivered = len(crowd.store.rooms.messages(room="main")) - LINES
            crowd.budgeter.ledger.check()
            if crowd.store.credits.total() or crowd.store.credits.open_holds():
                raise RuntimeError("credits do not add up")
            size = _size(Path(name))
    if first is None:
        raise ValueError("a day needs a wake")
    return _Day(
        seconds,
        processor_seconds,
        requests,
        memory[-1] - memory[0],
        memory[-1] - memory[5 if wakes > 6 else 0],
        lags,
        first,
        published,
        delivered,
        size,
    )


def _figures(many: _Day, few: _Day) -> Iterator[Figure]:
    expected = 1 + AGENTS // BATCH
    counts = ", ".join(f"{wakes} x {count}" for count, wakes in Counter(many.requests).items())
    yield Figure(
        f"requests of a wake of {AGENTS:,} agents on {MODELS} models, {BATCH} to a request "
        f"(wakes x requests)",
        counts,
        str(expected),
        set(many.requests) == {expected},
        note=f"2: `batch_wait_seconds` is {WAIT:g}; with the default of 0.5, one to three requests "
        "more left with lists that were not full, where other work delayed the loop",
    )
    yield Figure(
        "messages in the log after all wakes, of all agents in all wakes",
        f"{many.delivered:,} of {AGENTS * len(many.seconds):,}",
        "all",
        many.delivered == AGENTS * len(many.seconds),
    )
    yield Figure(
        "seconds of a wake: first, median, longest",
        f"{many.seconds[0]:.1f}, {percentile(many.seconds, 50):.1f}, {max(many.seconds):.1f}",
        "<= 60",
        max(many.seconds) <= 60,
    )
    yield Figure(
        f"growth of the resident memory from the end of the first wake to that of the "
        f"{len(many.seconds)}th, MB",
        f"{many.growth / MEGABYTE:.1f}",
        "< 50",
        many.growth < 50 * MEGABYTE,
        note="2: the service's process, after a collection of garbage; chat and notes are as long "
        "before the first wake as prompts ever have them. Service and simulated server share the "
        "machine's two cores with other work",
    )
    yield Figure(
        "the same from the end of the sixth wake, MB", f"{many.late_growth / MEGABYTE:.1f}"
    )
    ratio = percentile(many.seconds[:3], 50) / percentile(few.seconds, 50)
    yield Figure(
        f"time of {AGENTS:,} agents / time of {FEWER:,}, medians of three wakes and of five",
        f"{ratio:.1f}",
        "<= 11",
        ratio <= 11,
        note=f"2: no garbage is collected between the wakes of {FEWER:,} agents, so that they have "
        "their part of the collections that come within wakes",
    )
    used = percentile(many.processor_seconds[:3], 50), percentile(few.processor_seconds, 50)
    yield Figure(
        f"processor time of the service in a wake of {AGENTS:,} agents / of {FEWER:,}: s, ratio",
        f"{used[0]:.1f} / {used[1]:.2f}, {used[0] / used[1]:.1f}",
    )
    yield Figure(
        "lag of the loop in the first wake, p99 and longest, ms",
        f"{percentile(many.lags, 99) * 1000:.0f}, {max(many.lags) * 1000:.0f}",
    )
    yield Figure("size of the store after all wakes, MB", f"{many.file_bytes / MEGABYTE:.0f}")


def measure() -> Measured:
    """Return requests, time, memory and their growth."""
    few = asyncio.run(_day(FEWER, 5, reads_memory=False))
    many = asyncio.run(_day(AGENTS, WAKES, reads_memory=True))
    return Measured("scale", [*_figures(many, few)])

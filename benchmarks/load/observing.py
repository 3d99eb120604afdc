"""Cost of metrics and of the live view, and the control charts' false alarms.

A budgeter with metrics and one without take turns, block by block, in processor time, with a
client that answers immediately. The status is written at the pace of a run with 1,000 calls per
second of which 100 are in flight; the view reads and draws it, in a terminal of 80 columns.
"""

import asyncio
import io
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.live import Live
from rich.text import Text

from benchmarks.budgeter import alternating
from benchmarks.figures import Figure, Measured
from callwise.budget import Budgeter
from callwise.budget.metrics import MetricsKnobs
from callwise.budget.metrics.control_chart import ARL0, ControlChart
from callwise.budget.metrics.exposition import exposition
from callwise.budget.metrics.reporter import Reporter
from callwise.calls import Call, Endpoint, Message, Prices, Purpose, Reply, Role, Sampling
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.reply import ReportedUsage
from callwise.report.live_status import read_status, status_lines
from callwise.text_layout import Screen

__all__ = ["measure"]

MAX_CALL_SECONDS = 5e-6
"""Part of metrics in the 25 microseconds per call of metrics and spans together."""

MAX_CORE = 0.02
"""Part of a core that the view may use at 1,000 calls per second."""

CALLS_PER_SECOND, IN_FLIGHT = 1_000, 100
REPEATS = 200

WITHOUT, WITH = "without metrics", "with metrics"


def _calls() -> Iterator[Figure]:
    for callers in (1, 32):
        loads = {WITHOUT: None, WITH: None}
        attached = {WITH: Budgeter.metrics}
        seconds = asyncio.run(alternating(loads, callers, attached=attached))
        pairs = list(zip(seconds[WITH], seconds[WITHOUT], strict=True))
        added = [more - less for more, less in pairs]
        cost, quarters = median(added), quantiles(added, n=4)
        ratio = median(more / less for more, less in pairs)
        yield Figure(
            f"metrics, {callers} in flight, us per call (middle half); times the budgeter without",
            f"{cost * 1e6:.1f} ({quarters[0] * 1e6:.1f}-{quarters[2] * 1e6:.1f}); {ratio:.3f}",
            f"<= {MAX_CALL_SECONDS * 1e6:g}",
            cost <= MAX_CALL_SECONDS,
            note="added to the budgeter without them, in processor time; 3 KB prompt, limits of "
            "every kind in three scopes",
        )


class _WaitingClient:
    """Answers once it may."""

    is_simulated = False

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def answer(
        self,
        calls: list[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> list[Reply]:
        """Return a reply."""
        del model
        if on_sent is not None:
            on_sent(0)
        await self.may_answer.wait()
        return [Reply("ok", usage=ReportedUsage(700, 12)) for _ in calls]

    async def aclose(self) -> None:
        """Do nothing."""


def _timed(work: Callable[[], object]) -> float:
    """Return the median processor time of a piece of work."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return median(times)


async def _written(folder: Path) -> dict[str, float]:
    """Return processor seconds of a status, a scrape and a frame while calls are in flight."""
    client = _WaitingClient()
    endpoint = Endpoint("local", "m", client, Prices(0.5, 1.5))
    load = LoadKnobs.model_validate(
        {"schedule": {"max_concurrency": 64}, "rate": {"requests_per_minute": 1e6}}
    )
    budgeter = Budgeter({Role.MAIN: endpoint}, load=load)
    metrics = budgeter.metrics()
    purposes = list(Purpose)

    def ask(number: int) -> asyncio.Task[Reply]:
        call = Call(
            Role.MAIN,
            purposes[number % len(purposes)],
            (Message("user", f"hi {number}"),),
            sampling=Sampling(max_tokens=20),
        )
        return asyncio.ensure_future(budgeter.ask(call))

    client.may_answer.set()
    await asyncio.gather(*map(ask, range(CALLS_PER_SECOND)))
    client.may_answer.clear()
    tasks = [ask(number) for number in range(IN_FLIGHT)]
    for _ in range(IN_FLIGHT):  # until each that has a place was sent
        await asyncio.sleep(0)
    reporter = Reporter(metrics, MetricsKnobs(status=True), folder=folder)
    reporter.write_status()
    registry = metrics.registry()
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    path, screen = folder / "status.json", Screen(80, is_styled=True)
    with Live(Text(""), console=console, auto_refresh=False) as live:

        def draw() -> None:
            lines = status_lines(read_status(path), screen, now=time.time())
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)

        found = {
            "status": _timed(reporter.write_status),
            "snapshot": _timed(metrics.snapshot),
            "scrape": _timed(lambda: exposition(registry)),
            "frame": _timed(draw),
        }
    client.may_answer.set()
    await asyncio.gather(*tasks)
    await budgeter.aclose()
    return found


def _live_view() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        seconds = asyncio.run(_written(Path(name)))
    note = (
        f"{CALLS_PER_SECOND:,} calls have ended and {IN_FLIGHT} are in flight; once per second, so "
        "that 10 ms are 1 % of a core; starting Python and rich comes once on top"
    )
    for what, part in (
        ("`callwise top`, a frame read and drawn, ms (per cent of a core)", "frame"),
        ("the run, its status read and written, ms (per cent of a core)", "status"),
    ):
        share = seconds[part]
        yield Figure(
            what,
            f"{share * 1e3:.2f} ({share:.2%})",
            f"<= {MAX_CORE:.0%}",
            share <= MAX_CORE,
            note=note,
        )
    yield Figure("of that on the run's event loop, us", f"{seconds['snapshot'] * 1e6:.0f}")
    yield Figure("a scrape, ms", f"{seconds['scrape'] * 1e3:.1f}")


def _alarms(windows: int, draw: Callable[[random.Random], float], least: float) -> int:
    generator = random.Random(7)
    chart = ControlChart(0.01)
    return sum(chart.add(draw(generator), least) for _ in range(windows))


def _latency(generator: random.Random) -> float:
    latencies = (generator.lognormvariate(0, 0.6) for _ in range(30))
    return math.log(math.fsum(latencies) / 30)


def _failures(generator: random.Random) -> float:
    failed = sum(generator.random() < 0.02 for _ in range(60))
    return math.asin(math.sqrt((failed + 0.375) / 60.75))


def _rate(generator: random.Random) -> float:
    return math.sqrt(max(generator.gauss(60, math.sqrt(60)), 0) + 0.375)


def _charts() -> Iterator[Figure]:
    windows = 500_000
    expected = windows / ARL0
    limit = expected + 3 * math.sqrt(expected)
    for what, draw, least in (
        ("log of the mean of 30 lognormal latencies", _latency, 0.05),
        ("failed part of 60 calls, 2 % of which fail", _failures, 0.5 / math.sqrt(60.5)),
        ("calls per window, 60 on average", _rate, 0.5),
    ):
        count = _alarms(windows, draw, least)
        yield Figure(
            f"false alarms in {windows:,} windows: {what}",
            f"{count}",
            f"<= {expected:.0f} + 3 SD = {limit:.0f}",
            count <= limit,
            note=f"independent windows; one false alarm in {ARL0:,} windows is promised, and fewer "
            "where a window has few failures",
        )
    for shift in (1.0, 2.0, 3.0):
        found = sorted(_delay(seed, shift) for seed in range(400))
        yield Figure(
            f"windows until a shift of {shift:g} SD is found: median (90 of 100)",
            f"{found[200]} ({found[360]})",
            note="after 60 windows of the old level",
        )


def _delay(seed: int, shift: float) -> int:
    generator = random.Random(seed)
    chart = ControlChart(0.01)
    for _ in range(60):
        chart.add(generator.gauss(0, 1))
    for window in range(1, 1_000):
        if chart.add(generator.gauss(shift, 1)):
            return window
    return 1_000


def measure() -> Measured:
    """Return what metrics cost, and how often their charts are wrong."""
    return Measured("observing", [*_calls(), *_live_view(), *_charts()])

"""Values over windows of fixed length: rates, means, trends and anomalies.

A window is closed by the first row or reading after its end, so no timer runs. Windows in which
nothing happened are counted as such, however late that is seen.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from callwise.budget.metrics.control_chart import ControlChart
from callwise.budget.metrics.row_totals import Histogram, RowSums
from callwise.calls.call import Outcome

__all__ = ["SIGNALS", "Trend", "Window", "WindowSums", "Windows"]

_LOGGER = logging.getLogger(__name__)

SIGNALS = ("latency", "failures", "calls")
"""Signals that are watched: mean latency, failed part, and calls per second."""

TREND_SECONDS = 3600.0
"""Time over which a trend is fitted."""

LEAST_TREND_WINDOWS = 10
"""Windows from which on it is."""

MAX_EMPTY = 60
"""Most empty windows after a pause that are counted; after a longer one the charts begin again."""

LOG_SECONDS = 60.0
"""Least time between two lines of the log."""

_UNITS = {"latency": "s", "failures": "of the calls", "calls": "calls per second"}


class WindowSums(NamedTuple):
    """Sums at one moment.

    Args:
        hits: calls that the cache answered, by kind of work; None without a cache.
    """

    totals: RowSums
    hits: Mapping[str, int] | None
    misses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Values of one window; None where nothing in it has such a value. Shares are in [0, 1]."""

    seconds: float
    calls: int = 0
    asked_endpoint: int = 0
    tokens: int = 0
    latency_seconds: float | None = None
    latency_p95_seconds: float | None = None
    failure_ratio: float | None = None
    batch_wait_seconds: float | None = None
    deduplication: float | None = None
    routing_accuracy: float | None = None
    hit_rates: Mapping[str, float] = field(default_factory=dict)
    hit_rate: float | None = None
    efficiency: float | None = None

    def value(self, signal: str) -> float | None:
        """Return the value of one of `SIGNALS`."""
        if signal == "calls":
            return self.calls / self.seconds
        return self.latency_seconds if signal == "latency" else self.failure_ratio


class Trend(NamedTuple):
    """Slope of a signal and its standard error, per hour."""

    slope: float
    error: float


class Windows:
    """Closes windows and judges them.

    Args:
        seconds: length of a window, above 0.
        read: returns the sums now.
        now: returns monotonic seconds.

    Attributes:
        last: the last window that has ended; None before the first has.
        anomalies: windows with an anomaly by signal.
    """

    def __init__(
        self, seconds: float, read: Callable[[], WindowSums], now: Callable[[], float]
    ) -> None:
        self._seconds = seconds
        self._read, self._now = read, now
        self._before = read()
        self._ends = now() + seconds
        self.last: Window | None = None
        self.anomalies: Counter[str] = Counter(dict.fromkeys(SIGNALS, 0))
        # A change of 5 % of the latency is none; shares and counts have the spread of chance.
        self._charts = {
            "latency": ControlChart(0.05),
            "failures": ControlChart(0.001),
            "calls": ControlChart(0.5),
        }
        most = max(math.ceil(TREND_SECONDS / seconds), LEAST_TREND_WINDOWS)
        self._kept: deque[tuple[float, Window]] = deque(maxlen=min(most, 600))
        self._logged_at = -math.inf

    def advance(self) -> None:
        """Close the window that has ended, if one has, and the empty ones after it."""
        now = self._now()
        if now < self._ends:
            return
        reading = self._read()
        self._close(_window(self._before, reading, self._seconds))
        self._before = reading
        self._ends += self._seconds
        empty = int((now - self._ends) // self._seconds) + 1
        if empty > MAX_EMPTY:
            for chart in self._charts.values():
                chart.restart()
            self._kept.clear()
            self._ends += (empty - 1) * self._seconds
            empty = 1
        for _ in range(empty):
            self._close(_window(reading, reading, self._seconds))
            self._ends += self._seconds

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the charts that have one."""
        found = {name: chart.score for name, chart in self._charts.items()}
        return {name: score for name, score in found.items() if score is not None}

    def trends(self) -> dict[str, Trend]:
        """Return the trend of each signal that has enough windows, by least squares."""
        found = {}
        for signal in SIGNALS:
            points = [
                (at, value)
                for at, window in self._kept
                if (value := window.value(signal)) is not None
            ]
            if len(points) >= LEAST_TREND_WINDOWS:
                found[signal] = _trend(points)
        return found

    def _close(self, window: Window) -> None:
        self.last = window
        self._kept.append((self._ends / 3600, window))
        found = [name for name in SIGNALS if self._is_anomaly(name, window)]
        self.anomalies.update(found)
        if found and self._ends - self._logged_at >= LOG_SECONDS:
            self._logged_at = self._ends
            for name in found:
                _LOGGER.warning(
                    "%s changed beyond chance: %.4g %s in the last %g s",
                    name,
                    window.value(name),
                    _UNITS[name],
                    window.seconds,
                )

    def _is_anomaly(self, signal: str, window: Window) -> bool:
        value = window.value(signal)
        chart = self._charts[signal]
        if value is None:
            return False
        if signal == "latency":
            return value > 0 and chart.add(math.log(value))
        if signal == "calls":
            return chart.add(math.sqrt(window.calls + 0.375))
        count = window.asked_endpoint
        share = (value * count + 0.375) / (count + 0.75)
        return chart.add(math.asin(math.sqrt(share)), 0.5 / math.sqrt(count + 0.5))


def _window(before: WindowSums, after: WindowSums, seconds: float) -> Window:
    """Return the values between two readings."""
    old, new = before.totals, after.totals
    ended = {each: new.calls(each) - old.calls(each) for each in Outcome}
    calls = new.calls() - old.calls()
    served, failed = ended[Outcome.SERVED], ended[Outcome.FAILED]
    latency = _served(new).plus(_served(old), -1)
    batches = new.batch_waits.plus(old.batch_waits, -1)
    routed, misrouted = new.routed - old.routed, new.misrouted - old.misrouted
    work = new.of("work_microseconds") - old.of("work_microseconds")
    waits = new.of("wait_microseconds") - old.of("wait_microseconds")
    hits, misses = Counter(after.hits or {}), Counter(after.misses)
    hits.subtract(before.hits or {})
    misses.subtract(before.misses)
    return Window(
        seconds=seconds,
        calls=calls,
        asked_endpoint=served + failed,
        tokens=_tokens(new) - _tokens(old),
        latency_seconds=_share(latency.microseconds / 1e6, latency.count),
        latency_p95_seconds=latency.percentile(0.95),
        failure_ratio=_share(failed, served + failed),
        batch_wait_seconds=_share(batches.microseconds / 1e6, batches.count),
        deduplication=_share(ended[Outcome.COALESCED], calls),
        routing_accuracy=_share(routed - misrouted, routed),
        hit_rates={
            kind: count / (count + misses[kind])
            for kind in sorted(hits | misses)
            if (count := hits[kind]) + misses[kind] > 0
        },
        hit_rate=_share(hits.total(), hits.total() + misses.total()),
        efficiency=_share(work, work + waits),
    )


def _tokens(totals: RowSums) -> int:
    return totals.of("input_tokens") + totals.of("output_tokens")


def _served(totals: RowSums) -> Histogram:
    durations = Histogram()
    for part, sums in totals.parts.items():
        if part.outcome == Outcome.SERVED:
            durations = durations.plus(sums.histogram)
    return durations


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _trend(points: Sequence[tuple[float, float]]) -> Trend:
    count = len(points)
    mean_at = math.fsum(at for at, _ in points) / count
    mean = math.fsum(value for _, value in points) / count
    spread = math.fsum((at - mean_at) ** 2 for at, _ in points)
    slope = math.fsum((at - mean_at) * (value - mean) for at, value in points) / spread
    rest = math.fsum((value - mean - slope * (at - mean_at)) ** 2 for at, value in points)
    return Trend(slope, math.sqrt(rest / (count - 2) / spread))

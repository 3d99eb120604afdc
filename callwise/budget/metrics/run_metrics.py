"""Metrics of a run: sums of its rows, and its budgeter's statistics at the moment of a reading.

Of each call only its ledger row is added up (`row_totals`); everything else is read from the
budgeter when it is asked for. Sums change and are read on the owner loop alone, between two steps
of it, so a reading from another thread is that of one moment. The budgeters of an experiment's arms
work on one loop, and have one sum.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

from callwise.budget.counters import CounterValues
from callwise.budget.layers.schedule import ScheduleLayer
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import Limits
from callwise.budget.metrics.metrics_knobs import MetricsKnobs
from callwise.budget.metrics.row_totals import RowSums, RowTotals
from callwise.budget.metrics.windows import Trend, Window, Windows, WindowSums
from callwise.budget.schedule.task import LaneLevel
from callwise.calls.call import Purpose, Role
from callwise.calls.client import Remaining
from callwise.calls.kinds import kind_of

if TYPE_CHECKING:
    from callwise.budget.budgeter import Budgeter
    from callwise.budget.call_path import CallPath, Layer

__all__ = ["EndpointPace", "RunMetrics", "RunSnapshot"]

PACE_SECONDS = 60.0
"""Time over which calls per minute are counted for `callwise top`."""

LEAST_PACE_SECONDS = 0.9
"""Least time between two counts of it."""


class EndpointPace(NamedTuple):
    """Ended calls, requests and known tokens of an endpoint, per minute."""

    calls: float
    requests: float
    tokens: float


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """Everything that metrics are made of, at one moment.

    Args:
        statistics: those of the layers.
        in_flight_at: calls under way by the endpoint asked, those that have ended calls among them.
        lanes: queues by the endpoint's name; those of several models are summed.
        hits: calls that the cache answered, by kind of work; None without a cache.
        left: with several budgeters the least of any.
        used: part of each limit of the run that is used or held back; of several the largest.
        pace: of each endpoint over the last minute, as far as it was read.
    """

    totals: RowSums
    counts: CounterValues
    statistics: Mapping[str, Mapping[str, int | float]]
    in_flight_at: Mapping[str, int]
    lanes: tuple[LaneLevel, ...]
    hits: Mapping[str, int] | None
    misses: Mapping[str, int]
    left: Remaining
    used: Mapping[str, float]
    stopped_by: str | None
    window: Window | None
    window_seconds: float
    trends: Mapping[str, Trend]
    scores: Mapping[str, float]
    anomalies: Mapping[str, int]
    pace: Mapping[str, EndpointPace]
    is_simulated: bool


class RunMetrics:
    """The metrics of budgeters, which count from the moment when this is made.

    Args:
        sources: each budgeter with its layers; several work on one loop.
        interval_seconds: length of the windows.
        now: returns monotonic seconds; windows are of this time, in a simulation too.
    """

    def __init__(
        self,
        *sources: "tuple[Budgeter, CallPath]",
        interval_seconds: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources, self._now = sources, now
        self.rows = RowTotals(self._endpoint_names)
        if interval_seconds is None:
            interval_seconds = MetricsKnobs().interval_seconds
        self.interval_seconds = interval_seconds
        self._windows = Windows(interval_seconds, self._reading, now)
        self._paces: deque[tuple[float, Mapping[str, tuple[int, int, int]]]] = deque()
        for budgeter, _ in sources:
            budgeter.ledger.add_sink(self._on_row)

    def set_interval(self, seconds: float) -> None:
        """Begin windows of another length; those before are forgotten."""
        if seconds != self.interval_seconds:
            self.interval_seconds = seconds
            self._windows = Windows(seconds, self._reading, self._now)

    def snapshot(self) -> RunSnapshot:
        """Return the metrics now. From any thread; see `OwnerLoop.read`.

        Raises:
            TimeoutError: when the budgeter's loop is busy for too long.
        """
        return self._sources[0][0].owner.read(self._snapshot)

    def registry(self) -> Any:
        """Return a registry of prometheus_client with these metrics and those of the process.

        It may be served by a program's own server; each reading of it takes a snapshot.

        Raises:
            ConfigError: when prometheus_client is not installed.
        """
        from callwise.budget.metrics.exposition import registry_of  # noqa: PLC0415 - optional

        return registry_of(self.snapshot)

    def _on_row(self, row: LedgerRow) -> None:
        self._windows.advance()
        self.rows.add(row)

    def _endpoint_names(self) -> Iterator[str]:
        for budgeter, _ in self._sources:
            for name in budgeter.endpoint_names:
                endpoint = budgeter.endpoint(name)
                if endpoint is not None:
                    yield from (each.name for each in endpoint.candidates)

    def _layers(self, name: str) -> "list[Layer[Any, Any]]":
        """Return the layers of one name; one that several budgeters have in common once."""
        found = (call_path.layers.get(name) for _, call_path in self._sources)
        return list({id(each): each for each in found if each is not None}.values())

    def _statistics(self) -> dict[str, dict[str, int | float]]:
        """Return what each layer has counted, summed over those of one name."""
        names = dict.fromkeys(name for _, call_path in self._sources for name in call_path.layers)
        sums: dict[str, dict[str, int | float]] = {name: {} for name in names}
        for name, of_layer in sums.items():
            for layer in self._layers(name):
                for counter, value in layer.statistics().items():
                    of_layer[counter] = of_layer.get(counter, 0) + value
        return sums

    def _cache_counts(self) -> tuple[dict[str, int] | None, dict[str, int]]:
        """Return the hits and misses of the cache by kind of work; no hits without a cache."""
        layers = self._layers("cache")
        if not layers:
            return None, {}
        hits, misses = Counter[str](), Counter[str]()
        for name, count in (pair for each in layers for pair in each.statistics().items()):
            head, _, purpose = name.rpartition("_")
            kind = _KIND_OF.get(purpose)
            if kind is not None and head.endswith("_hits"):
                hits[kind] += int(count)
            elif kind is not None and head == "misses":
                misses[kind] += int(count)
        return dict(hits), dict(misses)

    def _reading(self) -> WindowSums:
        return WindowSums(self.rows.totals(), *self._cache_counts())

    def _snapshot(self) -> RunSnapshot:
        self._windows.advance()
        totals, hits, misses = self._reading()
        budgeters = [budgeter for budgeter, _ in self._sources]
        runs = [budgeter.run for budgeter in budgeters]
        schedules = (each for each in self._layers("schedule") if isinstance(each, ScheduleLayer))
        lanes = [level for each in schedules for level in each.levels()]
        statistics = self._statistics()
        windows, lefts = self._windows, [run.scope_limits.remaining(run.position) for run in runs]
        counts = reduce(add, (run.counters.counts() for run in runs))
        return RunSnapshot(
            totals=totals,
            counts=counts,
            statistics=statistics,
            in_flight_at=self._in_flight_at(totals, statistics["ledger"]),
            lanes=self._lanes(lanes),
            hits=hits,
            misses=misses,
            left=_least(lefts),
            used=_most_used(map(_used, (run.limits for run in runs), lefts)),
            stopped_by=next((text for b in budgeters if (text := b.stopped_by) is not None), None),
            window=windows.last,
            window_seconds=self.interval_seconds,
            trends=windows.trends(),
            scores=windows.scores,
            anomalies=dict(windows.anomalies),
            pace=self._pace(totals),
            is_simulated=counts.simulated > 0,
        )

    def _in_flight_at(self, totals: RowSums, ledger: Mapping[str, float]) -> dict[str, int]:
        found = dict.fromkeys(sorted({part.endpoint for part in totals.parts}), 0)
        for name, count in ledger.items():
            if name.startswith(_AT):
                label = self.rows.endpoint_label(name.removeprefix(_AT))
                found[label] = found.get(label, 0) + int(count)
        return found

    def _lanes(self, lanes: Iterable[LaneLevel]) -> tuple[LaneLevel, ...]:
        found: dict[str, LaneLevel] = {}
        for lane in lanes:
            label = self.rows.endpoint_label(lane.endpoint)
            known = found.get(label)
            if known is None:
                found[label] = lane._replace(endpoint=label)
                continue
            is_limited = known.limit is not None and lane.limit is not None
            found[label] = known._replace(
                waiting=known.waiting + lane.waiting,
                running=known.running + lane.running,
                limit=(known.limit or 0) + (lane.limit or 0) if is_limited else None,
                per_minute=dict(Counter(known.per_minute) + Counter(lane.per_minute)),
            )
        return tuple(found.values())

    def _pace(self, totals: RowSums) -> dict[str, EndpointPace]:
        """Return what has ended per minute since the oldest count of the last minute."""
        now, kept = self._now(), self._paces
        sums: dict[str, tuple[int, int, int]] = {}
        for part, each in totals.parts.items():
            calls, requests, tokens = sums.get(part.endpoint, (0, 0, 0))
            sums[part.endpoint] = (
                calls + each.calls,
                requests + each.requests,
                tokens + each.input_tokens + each.output_tokens,
            )
        while len(kept) > 1 and kept[1][0] <= now - PACE_SECONDS:
            kept.popleft()
        if not kept or now - kept[-1][0] >= LEAST_PACE_SECONDS:
            kept.append((now, sums))
        at, old = kept[0]
        if now - at < LEAST_PACE_SECONDS:
            return {}
        scale = 60 / (now - at)
        return {
            name: EndpointPace(
                *(
                    (new - before) * scale
                    for new, before in zip(values, old.get(name, (0, 0, 0)), strict=True)
                )
            )
            for name, values in sums.items()
        }


_AT = "in_flight_at_"
_KIND_OF: dict[str, str] = {str(each): str(kind_of(each)) for each in Purpose}


def _used(limits: Limits, left: Remaining) -> dict[str, float]:
    """Return the part of each limit that is used or held back."""
    pairs = {
        "calls": (limits.max_calls, left.calls_left),
        "requests": (limits.max_requests, left.requests_left),
        "tokens": (limits.max_tokens, left.tokens_left),
        "usd": (limits.max_usd, left.usd_left),
        "seconds": (limits.max_seconds, left.seconds_left),
    }
    return {
        name: min(max(1 - rest / most, 0.0), 1.0) if most else 1.0
        for name, (most, rest) in pairs.items()
        if most is not None and rest is not None
    }


def _most_used(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the largest part of each limit."""
    found: dict[str, float] = {}
    for name, part in (pair for each in parts for pair in each.items()):
        found[name] = max(part, found.get(name, part))
    return found


def _least(lefts: Sequence[Remaining]) -> Remaining:
    """Return the least that is left of each amount, None where nothing limits it."""
    amounts: dict[str, Any] = {}
    by_role: dict[Role, int] = {}
    for name in (each.name for each in fields(Remaining)):
        if name != "calls_left_by_role":
            known = [amount for left in lefts if (amount := getattr(left, name)) is not None]
            amounts[name] = min(known, default=None)
    for role, calls in (pair for left in lefts for pair in left.calls_left_by_role):
        by_role[role] = min(calls, by_role.get(role, calls))
    return Remaining(**amounts, calls_left_by_role=tuple(by_role.items()))

"""Metrics of a snapshot as samples, and as a collector of prometheus_client.

Samples are plain tuples, so that what is exported can be read without the library.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from callwise.budget.metrics.names import BUCKETS_SECONDS, METRICS, Metric
from callwise.budget.metrics.resources import Resources
from callwise.budget.metrics.row_totals import Histogram
from callwise.budget.metrics.run_metrics import RunSnapshot
from callwise.calls.call import Outcome, Priority
from callwise.optional_library import install_hint, loaded

__all__ = ["CONTENT_TYPE", "Sample", "exposition", "registry_of", "samples_of"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]
"""Name, labels and value."""

_NEED = "metrics in Prometheus' format need prometheus_client. Install it with: " + install_hint(
    "prometheus"
)


def samples_of(snapshot: RunSnapshot, use: Mapping[str, float]) -> Iterator[Sample]:
    """Yield the samples of a snapshot; histograms as prometheus has them.

    Args:
        use: of the machine's resources.
    """
    yield from _calls(snapshot)
    yield from _load(snapshot)
    yield from _budget(snapshot)
    yield from _window(snapshot)
    for resource, share in use.items():
        yield "resource_utilization_rate", {"resource": resource}, share


def _calls(snapshot: RunSnapshot) -> Iterator[Sample]:
    totals, counts = snapshot.totals, snapshot.counts
    yield "callwise_calls_asked_total", {}, counts.asked
    by_call: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 6)
    by_endpoint: dict[tuple[str, str], int] = defaultdict(int)
    durations: dict[tuple[str, str], Histogram] = {}
    for part, sums in totals.parts.items():
        amounts = (
            sums.calls,
            sums.requests,
            sums.input_tokens,
            sums.output_tokens,
            sums.cached_tokens,
            sums.picodollars,
        )
        row = by_call[part[:3]]
        row[:] = [old + new for old, new in zip(row, amounts, strict=True)]
        by_endpoint[part.endpoint, part.outcome] += sums.calls
        key = part.role, part.outcome
        durations[key] = durations.get(key, Histogram()).plus(sums.histogram)
    for (role, purpose, outcome), (calls, requests, *tokens, picodollars) in by_call.items():
        labels = {"role": role, "purpose": purpose, "outcome": outcome}
        yield "callwise_calls_total", labels, calls
        yield "callwise_requests_total", labels, requests
        for kind, count in zip(("input", "output", "cached"), tokens, strict=True):
            yield "callwise_tokens_total", {**labels, "kind": kind}, count
        yield "callwise_usd_total", labels, picodollars / 1e12
    for (endpoint, outcome), calls in by_endpoint.items():
        yield "callwise_endpoint_calls_total", {"endpoint": endpoint, "outcome": outcome}, calls
    for error, count in totals.errors.items():
        yield "callwise_call_errors_total", {"error": error}, count
    for (role, outcome), histogram in durations.items():
        labels = {"role": role, "outcome": outcome}
        yield from _histogram("callwise_call_duration_seconds", histogram, labels)
    yield from _histogram("callwise_queue_wait_seconds", totals.queue_waits, {})
    yield from _histogram("callwise_batch_wait_seconds", totals.batch_waits, {})
    answered = totals.calls(Outcome.SERVED, Outcome.CACHED, Outcome.COALESCED)
    yield "callwise_calls_answered_total", {}, answered
    yield "callwise_calls_failed_total", {}, totals.calls(Outcome.FAILED)
    yield "callwise_calls_refused_total", {}, totals.calls(Outcome.REFUSED)
    yield "callwise_requests_of_unknown_tokens_total", {}, totals.unknown_tokens
    yield "callwise_requests_of_unknown_usd_total", {}, totals.unknown_usd
    yield "callwise_repairs_total", {}, counts.repairs
    yield "callwise_unreadable_answers_total", {}, counts.unreadable
    yield "callwise_routed_calls_total", {}, totals.routed
    yield "callwise_routing_errors_total", {}, totals.misrouted


def _histogram(name: str, histogram: Histogram, labels: Mapping[str, str]) -> Iterator[Sample]:
    limits = (*map(repr, BUCKETS_SECONDS), "+Inf")
    for limit, count in zip(limits, accumulate(histogram.counts), strict=True):
        yield f"{name}_bucket", {**labels, "le": limit}, count
    yield f"{name}_sum", labels, histogram.microseconds / 1e6
    yield f"{name}_count", labels, histogram.count


def _load(snapshot: RunSnapshot) -> Iterator[Sample]:
    layers = snapshot.statistics
    ledger = layers.get("ledger", {})
    yield "callwise_calls_in_flight", {}, snapshot.counts.in_flight
    for priority in Priority:
        name = priority.name.lower()
        count = ledger.get(f"in_flight_{name}", 0)
        yield "callwise_calls_in_flight_by_class", {"class": name}, count
    for endpoint, count in snapshot.in_flight_at.items():
        yield "callwise_calls_in_flight_by_endpoint", {"endpoint": endpoint}, count
    for lane in snapshot.lanes:
        labels = {"endpoint": lane.endpoint}
        yield "callwise_queue_length", labels, lane.waiting
        yield "callwise_queue_running", labels, lane.running
        if lane.limit is not None:
            yield "callwise_queue_slots", labels, lane.limit
    retry, hedge = layers.get("retry", {}), layers.get("hedge", {})
    yield "callwise_retries_total", {}, retry.get("retries", 0)
    yield "callwise_rate_limited_total", {}, retry.get("rate_limited", 0)
    yield "callwise_hedges_total", {}, hedge.get("hedged", 0)
    yield "callwise_hedges_won_total", {}, hedge.get("won", 0)
    delayed = {
        name.removeprefix(_DELAYED): count
        for name, count in layers.get("schedule", {}).items()
        if name.startswith(_DELAYED)
    }
    yield "callwise_rate_delays_total", {}, sum(delayed.values())
    for limit, count in delayed.items():
        yield "callwise_rate_delayed_total", {"limit": limit}, count
    for hits, name in (
        (snapshot.hits or {}, "callwise_cache_hits_total"),
        (snapshot.misses, "callwise_cache_misses_total"),
    ):
        for kind, count in hits.items():
            yield name, {"type": kind}, count
    route = layers.get("route", {})
    open_count = route.get("open", 0) + route.get("half_open", 0)
    yield "callwise_breakers_open", {}, open_count
    yield "callwise_run_stopped", {}, snapshot.stopped_by is not None


_DELAYED = "rate_delayed_by_"


def _budget(snapshot: RunSnapshot) -> Iterator[Sample]:
    left = snapshot.left
    amounts = {
        "calls": left.calls_left,
        "requests": left.requests_left,
        "tokens": left.tokens_left,
        "usd": left.usd_left,
        "seconds": left.seconds_left,
    }
    for name, amount in amounts.items():
        if amount is not None:
            yield f"callwise_budget_{name}_left", {}, amount
    for role, calls in left.calls_left_by_role:
        yield "callwise_budget_role_calls_left", {"role": str(role)}, calls
    for name, share in snapshot.used.items():
        yield "callwise_budget_used_ratio", {"limit": name}, share


def _window(snapshot: RunSnapshot) -> Iterator[Sample]:
    for signal, count in snapshot.anomalies.items():
        yield "callwise_anomalies_total", {"signal": signal}, count
    for signal, score in snapshot.scores.items():
        yield "callwise_anomaly_score", {"signal": signal}, score
    for signal, trend in snapshot.trends.items():
        yield "callwise_trend_per_hour", {"signal": signal}, trend.slope
        yield "callwise_trend_error_per_hour", {"signal": signal}, trend.error
    window = snapshot.window
    yield "callwise_window_seconds", {}, snapshot.window_seconds
    if window is None:
        return
    wait, accuracy = window.batch_wait_seconds, window.routing_accuracy
    values = {
        "callwise_calls_per_second": window.calls / window.seconds,
        "callwise_tokens_per_second": window.tokens / window.seconds,
        "callwise_latency_mean_seconds": window.latency_seconds,
        "callwise_latency_p95_seconds": window.latency_p95_seconds,
        "callwise_failure_ratio": window.failure_ratio,
        "batch_processing_latency": None if wait is None else wait * 1e3,
        "request_deduplication_rate": window.deduplication,
        "model_routing_accuracy": accuracy,
        "model_routing_error_rate": None if accuracy is None else 1 - accuracy,
        "cache_hit_rate": window.hit_rate,
        "parallel_processing_efficiency": window.efficiency,
    }
    for name, value in values.items():
        if value is not None:
            yield name, {}, value
    for kind, share in window.hit_rates.items():
        yield "cache_hit_rate_by_type", {"type": kind}, share


class _Collector:
    """A collector of prometheus_client.

    Args:
        read: returns the samples of one moment.
    """

    def __init__(self, read: Callable[[], Iterable[Sample]], metrics: Sequence[Metric]) -> None:
        self._library = loaded("prometheus_client", _NEED)
        self._read, self._metrics = read, metrics

    def describe(self) -> list[Any]:
        """Return nothing: what there is is known once it is read."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield the metrics that have a sample, in the order of their declaration."""
        by_name: dict[str, list[Sample]] = defaultdict(list)
        for sample in self._read():
            by_name[_family(sample[0])].append(sample)
        for metric in self._metrics:
            samples = by_name.get(metric.name)
            if samples is None:
                continue
            name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
            family = self._library.Metric(name, metric.about, metric.kind)
            for each, labels, value in samples:
                family.add_sample(each, labels, value)
            yield family


_HISTOGRAMS = frozenset(each.name for each in METRICS if each.kind == "histogram")


def _family(name: str) -> str:
    head, _, tail = name.rpartition("_")
    return head if tail in {"bucket", "sum", "count"} and head in _HISTOGRAMS else name


def registry_of(
    snapshot: Callable[[], RunSnapshot],
    *,
    metrics: Sequence[Metric] = METRICS,
    further: Callable[[], Iterable[Sample]] = tuple,
    resources: Resources | None = None,
) -> Any:
    """Return a registry with the metrics of a run, and of its process where that can be read.

    Args:
        further: returns samples of `metrics` that are not of the run.

    Raises:
        ConfigError: when prometheus_client is not installed.
    """
    library = loaded("prometheus_client", _NEED)
    resources = resources or Resources()

    def read() -> Iterator[Sample]:
        yield from samples_of(snapshot(), resources.read())
        yield from further()

    registry = library.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(read, metrics))
    library.ProcessCollector(registry=registry)
    return registry


def exposition(registry: Any) -> bytes:
    """Return the metrics of a registry in Prometheus' text format, in UTF-8.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
    """
    text: bytes = loaded("prometheus_client", _NEED).generate_latest(registry)
    return text

"""The names of all metrics, with kind, labels and meaning: the one place that has them.

Names that begin with `callwise_` follow the conventions of Prometheus: base units, and `_total` for
counters. The others are those of the design documents, each with its unit. Labels have closed sets
of values (`LABELS`); whatever is in none of them is `other`.

Source: https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

__all__ = [
    "BUCKETS_SECONDS",
    "LABELS",
    "MAX_ENDPOINTS",
    "METRICS",
    "OTHER",
    "SERVICE_METRICS",
    "Metric",
]

OTHER = "other"
"""Value of a label in place of each that is not in its set."""

MAX_ENDPOINTS = 100
"""Most names of endpoints; those of later ones are `other`."""

BUCKETS_SECONDS = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper limits of the buckets of every histogram; the last bucket has none."""

LABELS: Mapping[str, str] = {
    "role": "roles",
    "purpose": "purposes",
    "outcome": "the seven outcomes",
    "kind": "`input`, `output` or `cached` of tokens; of answers the kind of work",
    "error": "classes of `callwise.calls.errors`",
    "endpoint": f"names of configured endpoints, {MAX_ENDPOINTS} at most",
    "class": "classes of urgency",
    "limit": "names of limits",
    "signal": "`latency`, `failures` or `calls`",
    "resource": "`cpu`, `memory`, `gpu` or `gpu_memory`",
    "type": "kinds of work",
    "reason": "reasons for which the service ends a connection",
}
"""Labels, and the set that the values of each are from."""


class Metric(NamedTuple):
    """One metric.

    Args:
        kind: its type in Prometheus.
        about: its meaning, with its unit where the name has none.
        labels: names of `LABELS`.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...] = ()


_BY_CALL = ("role", "purpose", "outcome")

METRICS = (
    Metric("callwise_calls_asked_total", "counter", "Calls asked."),
    Metric("callwise_calls_total", "counter", "Ended calls.", _BY_CALL),
    Metric(
        "callwise_calls_answered_total", "counter", "Those that were served, cached or coalesced."
    ),
    Metric("callwise_calls_failed_total", "counter", "Those that failed."),
    Metric("callwise_calls_refused_total", "counter", "Those that a limit of a scope refused."),
    Metric("callwise_requests_total", "counter", "Requests of ended calls.", _BY_CALL),
    Metric(
        "callwise_tokens_total",
        "counter",
        "Known tokens; cached are part of input.",
        (*_BY_CALL, "kind"),
    ),
    Metric("callwise_usd_total", "counter", "Known cost in USD.", _BY_CALL),
    Metric(
        "callwise_requests_of_unknown_tokens_total",
        "counter",
        "Requests whose tokens are not known.",
    ),
    Metric(
        "callwise_requests_of_unknown_usd_total", "counter", "Requests whose cost is not known."
    ),
    Metric("callwise_repairs_total", "counter", "Repairs of answers."),
    Metric("callwise_unreadable_answers_total", "counter", "Answers not in the form asked for."),
    Metric(
        "callwise_endpoint_calls_total",
        "counter",
        "Ended calls by the endpoint that served them.",
        ("endpoint", "outcome"),
    ),
    Metric(
        "callwise_call_errors_total",
        "counter",
        "Calls with an error, unreadable answers among them.",
        ("error",),
    ),
    Metric("callwise_retries_total", "counter", "Repeated attempts."),
    Metric("callwise_hedges_total", "counter", "Second attempts next to slow ones."),
    Metric("callwise_hedges_won_total", "counter", "Second attempts that were the faster."),
    Metric("callwise_rate_limited_total", "counter", "Attempts that ended in a 429."),
    Metric("callwise_rate_delays_total", "counter", "Waits of requests for a limit of the rate."),
    Metric("callwise_rate_delayed_total", "counter", "The same by limit.", ("limit",)),
    Metric(
        "callwise_call_duration_seconds",
        "histogram",
        "Time from asking to the end of a call, waits included.",
        ("role", "outcome"),
    ),
    Metric(
        "callwise_queue_wait_seconds",
        "histogram",
        "Waits of calls for a place, a limit of the rate or a batch, where they waited.",
    ),
    Metric(
        "callwise_batch_wait_seconds",
        "histogram",
        "The same of calls that travelled in a batch.",
    ),
    Metric("callwise_calls_in_flight", "gauge", "Calls under way."),
    Metric("callwise_calls_in_flight_by_class", "gauge", "Calls under way by class.", ("class",)),
    Metric(
        "callwise_calls_in_flight_by_endpoint",
        "gauge",
        "Calls under way by the endpoint asked.",
        ("endpoint",),
    ),
    Metric("callwise_queue_length", "gauge", "Requests that wait for their turn.", ("endpoint",)),
    Metric("callwise_queue_running", "gauge", "Requests that have a slot.", ("endpoint",)),
    Metric("callwise_queue_slots", "gauge", "Most requests with a slot.", ("endpoint",)),
    Metric("callwise_cache_hits_total", "counter", "Calls answered by the cache.", ("type",)),
    Metric("callwise_cache_misses_total", "counter", "Calls that it did not have.", ("type",)),
    Metric("callwise_routed_calls_total", "counter", "Calls that a policy or failover routed."),
    Metric(
        "callwise_routing_errors_total",
        "counter",
        "Those that failed, were unreadable, or were passed on to another model of a cascade.",
    ),
    Metric("callwise_breakers_open", "gauge", "Circuit breakers that are open or half-open."),
    Metric("callwise_run_stopped", "gauge", "1 once the run accepts no calls, else 0."),
    Metric("callwise_budget_calls_left", "gauge", "Calls that the run's limits leave."),
    Metric("callwise_budget_requests_left", "gauge", "Requests that they leave."),
    Metric("callwise_budget_tokens_left", "gauge", "Tokens that they leave."),
    Metric("callwise_budget_usd_left", "gauge", "USD that they leave."),
    Metric("callwise_budget_seconds_left", "gauge", "Seconds that they leave."),
    Metric(
        "callwise_budget_role_calls_left", "gauge", "Calls that they leave to a role.", ("role",)
    ),
    Metric(
        "callwise_budget_used_ratio",
        "gauge",
        "Part of a limit of the run that is used or held back, in [0, 1].",
        ("limit",),
    ),
    Metric("callwise_window_seconds", "gauge", "Length of the last window."),
    Metric("callwise_calls_per_second", "gauge", "Ended calls per second of the last window."),
    Metric("callwise_tokens_per_second", "gauge", "Known tokens per second of the last window."),
    Metric("callwise_latency_mean_seconds", "gauge", "Mean latency of the last window."),
    Metric(
        "callwise_latency_p95_seconds",
        "gauge",
        "95th percentile of the last window, interpolated within its bucket.",
    ),
    Metric(
        "callwise_failure_ratio", "gauge", "Failed part of the calls of the last window, in [0, 1]."
    ),
    Metric(
        "callwise_trend_per_hour",
        "gauge",
        "Slope of a signal over the last hour of windows, per hour: s, share, calls per second.",
        ("signal",),
    ),
    Metric("callwise_trend_error_per_hour", "gauge", "Standard error of that slope.", ("signal",)),
    Metric(
        "callwise_anomaly_score",
        "gauge",
        "EWMA of a signal in parts of its control limit: an anomaly from 1 or -1 on.",
        ("signal",),
    ),
    Metric("callwise_anomalies_total", "counter", "Windows with an anomaly.", ("signal",)),
    Metric(
        "batch_processing_latency",
        "gauge",
        "Mean wait of calls in a batch before it was sent, of the last window, in milliseconds.",
    ),
    Metric(
        "request_deduplication_rate",
        "gauge",
        "Part of the last window's calls that shared an equal one in flight, in [0, 1].",
    ),
    Metric(
        "model_routing_accuracy",
        "gauge",
        "Part of the last window's routed calls without a routing error, in [0, 1].",
    ),
    Metric("model_routing_error_rate", "gauge", "1 minus model_routing_accuracy."),
    Metric(
        "cache_hit_rate_by_type",
        "gauge",
        "Part of the last window's calls that may share which the cache answered, in [0, 1].",
        ("type",),
    ),
    Metric("cache_hit_rate", "gauge", "The same of all types."),
    Metric(
        "parallel_processing_efficiency",
        "gauge",
        "Part of the time of the last window's calls in which they did not wait, in [0, 1].",
    ),
    Metric(
        "resource_utilization_rate",
        "gauge",
        "Use of this machine since the last reading, in [0, 1]; of several GPUs the mean.",
        ("resource",),
    ),
)
"""Metrics of a run."""

SERVICE_METRICS = (
    Metric("callwise_up", "gauge", "1 while the service is running, else 0."),
    Metric("callwise_wakes_total", "counter", "Hours woken."),
    Metric("callwise_messages_said_total", "counter", "Lines of people."),
    Metric("callwise_messages_delivered_total", "counter", "Messages that came into the log."),
    Metric(
        "callwise_messages_refused_total", "counter", "Messages of clients that were not taken."
    ),
    Metric("callwise_acknowledgements_total", "counter", "Numbers that clients have acknowledged."),
    Metric("callwise_messages_waiting", "gauge", "Messages that wait for their time."),
    Metric("callwise_clients", "gauge", "Clients connected."),
    Metric(
        "callwise_connections_ended_total", "counter", "Ended connections by reason.", ("reason",)
    ),
)
"""Metrics that only `callwise serve` has, next to those of its run."""

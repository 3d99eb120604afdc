"""State of a run as one small JSON document, which `callwise top` shows.

It has numbers, closed labels, and names of configured endpoints; no text of a call or an error.
"""

import math
from collections import Counter, defaultdict
from typing import Any

from callwise.budget.metrics.row_totals import Histogram
from callwise.budget.metrics.run_metrics import RunSnapshot
from callwise.calls.call import Outcome, Priority

__all__ = ["STATUS_FILE", "STATUS_VERSION", "status_of"]

STATUS_FILE = "status.json"
"""Its name in the folder of a run."""

STATUS_VERSION = 1


def status_of(snapshot: RunSnapshot, *, at: float, pid: int, has_ended: bool) -> dict[str, Any]:
    """Return a snapshot as JSON values.

    Args:
        at: seconds since 1970.
        pid: process that writes it.
        has_ended: whether nothing is written after it.
    """
    totals, counts, layers = snapshot.totals, snapshot.counts, snapshot.statistics
    ledger, retry = layers.get("ledger", {}), layers.get("retry", {})
    outcomes = Counter[str]()
    ended: dict[str, Counter[str]] = defaultdict(Counter)
    durations: dict[str, Histogram] = {}
    for part, sums in totals.parts.items():
        outcomes[part.outcome] += sums.calls
        ended[part.endpoint][part.outcome] += sums.calls
        if part.outcome == Outcome.SERVED:
            known = durations.get(part.endpoint, Histogram())
            durations[part.endpoint] = known.plus(sums.histogram)
    lanes = {lane.endpoint: lane for lane in snapshot.lanes}
    endpoints = []
    for name in sorted({*ended, *snapshot.in_flight_at, *lanes}):
        lane, pace = lanes.get(name), snapshot.pace.get(name)
        served = durations.get(name, Histogram())
        endpoints.append(
            {
                "name": name,
                "in_flight": snapshot.in_flight_at.get(name, 0),
                "waiting": 0 if lane is None else lane.waiting,
                "running": None if lane is None else lane.running,
                "slots": None if lane is None else lane.limit,
                "ended": sum(ended[name].values()),
                "failed": ended[name][Outcome.FAILED],
                "mean_seconds": served.microseconds / 1e6 / served.count if served.count else None,
                "p95_seconds": served.percentile(0.95),
                "requests_per_minute": None if pace is None else pace.requests,
                "tokens_per_minute": None if pace is None else pace.tokens,
                "limits_per_minute": {} if lane is None else dict(lane.per_minute),
            }
        )
    left, usage = snapshot.left, counts.usage
    return {
        "callwise_status": STATUS_VERSION,
        "at": at,
        "pid": pid,
        "has_ended": has_ended,
        "stopped": snapshot.stopped_by is not None,
        "is_simulated": snapshot.is_simulated,
        "asked": counts.asked,
        "in_flight": counts.in_flight,
        "classes": {
            name: ledger.get(f"in_flight_{name}", 0)
            for name in (each.name.lower() for each in Priority)
        },
        "outcomes": {each.value: outcomes[each] for each in Outcome},
        "calls_per_minute": math.fsum(each.calls for each in snapshot.pace.values())
        if snapshot.pace
        else None,
        "endpoints": endpoints,
        "tokens": usage.tokens,
        "usd": usage.usd,
        "unknown_usd": usage.unknown_usd,
        "retries": retry.get("retries", 0),
        "rate_limited": retry.get("rate_limited", 0),
        "left": {
            "calls": left.calls_left,
            "requests": left.requests_left,
            "tokens": left.tokens_left,
            "usd": left.usd_left,
            "seconds": left.seconds_left,
        },
        "used": dict(snapshot.used),
        "errors": dict(sorted(totals.errors.items())),
        "last_errors": [list(each) for each in totals.last_errors],
        "anomalies": {name: count for name, count in snapshot.anomalies.items() if count},
    }

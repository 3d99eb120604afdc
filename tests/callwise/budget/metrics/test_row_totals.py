"""Sums of rows: exact, and of closed sets of labels whatever rows name."""

from typing import Any

import pytest

from callwise.budget.metrics.exposition import samples_of
from callwise.budget.metrics.names import BUCKETS_SECONDS, MAX_ENDPOINTS, OTHER
from callwise.budget.metrics.row_totals import Histogram, RowTotals
from callwise.budget.usage import Usage
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.choice import Choice
from callwise.calls.delivery import Delivery

USAGE = Usage(
    2, 2, 2, 700, 12, 600, 5_000, 1, 1, work_microseconds=7, retry_microseconds=5,
    queue_microseconds=3,
)  # fmt: skip


def test_a_row_is_added_up(make_row):
    """Calls, requests, tokens, cost, work and waits of a part are those of its rows."""
    totals = RowTotals(lambda: ["local"])
    totals.add(make_row(usage=USAGE))
    totals.add(make_row(usage=USAGE, path_seconds=9.0))
    totals.add(make_row(outcome=Outcome.CACHED, path_seconds=0.0))
    found = totals.totals()
    served = found.parts[Role.MAIN, Purpose.EXPAND, Outcome.SERVED, "local"]
    assert (served.calls, served.requests, served.input_tokens) == (2, 4, 1_400)
    assert (served.output_tokens, served.cached_tokens, served.picodollars) == (24, 1_200, 10_000)
    assert (served.work_microseconds, served.wait_microseconds) == (14, 16)
    assert served.durations == [0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert (found.unknown_tokens, found.unknown_usd) == (2, 2)
    assert found.calls() == 3
    assert found.calls(Outcome.CACHED) == 1
    assert (found.queue_waits.count, found.batch_waits.count) == (2, 0)


def test_waits_of_a_batch_are_counted_apart(make_row):
    """Of calls that travelled in one."""
    totals = RowTotals(lambda: ["local"])
    totals.add(make_row(usage=USAGE, delivery=Delivery(batch="b1", batch_size=4)))
    assert totals.totals().batch_waits.microseconds == 3


def _chosen(policy, step=0):
    return Choice(policy, "0" * 16, "0" * 64, "small", step=step)


@pytest.mark.parametrize(
    ("changes", "routed", "misrouted"),
    [
        ({}, 0, 0),
        ({"delivery": Delivery(endpoint="other")}, 1, 0),
        ({"delivery": Delivery(endpoint="other"), "outcome": Outcome.FAILED}, 1, 1),
        ({"delivery": Delivery(endpoint="other"), "is_unreadable": True}, 1, 1),
        ({"choice": _chosen("route")}, 1, 0),
        ({"choice": _chosen("route"), "outcome": Outcome.FAILED}, 1, 1),
        ({"choice": _chosen("cascade")}, 1, 0),
        ({"choice": _chosen("cascade", 1)}, 1, 1),
        ({"choice": _chosen("ensemble", 1)}, 1, 0),
    ],
)
def test_a_routing_error_is_a_failure_or_a_step_of_a_cascade(make_row, changes, routed, misrouted):
    """Of calls that another endpoint served, and of those that a policy chose a model for."""
    row = make_row(**changes)
    totals = RowTotals(lambda: ["local", "other"])
    totals.add(row)
    assert (totals.totals().routed, totals.totals().misrouted) == (routed, misrouted)


HOSTILE = ("", "x" * 10_000, 'a"} 1\nup 0', "main\x1b[31m", "../../etc/passwd", "\u202e")


def _fed(make_row: Any, count: int) -> RowTotals:
    """Return sums of rows whose every name is unlike the others."""
    totals = RowTotals(lambda: ["local", "spare"])
    template = make_row(usage=USAGE)
    for number in range(count):
        name = f"{HOSTILE[number % len(HOSTILE)]}{number}"
        totals.add(
            template._replace(
                role=name, purpose=name, outcome=name, endpoint=name, error=f"{name}: {name}"
            )
        )
    return totals


def test_a_name_that_is_in_no_set_is_other(make_row):
    """No name of a row becomes a label."""
    found = _fed(make_row, 1_000).totals()
    assert list(found.parts) == [(OTHER, OTHER, OTHER, OTHER)]
    assert dict(found.errors) == {OTHER: 1_000}
    assert set(found.last_errors) == {(OTHER, OTHER, OTHER)}


@pytest.mark.slow
def test_a_million_calls_of_hostile_names_make_no_further_series(make_row, make_budgeter):
    """Neither sums nor samples grow with the names that rows have."""
    metrics = make_budgeter().metrics()
    metrics.rows = _fed(make_row, 1_000_000)
    for endpoint in ("local", "spare"):
        for role in Role:
            metrics.rows.add(make_row(role=role, endpoint=endpoint))
    assert len(metrics.rows._parts) == 1 + 2 * len(Role)
    samples = list(samples_of(metrics.snapshot(), {}))
    assert len(samples) < 250
    assert all(len(value) < 40 for _, labels, _ in samples for value in labels.values())


def test_endpoints_beyond_the_most_are_other(make_row):
    """Also of configured ones, which a program may go on adding."""
    names = [f"e{number}" for number in range(MAX_ENDPOINTS + 20)]
    totals = RowTotals(lambda: names)
    for name in names:
        totals.add(make_row(endpoint=name))
    labels = {part.endpoint for part in totals.totals().parts}
    assert len(labels) == MAX_ENDPOINTS + 1
    assert OTHER in labels


def test_an_endpoint_that_is_added_later_has_its_label(make_row):
    """The names are asked for again while they are few."""
    names = ["local"]
    totals = RowTotals(lambda: names)
    totals.add(make_row())
    names.append("later")
    totals.add(make_row(endpoint="later"))
    assert {part.endpoint for part in totals.totals().parts} == {"local", "later"}


def test_a_percentile_is_interpolated_within_its_bucket():
    """As `histogram_quantile` of Prometheus does; beyond the last limit it is that."""
    histogram = Histogram()
    assert histogram.percentile(0.95) is None
    for _ in range(10):
        histogram.add(150_000)
    assert histogram.percentile(0.5) == pytest.approx(0.15)
    histogram.add(60_000_000)
    assert histogram.percentile(0.99) == BUCKETS_SECONDS[-1]

"""Values of windows, trends and anomalies."""

import logging
from typing import Any

import pytest

from callwise.budget.metrics.row_totals import RowTotals
from callwise.budget.metrics.windows import MAX_EMPTY, Windows, WindowSums
from callwise.budget.usage import Usage
from callwise.calls.call import Outcome
from callwise.calls.delivery import Delivery


class Watched:
    """Windows over rows that a test adds, with a cache whose counts it sets."""

    def __init__(self, make_row: Any, time: Any) -> None:
        self.rows, self._make_row, self.time = RowTotals(lambda: ["local"]), make_row, time
        self.hits: dict[str, int] = {}
        self.misses: dict[str, int] = {}
        self.windows = Windows(60.0, self._read, time)

    def _read(self) -> WindowSums:
        return WindowSums(self.rows.totals(), dict(self.hits), dict(self.misses))

    def add(self, **changes: Any) -> None:
        """Add a row now."""
        self.windows.advance()
        self.rows.add(self._make_row(**changes))

    def minute(self, count: int = 20, **changes: Any) -> None:
        """Add rows, and go on to the end of the window."""
        for _ in range(count):
            self.add(**changes)
        self.time.seconds += 60
        self.windows.advance()


@pytest.fixture
def watched(make_row, moved_time) -> Watched:
    """Return windows of a minute that nothing has happened in."""
    return Watched(make_row, moved_time)


def test_a_window_has_the_values_of_its_rows_alone(watched):
    """Rows before and after it are in others."""
    watched.minute(path_seconds=3.0)
    usage = Usage(1, 1, 1, 90, 10, work_microseconds=300_000, queue_microseconds=100_000)
    for _ in range(8):
        watched.add(usage=usage, path_seconds=0.4, delivery=Delivery(batch="b", batch_size=2))
    watched.add(outcome=Outcome.FAILED, error="ServerFailed: x", delivery=Delivery(endpoint="e"))
    watched.add(outcome=Outcome.COALESCED)
    watched.hits, watched.misses = {"embedding": 3}, {"embedding": 1, "llm_inference": 4}
    watched.time.seconds += 60
    watched.add(path_seconds=3.0)
    window = watched.windows.last
    assert (window.calls, window.seconds, window.tokens) == (10, 60.0, 800)
    assert window.latency_seconds == pytest.approx(0.4)
    assert 0.2 < window.latency_p95_seconds <= 0.5
    assert window.failure_ratio == pytest.approx(1 / 9)
    assert window.batch_wait_seconds == pytest.approx(0.1)
    assert window.deduplication == pytest.approx(0.1)
    assert window.routing_accuracy == 0.0
    assert window.efficiency == pytest.approx(0.75)
    assert window.hit_rates == {"embedding": 0.75, "llm_inference": 0.0}
    assert window.hit_rate == pytest.approx(3 / 8)


def test_a_value_that_a_window_does_not_have_is_none(watched):
    """It is not 0."""
    watched.time.seconds += 60
    watched.windows.advance()
    window = watched.windows.last
    assert (window.calls, window.latency_seconds, window.failure_ratio) == (0, None, None)
    assert (window.hit_rate, window.routing_accuracy, window.efficiency) == (None, None, None)


def test_empty_windows_are_counted_when_they_are_seen(watched):
    """A pause has as many as it is long, and after a long one the charts begin again."""
    watched.minute()
    watched.time.seconds += 60 * 5
    watched.windows.advance()
    assert len(watched.windows._kept) == 6
    watched.time.seconds += 60.0 * (MAX_EMPTY + 5)
    watched.windows.advance()
    assert watched.windows.scores == {}
    assert watched.windows._ends > watched.time.seconds


def test_an_anomaly_is_counted_and_logged(watched, caplog):
    """A latency that trebles; the log names signal and value, once a minute at most."""
    for number in range(60):
        watched.minute(path_seconds=1.0 + 0.1 * (number % 5))
    assert watched.windows.anomalies.total() == 0
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            watched.minute(path_seconds=4.0)
    assert watched.windows.anomalies["latency"] == 1
    assert [record.getMessage() for record in caplog.records] == [
        "latency changed beyond chance: 4 s in the last 60 s"
    ]


def test_lines_of_the_log_are_a_minute_apart(make_row, moved_time, caplog):
    """Also where windows are shorter."""
    watched = Watched(make_row, moved_time)
    watched.windows = Windows(1.0, watched._read, moved_time)
    with caplog.at_level(logging.WARNING):
        for number in range(400):
            for _ in range(5):
                seconds = 1.0 if number < 100 or number % 40 < 20 else 50.0
                watched.add(path_seconds=seconds + 0.01 * (number % 3))
            moved_time.seconds += 1
            watched.windows.advance()
    assert watched.windows.anomalies["latency"] >= 2
    assert 1 <= len(caplog.records) <= 6


def test_a_trend_has_its_standard_error(watched):
    """A latency that grows by .06 s a window grows by 3.6 s an hour."""
    for number in range(30):
        watched.minute(path_seconds=1.0 + 0.06 * number + 0.01 * (-1) ** number)
    slope, error = watched.windows.trends()["latency"]
    assert slope == pytest.approx(3.6, abs=0.05)
    assert 0 < error < 0.05
    assert abs(slope - 3.6) < 3 * error

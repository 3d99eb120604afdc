"""Control charts: false alarms as rare as stated, and changes that are found."""

import math
from random import Random

import pytest

from callwise.budget.metrics.control_chart import ARL0, LEAST_VALUES, ControlChart


def _windows_to_alarm(random: Random, shift: float, *, before: int = 60) -> int:
    """Return how many windows after a shift, in standard deviations, the chart alarms."""
    chart = ControlChart(0.01)
    for _ in range(before):
        chart.add(random.gauss(5, 1))
    for window in range(1, 500):
        if chart.add(random.gauss(5 + shift, 1)):
            return window
    return 500


def test_a_chart_judges_nothing_before_it_knows_the_level():
    """Whatever comes first is the level."""
    chart = ControlChart(0.01)
    assert not any(chart.add(value) for value in [0.0, 1e6] * (LEAST_VALUES // 2))
    assert chart.score is None


@pytest.mark.parametrize("shift", [3.0, -3.0])
def test_a_large_change_is_found_within_few_windows(shift):
    """Up and down: of three standard deviations within five windows, mostly."""
    found = sorted(_windows_to_alarm(Random(seed), shift) for seed in range(40))
    assert found[20] <= 5
    assert found[37] <= 10


def test_after_an_alarm_the_new_level_is_the_usual_one():
    """It is reported once, and not for ever."""
    random = Random(1)
    chart = ControlChart(0.01)
    for _ in range(60):
        chart.add(random.gauss(0, 1))
    assert sum(chart.add(random.gauss(6, 1)) for _ in range(200)) == 1


def test_a_signal_that_never_changes_raises_no_alarm():
    """Nor do changes within the least spread."""
    chart = ControlChart(0.05)
    values = [1.0] * 100 + [1.01, 0.99] * 100
    assert not any(chart.add(value) for value in values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "latency", "failures", "calls"])
def test_false_alarms_are_as_rare_as_stated(kind):
    """Within what chance allows for the count of alarms; rarer where values are few numbers."""
    random = Random(7)
    chart = ControlChart({"latency": 0.05, "calls": 0.5}.get(kind, 0.001))
    windows, alarms = 200_000, 0
    for _ in range(windows):
        least = 0.0
        if kind == "normal":
            value = random.gauss(0, 1)
        elif kind == "latency":  # mean of 30 skewed latencies
            value = math.log(math.fsum(random.lognormvariate(0, 0.6) for _ in range(30)) / 30)
        elif kind == "failures":
            failed = sum(random.random() < 0.05 for _ in range(30))
            value = math.asin(math.sqrt((failed + 0.375) / 30.75))
            least = 0.5 / math.sqrt(30.5)
        else:
            value = math.sqrt(max(random.gauss(60, math.sqrt(60)), 0) + 0.375)
        alarms += chart.add(value, least)
    expected = windows / ARL0
    assert alarms <= expected + 3 * math.sqrt(expected)
    if kind == "normal":
        assert alarms >= expected - 3 * math.sqrt(expected)

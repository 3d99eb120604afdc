"""Intervals of shares: within 0 and 1, and true as often as they say."""

import math

import numpy as np
import pytest

from callwise.tuning.statistics.bootstrap import Interval
from callwise.tuning.statistics.shares import share_interval, student_quantile


def _interval(shares: dict[tuple[str, int], float]) -> Interval:
    mean = math.fsum(shares.values()) / len(shares)
    count = len({conversation for conversation, _ in shares})
    found = Interval(mean, -1.0, 2.0, 0.95, count, len(shares))
    return share_interval(found, shares)


@pytest.mark.parametrize(("freedom", "exact"), [(4, 2.776), (7, 2.365), (23, 2.069), (999, 1.962)])
def test_students_quantile(freedom: int, exact: float) -> None:
    """As tables have it."""
    assert student_quantile(0.975, freedom) == pytest.approx(exact, rel=0.005)
    assert student_quantile(0.025, freedom) == pytest.approx(-exact, rel=0.005)


def test_ends_lie_between_none_and_all() -> None:
    """Where a mean and its errors gave -20 % to 180 %, and where all agree."""
    some = _interval({(f"c{at}", 0): float(at > 0) for at in range(5)})
    assert (some.low, some.high) == pytest.approx((0.223, 0.983), abs=0.005)
    none = _interval({(f"c{at}", turn): 0.0 for at in range(8) for turn in range(3)})
    assert (none.low, none.high) == (0.0, pytest.approx(0.411, abs=0.005))
    every = _interval({(f"c{at}", 0): 1.0 for at in range(8)})
    assert (every.low, every.high) == (pytest.approx(0.589, abs=0.005), 1.0)
    odds = _interval({(f"c{at}", 0): 0.2 for at in range(8)})
    assert (odds.low, odds.high) == pytest.approx((0.2, 0.2))


def test_none_stays_none() -> None:
    """Too few conversations have no interval."""
    few = Interval(0.5, None, None, 0.95, 2, 2, why_none="few")
    assert share_interval(few, {("a", 0): 0.0, ("b", 0): 1.0}) == few


@pytest.mark.parametrize(("share", "count"), [(0.05, 8), (0.8, 5), (0.5, 24)])
def test_the_truth_is_in_95_of_100(share: float, count: int) -> None:
    """Of few conversations whose turns are alike; a rare event is covered more often."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        own = rng.beta(share * 4, (1 - share) * 4, count)
        values = rng.random((count, 4)) < own[:, None]
        found = _interval({(str(at), n): float(values[at, n]) for at, n in np.ndindex(count, 4)})
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= share <= found.high
    assert covered >= 0.92 * 400

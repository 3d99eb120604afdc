"""Savings: calls at the same mean quality, read off a curve."""

import numpy as np
import pytest

from benchmarks.search.saving import Resampled, calls_needed, normalised, savings
from benchmarks.tests.search.test_comparing import make_runs

CALLS = np.array([2.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("quality", "calls", "is_reached"),
    [(0.0, 2.0, True), (0.2, 2.0, True), (0.3, 3.0, True), (0.6, 8.0, True), (0.7, 8.0, False)],
)
def test_the_curve_is_read_between_its_points(quality, calls, is_reached):
    """Straight lines between caps; below the first the least, above the last the most."""
    found = calls_needed(quality, CALLS, np.array([0.2, 0.4, 0.6]))
    assert found == (pytest.approx(calls), is_reached)


def test_a_curve_that_falls_keeps_what_it_had_reached():
    """A dearer plan that is worse is not chosen."""
    assert calls_needed(0.4, CALLS, np.array([0.2, 0.5, 0.3]))[0] == pytest.approx(2 + 4 / 3)


def test_a_plan_that_asks_half_for_the_same_saves_half():
    """Quality rises with calls; the adaptive plan has that of 8 calls for 4."""
    lots = np.random.default_rng(1).normal(0, 0.01, (60, 1))
    fixed = [make_runs(lots + quality, cap=cap) for cap, quality in ((2, 2), (4, 4), (8, 6))]
    adaptive = make_runs(lots + 6 - 1e-9, policy="listwise, min_gain 0.1", cap=10, min_gain=0.1)
    adaptive.values["requests"][:] = 4
    points, (saving,) = savings(fixed, [adaptive])
    assert [point.calls.mean for point in points] == [2, 4, 8]
    assert saving.share.mean == pytest.approx(0.5, abs=0.01)
    assert saving.same_calls.mean == pytest.approx(0.2, abs=0.01)
    assert saving.share.low == pytest.approx(saving.share.high)
    assert saving.point.min_gain == 0.1


def test_pools_are_put_on_one_scale():
    """0 is a pick by lot and 1 the best pick, on average over the pool."""
    assert normalised(make_runs([[0.0], [10.0], [5.0]])).tolist() == [0.0, 1.0, 0.5]


def test_a_pool_without_a_gap_has_no_scale():
    """Nothing is better than a pick by lot there."""
    runs = make_runs([[1.0]])
    runs.oracle_truth[:] = 0
    with pytest.raises(ValueError, match="no better"):
        normalised(runs)


def test_every_policy_is_run_on_every_pool_of_the_mix():
    """A mix of other prompts would be no comparison."""
    fixed = [make_runs([[1.0], [2.0]], pool=pool) for pool in ("a", "b")]
    with pytest.raises(ValueError, match="was not run on b"):
        savings(fixed, [make_runs([[1.0], [2.0]], pool="a", min_gain=0.1)])


def test_resamples_keep_the_size_of_each_pool():
    """Prompts are drawn within their pool, so the mix stays the mix."""
    resampled = Resampled(["a", "a", "b"], draws=50)
    assert np.allclose(resampled.weights[:, 2], 1 / 3)
    assert np.allclose(resampled.weights.sum(axis=1), 1)
    with pytest.raises(ValueError, match="no prompt"):
        Resampled([])

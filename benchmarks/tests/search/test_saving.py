"""Savings: calls at the same mean quality, read off a curve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search.comparing import compare
from benchmarks.search.saving import calls_needed, saving_of, savings_over
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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(-1, 1), st.floats(0, 1, width=16)
)
def test_more_quality_never_needs_fewer_calls(qualities, quality, more):
    """And what is needed lies on the curve."""
    curve = np.array(qualities)
    low, _ = calls_needed(quality, CALLS, curve)
    high, _ = calls_needed(quality + more, CALLS, curve)
    assert 2.0 <= low <= high <= 8.0


def rows_of(plan_quality, plan_requests, *, pool="a pool", prompts=60):
    """Return a rising fixed plan (quality 2, 4, 6 at 2, 4, 8) and a plan that stops."""
    lots = np.random.default_rng(1).normal(0, 0.01, (prompts, 1))
    fixed = [
        make_runs(lots + quality, cap=cap, pool=pool) for cap, quality in ((2, 2), (4, 4), (8, 6))
    ]
    plan = make_runs(lots + plan_quality, policy="thorough", cap=16, pool=pool)
    plan.values["requests"][:] = plan_requests
    *curve, stopping = compare([*fixed, plan])
    return curve, stopping


def test_a_plan_that_asks_half_for_the_same_saves_half():
    """Quality rises with calls; the plan has that of 8 calls for 4."""
    saving = saving_of(*rows_of(6 - 1e-9, 4))
    assert saving.saved.mean == pytest.approx(0.5, abs=0.01)
    assert saving.fixed_requests == pytest.approx(8, abs=0.01)
    assert saving.same_requests.mean == pytest.approx(0.2, abs=0.01)
    assert saving.saved.low == pytest.approx(saving.saved.high)
    assert (saving.policy, saving.cap, saving.requests) == ("thorough", 16, 4)


def test_a_plan_that_is_dearer_saves_less_than_nothing():
    """The quality of 4 calls for 8 is a saving of -100 %."""
    saving = saving_of(*rows_of(4, 8))
    assert saving.saved.mean == pytest.approx(-1.0)
    assert saving.same_requests.mean == pytest.approx(-0.2)


def test_what_the_fixed_plan_never_reaches_is_counted():
    """Its largest cap is used instead, so that the saving is understated."""
    saving = saving_of(*rows_of(9, 4))
    assert (saving.beyond, saving.fixed_requests) == (1.0, 8.0)


def test_the_mean_saving_counts_each_pool_once():
    """One pool saves half, another loses as much as it had."""
    savings = [
        saving_of(*rows_of(6 - 1e-9, 4)),
        saving_of(*rows_of(4, 8, pool="b", prompts=20)),
    ]
    (found,) = savings_over(savings).values()
    assert found.mean.mean == pytest.approx(-0.25, abs=0.01)
    assert found.least[0] == "b"


def test_the_fixed_plan_is_run_on_the_same_prompts():
    """A curve of other prompts would be no comparison."""
    curve, _ = rows_of(4, 4)
    _, stopping = rows_of(4, 4, prompts=20)
    with pytest.raises(ValueError, match="a pool"):
        saving_of(curve, stopping)
    with pytest.raises(ValueError, match="a pool"):
        saving_of([], stopping)

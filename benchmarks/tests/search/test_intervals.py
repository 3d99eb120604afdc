"""Intervals over prompts, and means over pools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.search.intervals import (
    Interval,
    drawn_mean,
    interval_of,
    mean_interval,
    paired_difference,
    pooled,
    resamples,
)

FIGURES = arrays(np.float64, (6, 3), elements=st.floats(-10, 10, width=32))


def names(count, prefix=""):
    """Return that many ids of prompts."""
    return tuple(f"{prefix}{place}" for place in range(count))


def coverage(prompts, trials=400):
    """Return how often the interval holds the true mean of normal data."""
    draw = np.random.default_rng(1)
    hits = 0
    for trial in range(trials):
        found = mean_interval(draw.normal(0.3, 1.0, prompts), seed=trial, draws=800)
        hits += found.low <= 0.3 <= found.high
    return hits / trials


@pytest.mark.parametrize("prompts", [10, 30])
def test_intervals_cover_what_they_say(prompts):
    """About 95 of 100 intervals hold the true mean, in small samples too."""
    assert 0.92 <= coverage(prompts) <= 0.98


def test_a_mean_over_pools_is_covered_too():
    """Two pools share their prompts and a bias of each prompt; a third has others."""
    draw = np.random.default_rng(2)
    hits, trials = 0, 300
    for trial in range(trials):
        shared = draw.normal(0, 1, 12)
        pools = {
            "a": drawn_mean(0.1 + shared + draw.normal(0, 0.3, 12), names(12), trial),
            "b": drawn_mean(0.2 + shared + draw.normal(0, 0.3, 12), names(12), trial),
            "c": drawn_mean(0.6 + draw.normal(0, 1, 20), names(20, "c"), trial),
        }
        found = pooled(pools).mean
        hits += found.low <= 0.3 <= found.high
    assert 0.91 <= hits / trials <= 0.985


@settings(deadline=None, max_examples=25)
@given(FIGURES)
def test_equal_runs_differ_by_exactly_nothing(values):
    """Two policies with the same truths have the difference 0, from 0 to 0."""
    found = paired_difference(values, values, draws=200)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.is_open


@settings(deadline=None, max_examples=25)
@given(FIGURES, FIGURES)
def test_a_difference_turned_round_is_its_negative(ours, theirs):
    """Swapping the two swaps the ends of the interval and their signs."""
    there = paired_difference(ours, theirs, draws=200)
    back = paired_difference(theirs, ours, draws=200)
    assert there.mean == pytest.approx(-back.mean)
    assert there.low == pytest.approx(-back.high, abs=1e-9)
    assert there.low <= there.mean + 1e-9
    assert there.mean <= there.high + 1e-9
    assert there.is_open == back.is_open


def test_seeds_of_a_prompt_are_no_sample():
    """A thousand seeds of the same figure make no interval narrower."""
    few = np.array([[1.0], [2.0], [3.0], [5.0]])
    assert mean_interval(np.repeat(few, 1000, axis=1)) == mean_interval(few)


def test_pairing_pays():
    """The paired interval is narrow if prompts differ much and policies little."""
    draw = np.random.default_rng(0)
    level = draw.normal(0, 10, 40)
    found = paired_difference(level + 0.5 + draw.normal(0, 0.1, 40), level)
    assert 0.4 < found.low < found.high < 0.6


def test_pools_of_the_same_prompts_are_drawn_together():
    """Twice the same pool is one pool: the interval of the mean is no narrower."""
    figures = np.random.default_rng(3).normal(0, 1, 30)
    one = drawn_mean(figures, names(30))
    both = pooled({"a": one, "b": drawn_mean(figures, names(30))})
    assert both.mean == both.by_pool["a"] == interval_of([one])
    other = pooled({"a": one, "b": drawn_mean(figures, names(30, "x"))})
    assert other.mean.high - other.mean.low < 0.85 * (both.mean.high - both.mean.low)
    assert other.mean.prompts == 60


def test_resamples_are_of_the_prompts_size_and_the_same_again():
    """Each row sums to 1; other prompts and other seeds draw otherwise."""
    weights = resamples(names(7), 0, 50)
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.array_equal(weights, resamples(names(7), 0, 50))
    assert not np.array_equal(weights, resamples(names(7), 1, 50))
    assert not np.array_equal(weights, resamples(names(7, "x"), 0, 50))


def test_a_difference_without_its_zero_is_not_open():
    """Its ends have one sign."""
    assert not Interval(0.2, 0.1, 0.3, 9).is_open
    assert not Interval(-0.2, -0.3, -0.1, 9).is_open
    assert Interval(0.1, -0.1, 0.3, 9).is_open


def test_bad_figures_are_refused():
    """One prompt, unequal prompts, NaN and no pool are errors."""
    with pytest.raises(ValueError, match="two prompts"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="paired"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="no pool"):
        pooled({})

"""Intervals over prompts, and the claims that rest on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.search.intervals import (
    compare,
    holm,
    margin_of,
    mean_interval,
    paired_difference,
    prompts_needed,
)

FIGURES = arrays(np.float64, (6, 3), elements=st.floats(-10, 10, width=32))


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


@settings(deadline=None, max_examples=25)
@given(FIGURES)
def test_equal_runs_differ_by_exactly_nothing(values):
    """Two policies with the same truths have the difference 0, from 0 to 0."""
    found = paired_difference(values, values, draws=200)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


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


def test_seeds_of_a_prompt_are_no_sample():
    """A thousand seeds of the same figure make no interval narrower."""
    few = np.array([[1.0], [2.0], [3.0], [5.0]])
    assert mean_interval(np.repeat(few, 1000, axis=1)) == mean_interval(few)


def test_pairing_pays():
    """The paired interval is narrow if prompts differ much and policies little."""
    draw = np.random.default_rng(0)
    level = draw.normal(0, 10, 40)
    ours, theirs = level + 0.5 + draw.normal(0, 0.1, 40), level
    found = compare(ours, theirs, margin=0.0)
    assert found.is_better
    assert 0.4 < found.difference.low < found.difference.high < 0.6


def test_not_worse_is_told_from_better_and_from_open():
    """A hair below is not worse within the margin; a noisy tie is open and says how far."""
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 0.01, 50)
    near = compare(noise - noise.mean() - 0.005, np.zeros(50), margin=0.05)
    assert near.is_not_worse
    assert not near.is_better
    wide = draw.normal(0, 1, 50)
    unsure = compare(wide - wide.mean(), np.zeros(50), margin=0.05)
    assert not unsure.is_not_worse
    assert unsure.prompts_needed > 50
    assert near.p_not_worse < 0.01 < unsure.p_not_worse


def test_identical_runs_are_not_worse_even_without_a_margin():
    """Nothing lost is nothing lost."""
    found = compare(np.arange(5.0), np.arange(5.0), margin=0.0)
    assert found.is_not_worse
    assert not found.is_better
    assert found.prompts_needed == 2


def test_a_loss_beyond_the_margin_needs_no_more_prompts():
    """No number of prompts would settle what is not so."""
    assert prompts_needed(np.array([-1.0, -1.2, -0.8]), margin=0.1) is None


def test_holm_is_the_textbook_example():
    """.01 .04 .03 .005 become .03 .06 .06 .02."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm([0.9, 0.8]) == {"0": 1.0, "1": 1.0}
    assert holm({}) == {}


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=4), st.floats(0, 1), max_size=8))
def test_holm_never_makes_a_p_value_smaller(p_values):
    """Adjusted values are at least the raw ones, in [0, 1], and in the same order."""
    adjusted = holm(p_values)
    assert all(p_values[name] <= value <= 1 for name, value in adjusted.items())
    ordered = sorted(p_values, key=p_values.__getitem__)
    assert [adjusted[name] for name in ordered] == sorted(adjusted.values())


def test_bad_figures_are_refused():
    """One prompt, unequal prompts, NaN, a negative margin and a p-value of 2 are errors."""
    with pytest.raises(ValueError, match="two prompts"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="paired"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="-1"):
        compare([1.0, 2.0], [1.0, 2.0], margin=-1)
    with pytest.raises(ValueError, match="'a'"):
        holm({"a": 2.0})


def test_the_margin_is_a_share_of_the_gap():
    """One percent from random to oracle; an oracle below random is an error."""
    assert margin_of(3.0, 5.0) == pytest.approx(0.02)
    with pytest.raises(ValueError, match="below"):
        margin_of(1.0, 0.0)

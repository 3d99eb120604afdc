"""The judge's noise, learned from what it says."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.posterior import MAX_RELIABILITY, MIN_RELIABILITY, PRIOR_SPREAD, NoiseModel


def _watched(own_noise, *, calls=200, items=6, spread=0.15, seed=0):
    """Return the noise as learned from many calls of a judge with a known noise."""
    draw = random.Random(seed)
    noise = NoiseModel(0.4)
    for _ in range(calls):
        true = [draw.gauss(0.5, spread) for _ in range(items)]
        first = [t + draw.gauss(0, own_noise) for t in true]
        second = [t + draw.gauss(0, own_noise) for t in true]
        noise.note_call(first)
        noise.note_call(second)
        for before, score in zip(first, second, strict=True):
            noise.note_repeat(score, mean_before=before, count_before=1)
    return noise


def test_before_anything_was_seen_it_is_what_the_knobs_assume():
    """And the mean is in the middle."""
    noise = NoiseModel(0.35)
    assert noise.reliability == pytest.approx(0.35)
    assert noise.spread == pytest.approx(PRIOR_SPREAD)
    assert noise.grand_mean == 0.5


@pytest.mark.parametrize("own_noise", [0.03, 0.1, 0.2, 0.4])
def test_reliability_is_learned_as_the_intraclass_correlation(own_noise):
    """True variance over all variance."""
    noise = _watched(own_noise)
    true = 0.15**2 / (0.15**2 + own_noise**2)
    assert noise.reliability == pytest.approx(true, abs=0.06)
    assert noise.spread == pytest.approx(0.15**2 + own_noise**2, rel=0.1)


def test_a_call_that_read_one_says_nothing_of_the_spread():
    """Nor does one that read nobody."""
    noise = NoiseModel(0.4)
    noise.note_call([0.9])
    noise.note_call([])
    assert (noise.spread_sum, noise.spread_weight) == (0.0, 0)


@given(
    calls=st.lists(st.lists(st.floats(0, 1), max_size=5), max_size=6),
    repeats=st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2), st.integers(1, 5)), max_size=6),
)
def test_whatever_it_sees_spread_stays_above_0_and_reliability_in_range(calls, repeats):
    """Ties of everything included."""
    noise = NoiseModel(0.4)
    for scores in calls:
        noise.note_call(scores)
    for score, before, count in repeats:
        noise.note_repeat(score, mean_before=before, count_before=count)
    assert noise.spread > 0
    assert MIN_RELIABILITY <= noise.reliability <= MAX_RELIABILITY

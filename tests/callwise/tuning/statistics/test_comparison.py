"""Settings compared with the best, whichever it is."""

import numpy as np
import pytest

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.bootstrap import paired_difference
from callwise.tuning.statistics.comparison import BestComparison, compare_with, compare_with_best
from callwise.tuning.statistics.critical import holm
from tests.callwise.tuning.statistics.coverage import coverage
from tests.callwise.tuning.statistics.known_truth import WORLDS


def panel(values, turns=2):
    """Return a panel of conversations of as many turns each."""
    values = np.asarray(values, dtype=float)
    count = values.shape[1] // turns
    return Panel(
        settings=tuple(f"s{at}" for at in range(len(values))),
        conversations=tuple(f"c{at}" for at in range(count)),
        conversation_of=np.repeat(np.arange(count), turns),
        values=values,
        spread=np.zeros(values.shape),
    )


def noise(rows, conversations=20, seed=0):
    """Return figures of settings that are equal in truth."""
    return np.random.default_rng(seed).normal(0, 1, (rows, 2 * conversations))


def compared(lower_bound, differences):
    """Return a comparison of given numbers."""
    count = len(lower_bound)
    return BestComparison(
        settings=tuple("abc"[:count]),
        left_out=(),
        level=0.95,
        differences=np.array(differences, dtype=float),
        standard_errors=np.ones((count, count)),
        lower_bound=np.array(lower_bound, dtype=float),
    )


def test_the_gap_follows_from_the_limits_by_hand():
    """C is shown to lie below a, so only a and b limit the losses."""
    found = compared(
        lower_bound=[[0, -1, 1], [-3, 0, -1], [-5, -4, 0]],
        differences=[[0, 1, 3], [-1, 0, 2], [-3, -2, 0]],
    ).gaps()
    assert [found[name].can_be_best for name in "abc"] == [True, True, False]
    assert (found["a"].low, found["a"].high, found["a"].observed) == (-1, 3, 1)
    assert (found["b"].low, found["b"].high, found["b"].observed) == (-3, 1, -1)
    assert (found["c"].low, found["c"].high, found["c"].observed) == (-5, 0, -3)


def test_one_that_beats_all_others_is_the_best():
    """Its loss is exactly 0, and every other one's gap ends at 0."""
    values = noise(4)
    values[2] += 3
    found = compare_with_best(panel(values)).gaps()
    assert found["s2"].low == 0.0
    assert found["s2"].high > 2
    assert [name for name, gap in found.items() if gap.can_be_best] == ["s2"]
    assert found["s0"].high == 0.0
    assert found["s0"].low < -2


def test_twins_are_at_no_distance_from_each_other():
    """Two equal settings above a third are both the best, with nothing between them."""
    values = noise(1)
    found = compare_with_best(panel([*values, *values, *(values - 5)]))
    assert found.gap_of("s0").low == found.gap_of("s1").low == 0.0
    assert found.is_not_worse("s1", 0.0)
    assert found.is_worse("s2", 1.0)


def test_a_single_setting_is_the_best_there_is():
    """There is no upper limit."""
    gap = compare_with_best(panel(noise(1))).gap_of("s0")
    assert (gap.low, gap.high, gap.observed, gap.can_be_best) == (0.0, None, None, True)


def test_settings_without_enough_conversations_are_left_out():
    """They are named, without a verdict."""
    values = noise(3)
    values[1, 8:] = np.nan
    found = compare_with_best(panel(values))
    assert found.left_out == ("s1",)
    assert found.settings == ("s0", "s2")


def test_settings_that_share_no_turn_bound_nothing():
    """Half a sweep each: no loss can be computed, and none is."""
    values = noise(2)
    values[0, :20] = np.nan
    values[1, 20:] = np.nan
    gap = compare_with_best(panel(values)).gap_of("s0")
    assert (gap.low, gap.high, gap.observed) == (None, None, None)
    assert gap.can_be_best


def test_a_level_past_the_draws_limits_nothing_but_what_never_varies():
    """A part of alpha too thin for the draws decides nothing."""
    values = noise(2)
    found = compare_with_best(panel([*values, values[0] + 1]), level=0.9999, draws=500)
    assert found.lower_bound[1, 0] == -np.inf
    assert found.lower_bound[2, 0] == pytest.approx(1.0)


def test_what_a_verdict_needs_is_what_its_hardest_rival_needs():
    """Within the margin by what is seen: more conversations for the closest call."""
    found = compared(
        lower_bound=[[0, -1, -1], [-2, 0, -1], [-3, -2, 0]],
        differences=[[0, 0.5, 1], [-0.5, 0, 0.5], [-1, -0.5, 0]],
    )
    near = found.needed("b", 1.0, conversations=10, turns=100)
    assert near.verdict == "not worse"
    assert near.more_turns == near.more_conversations * 10 > 0
    far = found.needed("c", 0.1, conversations=10, turns=100)
    assert far.verdict == "worse"
    with pytest.raises(ValueError, match="between 0 and 1"):
        compare_with_best(panel(noise(2)), level=1.0)


@pytest.mark.slow
def test_all_gaps_are_valid_together_about_as_often_as_their_level():
    """Of 200 sweeps whose losses are skewed against us, 90 in 100 or more."""
    assert coverage(WORLDS["left-skewed"], "best", conversations=20, sweeps=200) >= 0.9


def skewed(rows, conversations=20, seed=0):
    """Return skewed figures that share what makes a turn hard."""
    rng = np.random.default_rng(seed)
    size = (rows, 2 * conversations)
    return rng.exponential(1, size) + rng.normal(0, 3, size[1])


def test_one_comparison_needs_no_correction():
    """With a single other setting, alone and together are the paired interval."""
    found = compare_with(panel(skewed(2)), "s0")["s1"]
    assert found.alone == found.together == paired_difference(panel(skewed(2)), "s1", "s0")
    assert found.p_value == found.p_adjusted


def test_many_comparisons_widen_every_interval_by_one_factor():
    """Ends move out from the mean, all by the same factor."""
    found = compare_with(panel(skewed(8)), "s0").values()
    factors = [
        (each.together.high - each.together.mean) / (each.alone.high - each.alone.mean)
        for each in found
    ]
    assert factors[0] > 1.1
    assert factors == pytest.approx([factors[0]] * len(factors))


def test_a_setting_with_rare_differences_does_not_widen_the_others():
    """A wild distribution keeps its own ends."""
    values = skewed(3)
    plain = compare_with(panel(values), "s0")["s1"].together
    rare = values[0].copy()
    rare[5] += 1.0
    with_rare = compare_with(panel([*values, rare]), "s0")["s1"].together
    assert with_rare.high - with_rare.low < 1.15 * (plain.high - plain.low)


def test_shifts_are_found_and_equal_settings_are_not():
    """What is better by two standard deviations is shown to be; a twin differs by exactly 0."""
    values = skewed(3)
    found = compare_with(panel([*values, values[0], values[0] + 2, values[0] - 2]), "s0")
    assert (found["s3"].together.low, found["s3"].together.high) == (0.0, 0.0)
    assert found["s3"].p_value == 1.0
    assert not found["s3"].is_higher
    assert found["s4"].is_higher
    assert found["s5"].is_lower
    assert found["s5"].p_adjusted < 0.05


def test_p_values_and_intervals_say_the_same():
    """A p-value is below 5 % exactly where the interval alone leaves 0 out."""
    for seed in range(8):
        values = skewed(5, seed=seed)
        values[1] += 0.5
        for each in compare_with(panel(values), "s0").values():
            is_out = each.alone.low > 0 or each.alone.high < 0
            assert is_out == (each.p_value <= 0.05)


def test_settings_that_share_few_conversations_are_left_without_a_verdict():
    """They neither get an interval nor count in the correction."""
    values = skewed(3)
    values[2, 6:] = np.nan
    found = compare_with(panel(values), "s0")
    assert found["s2"].p_value is None
    assert found["s2"].together.low is None
    assert not found["s2"].is_higher
    assert found["s1"].together == found["s1"].alone


def test_an_unknown_reference_is_an_error():
    """Its name is in it."""
    with pytest.raises(KeyError, match="absent"):
        compare_with(panel(skewed(2)), "absent")


def test_holm_by_hand():
    """The smallest times three, the next times two, none below the one before."""
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


@pytest.mark.slow
def test_all_intervals_are_valid_together_about_as_often_as_their_level():
    """Of 300 sweeps, 91 to 99 in 100."""
    assert 0.91 <= coverage(WORLDS["skewed"], "together", conversations=20, sweeps=300) <= 0.99

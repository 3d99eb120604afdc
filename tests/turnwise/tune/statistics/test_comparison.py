"""Settings beside a reference, corrected for how many they are."""

import numpy as np
import pytest

from tests.turnwise.tune.statistics.coverage import coverage
from tests.turnwise.tune.statistics.known_truth import WORLDS
from turnwise.tune.panel import Panel
from turnwise.tune.statistics.bootstrap import paired_difference
from turnwise.tune.statistics.comparison import compare_with
from turnwise.tune.statistics.critical import holm


def panel(values):
    """Return a panel of conversations of two turns each."""
    values = np.asarray(values, dtype=float)
    count = values.shape[1] // 2
    return Panel(
        settings=tuple(f"s{at}" for at in range(len(values))),
        conversations=tuple(f"c{at}" for at in range(count)),
        conversation_of=np.repeat(np.arange(count), 2),
        values=values,
        spread=np.zeros(values.shape),
    )


def noise(rows, conversations=20, seed=0):
    """Return skewed figures that share what makes a turn hard."""
    rng = np.random.default_rng(seed)
    size = (rows, 2 * conversations)
    return rng.exponential(1, size) + rng.normal(0, 3, size[1])


def test_one_comparison_needs_no_correction():
    """With a single other setting, alone and together are the paired interval."""
    found = compare_with(panel(noise(2)), "s0")["s1"]
    assert found.alone == found.together == paired_difference(panel(noise(2)), "s1", "s0")
    assert found.p_value == found.p_adjusted


def test_many_comparisons_widen_every_interval_by_one_factor():
    """Ends move out from the mean, all by the same factor."""
    found = compare_with(panel(noise(8)), "s0").values()
    factors = [
        (each.together.high - each.together.mean) / (each.alone.high - each.alone.mean)
        for each in found
    ]
    assert factors[0] > 1.1
    assert factors == pytest.approx([factors[0]] * len(factors))


def test_a_setting_with_rare_differences_does_not_widen_the_others():
    """A wild distribution keeps its own ends."""
    values = noise(3)
    plain = compare_with(panel(values), "s0")["s1"].together
    rare = values[0].copy()
    rare[5] += 1.0
    beside = compare_with(panel([*values, rare]), "s0")["s1"].together
    assert beside.high - beside.low < 1.15 * (plain.high - plain.low)


def test_shifts_are_found_and_equal_settings_are_not():
    """What is better by two standard deviations is shown to be; a twin differs by exactly 0."""
    values = noise(3)
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
        values = noise(5, seed=seed)
        values[1] += 0.5
        for each in compare_with(panel(values), "s0").values():
            is_out = each.alone.low > 0 or each.alone.high < 0
            assert is_out == (each.p_value <= 0.05)


def test_settings_that_share_few_conversations_are_left_without_a_verdict():
    """They neither get an interval nor count in the correction."""
    values = noise(3)
    values[2, 6:] = np.nan
    found = compare_with(panel(values), "s0")
    assert found["s2"].p_value is None
    assert found["s2"].together.low is None
    assert not found["s2"].is_higher
    assert found["s1"].together == found["s1"].alone


def test_an_unknown_reference_is_an_error():
    """Its name is in it."""
    with pytest.raises(KeyError, match="nobody"):
        compare_with(panel(noise(2)), "nobody")


def test_holm_by_hand():
    """The smallest times three, the next times two, none below the one before."""
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_all_intervals_hold_together_about_as_often_as_they_say():
    """Of 300 sweeps, 91 to 99 in 100."""
    assert 0.91 <= coverage(WORLDS["skewed"], "together", conversations=20, sweeps=300) <= 0.99

"""Unpaired differences of arms, and the sample ratio: exact cases, properties, coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.tuning.statistics.sample_ratio import binomial_p, sample_ratio_p
from callwise.tuning.statistics.unpaired import (
    ArmSums,
    compare_arms,
    lower_bound,
    unpaired_difference,
)
from tests.callwise.tuning.statistics.coverage import unpaired_coverage
from tests.callwise.tuning.statistics.known_truth import WORLDS


def _arm(seed: int, conversations: int = 12, *, more: float = 0.0) -> ArmSums:
    rng = np.random.default_rng(seed)
    turns = rng.integers(1, 9, conversations)
    return ArmSums.of_sums((rng.exponential(1, n).sum() + more * n, int(n)) for n in turns)


def test_a_mean_is_over_turns_and_unknown_ones_are_left_out() -> None:
    """A conversation of which nothing is known is none."""
    arm = ArmSums.of_turns([("a", 1.0), ("a", 3.0), ("b", 5.0), ("b", None), ("c", None)])
    assert arm.value_sums.tolist() == [4.0, 5.0]
    assert arm.turn_counts.tolist() == [2.0, 1.0]
    assert arm.mean == 3.0
    assert ArmSums.of_turns([]).mean is None


def test_a_figure_that_never_varies_differs_exactly() -> None:
    """Five calls in every turn are three fewer than eight."""
    five, eight = (ArmSums.of_sums([(c * 2.0, 2)] * 6) for c in (5, 8))
    found = unpaired_difference(five, eight)
    assert (found.mean, found.low, found.high) == (-3.0, -3.0, -3.0)
    assert lower_bound(five, eight, alpha=0.01) == -3.0
    assert lower_bound(eight, five, alpha=0.01, scale=1.6) == 0.0


def test_the_same_seed_gives_the_same_bytes_and_scale_multiplies() -> None:
    """Nothing but the seed decides; a mean is compared with a multiple of the other."""
    ours, theirs = _arm(1), _arm(2)
    assert unpaired_difference(ours, theirs, seed=3) == unpaired_difference(ours, theirs, seed=3)
    assert unpaired_difference(ours, theirs, seed=3) != unpaired_difference(ours, theirs, seed=4)
    doubled = unpaired_difference(ours, theirs, scale=2.0).mean
    assert ours.mean is not None
    assert theirs.mean is not None
    assert doubled == pytest.approx(ours.mean - 2 * theirs.mean)


@given(st.integers(0, 50), st.floats(-3, 3), st.floats(0.1, 100))
def test_an_interval_shifts_and_stretches_with_its_figures(
    seed: int, more: float, unit: float
) -> None:
    """Adding a constant to both arms changes nothing; another unit is a factor."""
    ours, theirs = _arm(seed), _arm(seed + 100)
    plain = unpaired_difference(ours, theirs, draws=200)
    shifted = unpaired_difference(
        ArmSums(ours.value_sums + more * ours.turn_counts, ours.turn_counts),
        ArmSums(theirs.value_sums + more * theirs.turn_counts, theirs.turn_counts),
        draws=200,
    )
    scaled = unpaired_difference(
        ArmSums(ours.value_sums * unit, ours.turn_counts),
        ArmSums(theirs.value_sums * unit, theirs.turn_counts),
        draws=200,
    )
    for end in ("low", "high"):
        assert getattr(shifted, end) == pytest.approx(getattr(plain, end), abs=1e-6)
        assert getattr(scaled, end) == pytest.approx(unit * getattr(plain, end), rel=1e-6)


def test_few_conversations_carry_a_difference_and_a_reason() -> None:
    """The reason names how many each arm has."""
    found = unpaired_difference(_arm(1, 4), _arm(2, 9))
    assert found.mean is not None
    assert found.low is None
    assert "ours has 4" in found.why_none
    assert lower_bound(_arm(1, 4), _arm(2, 9), alpha=0.05) is None


def test_arms_are_compared_together() -> None:
    """Intervals of several arms are wider than alone, and p-values are adjusted."""
    arms = {"control": _arm(1, 30), "same": _arm(2, 30), "more": _arm(3, 30, more=2.0)}
    found = compare_arms(arms, "control")
    assert list(found) == ["same", "more"]
    assert found["more"].is_higher
    assert not found["same"].is_higher
    assert not found["same"].is_lower
    for each in found.values():
        assert each.together.low is not None
        assert each.alone.low is not None
        assert each.together.low <= each.alone.low
        assert each.p_adjusted is not None
        assert each.p_value is not None
        assert each.p_adjusted >= each.p_value
    with pytest.raises(KeyError):
        compare_arms(arms, "none")


def test_a_bound_allows_for_values_that_have_not_occurred_yet() -> None:
    """Ten turns of 8 calls are not shown to be more than 8 calls with a 5 in a tenth of turns."""
    rng = np.random.default_rng(5)
    other = ArmSums.of_sums((5.0 if rng.random() < 0.1 else 8.0, 1) for _ in range(400))
    new = ArmSums.of_sums([(8.0, 1)] * 10)
    assert new.mean is not None
    assert other.mean is not None
    assert new.mean > other.mean
    bound = lower_bound(new, other, alpha=0.001)
    assert bound is not None
    assert bound < 0


@pytest.mark.slow
@pytest.mark.parametrize("world", ["skewed", "judged"])
@pytest.mark.parametrize("conversations", [(10, 10), (10, 40), (40, 40)])
def test_intervals_contain_the_truth(world: str, conversations: tuple[int, int]) -> None:
    """In 400 simulated experiments 95 % intervals have the truth as often as they claim."""
    share = unpaired_coverage(WORLDS[world], conversations=conversations, experiments=400)
    assert 0.93 - 2 * math.sqrt(0.05 * 0.95 / 400) <= share <= 1.0


def test_a_binomial_test_is_exact() -> None:
    """Small cases by hand; certain and impossible shares."""
    assert binomial_p(5, 10, 0.5) == pytest.approx(1.0)
    assert binomial_p(0, 4, 0.5) == pytest.approx(2 / 16)
    assert binomial_p(3, 3, 0.25) == pytest.approx(0.25**3)
    assert binomial_p(0, 9, 0.0) == 1.0
    assert binomial_p(1, 9, 0.0) == 0.0
    assert binomial_p(9, 9, 1.0) == 1.0


def test_a_mismatch_of_arms_is_seen_and_chance_is_not() -> None:
    """Of equal shares 520 to 480 is chance, 600 to 400 is not; of three arms the worst counts."""
    equal = {"a": 0.5, "b": 0.5}
    assert sample_ratio_p({"a": 520, "b": 480}, equal) > 0.2
    assert sample_ratio_p({"a": 600, "b": 400}, equal) < 1e-9
    assert sample_ratio_p({}, equal) == 1.0
    three = {"a": 0.2, "b": 0.3, "c": 0.5}
    assert sample_ratio_p({"a": 20, "b": 30, "c": 50}, three) == 1.0
    assert sample_ratio_p({"a": 60, "b": 10, "c": 30}, three) < 1e-9

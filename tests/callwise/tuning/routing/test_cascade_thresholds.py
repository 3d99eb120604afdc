"""Thresholds of a cascade: their place, their test on other turns, and a world of known truth."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from callwise.calls.policies import CascadePolicy
from callwise.tuning.routing.cascade_thresholds import (
    CascadeTurns,
    FittedCascade,
    fit_cascade,
    threshold_levels,
)
from tests.callwise.tuning.routing.cascade_world import MARGIN, CascadeWorld, Pick, tuned_pick

WORLD = CascadeWorld()


def fit(turns: CascadeTurns, margin: float = MARGIN) -> FittedCascade:
    """Return the fit of a small model whose scale of quality is 1 wide."""
    return fit_cascade(turns, margin=margin, scale_width=1.0, model="small", by="logprobs")


@cache
def picks() -> tuple[Pick, ...]:
    """Return the picks of twenty recordings of some 1,000 turns."""
    return tuple(tuned_pick(WORLD, seed, 120) for seed in range(20))


@pytest.mark.slow
def test_thresholds_that_are_shown_lose_no_more_than_the_margin() -> None:
    """At most 1 in 20 may, by the level of the verdict; and a good part of the saving is found."""
    shown = [pick for pick in picks() if pick.threshold is not None]
    assert len(shown) >= 17
    assert sum(not pick.is_within for pick in shown) <= 2
    assert np.mean([pick.saved for pick in shown]) > 0.55


def test_intervals_of_the_test_contain_what_the_recommended_cascade_really_does() -> None:
    """Quality and price, in a large population, in 95 % of recordings."""
    tested = [pick for pick in picks() if pick.quality is not None]
    assert sum(pick.quality for pick in tested) >= len(tested) - 3
    assert sum(pick.usd for pick in tested) >= len(tested) - 5


def test_no_turn_has_a_part_in_its_own_threshold() -> None:
    """Worse qualities of one conversation change the thresholds of other folds alone."""
    turns = WORLD.record(1, 40)
    is_first = turns.conversation_of == 0
    worse = replace(turns, small=np.where(is_first, turns.small - 50.0, turns.small))
    before, after = fit(turns).crossed, fit(worse).crossed
    assert before.threshold_of[is_first][0] == after.threshold_of[is_first][0]
    assert before.thresholds != after.thresholds


def test_the_knobs_take_the_answers_that_were_measured() -> None:
    """A chance that reaches `confidence` is a raw confidence that reaches the threshold."""
    turns = WORLD.record(2, 80)
    found = fit(turns)
    policy = CascadePolicy(
        models=("small", "main"),
        confidence=found.confidence,
        calibration=(found.fitted.calibration,),
    )
    chances = [policy.calibration[0].chance_of(raw) for raw in turns.confidence.tolist()]
    is_taken = np.array(chances) >= policy.confidence
    assert 0 < is_taken.mean() < 1
    assert (is_taken == (turns.confidence >= found.threshold)).all()


def test_a_turn_is_priced_by_all_that_it_asks() -> None:
    """An escalated one pays both models; one without confidence is as it was recorded."""
    of, half = np.zeros(3, dtype=np.intp), np.full(3, 0.5)
    turns = CascadeTurns(of, np.array([0.9, 0.1, np.nan]), half, half * 2, half, half * 4, half)
    usd, quality = turns.outcome(turns.confidence >= 0.5)
    assert usd.tolist() == [0.5, 2.5, 0.5]
    assert quality.tolist() == [0.5, 1.0, 0.5]


def test_thresholds_lie_between_confidences_that_are_there() -> None:
    """Equal ones are never parted; 0 takes all."""
    assert threshold_levels(np.array([1.0, 1.0, 0.5, np.nan, 0.5, 0.0]), 10) == [0.0, 0.25, 0.75]
    assert threshold_levels(np.full(9, 0.7), 10) == [0.0]
    assert len(threshold_levels(np.linspace(0, 1, 500), 50)) == 50


def test_a_small_model_that_saves_nothing_has_no_threshold() -> None:
    """Nor has one whose answers are all bad."""
    turns = WORLD.record(3, 40)
    assert fit(replace(turns, small_usd=turns.large_usd * 2)).threshold is None
    bad = fit(replace(turns, small=turns.large - 0.5))
    assert bad.threshold is None
    assert bad.confidence is None
    assert bad.good_share == 0.0
    assert not np.isfinite(bad.crossed.thresholds).any()


def test_too_few_labels_are_refused() -> None:
    """Naming how many are needed; a turn without a confidence is no label."""
    turns = WORLD.record(4, 40)
    unknown = np.where(np.arange(len(turns.confidence)) < 10, turns.confidence, np.nan)
    with pytest.raises(ValueError, match="at least 20 labels; got 10"):
        fit(replace(turns, confidence=unknown))

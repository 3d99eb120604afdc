"""Knobs of a search, and presets by stage."""

import pytest
from pydantic import ValidationError

from lats.search_knobs import (
    EarlyExitKnobs,
    SearchKnobs,
    with_stage,
)
from lats.search_plan import plan_search


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollout": 3},
        {"early_exit": {"min_score": 0.5}},
        {"rollouts": -1},
        {"expand_k": 0},
        {"max_top_ups": 2},
        {"exploration": float("nan")},
        {"policy": "greedy"},
    ],
)
def test_what_cannot_work_is_refused(wrong):
    """A misspelt name, a value out of range, and more top-ups than one."""
    with pytest.raises(ValidationError):
        SearchKnobs.model_validate(wrong)


def test_a_rollout_never_judges_more_than_it_asked_for():
    """`soft_top_n` above `expand_k` means all of them."""
    assert SearchKnobs(soft_top_n=5, expand_k=2).picks_per_rollout == 2


def test_knobs_survive_json():
    """A state's knobs are those that it was made of."""
    knobs = SearchKnobs(rollouts=3, max_calls=7, early_exit={"min_mode_fit": 0.5})
    assert SearchKnobs.model_validate_json(knobs.model_dump_json()) == knobs


@pytest.mark.parametrize(
    ("stage", "rollouts", "expand_k", "min_exit"),
    [
        ("initiating", 4, 2, 1),
        ("experimenting", 4, 2, 1),
        ("intensifying", 2, 1, 0),
        ("integrating", 2, 1, 0),
        ("bonding", 2, 1, 0),
        ("differentiating", 3, 1, 0),
        ("circumscribing", 3, 1, 0),
        ("stagnating", 3, 1, 0),
        ("avoiding", 3, 1, 0),
        ("terminating", 3, 1, 0),
    ],
)
def test_a_stage_sets_width_and_depth(stage, rollouts, expand_k, min_exit):
    """The specification's table, with bonding as its neighbour."""
    knobs = with_stage(SearchKnobs(), stage)
    assert (knobs.rollouts, knobs.expand_k) == (rollouts, expand_k)
    assert knobs.early_exit.min_rollouts == min_exit


def test_the_default_knobs_are_those_of_a_first_meeting():
    """So that a plan without a stage is the plan of the first turn."""
    assert plan_search(with_stage(SearchKnobs(), "initiating")) == plan_search(SearchKnobs())


def test_what_a_user_set_wins_over_the_stage():
    """Each name by itself: the others still follow the stage."""
    knobs = with_stage(SearchKnobs(rollouts=7), "bonding")
    assert (knobs.rollouts, knobs.expand_k) == (7, 1)
    knobs = with_stage(SearchKnobs(early_exit=EarlyExitKnobs(min_rollouts=0)), "initiating")
    assert knobs.early_exit.min_rollouts == 0


def test_setting_another_gate_leaves_the_stages_own_one_alone():
    """`early_exit.min_mode_fit` is not `early_exit.min_rollouts`."""
    knobs = with_stage(SearchKnobs(early_exit=EarlyExitKnobs(min_mode_fit=0.1)), "initiating")
    assert (knobs.early_exit.min_rollouts, knobs.early_exit.min_mode_fit) == (1, 0.1)


def test_a_switched_off_or_unknown_stage_sets_nothing():
    """`stage_presets` off, or no stage known."""
    off = SearchKnobs(stage_presets="off")
    assert with_stage(off, "bonding") is off
    assert with_stage(SearchKnobs(), None) == SearchKnobs()


def test_a_stage_that_does_not_exist_is_named():
    """With the stages that do."""
    with pytest.raises(ValueError, match=r"unknown stage 'dating'.*bonding"):
        with_stage(SearchKnobs(), "dating")

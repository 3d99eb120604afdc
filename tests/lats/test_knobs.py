"""The search's knobs."""

import pytest
from pydantic import ValidationError

from lats.search_knobs import SearchKnobs


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollout": 3},
        {"early_exit": {"min_score": 0.5}},
        {"rollouts": -1},
        {"expand_k": 0},
        {"assistant_check_max_concurrency": 5},
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
    """What a state holds is what it was made of."""
    knobs = SearchKnobs(rollouts=3, max_calls=7, early_exit={"min_mode_fit": 0.5})
    assert SearchKnobs.model_validate_json(knobs.model_dump_json()) == knobs

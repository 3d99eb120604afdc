"""The policy `auto`."""

import pytest

from lats.actions import ActionKind
from lats.answers import Draft
from lats.policy import RemainingCalls
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState
from lats.strategies.auto import AUTO_MIN_GAIN, MIN_REPEATS, tuned_knobs


def _state(*, planned=6, reliability=None, **knobs):
    state = SearchState(SearchKnobs(policy="auto", **knobs), Draft(reply=""))
    state.progress.planned_cap = planned
    if reliability is not None:
        noise = state.noise
        noise.noise_weight = 1000
        noise.noise_sum = 1000 * (1 - reliability) * noise.spread
        assert noise.reliability == pytest.approx(reliability, abs=0.02)
    return state


def test_knobs_stay_as_given_while_nothing_was_measured():
    """A few repeats are no measurement."""
    state = _state()
    assert tuned_knobs(state) is state.given_knobs
    state.noise.noise_weight, state.noise.noise_sum = MIN_REPEATS - 1, 9.0
    assert tuned_knobs(state) is state.given_knobs


def test_a_judge_that_repeats_itself_needs_no_third_pass():
    """The calls go to refinement."""
    assert tuned_knobs(_state(reliability=0.95)).max_passes == 2
    assert tuned_knobs(_state(reliability=0.95, max_passes=1)).max_passes == 1


def test_a_judge_that_contradicts_itself_is_not_trusted_with_refinements():
    """Unless candidates are steps, which must go on."""
    state = _state(reliability=0.06)
    assert not tuned_knobs(state).refine
    state.progress.has_steps = True
    assert tuned_knobs(state).refine


def test_agreement_is_not_measured_by_scores():
    """It has none."""
    state = _state(reliability=0.06, judging="agreement")
    assert tuned_knobs(state) is state.given_knobs


def test_large_and_shortened_searches_stop_by_gain_unless_told_otherwise():
    """The given knobs are kept."""
    assert tuned_knobs(_state(planned=16, max_calls=16)).min_gain == AUTO_MIN_GAIN
    assert tuned_knobs(_state(planned=4, max_calls=6)).min_gain == AUTO_MIN_GAIN
    assert tuned_knobs(_state(planned=16, max_calls=16, min_gain=0.0)).min_gain == 0.0


@pytest.mark.parametrize("cap", range(1, 11))
def test_up_to_ten_calls_it_begins_as_listwise_does(play, actions_model, cap):
    """Two rounds the same, and the same cap."""
    firsts = []
    for policy in ("auto", "listwise"):
        search = PosteriorSearch(SearchKnobs(policy=policy, max_calls=cap))
        firsts.append(play(search, actions_model())[1][:2])
    assert firsts[0] == firsts[1]


@pytest.mark.parametrize("cap", [11, 16, 32])
@pytest.mark.parametrize("judge", ["good", "perfect", "ties", "by_place"])
def test_large_caps_are_kept_whatever_the_judge_is_worth(play, actions_model, cap, judge):
    """With a reason in the end."""
    search = PosteriorSearch(SearchKnobs(policy="auto", max_calls=cap))
    result = play(search, actions_model(judge=judge))[0].result()
    assert result.calls <= cap
    assert result.best.score_count
    assert result.asked[ActionKind.JUDGE_LIST] >= 1


def test_steps_make_it_a_tree_search(play, actions_model):
    """Down to answers, as `posterior_uct` does it."""
    knobs = SearchKnobs(policy="auto", max_calls=20, max_depth=3, generate_k=3, refine_k=2)
    model = actions_model(proposer="steps", judge="perfect")
    result = play(PosteriorSearch(knobs), model)[0].result()
    assert not result.best.draft.is_step
    assert result.best.depth == 3


def test_a_quota_below_the_cap_is_kept_too(play, actions_model):
    """And planned for."""
    remaining_calls = [RemainingCalls(max_calls=left) for left in (4, 2, 2, 1, 1, 0)]
    search = PosteriorSearch(SearchKnobs(policy="auto", max_calls=12))
    result = play(search, actions_model(), remaining_calls=remaining_calls)[0].result()
    assert result.planned_cap == 4
    assert result.calls <= 8


def test_what_was_not_set_stays_not_set_when_the_search_is_restored():
    """Else a restored search would not stop by gain any more."""
    search = PosteriorSearch(SearchKnobs(policy="auto", max_calls=16))
    again = PosteriorSearch.from_state(search.state_dict())
    assert again._state.given_knobs.min_gain is None

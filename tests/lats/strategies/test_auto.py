"""The policy `auto`."""

import pytest

from lats.actions import ActionKind
from lats.answers import Draft, Verdict
from lats.policy import RemainingCalls
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState
from lats.strategies.auto import MIN_REPEATS, tuned_knobs


def _state(*, reliability=None, **knobs):
    state = SearchState(SearchKnobs(policy="auto", **knobs), Draft(reply=""))
    if reliability is not None:
        noise = state.noise
        noise.noise_weight = 8
        noise.noise_sum = 8 * (1 - reliability) * noise.spread
        assert noise.reliability == pytest.approx(reliability, abs=0.12)
    return state


def test_a_judge_that_contradicts_itself_is_not_trusted_with_refinements():
    """Two passes over eight candidates show it; a few repeats are no measurement."""
    assert not tuned_knobs(_state(reliability=0.0, refine=True)).refine
    assert tuned_knobs(_state(reliability=0.6, refine=True)).refine
    state = _state(refine=True)
    state.noise.noise_weight, state.noise.noise_sum = MIN_REPEATS - 1, 9.0
    assert tuned_knobs(state).refine


def test_two_passes_tell_a_judge_by_lot_from_a_good_one(play, actions_model):
    """In most searches: no refinement is made for the one, and nearly always for the other."""
    refined = {}
    for judge in ("lots", "good"):
        found = [
            play(
                PosteriorSearch(SearchKnobs(policy="auto", max_calls=6, refine=True, seed=seed)),
                actions_model(seed=seed, judge=judge),
            )[0].result()
            for seed in range(60)
        ]
        refined[judge] = sum(ActionKind.REFINE in each.asked for each in found)
    assert refined["lots"] <= 15
    assert refined["good"] >= 54


def test_verdicts_that_have_checks_are_counted_by_agreement():
    """Unless another judging was chosen."""
    for judging, wanted in (("listwise", "agreement"), ("pairwise", "pairwise")):
        state = _state(judging=judging)
        assert tuned_knobs(state).judging == judging
        node = state.tree.add(state.tree.top, Draft(reply="one"), prior_mean=None)
        node.verdict = Verdict(score=0.5, checks={"returns": True})
        assert tuned_knobs(state).judging == wanted
        state.progress.has_steps = True  # what steps share says nothing of answers
        assert tuned_knobs(state).judging == judging


@pytest.mark.parametrize("cap", range(1, 7))
def test_up_to_six_calls_it_is_listwise(play, actions_model, cap):
    """The same calls."""
    rounds = []
    for policy in ("auto", "listwise"):
        search = PosteriorSearch(SearchKnobs(policy=policy, max_calls=cap))
        rounds.append(play(search, actions_model())[1])
    assert rounds[0] == rounds[1]


@pytest.mark.parametrize("refine", [None, True])
@pytest.mark.parametrize("cap", [7, 11, 16, 32])
def test_a_larger_cap_begins_as_a_smaller_one(play, actions_model, cap, refine):
    """With exactly the calls of a cap of six, so that it is no worse for being larger."""
    small, large = (
        play(
            PosteriorSearch(SearchKnobs(policy="auto", max_calls=each, refine=refine)),
            actions_model(),
        )[1]
        for each in (6, cap)
    )
    assert large[: len(small)] == small


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


@pytest.mark.parametrize(("judge", "most"), [("empty", 8), ("fails", 8), ("ties", 12)])
@pytest.mark.parametrize("cap", [32, 200])
def test_a_judge_with_nothing_to_add_is_soon_asked_no_more(play, actions_model, judge, cap, most):
    """However many calls there are: one that says nothing, and one that says the same of all."""
    search = PosteriorSearch(SearchKnobs(policy="auto", max_calls=cap))
    result = play(search, actions_model(judge=judge))[0].result()
    assert result.calls <= most

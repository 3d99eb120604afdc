"""Expected gain of another call, and stopping by it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lats.answers import Draft
from lats.gain import (
    BestNextCall,
    best_next_call,
    chance_best,
    expected_max,
    gain_of_call,
    gain_per_pass,
)
from lats.posterior import Belief, NoiseModel, belief
from lats.result import StopReason
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState

BELIEFS = st.lists(
    st.builds(Belief, st.floats(0, 1), st.floats(0.02, 0.3).map(lambda sd: sd * sd)),
    min_size=1,
    max_size=8,
)
CASES = {
    "even": ([0.5, 0.5, 0.5], [0.1, 0.1, 0.1]),
    "a clear leader": ([0.8, 0.5, 0.4], [0.05, 0.1, 0.1]),
    "known and unknown": ([0.55, 0.5], [0.004, 0.2]),
    "many": ([0.4 + place / 40 for place in range(8)], [0.05 + place / 50 for place in range(8)]),
}
DRAWS = 400_000


@pytest.mark.parametrize("case", CASES)
def test_the_expected_maximum_is_that_of_a_simulation(case):
    """Within its own error."""
    means, sds = CASES[case]
    draws = np.random.default_rng(0).normal(means, sds, size=(DRAWS, len(means)))
    assert expected_max(means, sds) == pytest.approx(draws.max(axis=1).mean(), abs=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_the_chance_to_be_best_is_that_of_a_simulation(case):
    """For each of them."""
    means, sds = CASES[case]
    draws = np.random.default_rng(1).normal(means, sds, size=(DRAWS, len(means)))
    won = np.bincount(draws.argmax(axis=1), minlength=len(means)) / DRAWS
    beliefs = [Belief(mean, sd * sd) for mean, sd in zip(means, sds, strict=True)]
    found = [chance_best(beliefs, place) for place in range(len(means))]
    assert found == pytest.approx(list(won), abs=4e-3)


@given(BELIEFS)
def test_chances_are_in_range_and_add_up_to_1(beliefs):
    """One candidate is the best."""
    chances = [chance_best(beliefs, place) for place in range(len(beliefs))]
    assert all(0 <= chance <= 1 for chance in chances)
    assert sum(chances) == pytest.approx(1, abs=1e-3)


def test_one_alone_is_the_best_for_certain():
    """And its mean is the maximum."""
    assert chance_best([Belief(0.3, 0.01)], 0) == 1.0
    assert expected_max([0.3], [0.1]) == 0.3


def test_the_expected_maximum_of_what_is_known_is_the_larger():
    """No spread at all."""
    assert expected_max([0.3, 0.6], [0.0, 0.0]) == pytest.approx(0.6, abs=1e-6)


@settings(deadline=None)
@given(BELIEFS, st.integers(1, 6), st.floats(0, 1), st.floats(0.05, 0.95))
def test_gains_are_never_below_0(beliefs, k, prior_mean, reliability):
    """No caller is forced to believe a worse one."""
    noise = NoiseModel(reliability)
    assert gain_of_call(beliefs, noise) >= 0
    assert gain_of_call(beliefs, noise, k=k, prior_mean=prior_mean) >= 0


def test_gains_fall_with_every_look():
    """The more is known, the less another pass can change."""
    noise = NoiseModel(0.4)
    gains = []
    for passes in range(1, 9):
        weight = 1 - noise.reliability + noise.reliability * passes
        variance = noise.spread * noise.reliability * (1 - noise.reliability) / weight
        gains.append(gain_of_call([Belief(0.5 - i / 100, variance) for i in range(6)], noise))
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < gains[0] / 2


def test_a_pass_gains_what_a_simulated_pass_does():
    """Beliefs drawn, scores drawn, the posterior taken, the best mean compared."""
    noise = NoiseModel(0.4)
    prior = noise.reliability * noise.spread
    own_noise = (1 - noise.reliability) * noise.spread
    means = np.array([0.5, 0.48, 0.45, 0.4])
    draw = np.random.default_rng(2)
    true = draw.normal(means, prior**0.5, size=(DRAWS, 4))
    scores = true + draw.normal(0, own_noise**0.5, size=true.shape)
    after = means + prior / (prior + own_noise) * (scores - means)
    wanted = after.max(axis=1).mean() - means.max()
    found = gain_of_call([Belief(mean, prior) for mean in means], noise)
    assert found == pytest.approx(wanted, abs=5e-4)


def test_more_candidates_gain_more_and_worse_ones_less():
    """As far as they may be better than the leader."""
    noise, beliefs = NoiseModel(0.4), [Belief(0.6, 0.003), Belief(0.5, 0.003)]
    by_k = [gain_of_call(beliefs, noise, k=k, prior_mean=0.5) for k in (1, 2, 4, 8)]
    assert by_k == sorted(by_k)
    by_mean = [gain_of_call(beliefs, noise, k=4, prior_mean=m) for m in (0.1, 0.3, 0.5)]
    assert by_mean == sorted(by_mean)


def _read(scores, *, passes=1, **knobs):
    """Return a state and its candidates, best first, each read that often with one score."""
    state = SearchState(SearchKnobs(policy="listwise", **knobs), Draft(reply=""))
    for place, score in enumerate(sorted(scores, reverse=True)):
        node = state.tree.add(state.tree.top, Draft(reply=str(place)), prior_mean=None)
        node.judge_passes = node.score_count = passes
        node.score_sum = score * passes
        state.noise.mean_sum += score
        state.noise.mean_count += 1
    return state, list(state.tree.candidates)


def test_nothing_possible_is_a_plan_done_or_a_proposer_exhausted():
    """At any `min_gain`."""
    state, nodes = _read([0.5, 0.6])
    assert best_next_call(state, nodes, set(), min_gain=1.0) is StopReason.PLAN_DONE
    assert best_next_call(state, [], set(BestNextCall), min_gain=1.0) is StopReason.PLAN_DONE
    state.progress.is_exhausted = True
    assert best_next_call(state, nodes, set(), min_gain=1.0) is StopReason.EXHAUSTED


def test_a_close_race_is_read_on_and_a_decided_one_is_not():
    """The gain of a pass is in the doubt about the leaders."""
    close, nodes = _read([0.6, 0.6, 0.59])
    read = {BestNextCall.READ}
    assert best_next_call(close, nodes, read, min_gain=0.02) is BestNextCall.READ
    for scores, passes in (([0.95, 0.2, 0.1], 1), ([0.9, 0.6, 0.59], 30)):
        state, nodes = _read(scores, passes=passes)
        assert best_next_call(state, nodes, read, min_gain=0.02) is StopReason.MIN_GAIN


@pytest.mark.parametrize("call", list(BestNextCall))
def test_the_only_possible_call_is_made_when_it_pays(call):
    """With no least gain, always."""
    state, nodes = _read([0.5, 0.6, 0.55])
    assert best_next_call(state, nodes, {call}, min_gain=0.0) is call


def test_more_wanted_gain_stops_earlier():
    """Once it stops it stops for every higher gain."""
    found = []
    state, nodes = _read([0.6, 0.55, 0.5])
    for min_gain in (0.005, 0.02, 0.1, 0.5, 2.0):
        call = best_next_call(state, nodes, set(BestNextCall), min_gain=min_gain)
        found.append(call is StopReason.MIN_GAIN)
    assert found == sorted(found)
    assert (found[0], found[-1]) == (False, True)


@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0])
def test_gain_counts_in_the_spread_of_the_scores(scale):
    """A judge that uses a tenth of the scale is stopped no earlier than one that uses all."""
    found = []
    for factor in (1.0, scale):
        state, nodes = _read([factor * each for each in (0.45, 0.4, 0.3)], passes=2)
        state.noise.spread_sum, state.noise.spread_weight = (0.15 * factor) ** 2 * 1000, 1000
        bars = [0.01 * 1.5**step for step in range(12)]
        found.append(
            [best_next_call(state, nodes, {BestNextCall.READ}, min_gain=bar) for bar in bars]
        )
    assert found[0] == found[1]
    assert len(set(found[0])) == 2


def test_several_passes_may_promise_what_one_cannot():
    """A leader that one more score cannot overtake, and four can."""
    state, nodes = _read([0.75, 0.5], passes=2)
    beliefs = [belief(node, state.noise) for node in nodes]
    one, best = (gain_per_pass(beliefs, state.noise, most) for most in (1, 8))
    assert best > one
    assert gain_per_pass(beliefs, state.noise, 16) >= best

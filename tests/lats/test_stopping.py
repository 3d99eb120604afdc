"""Which further call promises most."""

import pytest

from lats.answers import Draft
from lats.gain import BestNextCall, best_next_call
from lats.result import StopReason
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState


def _read(scores, *, looks=1, **knobs):
    """Return a state and its candidates, best first, each read that often with one score."""
    state = SearchState(SearchKnobs(policy="listwise", **knobs), Draft(reply=""))
    for place, score in enumerate(sorted(scores, reverse=True)):
        node = state.tree.add(state.tree.top, Draft(reply=str(place)), prior_mean=None)
        node.judge_passes = node.score_count = looks
        node.score_sum = score * looks
        state.noise.mean_sum += score
        state.noise.mean_count += 1
    return state, list(state.tree.candidates)


def test_nothing_possible_is_a_plan_done_or_a_proposer_exhausted():
    """Whatever `min_gain` says."""
    state, nodes = _read([0.5, 0.6])
    assert best_next_call(state, nodes, set()) is StopReason.PLAN_DONE
    assert best_next_call(state, [], set(BestNextCall)) is StopReason.PLAN_DONE
    state.progress.is_exhausted = True
    assert best_next_call(state, nodes, set()) is StopReason.EXHAUSTED


def test_a_close_race_is_read_on_and_a_decided_one_is_not():
    """The gain of a pass is in the doubt about the leaders."""
    close, nodes = _read([0.6, 0.6, 0.59], min_gain=0.003)
    assert best_next_call(close, nodes, {BestNextCall.READ}) is BestNextCall.READ
    for scores, looks in (([0.95, 0.2, 0.1], 1), ([0.9, 0.6, 0.59], 30)):
        state, nodes = _read(scores, looks=looks, min_gain=0.003)
        assert best_next_call(state, nodes, {BestNextCall.READ}) is StopReason.MIN_GAIN


@pytest.mark.parametrize("call", list(BestNextCall))
def test_the_only_possible_call_is_made_when_it_pays(call):
    """With no least gain, always."""
    state, nodes = _read([0.5, 0.6, 0.55])
    assert best_next_call(state, nodes, {call}) is call


def test_more_wanted_gain_stops_earlier():
    """Once it stops it stops for every higher gain."""
    found = []
    for min_gain in (0.001, 0.005, 0.02, 0.1, 0.5):
        state, nodes = _read([0.6, 0.55, 0.5], min_gain=min_gain)
        found.append(best_next_call(state, nodes, set(BestNextCall)) is StopReason.MIN_GAIN)
    assert found == sorted(found)
    assert (found[0], found[-1]) == (False, True)

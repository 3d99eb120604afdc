"""A policy that chooses its answer itself, by a function `pick`."""

import random

import pytest

from lats.policy_registry import register_policy
from lats.result import SearchResult
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.strategies import best_of_n


def runner_up(state, ranking):
    """Return the second of the ranking, or the only one."""
    assert state.tree.candidates
    return ranking[min(1, len(ranking) - 1)]


@pytest.fixture
def knobs():
    """Return the knobs of `best_of_n` with a function `pick`."""
    with register_policy("second_of_n", best_of_n.next_round, runner_up):
        yield SearchKnobs(policy="second_of_n", max_calls=3)


def by_rank(result: SearchResult) -> list[str]:
    """Return the candidates, the best posterior mean first."""
    assert result.beliefs is not None
    means = {node_id: belief.mean for node_id, belief in result.beliefs.items()}
    return sorted(means, key=means.__getitem__, reverse=True)


def test_the_answer_is_the_strategys_pick(play, actions_model, knobs):
    """With its own confidence and mark in the record, and after a resume too."""
    model = actions_model(judge="perfect")
    search, _ = play(PosteriorSearch(knobs), model, resume=random.Random(1))
    result = search.result()
    first, second, *_ = by_rank(result)
    assert result.best.node_id == second
    assert result.confidence.mean_score == result.beliefs[second].mean < result.beliefs[first].mean
    assert result.record()["best_id"] == second
    again = PosteriorSearch.from_state(search.state_dict())
    assert again.result().best.node_id == second


def test_it_asks_what_it_asks_without_a_pick(play, actions_model, knobs):
    """The pick decides on the answer only."""
    _, rounds = play(PosteriorSearch(knobs), actions_model(judge="perfect"))
    plain = SearchKnobs(policy="best_of_n", max_calls=3)
    _, others = play(PosteriorSearch(plain), actions_model(judge="perfect"))
    assert [[action.label for action in each] for each in rounds] == [
        [action.label for action in each] for each in others
    ]


def test_nothing_is_picked_of_no_candidates(play, actions_model, knobs):
    """A search that no proposer answered has no answer."""
    search, _ = play(PosteriorSearch(knobs), actions_model(proposer="fails"))
    assert search.result().best is None

"""The policy `posterior_uct`."""

from itertools import pairwise

import pytest

from lats.actions import JudgeList, Refine
from lats.answers import Draft
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState
from lats.strategies.posterior_uct import select_leaves


@pytest.fixture
def run(play, actions_model):
    """Drive a tree search and return it with its rounds."""

    def _run(cap, *, model=None, **knobs):
        search = PosteriorSearch(SearchKnobs(policy="posterior_uct", max_calls=cap, **knobs))
        return play(search, actions_model(**(model or {})))

    return _run


def _leaves(state, count):
    return select_leaves(state, count, calls=99)


def _grown(*values, **knobs):
    """Return a state with judged candidates from scratch, worth these values."""
    state = SearchState(SearchKnobs(policy="posterior_uct", **knobs), Draft(reply=""))
    tree = state.tree
    for place, value in enumerate(values):
        node = tree.add(tree.top, Draft(reply=f"reply {place}"), prior_mean=None)
        node.judge_passes = node.score_count = 1
        node.own_value = node.best_value = node.score_sum = value
        for step in tree.path_to_top(node.node_id):
            step.visits += 1
    return state, list(tree.candidates)


def test_without_exploration_the_best_leaf_is_chosen():
    """And with it, of equals, the first born."""
    state, nodes = _grown(0.4, 0.7, 0.6, tree_exploration=0)
    assert _leaves(state, 1) == [nodes[1]]
    state, nodes = _grown(0.5, 0.5)
    assert _leaves(state, 1) == [nodes[0]]


def test_leaves_of_one_round_are_all_different_and_none_is_left_pending():
    """As many as there are, at most."""
    state, nodes = _grown(0.4, 0.7, 0.6)
    chosen = _leaves(state, 5)
    assert len(chosen) == 3
    assert set(map(id, chosen)) == set(map(id, nodes))
    assert all(node.pending_visits == 0 for node in state.tree.nodes.values())


def test_visits_under_way_make_a_leaf_less_attractive():
    """The bonus counts them; the mean does not."""
    state, nodes = _grown(0.50, 0.49, tree_exploration=1.0)
    assert _leaves(state, 1) == [nodes[0]]
    nodes[0].pending_visits = 4
    assert _leaves(state, 1) == [nodes[1]]


def test_closed_leaves_and_those_of_dropped_candidates_are_left_out():
    """None is returned when all are closed."""
    state, nodes = _grown(0.4, 0.7, 0.6)
    state.tree.close(nodes[1])
    assert _leaves(state, 1) == [nodes[2]]
    state.progress.survivors = [nodes[0].node_id]
    assert _leaves(state, 3) == [nodes[0]]
    for node in nodes:
        state.tree.close(node)
    assert state.tree.top.is_closed
    assert _leaves(state, 1) == []


def test_several_leaves_a_round_save_rounds_and_not_calls(run):
    """All under the cap."""
    alone, _ = run(20)
    together, rounds = run(20, parallel_leaves=3)
    assert max(sum(isinstance(m, Refine) for m in r) for r in rounds) == 3
    assert together.result().rounds < alone.result().rounds
    assert together.result().calls <= 20


def test_every_new_candidate_is_judged_while_calls_are_left(run):
    """Each expansion is followed by a judge that reads the new ones together with the leaders."""
    search, rounds = run(16)
    for earlier, later in pairwise(rounds):
        if isinstance(earlier[0], Refine):
            assert isinstance(later[0], JudgeList)
    assert all(node.judge_passes for node in search.tree.candidates)


def test_a_step_is_worth_its_best_leaf(run):
    """The walk chooses at each node; the start has the best value of all."""
    knobs = {"max_depth": 3, "generate_k": 3, "refine_k": 2, "tree_exploration": 0.3}
    search, _ = run(30, model={"proposer": "steps", "judge": "perfect"}, **knobs)
    tree = search.tree
    for node in tree.candidates:
        below = [c.best_value for c in tree.children(node) if c.best_value is not None]
        if below:
            assert node.best_value == max(below)
    assert all(node.is_closed for node in tree.candidates if not node.draft.is_step)


def test_an_expansion_that_brings_nothing_closes_its_leaf(play, actions_model):
    """A tree with no open leaf is exhausted."""
    knobs = SearchKnobs(policy="posterior_uct", max_calls=32, generate_k=2)
    search, model, empty = PosteriorSearch(knobs), actions_model(), actions_model(proposer="none")
    rounds = 0
    while actions := search.ask():
        rounds += 1
        for action in actions:
            search.tell(action.action_id, (model if rounds == 1 else empty).answer(action))
    assert search.result().stop_reason is StopReason.EXHAUSTED
    assert all(node.is_closed for node in search.tree.candidates)


def test_a_leaf_whose_expansion_failed_twice_is_closed(run):
    """One failure is an accident."""
    search, _ = run(32, model={"failing": 0.5, "seed": 4}, generate_k=2)
    for node in search.tree.candidates:
        if not node.children_ids:
            assert node.expansions <= 2


def test_without_refinement_the_plan_is_done_before_the_cap(run):
    """The stop reason is that."""
    result = run(32, refine=False)[0].result()
    assert result.stop_reason is StopReason.PLAN_DONE


@pytest.mark.parametrize("max_depth", [3, 4, 6, 10, 12, 15, 64])
def test_a_generous_bound_on_the_depth_costs_no_answer(run, max_depth):
    """Answers lie at depth 3, and a bound that the calls could not reach is only that."""
    knobs = {"generate_k": 3, "refine_k": 2, "max_depth": max_depth}
    search, _ = run(24, model={"proposer": "steps", "judge": "perfect"}, **knobs)
    assert not search.result().best.draft.is_step
    assert search.result().calls == 24

"""Judge rounds: rubrics, orders, chunks with an anchor, and the knock-out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lats.actions import JudgeList
from lats.answers import Draft, NoAnswer
from lats.schedule import CallsLeft, judge_round, passes_allowed, with_anchors
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState

quick = settings()


def _state(count, **knobs):
    state = SearchState(SearchKnobs(policy="listwise", **knobs), Draft(reply=""))
    tree = state.tree
    for place in range(count):
        tree.add(tree.top, Draft(reply=f"reply {place}"), prior_mean=None)
    return state, list(tree.candidates)


def test_passes_take_the_rubrics_in_turn_and_reverse_their_order():
    """In turn over the whole search, not within a round."""
    state, nodes = _state(4, rubrics=("a", "b", "c"))
    state.progress.passes, state.progress.judge_calls = 2, 2
    moves = judge_round(state, nodes, CallsLeft(9), passes=4)
    assert [move.rubric for move in moves] == ["c", "a", "b", "c"]
    assert [move.pass_index for move in moves] == [2, 3, 4, 5]
    assert moves[1].node_ids == moves[0].node_ids[::-1]
    assert moves[3].node_ids == moves[2].node_ids[::-1]


@given(count=st.integers(1, 40), max_items=st.integers(2, 12))
def test_chunks_share_one_anchor_cover_all_and_are_of_nearly_equal_size(count, max_items):
    """However many there are."""
    state, nodes = _state(count, max_items=max_items)
    moves = judge_round(state, nodes, CallsLeft(99), passes=1)
    lists = [move.node_ids for move in moves]
    assert {i for ids in lists for i in ids} == {node.node_id for node in nodes}
    assert all(len(ids) <= max_items and len(set(ids)) == len(ids) for ids in lists)
    if len(lists) > 1:
        assert len(set.intersection(*map(set, lists))) == 1
        assert sum(map(len, lists)) == count + len(lists) - 1
        assert max(map(len, lists)) - min(map(len, lists)) <= 1


@given(left=st.integers(0, 5), passes=st.integers(1, 4))
def test_no_more_calls_are_made_than_fit(left, passes):
    """Pointwise, where a pass takes most."""
    state, nodes = _state(3, judging="pointwise")
    moves = judge_round(state, nodes, CallsLeft(left), passes=passes)
    assert len(moves) == min(left, 3 * passes)
    assert all(len(move.node_ids) == 1 for move in moves)


def test_new_candidates_are_read_beside_the_leaders(play, moves_model):
    """Who are not read twice in a call; under agreement everybody is read."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=3, leaders=2))
    search, _ = play(search, moves_model(judge="perfect"))
    state = search._state
    best = search.result().best
    fresh = [state.tree.add(best, Draft(reply="newer"), prior_mean=0.5)]
    readers = with_anchors(state, fresh)
    assert len(readers) == 3
    assert readers[0] is best
    assert with_anchors(state, [best]).count(best) == 1
    state.knobs = state.knobs.model_copy(update={"judging": "agreement"})
    assert with_anchors(state, fresh) == list(state.tree.candidates)


def test_a_judge_is_asked_of_one_candidate_only_so_often():
    """Agreement has no such limit."""
    state, nodes = _state(3, max_passes=3)
    nodes[1].judge_passes = 2
    assert passes_allowed(state, nodes) == 1
    nodes[1].judge_passes = 5
    assert passes_allowed(state, nodes) == 0
    state, nodes = _state(3, judging="agreement", max_calls=9)
    nodes[0].judge_passes = 50
    assert passes_allowed(state, nodes) == 9


@quick
@given(seed=st.integers(0, 999), count=st.integers(2, 16), drift=st.sampled_from([0.0, 0.15]))
def test_a_knock_out_finds_the_best_under_a_perfect_judge(play, moves_model, seed, count, drift):
    """In one call less than there are candidates, whatever each call adds to all its scores."""
    knobs = SearchKnobs(
        policy="best_of_n",
        judging="pairwise",
        generate_k=count,
        max_candidates=count,
        max_calls=count,
        seed=seed,
    )
    model = moves_model(seed=seed, judge="perfect", drift=drift)
    search, rounds = play(PosteriorSearch(knobs), model)
    every = [node.node_id for node in search.tree.candidates]
    assert search.result().best.node_id == max(every, key=model.quality)
    pairs = [move for r in rounds for move in r if isinstance(move, JudgeList)]
    assert len(pairs) == count - 1
    assert all(len(move.node_ids) == 2 for move in pairs)


def test_a_pair_that_nobody_judged_goes_on_by_what_is_known(play, moves_model):
    """A failed call is no loss of anybody's; the knock-out still ends."""
    knobs = SearchKnobs(
        policy="best_of_n", judging="pairwise", generate_k=8, max_candidates=8, max_calls=8
    )
    search, model = PosteriorSearch(knobs), moves_model(judge="perfect")
    place = 0
    while moves := search.ask():
        for move in moves:
            place += 1
            is_lost = isinstance(move, JudgeList) and place % 3 == 0
            search.tell(move.action_id, NoAnswer() if is_lost else model.answer(move))
    assert search.result().best.score_count > 0


@pytest.mark.parametrize("cap", range(1, 16))
def test_a_knock_out_that_does_not_fit_is_cut_short(play, moves_model, cap):
    """And the best by what was heard is the answer."""
    knobs = SearchKnobs(policy="listwise", judging="pairwise", max_calls=cap)
    search, _ = play(PosteriorSearch(knobs), moves_model(judge="perfect"))
    assert search.result().calls <= cap
    assert search.result().best is not None

"""Schedule of a search: plans by cap, judge calls, reading orders."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import JudgeList
from lats.answers import Draft, NoAnswer
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_schedule import (
    REFINE_CALLS,
    CallsLeft,
    first_generations,
    first_passes,
    judge_round,
    passes_allowed,
    reading_order,
    root_generations,
    with_anchors,
)
from lats.search_state import SearchState


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
    actions = judge_round(state, nodes, CallsLeft(9), passes=4)
    assert [action.rubric for action in actions] == ["c", "a", "b", "c"]
    assert [action.pass_index for action in actions] == [2, 3, 4, 5]
    assert actions[1].node_ids == actions[0].node_ids[::-1]
    assert actions[3].node_ids == actions[2].node_ids[::-1]


@given(count=st.integers(1, 40), max_items=st.integers(2, 12))
def test_chunks_share_one_anchor_cover_all_and_are_of_nearly_equal_size(count, max_items):
    """With any number of them."""
    state, nodes = _state(count, max_items=max_items)
    actions = judge_round(state, nodes, CallsLeft(99), passes=1)
    lists = [action.node_ids for action in actions]
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
    actions = judge_round(state, nodes, CallsLeft(left), passes=passes)
    assert len(actions) == min(left, 3 * passes)
    assert all(len(action.node_ids) == 1 for action in actions)


def test_new_candidates_are_read_next_to_the_leaders(play, actions_model):
    """They are not read twice in a call; under agreement all candidates are read."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=3, leaders=2))
    search, _ = play(search, actions_model(judge="perfect"))
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
    """Agreement has no such limit, nor has a search that spends calls on nothing else."""
    state, nodes = _state(3, max_passes=3)
    nodes[1].judge_passes = 2
    assert passes_allowed(state, nodes) == 1
    nodes[1].judge_passes = 5
    assert passes_allowed(state, nodes) == 0
    state, nodes = _state(3, judging="agreement", max_calls=9)
    nodes[0].judge_passes = 8
    assert passes_allowed(state, nodes) == 1
    for refine, calls, limit in ((False, 9, 9), (False, 500, 64), (True, 9, 4)):
        state, nodes = _state(3, max_calls=calls, refine=refine)
        assert passes_allowed(state, nodes) == limit


@given(seed=st.integers(0, 999), count=st.integers(2, 16), drift=st.sampled_from([0.0, 0.15]))
def test_a_knock_out_finds_the_best_under_a_perfect_judge(play, actions_model, seed, count, drift):
    """In one call less than there are candidates, whatever each call adds to all its scores."""
    knobs = SearchKnobs(
        policy="best_of_n",
        judging="pairwise",
        generate_k=count,
        max_candidates=count,
        max_calls=count,
        seed=seed,
    )
    model = actions_model(seed=seed, judge="perfect", drift=drift)
    search, rounds = play(PosteriorSearch(knobs), model)
    every = [node.node_id for node in search.tree.candidates]
    assert search.result().best.node_id == max(every, key=model.quality)
    pairs = [action for r in rounds for action in r if isinstance(action, JudgeList)]
    assert len(pairs) == count - 1
    assert all(len(action.node_ids) == 2 for action in pairs)


def test_an_unjudged_pair_continues_by_what_is_known(play, actions_model):
    """A failed call is a loss for neither candidate; the knock-out still ends."""
    knobs = SearchKnobs(
        policy="best_of_n", judging="pairwise", generate_k=8, max_candidates=8, max_calls=8
    )
    search, model = PosteriorSearch(knobs), actions_model(judge="perfect")
    place = 0
    while actions := search.ask():
        for action in actions:
            place += 1
            is_lost = isinstance(action, JudgeList) and place % 3 == 0
            search.tell(action.action_id, NoAnswer() if is_lost else model.answer(action))
    assert search.result().best.score_count > 0


@pytest.mark.parametrize("cap", range(1, 16))
def test_a_knock_out_that_does_not_fit_is_cut_short(play, actions_model, cap):
    """And the best by the answers that came is the answer."""
    knobs = SearchKnobs(policy="listwise", judging="pairwise", max_calls=cap)
    search, _ = play(PosteriorSearch(knobs), actions_model(judge="perfect"))
    assert search.result().calls <= cap
    assert search.result().best is not None


@pytest.mark.parametrize("can_refine", [True, False])
@pytest.mark.parametrize("cap", range(1, 33))
def test_a_shape_fits_into_its_cap_and_leaves_a_judge(cap, can_refine):
    """At least one pass from two calls on, and no call to spare."""
    generations = first_generations(cap, can_refine=can_refine)
    assert 1 <= generations <= 3
    if cap > 1:
        left = cap - generations
        assert left >= 1
        passes = first_passes(left, can_refine=can_refine)
        assert 1 <= passes <= left
        if can_refine and left > passes:
            assert (left - passes) % REFINE_CALLS == 0


def test_a_root_by_halving_grows_with_the_cap():
    """Slowly, and to four calls at most."""
    sizes = [root_generations(cap) for cap in range(1, 65)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert max(sizes) == 4


IDS = [f"{place:016x}" for place in range(7)]


@given(ids=st.lists(st.sampled_from(IDS), unique=True), seed=st.integers(0), pair=st.integers(0, 9))
def test_a_pair_of_passes_reads_everyone_at_the_same_mean_place(ids, seed, pair):
    """One order and its reverse."""
    first = reading_order(ids, seed=seed, pass_index=2 * pair)
    second = reading_order(ids, seed=seed, pass_index=2 * pair + 1)
    assert second == first[::-1]
    assert sorted(first) == sorted(ids)
    assert {first.index(i) + second.index(i) for i in ids} <= {len(ids) - 1}


def test_an_order_depends_on_seed_and_pass_and_not_on_how_it_is_asked():
    """Other passes, and other seeds, draw again."""
    order = reading_order(IDS, seed=1, pass_index=0)
    assert reading_order(IDS[::-1], seed=1, pass_index=0) == order
    assert len({reading_order(IDS, seed=1, pass_index=look) for look in range(8)}) == 8
    assert reading_order(IDS, seed=2, pass_index=0) != order


def test_a_subset_keeps_the_order_of_the_whole():
    """So a pass over survivors is still reversed by the next one."""
    order = reading_order(IDS, seed=3, pass_index=4)
    kept = IDS[1:5]
    assert reading_order(kept, seed=3, pass_index=4) == tuple(i for i in order if i in kept)


def test_no_candidate_is_favoured_over_many_pairs():
    """Each is read first about as often."""
    firsts = Counter(reading_order(IDS, seed=0, pass_index=2 * pair)[0] for pair in range(700))
    assert all(60 < firsts[i] < 140 for i in IDS)

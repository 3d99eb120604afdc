"""Promises of every posterior search, with any policy, models and budget."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from lats.actions import Side, side_of
from lats.answers import path_id
from lats.policy import RemainingCalls
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.strategies import STRATEGIES

JUDGES = (
    *("perfect", "ties", "by_place", "fewer", "more", "empty", "ranks"),
    *("huge", "nan", "words", "odd", "fails"),
)

KNOBS = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(sorted(STRATEGIES)),
        "judging": st.sampled_from(["listwise", "pointwise", "pairwise", "agreement"]),
        "max_calls": st.integers(0, 32),
    },
    optional={
        "seed": st.integers(0, 99),
        "generate_k": st.integers(1, 8),
        "refine_k": st.integers(1, 5),
        "refine": st.booleans(),
        "leaders": st.integers(1, 4),
        "max_candidates": st.integers(1, 40),
        "max_passes": st.integers(1, 9),
        "max_items": st.integers(2, 12),
        "max_depth": st.integers(1, 4),
        "parallel_leaves": st.integers(1, 4),
        "min_gain": st.sampled_from([0.0, 0.002, 0.02]),
        "stop_score": st.sampled_from([0.7, 1.0]),
        "early_exit": st.builds(lambda on: {"enabled": on}, st.booleans()),
        "reflection": st.just({"enabled": True}),
        "rubrics": st.just(("one", "two", "three")),
    },
)
MODELS = st.fixed_dictionaries(
    {"seed": st.integers(0, 999)},
    optional={
        "proposer": st.sampled_from(
            ["steps", "repeats", "none", "blank", "surrogates", "odd", "fails"]
        ),
        "judge": st.sampled_from(JUDGES),
        "failing": st.sampled_from([0.2, 0.6]),
        "refusing": st.sampled_from([0.05, 0.3]),
        "attributes": st.just(("mode_fit", "humour")),
    },
)
LIMIT = st.none() | st.integers(0, 8)
ROOMS = st.lists(
    st.builds(RemainingCalls, LIMIT, LIMIT, LIMIT, is_late=st.sampled_from([False] * 9 + [True])),
    max_size=6,
)


def _search(knobs):
    return PosteriorSearch(SearchKnobs.model_validate(knobs))


def _json(search):
    return json.dumps(search.state_dict(), allow_nan=False)


def _plain(value):
    if type(value) is dict:
        return all(type(name) is str and _plain(each) for name, each in value.items())
    if type(value) is list:
        return all(map(_plain, value))
    return value is None or type(value) in {str, int, float, bool}


@given(knobs=KNOBS, model=MODELS, remaining_calls=ROOMS)
def test_cap_and_quota_are_never_passed_and_it_ends_with_a_reason(
    play, actions_model, knobs, model, remaining_calls
):
    """With failures, refusals and a shrinking budget; the best is None only without candidates."""
    search, rounds = play(_search(knobs), actions_model(**model), remaining_calls=remaining_calls)
    assert sum(map(len, rounds)) <= knobs["max_calls"]
    for together, remaining in zip(rounds, remaining_calls, strict=False):
        judges = sum(side_of(action.label) is Side.JUDGE for action in together)
        assert remaining.fits(proposer=len(together) - judges, judge=judges)
    result = search.result()
    assert search.is_done
    assert result.stop_reason is not None
    assert result.calls == sum(map(len, rounds))
    assert result.rounds == len(rounds)
    assert (result.best is None) is (len(search.tree) == 0)
    assert search.ask() == []


@given(knobs=KNOBS, model=MODELS, remaining_calls=ROOMS, order=st.randoms(use_true_random=False))
def test_answers_in_any_order_and_twice_give_the_same_state(
    play, actions_model, *, knobs, model, remaining_calls, order
):
    """Byte for byte, also where the second answer is another one."""
    straight, _ = play(_search(knobs), actions_model(**model), remaining_calls=remaining_calls)
    shuffled, _ = play(
        _search(knobs),
        actions_model(**model),
        remaining_calls=remaining_calls,
        order=order,
        repeat=True,
    )
    assert _json(shuffled) == _json(straight)


@given(knobs=KNOBS, model=MODELS, remaining_calls=ROOMS, resume=st.randoms(use_true_random=False))
def test_a_search_resumed_at_any_point_ends_as_the_one_that_went_through(
    play, actions_model, *, knobs, model, remaining_calls, resume
):
    """Also in the middle of a round."""
    through, rounds = play(_search(knobs), actions_model(**model), remaining_calls=remaining_calls)
    resumed, rounds_after = play(
        _search(knobs), actions_model(**model), remaining_calls=remaining_calls, resume=resume
    )
    assert rounds_after == rounds
    assert _json(resumed) == _json(through)
    best, same = through.result().best, resumed.result().best
    assert (best and best.node_id) == (same and same.node_id)


@given(knobs=KNOBS, model=MODELS)
def test_the_state_is_plain_json_and_ids_are_path_hashes(play, actions_model, knobs, model):
    """No type of ours, no NaN; equal seeds and answers give equal trees."""
    search, _ = play(_search(knobs), actions_model(**model))
    assert _plain(search.state_dict())
    for node in search.tree.nodes.values():
        assert node.node_id == path_id(node.parent_id, node.draft.reply)
    again, _ = play(_search(knobs), actions_model(**model))
    assert _json(again) == _json(search)


@given(
    knobs=KNOBS,
    model=MODELS,
    costs=st.lists(st.integers(1, 5), min_size=1, max_size=8),
)
def test_dear_answers_pass_the_cap_by_what_they_took_alone(
    play, actions_model, knobs, model, costs
):
    """No round is made that does not fit into what the answers left."""
    search, model, spent = _search(knobs), actions_model(**model), 0
    while actions := search.ask():
        spent += len(actions)
        assert spent <= knobs["max_calls"]
        model.depths.update((n.node_id, n.depth) for n in search.tree.nodes.values())
        for action in actions:
            cost = costs[(len(action.action_id) + spent) % len(costs)]
            search.tell(action.action_id, model.answer(action), calls=cost)
            spent += cost - 1
    assert search.state_dict()["progress"]["spent_calls"] == spent


@given(knobs=KNOBS, model=MODELS, cut=st.integers(0, 6), told=st.integers(0, 3))
def test_a_round_that_was_cancelled_can_be_taken_up_again(
    play, actions_model, *, knobs, model, cut, told
):
    """It is asked again, the same, whatever remains then; nothing is charged twice."""
    search, model = _search(knobs), actions_model(**model)
    for _ in range(cut):
        model.depths.update((n.node_id, n.depth) for n in search.tree.nodes.values())
        for action in search.ask():
            search.tell(action.action_id, model.answer(action))
    model.depths.update((n.node_id, n.depth) for n in search.tree.nodes.values())
    actions = search.ask()
    for action in actions[:told]:
        search.tell(action.action_id, model.answer(action))
    if told < len(actions):
        left = PosteriorSearch.from_state(json.loads(_json(search)))
        assert (
            left.ask(RemainingCalls(max_calls=0))
            == search.ask(RemainingCalls(is_late=True))
            == actions[told:]
        )
        assert left.result().stop_reason is None
    search, _ = play(search, model)
    assert search.result().calls <= knobs["max_calls"]
    whole, _ = play(_search(knobs), model)
    assert _json(whole) == _json(search)


@given(
    knobs=KNOBS,
    failing=st.sampled_from(
        [
            {"proposer": "fails"},
            {"judge": "fails"},
            {"proposer": "fails", "judge": "fails"},
            {"refusing": 1.0},
            {"proposer": "none"},
            {"judge": "empty"},
        ]
    ),
)
def test_who_always_fails_ends_the_search_within_the_cap_and_clearly(
    play, actions_model, knobs, failing
):
    """Two rounds of a kind that brings nothing are enough."""
    search, rounds = play(_search(knobs), actions_model(**failing))
    result = search.result()
    if "refusing" in failing:
        assert result.stop_reason is (StopReason.BUDGET if rounds else StopReason.CAP)
        assert len(rounds) <= 1
    elif "proposer" in failing:
        assert len(rounds) <= 2
        assert result.best is None
        wanted = {StopReason.FAILED} if len(rounds) == 2 else {StopReason.FAILED, StopReason.CAP}
        assert result.stop_reason in wanted
    else:
        judged = [r for r in rounds if any(side_of(m.label) is Side.JUDGE for m in r)]
        assert len(judged) <= 2
        assert (result.best is None) is (not rounds)
        assert result.confidence is None
        if len(judged) == 2:
            assert result.stop_reason is StopReason.UNJUDGED


@given(knobs=KNOBS, model=MODELS, seed=st.integers(0, 9))
def test_no_candidate_is_in_the_tree_twice_and_counts_add_up(
    play, actions_model, knobs, model, seed
):
    """Visits are the scored candidates below, the best value is the best of them."""
    search, _ = play(_search(knobs), actions_model(**model), order=random.Random(seed))
    tree = search.tree
    for node in tree.nodes.values():
        below = sum(child.visits for child in tree.children(node))
        assert node.visits == below + (node.own_value is not None)
        assert node.pending_visits == 0
        known = [child.best_value for child in tree.children(node)]
        known = [best for best in known if best is not None]
        if node.own_value is not None and not (known and node.draft.is_step):
            known.append(node.own_value)
        assert node.best_value == max(known, default=None)
    keys = [node.draft.reply for node in tree.candidates if not node.draft.is_step]
    if model.get("proposer") != "steps":
        assert len(keys) == len(set(keys))

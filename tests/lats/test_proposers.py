"""Several proposers of one search: who is asked, what is learned, and what the result shows."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.problem import Problem
from lats.result import StateError
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_text import render_tree
from lats.solving import resume, solve

COSTS = {"small": 1.0, "large": 1.0}
TREE = {"policy": "posterior_uct", "max_calls": 48, "generate_k": 4, "refine": True}


def proposing(rounds):
    """Return the proposals of a search in their order."""
    return [action for each in rounds for action in each if not isinstance(action, JudgeList)]


def steps(levels, *, seed=0, cap=48, costs=None, failing=(), **knobs):
    """Return a search over proposers whose candidates' qualities are normal around a level."""
    draw = random.Random(f"{levels}/{seed}")
    given = dict.fromkeys(levels, 1.0) if costs is None else costs
    made = SearchKnobs(**TREE | {"max_calls": cap, "seed": seed} | knobs)
    search = PosteriorSearch(made, proposers=given)
    quality = {}
    while actions := search.ask():
        for action in actions:
            if isinstance(action, JudgeList):
                found = {}
                for node_id in action.node_ids:
                    level = quality[search.tree.nodes[node_id].draft.reply]
                    found[node_id] = Verdict(score=min(max(draw.gauss(level, 0.08), 0.0), 1.0))
                answer = Verdicts(found)
            elif action.proposer in failing:
                answer = NoAnswer(detail="down")
            else:
                names = [f"reply {len(quality) + place}" for place in range(action.k)]
                level = levels[action.proposer]
                quality.update((name, draw.gauss(level, 0.1)) for name in names)
                answer = Drafts(tuple(Draft(reply=name) for name in names))
            search.tell(action.action_id, answer)
    return search


def shares(searches):
    """Return each proposer's mean share of the proposals."""
    total = Counter()
    for search in searches:
        total.update({each.name: each.share for each in search.result().proposers})
    return {name: share / len(searches) for name, share in total.items()}


KNOBS = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(["listwise", "halving", "posterior_uct", "best_of_n", "auto"]),
        "max_calls": st.integers(0, 24),
        "seed": st.integers(0, 99),
    }
)
NAMES = st.lists(st.sampled_from(["a", "b", "c", "d e"]), min_size=1, max_size=4, unique=True)
FAULTS = st.fixed_dictionaries(
    {"seed": st.integers(0, 99)},
    optional={
        "proposer": st.sampled_from(["repeats", "none", "steps", "fails"]),
        "failing": st.sampled_from([0.3]),
    },
)


@given(knobs=KNOBS, names=NAMES, model=FAULTS, resume=st.randoms(use_true_random=False))
def test_names_change_no_call_and_survive_a_resume(
    play, actions_model, *, knobs, names, model, resume
):
    """As many calls as with one, each proposal named; a restored search asks the same."""
    made = SearchKnobs.model_validate(knobs)
    costs = dict.fromkeys(names, 1.0)
    one, plain = play(PosteriorSearch(made), actions_model(**model))
    search, rounds = play(PosteriorSearch(made, proposers=costs), actions_model(**model))
    assert {each.proposer for each in proposing(rounds)} <= set(names)
    if len(names) == 1 or made.policy not in {"listwise", "auto"}:  # these ask several for one
        assert [[each.action_id for each in r] for r in rounds] == [
            [each.action_id for each in r] for r in plain
        ]
        kept, kept_of_one = ([n.node_id for n in s.tree.candidates] for s in (search, one))
        assert kept == kept_of_one
    again, _ = play(
        PosteriorSearch(made, proposers=costs), actions_model(**model), resume=resume, order=resume
    )
    assert json.dumps(again.state_dict()) == json.dumps(search.state_dict())


@given(knobs=KNOBS, names=NAMES, model=FAULTS)
def test_each_is_asked_once_before_any_is_asked_again(play, actions_model, knobs, names, model):
    """The order is drawn by the seed, and the order in which they are named is no part of it."""
    made = SearchKnobs.model_validate(knobs)
    for ordered in (names, names[::-1]):
        search = PosteriorSearch(made, proposers=dict.fromkeys(ordered, 1.0))
        asked = [each.proposer for each in proposing(play(search, actions_model(**model))[1])]
        first = asked[: len(names)]
        assert len(set(first)) == len(first)
    mirrored = PosteriorSearch(made, proposers=dict.fromkeys(names, 1.0))
    other = [each.proposer for each in proposing(play(mirrored, actions_model(**model))[1])]
    assert other == asked


@pytest.mark.parametrize("seed", range(6))
def test_every_proposer_gets_a_generation(play, actions_model, seed):
    """In the one round of proposals that `listwise` has."""
    search = PosteriorSearch(
        SearchKnobs(policy="listwise", max_calls=6, refine=False, seed=seed), proposers=COSTS
    )
    _, rounds = play(search, actions_model())
    assert sorted(each.proposer for each in rounds[0]) == ["large", "small"]
    three = PosteriorSearch(
        SearchKnobs(policy="listwise", max_calls=6, seed=seed), proposers={**COSTS, "third": 1.0}
    )
    _, rounds = play(three, actions_model())
    assert sorted(each.proposer for each in rounds[0]) == ["large", "small", "third"]


def test_the_better_proposer_gets_most_proposals():
    """And ever more of them, the more calls there are."""
    levels = {"good": 0.6, "bad": 0.45}
    early = shares([steps(levels, seed=seed, cap=12) for seed in range(20)])
    late = shares([steps(levels, seed=seed, cap=144) for seed in range(20)])
    assert early["good"] > 0.5
    assert late["good"] > max(early["good"], 0.8)


def test_equal_proposers_share_the_proposals():
    """No one is preferred by its name or place."""
    found = shares([steps({"a": 0.5, "b": 0.5}, seed=seed, cap=32) for seed in range(40)])
    assert found["a"] == pytest.approx(0.5, abs=0.1)


def test_a_proposer_that_always_fails_gets_a_small_share():
    """Its failures count as candidates that did not come."""
    searches = [
        steps({"works": 0.5, "broken": 0.5}, seed=seed, failing={"broken"}) for seed in range(20)
    ]
    assert shares(searches)["broken"] < 0.2
    assert all(search.result().best.draft.proposer == "works" for search in searches)


def test_of_equally_good_proposers_the_cheap_one_is_asked():
    """Gain per cost decides."""
    costs = {"cheap": 1.0, "dear": 10.0}
    levels = {"cheap": 0.5, "dear": 0.5}
    found = shares([steps(levels, seed=seed, costs=costs) for seed in range(20)])
    assert found["cheap"] > 0.75


def test_a_dear_proposer_is_asked_where_it_is_that_much_better():
    """A proposer that brings no gain is dear at any price."""
    costs = {"cheap": 1.0, "dear": 3.0}
    levels = {"cheap": 0.2, "dear": 0.7}
    found = shares([steps(levels, seed=seed, costs=costs) for seed in range(20)])
    assert found["dear"] > 0.6


def test_checks_alone_show_which_proposer_is_better():
    """Under agreement there may be no scores; the share of checks passed is the value."""
    search = PosteriorSearch(
        SearchKnobs(policy="posterior_uct", max_calls=60, judging="agreement", refine=True),
        proposers=COSTS,
    )
    made = 0
    while actions := search.ask():
        for action in actions:
            if isinstance(action, JudgeList):
                passed = {
                    each: search.tree.nodes[each].draft.proposer == "large"
                    for each in action.node_ids
                }
                name = f"check {action.pass_index}"
                answer = Verdicts({each: Verdict(checks={name: ok}) for each, ok in passed.items()})
            else:
                made += action.k
                answer = Drafts(tuple(Draft(reply=f"r {made - n}") for n in range(action.k)))
            search.tell(action.action_id, answer)
    by_name = {each.name: each for each in search.result().proposers}
    assert by_name["large"].calls > by_name["small"].calls


def test_the_result_shows_each_proposers_part(play, actions_model):
    """Calls, share, candidates, mean and best, in the result, the record and the drawing."""
    search, rounds = play(
        PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6), proposers=COSTS),
        actions_model(),
    )
    result = search.result()
    large, small = result.proposers
    assert (large.name, small.name) == ("large", "small")
    assert large.calls + small.calls == len(proposing(rounds))
    assert large.share + small.share == pytest.approx(1)
    born = Counter(node.draft.proposer for node in result.tree.candidates)
    assert born == {"large": large.candidates, "small": small.candidates}
    means = {n.node_id: result.beliefs[n.node_id].mean for n in result.tree.candidates}
    assert max(large.best, small.best) == max(means.values())
    record = result.record()
    assert [each["name"] for each in record["proposers"]] == ["large", "small"]
    assert {each["proposer"] for each in record["candidates"]} == {"large", "small"}
    drawn = render_tree(result)
    assert f"large: {large.calls} calls" in drawn


def test_a_search_without_names_has_no_field_of_them(play, actions_model):
    """States, records and drawings are as they were."""
    search, rounds = play(PosteriorSearch(SearchKnobs(policy="halving")), actions_model())
    assert all(each.proposer == "" for each in proposing(rounds))
    assert 'proposer"' not in json.dumps(search.state_dict())
    assert "proposers" not in search.state_dict()
    assert "proposers" not in search.result().record()
    assert search.result().proposers == ()


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({}, "needs a proposer"),
        ({"": 1.0}, "is called ''"),
        ({" a": 1.0}, "is called ' a'"),
        ({"a" * 81: 1.0}, "of 1 to 80 characters"),
        ({3: 1.0}, "is called 3"),
        ({"a": 0}, "costs 0"),
        ({"a": -1.0}, "costs -1.0"),
        ({"a": float("nan")}, "costs nan"),
        ({"a": float("inf")}, "costs inf"),
        ({"a": True}, "costs True"),
        ({"a": "1"}, "costs '1'"),
    ],
)
def test_names_and_costs_are_checked(costs, words):
    """With the value that is wrong."""
    with pytest.raises(ValueError, match=words):
        PosteriorSearch(SearchKnobs(policy="listwise"), proposers=costs)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["progress"]["open_round"][0].update(proposer="gone"),
        lambda state: state["progress"]["open_round"][0].update(proposer=""),
        lambda state: state["progress"]["proposer_calls"].update(gone=1),
        lambda state: state.update(proposers={"other": 1.0}),
        lambda state: state.update(proposers={"large": 0, "small": 1}),
        lambda state: state.pop("proposers"),
    ],
    ids=["unknown", "unnamed", "counted", "renamed", "free", "lost"],
)
def test_a_state_with_proposers_that_do_not_fit_is_refused(change):
    """Before anything is asked."""
    search = PosteriorSearch(SearchKnobs(policy="listwise"), proposers=COSTS)
    search.ask()
    state = json.loads(json.dumps(search.state_dict()))
    PosteriorSearch.from_state(state)
    change(state)
    with pytest.raises(StateError, match="propos"):
        PosteriorSearch.from_state(state)


def test_drafts_are_signed_by_the_action_that_asked():
    """A draft that names another proposer does not count for it."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=2), proposers={"real": 1.0})
    (action,) = search.ask()
    assert isinstance(action, Generate | Refine)
    search.tell(action.action_id, Drafts((Draft(reply="hello", proposer="other"),)))
    assert [node.draft.proposer for node in search.tree.candidates] == ["real"]


def pairs(**changes):
    """Return a problem of two proposers of numbers, one of which gives higher ones."""

    def low(state, k, context):
        assert context.proposer == "low"
        return [10 * context.attempt + place for place in range(k)]

    async def high(state, k, context):
        assert context.proposer == "high"
        return [1000 + 10 * context.attempt + place for place in range(k)]

    parts = {"propose": {"low": low, "high": high}} | changes
    return Problem(
        int, parts.pop("propose"), lambda states, given: [s / 2000 for s in states], **parts
    )


async def test_a_problem_may_have_several_proposers():
    """Plain and coroutine functions; the solution's best is of the better one."""
    found = await solve(pairs(), SearchKnobs(policy="listwise", max_calls=6))
    assert found.best >= 1000
    assert {each.name: each.calls for each in found.result.proposers}["high"] >= 1


async def test_a_mapping_of_one_is_as_one_with_a_name():
    """The same search, but for the name."""
    knobs = SearchKnobs(policy="listwise", max_calls=6)
    only = await solve(pairs(propose={"low": lambda s, k, c: range(k)}), knobs)
    plain = await solve(pairs(propose=lambda s, k, c: range(k)), knobs)
    assert (only.best, only.calls) == (plain.best, plain.calls)
    assert [each.name for each in only.result.proposers] == ["low"]


async def test_a_search_of_several_is_resumed_with_the_same_ones():
    """Another set is refused, with what differs."""
    kept = []
    knobs = SearchKnobs(policy="listwise", max_calls=6)
    found = await solve(pairs(), knobs, checkpoint=lambda s: kept.append(json.dumps(s)))
    again = await resume(pairs(), json.loads(kept[1]))
    assert again.search.state_dict() == found.search.state_dict()
    for other in (
        pairs(propose=lambda s, k, c: []),
        pairs(propose={"low": lambda s, k, c: []}),
        pairs(proposer_costs={"high": 2.0}),
    ):
        with pytest.raises(StateError, match=r"the proposers \{'low': 1.0, 'high': 1.0\}"):
            await resume(other, json.loads(kept[1]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"propose": {}}, "empty mapping"),
        ({"proposer_costs": {"other": 1.0}}, "has 'other', but propose has"),
        ({"propose": lambda s, k, c: [], "proposer_costs": {"a": 1.0}}, "propose is one function"),
        ({"proposer_costs": {"low": -1.0}}, "costs -1.0"),
    ],
)
async def test_proposers_of_a_problem_are_checked(changes, words):
    """Before anything is asked."""
    with pytest.raises(ValueError, match=words):
        await solve(pairs(**changes), SearchKnobs(policy="listwise"))


async def test_a_proposer_that_raises_costs_its_call_only():
    """Where its exception is one that the problem lists."""

    def broken(state, k, context):
        raise OSError("down")

    problem = pairs(
        propose={"broken": broken, "fine": lambda s, k, c: [c.attempt * 9 + n for n in range(k)]},
        failures=(OSError,),
    )
    found = await solve(problem, SearchKnobs(policy="posterior_uct", max_calls=40, refine=True))
    by_name = {each.name: each for each in found.result.proposers}
    assert by_name["broken"].candidates == 0
    assert by_name["broken"].calls < by_name["fine"].calls
    assert found.best is not None

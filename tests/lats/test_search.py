"""The machine behind the posterior policies: rounds, counts, stopping and results."""

import pytest

from lats.actions import ActionKind, Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.policy import RemainingCalls
from lats.result import StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import EarlyExitKnobs, SearchKnobs
from lats.strategies import STRATEGIES


@pytest.fixture
def run(play, actions_model):
    """Drive a search with some knobs and some model, and return it with its rounds."""

    def _run(knobs, *, remaining_calls=(), **model):
        search = PosteriorSearch(SearchKnobs.model_validate(knobs))
        return play(search, actions_model(**model), remaining_calls=remaining_calls)

    return _run


def _judge_all(search, scores):
    """Answer the open judge round with scores by reply."""
    nodes = search.tree.nodes
    for action in search.ask():
        verdicts = {i: Verdict(score=scores[nodes[i].draft.reply]) for i in action.node_ids}
        search.tell(action.action_id, Verdicts(verdicts))


def _propose(search, *replies):
    (action,) = search.ask()
    drafts = tuple(Draft(reply=reply) for reply in replies)
    search.tell(action.action_id, Drafts(drafts=drafts))


def test_it_generates_judges_and_answers_with_the_best(run):
    """Two calls with a judge that knows: the best of what was proposed."""
    search, rounds = run({"policy": "listwise", "max_calls": 2}, judge="perfect")
    assert [type(each) for (each,) in rounds] == [Generate, JudgeList]
    result = search.result()
    assert result.best.mean_score == max(n.mean_score for n in search.tree.candidates)
    assert (result.calls, result.rounds, result.planned_cap) == (2, 2, 2)
    assert result.stop_reason is StopReason.CAP
    assert 0 < result.confidence.chance_best <= 1
    assert result.final_judgement is None


@pytest.mark.parametrize("policy", sorted(STRATEGIES))
def test_without_a_cap_it_keeps_to_the_default_one(run, policy):
    """Six calls."""
    assert run({"policy": policy})[0].result().calls <= 6


@pytest.mark.parametrize("policy", sorted(STRATEGIES))
def test_a_cap_of_nothing_asks_nothing(run, policy):
    """The stop reason is the cap; there is no candidate then."""
    search, rounds = run({"policy": policy, "max_calls": 0})
    assert rounds == []
    assert search.result().stop_reason is StopReason.CAP
    assert search.result().best is None


@pytest.mark.parametrize("policy", sorted(STRATEGIES))
def test_one_call_is_one_candidate_and_no_judge(run, policy):
    """There is no candidate to choose."""
    search, rounds = run({"policy": policy, "max_calls": 1})
    assert [[type(each) for each in r] for r in rounds] == [[Generate]]
    assert rounds[0][0].k == 1
    assert search.result().best is not None
    assert search.result().confidence is None


def test_a_result_before_the_end_is_the_best_so_far():
    """And has no stop reason."""
    search = PosteriorSearch(SearchKnobs(policy="posterior_uct", max_calls=6))
    assert search.result().best is None
    _propose(search, "one", "two")
    assert search.result().best.draft.reply == "one"
    assert search.result().stop_reason is None
    _judge_all(search, {"one": 0.2, "two": 0.7})
    assert search.result().best.draft.reply == "two"


def test_unjudged_candidates_come_last():
    """To believe a prior would prefer the unread to the judged and found poor."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=2))
    _propose(search, "unread", "read")
    (action,) = search.ask()
    read = next(n.node_id for n in search.tree.candidates if n.draft.reply == "read")
    search.tell(action.action_id, Verdicts({read: Verdict(score=0.01)}))
    assert search.result().best.draft.reply == "read"


def _best_of_equals(seed, tie_break=None):
    knobs = SearchKnobs(policy="best_of_n", max_calls=2, seed=seed)
    search = PosteriorSearch(knobs, tie_break=tie_break)
    _propose(search, "aaa", "bbbb", "c")
    _judge_all(search, {"aaa": 0.6, "bbbb": 0.6, "c": 0.1})
    return search.result().best.draft.reply


def test_the_tie_break_decides_between_equals_and_then_a_lot():
    """And nothing else; the lot is the seed's, and as often for the one as for the other."""
    assert {_best_of_equals(seed, len) for seed in range(20)} == {"bbbb"}
    drawn = [_best_of_equals(seed) for seed in range(200)]
    assert drawn == [_best_of_equals(seed) for seed in range(200)]
    assert set(drawn) == {"aaa", "bbbb"}
    assert 70 <= drawn.count("aaa") <= 130


@pytest.mark.parametrize("kind", [ActionKind.GENERATE, ActionKind.REFINE, ActionKind.JUDGE_LIST])
def test_a_refusal_ends_the_search_after_its_round(run, kind):
    """The budget would refuse such a call again; the best so far is the answer."""
    knobs = {"policy": "listwise", "max_calls": 10, "refine": True}
    search, rounds = run(knobs, refused_kinds=frozenset({kind}))
    assert {each.label for each in rounds[-1]} == {kind}
    assert search.result().stop_reason is StopReason.BUDGET
    assert (search.result().best is None) is (kind is ActionKind.GENERATE)


def test_rounds_tell_what_binds(run):
    """The cap, the driver's budget, or its clock."""
    knobs = {"policy": "listwise", "max_calls": 6}
    for remaining, reason in (
        (RemainingCalls(max_calls=0), StopReason.BUDGET),
        (RemainingCalls(max_calls=-3), StopReason.BUDGET),
        (RemainingCalls(max_judge_calls=0), StopReason.BUDGET),
        (RemainingCalls(is_late=True), StopReason.DEADLINE),
    ):
        search, rounds = run(knobs, remaining_calls=[RemainingCalls(), remaining])
        assert len(rounds) == 1
        assert search.result().stop_reason is reason
        assert search.result().best is not None


def test_a_small_quota_at_the_start_is_what_it_plans_for(run):
    """A remaining of two calls makes the shape of a cap of two."""
    remaining_calls = [
        RemainingCalls(max_calls=2),
        RemainingCalls(max_calls=1),
        RemainingCalls(max_calls=0),
    ]
    search, rounds = run({"policy": "listwise", "max_calls": 6}, remaining_calls=remaining_calls)
    assert list(map(len, rounds)) == [1, 1]
    assert search.result().planned_cap == 2


def test_a_score_that_is_enough_ends_the_search(run):
    """`stop_score` suits an exact verifier."""
    knobs = {"policy": "posterior_uct", "max_calls": 32, "stop_score": 0.6}
    search, _ = run(knobs, judge="perfect", seed=3)
    assert search.result().stop_reason is StopReason.EARLY_EXIT
    assert search.result().best.mean_score >= 0.6


def test_gates_need_every_sub_score():
    """A leader that passes them all ends the search; a missing one keeps its gate closed."""
    fine = {"plan_alignment": 0.9, "mode_fit": 0.9, "assistantness": 0.1}
    for attributes, is_over in ((fine, True), ({"mode_fit": 0.9}, False)):
        knobs = SearchKnobs(
            policy="listwise", max_calls=10, early_exit=EarlyExitKnobs(min_root_score=0.5)
        )
        search = PosteriorSearch(knobs)
        for place, action in enumerate(search.ask()):
            drafts = (Draft(reply=f"a{place}"), Draft(reply=f"b{place}"))
            search.tell(action.action_id, Drafts(drafts=drafts))
        for action in search.ask():
            verdict = Verdict(score=0.95, attributes=attributes)
            search.tell(action.action_id, Verdicts(dict.fromkeys(action.node_ids, verdict)))
        assert (search.result().stop_reason is StopReason.EARLY_EXIT) is is_over


def test_answers_that_took_more_calls_are_charged():
    """A repaired answer leaves less; the cap was passed by the repair alone."""
    search = PosteriorSearch(SearchKnobs(policy="best_of_n", max_calls=2))
    (action,) = search.ask()
    search.tell(action.action_id, Drafts(drafts=(Draft(reply="a"), Draft(reply="b"))), calls=2)
    assert search.ask() == []
    assert search.result().stop_reason is StopReason.CAP
    assert search.result().calls == 1


def test_failures_are_counted_by_kind():
    """And cost what they cost."""
    search = PosteriorSearch(SearchKnobs(policy="posterior_uct", max_calls=4))
    search.tell(search.ask()[0].action_id, NoAnswer(detail="down"))
    _propose(search, "a", "b")
    assert search.result().failed == {ActionKind.GENERATE: 1}
    assert search.result().asked == {ActionKind.GENERATE: 2}
    assert search.result().rounds == 2


def test_refined_candidates_are_children_and_inherit_no_luck(run):
    """Of the leader at the time, whose score is not theirs."""
    knobs = {"policy": "listwise", "max_calls": 6, "refine": True}
    search, rounds = run(knobs, judge="perfect")
    (refine,) = next(r for r in rounds if isinstance(r[0], Refine))
    parent = search.tree.nodes[refine.node_ids[0]]
    assert parent.children_ids
    for child in search.tree.children(parent):
        assert child.depth == 2
        assert child.prior_mean is None


def test_knobs_of_no_strategy_are_refused():
    """The classic search has its own machine."""
    with pytest.raises(ValueError, match="classic_uct"):
        PosteriorSearch(SearchKnobs(policy="classic_uct"))


def test_steps_are_no_answers_while_there_is_one(run):
    """A tree of three steps ends in answers; one cut short answers with a step."""
    knobs = {"policy": "posterior_uct", "max_depth": 3, "generate_k": 3, "refine_k": 2}
    deep, _ = run({**knobs, "max_calls": 24}, proposer="steps", judge="perfect")
    assert not deep.result().best.draft.is_step
    assert max(node.depth for node in deep.tree.candidates) == 3
    short, _ = run({**knobs, "max_calls": 2}, proposer="steps", judge="perfect")
    assert short.result().best.draft.is_step

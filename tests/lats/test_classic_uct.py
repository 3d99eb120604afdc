"""The classic search, driven by a scripted model."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import ActionKind
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.classic_uct import ClassicUct
from lats.policies import resume_search, start_search
from lats.policy import RemainingCalls
from lats.result import StateError, StopReason
from lats.search_knobs import EarlyExitKnobs, SearchKnobs

WIDE = {
    "expand_k": 3,
    "soft_top_n": 3,
    "soft_max_concurrency": 3,
    "prefetch": True,
    "assistant_check_top_n": 4,
}
PROPOSED = [
    ActionKind.PLAN_ROOT,
    ActionKind.JUDGE,
    ActionKind.EXPAND,
    ActionKind.CHECK_ASSISTANT,
    ActionKind.FINAL_JUDGE,
]
"""Kinds that this search proposes in every run; a top-up needs strategies that are alike."""


@pytest.fixture
def run(scripted, drive, context):
    """Drive a search with some knobs and some model, and return it with its rounds."""

    def _run(knobs=None, *, remaining=RemainingCalls, **model):
        search = ClassicUct(knobs or SearchKnobs(), context)
        rounds = drive(search, scripted(**model), remaining=remaining)
        return search, rounds

    return _run


def _verdict(action, **said):
    return Verdicts({action.node_ids[0]: Verdict(**said)})


def _kinds(rounds):
    return [[each.label for each in together] for together in rounds]


def test_the_default_search_finds_its_best_mean_and_has_a_stop_reason(run):
    """Eleven calls; the pick is judged once more and stays."""
    search, rounds = run(seed=3)
    result = search.result()
    judged = [n for n in result.tree.nodes.values() if n.mean_score is not None]
    assert result.stop_reason is StopReason.ROLLOUTS_DONE
    assert result.best.mean_value == max(node.mean_value for node in judged)
    assert (len(result.tree), len(judged), result.calls) == (9, 5, 11)
    assert result.final_judgement is not None
    assert rounds[-1][0].node_ids[0] == result.best.node_id


def test_a_second_look_is_another_sample(run):
    """The final judge's sample is 1, so that no cache answers it with the first."""
    _, rounds = run()
    final = rounds[-1][0]
    assert (final.label, final.sample_index) == (ActionKind.FINAL_JUDGE, 1)


def test_a_worse_second_look_is_reported_and_the_pick_stays(scripted, context):
    """The specification's final evaluation chooses nothing."""
    search = ClassicUct(SearchKnobs(rollouts=1), context)
    model = scripted(seed=1)
    while proposals := search.ask():
        for each in proposals:
            answer = model.answer(each)
            if each.label is ActionKind.FINAL_JUDGE:
                best_before = search.result().best
                answer = _verdict(each, score=0.01)
            search.tell(each.action_id, answer)
    assert search.result().best == best_before
    assert search.result().final_judgement.score == 0.01


@pytest.mark.parametrize(
    ("gates", "min_rollouts", "rollouts_done", "calls"),
    [("always", 0, 0, 2), ("always", 1, 1, 5), ("always", 3, 3, 9), ("after_root", 0, 1, 5)],
)
def test_an_early_exit_happens_as_soon_as_it_may(run, gates, min_rollouts, rollouts_done, calls):
    """At the root, or after the rollouts that must come first."""
    knobs = SearchKnobs(early_exit=EarlyExitKnobs(min_rollouts=min_rollouts))
    result = run(knobs, gates=gates)[0].result()
    assert result.stop_reason is StopReason.EARLY_EXIT
    assert (result.rollouts_done, result.calls) == (rollouts_done, calls)


@pytest.mark.parametrize("missing", ["score", "plan_alignment", "assistantness", "mode_fit"])
def test_a_missing_field_keeps_the_search_going(scripted, context, missing):
    """A missing score is no reason to stop."""
    search = ClassicUct(SearchKnobs(), context)
    model = scripted(gates="always")
    for _ in range(2):
        (action,) = search.ask()
        answer = model.answer(action)
        if isinstance(answer, Verdicts):
            (verdict,) = answer.by_id.values()
            attributes = {k: v for k, v in verdict.attributes.items() if k != missing}
            score = None if missing == "score" else verdict.score
            answer = _verdict(action, score=score, attributes=attributes)
        search.tell(action.action_id, answer)
    assert search.ask()[0].label is ActionKind.EXPAND


def test_a_prefetched_expansion_is_marked_and_used(run):
    """The first expansion travels with the root's judgement; the next ones do not."""
    _, rounds = run(SearchKnobs(prefetch=True))
    assert _kinds(rounds)[:3] == [
        [ActionKind.PLAN_ROOT],
        [ActionKind.JUDGE, ActionKind.EXPAND],
        [ActionKind.JUDGE],
    ]
    speculative = [e for r in rounds for e in r if getattr(e, "is_speculative", False)]
    assert len(speculative) == 1


def test_a_prefetch_that_an_exit_made_useless_costs_one_call(run):
    """And leaves no trace in the tree."""
    search, rounds = run(SearchKnobs(prefetch=True), gates="always")
    assert _kinds(rounds) == [[ActionKind.PLAN_ROOT], [ActionKind.JUDGE, ActionKind.EXPAND]]
    assert len(search.result().tree) == 1


def test_alike_strategies_are_topped_up_once(run):
    """At most once, however often they are alike; the new ones join their siblings."""
    search, rounds = run(alike=True)
    top_ups = [each for r in rounds for each in r if each.label is ActionKind.TOP_UP]
    assert len(top_ups) == 1
    assert top_ups[0].k == 1
    assert "same" in top_ups[0].strategies_used
    assert len(search.tree.top.children_ids) == 3
    assert search.result().calls == 12


def test_no_top_up_is_asked_when_none_is_allowed(run):
    """`max_top_ups` 0."""
    _, rounds = run(SearchKnobs(max_top_ups=0), alike=True)
    assert [ActionKind.TOP_UP] not in _kinds(rounds)


def test_a_failed_top_up_leaves_the_first_variants(run):
    """They are judged as if it had not been asked."""
    result = run(alike=True, failing=frozenset({ActionKind.TOP_UP}))[0].result()
    assert (result.calls, result.failed) == (12, {ActionKind.TOP_UP: 1})
    assert result.stop_reason is StopReason.ROLLOUTS_DONE


@pytest.mark.parametrize(
    ("failing", "calls", "reason"),
    [
        (ActionKind.PLAN_ROOT, 1, StopReason.FAILED),
        (ActionKind.JUDGE, 11, StopReason.ROLLOUTS_DONE),
        (ActionKind.EXPAND, 6, StopReason.FAILED),
        (ActionKind.FINAL_JUDGE, 11, StopReason.ROLLOUTS_DONE),
    ],
)
def test_a_kind_that_always_fails_ends_with_the_best_so_far(run, failing, calls, reason):
    """Nothing loops, nothing is asked twice, and only a root that fails leaves no reply."""
    result = run(failing=frozenset({failing}))[0].result()
    assert (result.calls, result.stop_reason) == (calls, reason)
    assert (result.best is None) is (failing is ActionKind.PLAN_ROOT)


def test_when_every_judge_fails_rule_scores_choose(run):
    """Not the first draft by accident."""
    result = run(failing=frozenset({ActionKind.JUDGE, ActionKind.FINAL_JUDGE}))[0].result()
    best = max(node.rule_score for node in result.tree.nodes.values())
    assert result.best.rule_score == best


@pytest.mark.parametrize("kind", PROPOSED)
def test_a_refusal_ends_the_search_at_once(run, kind):
    """The budget would refuse such a call again; the best so far is the answer."""
    knobs = SearchKnobs(assistant_check_top_n=2)
    search, rounds = run(knobs, refusing=frozenset({kind}))
    result = search.result()
    assert {each.label for each in rounds[-1]} == {kind}
    is_after_the_rollouts = kind in {ActionKind.CHECK_ASSISTANT, ActionKind.FINAL_JUDGE}
    assert result.stop_reason is (
        StopReason.ROLLOUTS_DONE if is_after_the_rollouts else StopReason.BUDGET
    )
    assert (result.best is None) is (kind is ActionKind.PLAN_ROOT)


@pytest.mark.parametrize("cap", range(14))
def test_the_cap_is_never_passed_and_the_best_so_far_is_returned(run, cap):
    """From nothing at all to more than is needed."""
    result = run(SearchKnobs(max_calls=cap))[0].result()
    assert result.calls <= cap
    assert (result.best is None) is (cap == 0)
    assert result.stop_reason is (StopReason.CAP if cap < 11 else StopReason.ROLLOUTS_DONE)


@pytest.mark.parametrize("left", range(13))
def test_it_winds_down_when_the_budget_does(scripted, context, left):
    """It proposes nothing that would be refused, and keeps remaining for the final judge."""
    search, model, spent = ClassicUct(SearchKnobs(), context), scripted(), 0
    while proposals := search.ask(RemainingCalls(max_calls=max(0, left - spent))):
        for each in proposals:
            if each.label is not ActionKind.PLAN_ROOT:  # it draws on its lease
                spent += 1
            search.tell(each.action_id, model.answer(each))
    result = search.result()
    assert spent <= left
    assert result.best is not None
    assert result.stop_reason is (StopReason.BUDGET if left < 10 else StopReason.ROLLOUTS_DONE)
    if len(result.tree) > 1:
        assert result.asked[ActionKind.FINAL_JUDGE] == 1


def test_a_judge_that_ran_out_ends_the_search_too(run):
    """Remaining calls are known by side: variants without a judge call are not worth theirs."""
    remaining = RemainingCalls(max_proposer_calls=100, max_judge_calls=1)
    result = run(SearchKnobs(rejudge_final=False), remaining=lambda: remaining)[0].result()
    assert result.stop_reason is StopReason.ROLLOUTS_DONE
    result = run(SearchKnobs(), remaining=lambda: remaining)[0].result()
    assert (result.calls, result.stop_reason) == (2, StopReason.BUDGET)


def test_a_proposer_with_nothing_new_exhausts_the_search(context):
    """Every leaf closed is the end, long before the rollouts are."""
    search = ClassicUct(SearchKnobs(rollouts=64), context)
    while proposals := search.ask():
        for each in proposals:
            if each.label in {ActionKind.PLAN_ROOT, ActionKind.EXPAND, ActionKind.TOP_UP}:
                search.tell(each.action_id, Drafts(drafts=(Draft(reply="Always this."),) * 3))
            else:
                search.tell(each.action_id, _verdict(each, score=0.5))
    result = search.result()
    assert (result.stop_reason, result.calls) == (StopReason.EXHAUSTED, 4)
    assert result.best is search.tree.top


def test_without_soft_judges_rule_scores_are_backed_up(run):
    """Every candidate has one, and the pick has the best mean of them."""
    result = run(SearchKnobs(soft_top_n=0))[0].result()
    nodes = result.tree.nodes.values()
    assert all(node.visits for node in nodes)
    assert result.tree.top.visits == len(nodes) == 9
    assert result.best.mean_value == max(node.mean_value for node in nodes)


def test_judges_of_a_rollout_travel_together_up_to_the_knob(run):
    """Five judges, two at a time, are three rounds."""
    knobs = SearchKnobs(rollouts=1, expand_k=5, soft_top_n=5, soft_max_concurrency=2)
    _, rounds = run(knobs)
    assert [len(together) for together in rounds] == [1, 1, 1, 2, 2, 1, 1]


def test_assistant_checks_travel_at_most_four_at_once_and_can_change_the_pick(scripted, context):
    """The best reply that no check objects to is answered."""
    knobs = SearchKnobs(assistant_check_top_n=6, soft_top_n=2, early_exit={"enabled": False})
    search, model, checked = ClassicUct(knobs, context), scripted(seed=5), []
    while proposals := search.ask():
        if proposals[0].label is ActionKind.CHECK_ASSISTANT:
            assert len(proposals) <= 4
            checked += [each.node_ids[0] for each in proposals]
        for each in proposals:
            answer = model.answer(each)
            if each.label is ActionKind.CHECK_ASSISTANT:
                sounds = 0.9 if each.node_ids[0] in checked[:2] else 0.1
                answer = _verdict(each, attributes={"assistantness": sounds})
            search.tell(each.action_id, answer)
    assert len(checked) == 6
    assert search.result().best.node_id == checked[2]


def test_checks_that_object_to_all_or_fail_object_to_none(run):
    """The best so far is answered rather than nothing."""
    knobs = SearchKnobs(assistant_check_top_n=3)
    unchecked = run(SearchKnobs(), seed=7)[0].result().best
    failed = run(knobs, seed=7, failing=frozenset({ActionKind.CHECK_ASSISTANT}))[0].result().best
    assert failed.node_id == unchecked.node_id


@given(seed=st.integers(0, 500), order=st.integers(0, 500), repeat=st.booleans())
def test_a_round_told_in_any_order_or_twice_gives_the_same_state(
    *, scripted, drive, context, seed, order, repeat
):
    """The first answer to an action counts, whenever it comes within its round."""
    knobs = SearchKnobs(**WIDE, seed=seed)
    plain, mixed = ClassicUct(knobs, context), ClassicUct(knobs, context)
    drive(plain, scripted(seed=seed))
    drive(mixed, scripted(seed=seed), shuffle=random.Random(order), repeat=repeat)
    assert json.dumps(mixed.state_dict()) == json.dumps(plain.state_dict())


@given(seed=st.integers(0, 500), told=st.integers(0, 40), wide=st.booleans())
def test_a_search_restored_at_any_answer_ends_the_same(
    *, scripted, drive, context, seed, told, wide
):
    """In the middle of a round too; the state goes through JSON text."""
    knobs = SearchKnobs(**(WIDE if wide else {}), seed=seed)
    whole = ClassicUct(knobs, context)
    drive(whole, scripted(seed=seed))
    part = ClassicUct(knobs, context)
    model = scripted(seed=seed)
    for _ in range(told):
        proposals = part.ask()
        if not proposals:
            break
        part.tell(proposals[-1].action_id, model.answer(proposals[-1]))
    rest = resume_search(json.loads(json.dumps(part.state_dict())))
    drive(rest, model)
    assert rest.state_dict() == whole.state_dict()


def test_the_seed_is_all_the_chance_there_is(run):
    """Equal seeds, equal states."""
    states = [run(SearchKnobs(seed=4), seed=2)[0].state_dict() for _ in range(2)]
    assert states[0] == states[1]


def test_asking_again_before_telling_proposes_the_same(context):
    """A round stays open until all of it is told; its proposals are counted once."""
    search = ClassicUct(SearchKnobs(), context)
    assert search.ask() == search.ask()
    assert search.result().calls == 1


def test_an_unknown_proposal_or_the_wrong_sort_of_answer_is_an_error(context):
    """A driver's mistake is not taken for a model's."""
    search = start_search(SearchKnobs(), context)
    (plan,) = search.ask()
    with pytest.raises(ValueError, match="nothing was asked"):
        search.tell("judge_list:7", NoAnswer())
    with pytest.raises(TypeError, match="answered by Drafts"):
        search.tell(plan.action_id, Verdicts({}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 1}, "version 2, got version 1"),
        ({"policy": "listwise"}, "listwise"),
        ({"progress": {"phase": "lunch"}}, "phase"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_state_that_cannot_be_read_is_refused_with_the_reason(context, change, problem):
    """Another version, another policy, a broken field."""
    state = ClassicUct(SearchKnobs(), context).state_dict() | change
    with pytest.raises(StateError, match=problem):
        resume_search(state)
    with pytest.raises(StateError, match=problem):
        ClassicUct.from_state(state)


@pytest.mark.parametrize("score", [0.0, 1.0, 0.5])
def test_a_judge_that_ties_everything_still_gets_a_defined_answer(context, score):
    """The root keeps ties of mean and own score; the search still ends in time."""
    search = ClassicUct(SearchKnobs(), context)
    place = 0
    while proposals := search.ask():
        for each in proposals:
            place += 1
            if hasattr(each, "k"):
                drafts = tuple(
                    Draft(reply=f"reply {place} {i}", strategy_tag=f"{place}-{i}")
                    for i in range(each.k)
                )
                search.tell(each.action_id, Drafts(drafts=drafts))
            else:
                search.tell(each.action_id, _verdict(each, score=score))
    assert search.result().calls == 11
    assert search.result().best is search.tree.top


def test_a_result_before_the_end_is_the_best_so_far(context):
    """And has no stop reason."""
    search = ClassicUct(SearchKnobs(), context)
    assert search.result().best is None
    search.tell(search.ask()[0].action_id, Drafts(drafts=(Draft(reply="Hi."),)))
    assert search.result().best.draft.reply == "Hi."
    assert search.result().stop_reason is None

"""Plans of searches against the searches."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import ActionKind, Side, side_of
from lats.answers import Drafts, NoAnswer, Verdicts
from lats.classic_uct import ClassicUct
from lats.search_knobs import EarlyExitKnobs, SearchKnobs
from lats.search_plan import Scenario, plan_search

KNOBS = st.builds(
    SearchKnobs,
    rollouts=st.integers(0, 4),
    expand_k=st.integers(1, 4),
    soft_top_n=st.integers(0, 4),
    soft_max_concurrency=st.integers(1, 3),
    exploration=st.sampled_from([0.0, 1.0]),
    early_exit=st.builds(EarlyExitKnobs, enabled=st.booleans(), min_rollouts=st.integers(0, 3)),
    prefetch=st.booleans(),
    rejudge_final=st.booleans(),
    assistant_check_top_n=st.integers(0, 6),
    max_top_ups=st.integers(0, 1),
    max_calls=st.none() | st.integers(0, 25),
    seed=st.integers(0, 9),
)

GATES = {
    Scenario.DEFAULT: "never",
    Scenario.EARLY_EXIT: "always",
    Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT: "after_root",
}


def _by_side(plan):
    """Return how many calls the proposer and the judge each answer."""
    counts = dict.fromkeys(Side, 0)
    for kind, count in plan.calls_by_kind().items():
        counts[side_of(kind)] += count
    return counts


@pytest.mark.parametrize(
    ("prefetch", "scenario", "calls", "rounds", "speculative"),
    [
        (False, Scenario.DEFAULT, 11, 11, 0),
        (False, Scenario.EARLY_EXIT, 2, 2, 0),
        (False, Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT, 5, 5, 0),
        (False, Scenario.WORST, 12, 12, 0),
        (True, Scenario.DEFAULT, 11, 10, 1),
        (True, Scenario.EARLY_EXIT, 3, 2, 1),
        (True, Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT, 5, 4, 1),
        (True, Scenario.WORST, 12, 11, 1),
    ],
)
def test_the_default_knobs_cost_the_calls_of_the_specification(
    prefetch, scenario, calls, rounds, speculative
):
    """Eleven calls in eleven rounds, two on an exit at the root, five after a rollout."""
    plan = plan_search(SearchKnobs(prefetch=prefetch), scenario)
    early = [p.count_calls for parts in plan.rounds for p in parts if p.is_speculative]
    assert (plan.calls, len(plan.rounds), sum(early)) == (calls, rounds, speculative)


def test_the_default_knobs_ask_the_proposer_five_times_and_the_judge_six():
    """The search's share of the turn's main 7, judge 6, fast 3."""
    assert _by_side(plan_search(SearchKnobs())) == {Side.PROPOSER: 5, Side.JUDGE: 6}


def test_without_rollouts_there_is_nothing_to_judge_again():
    """The root and its judgement, and no final judge."""
    plan = plan_search(SearchKnobs(rollouts=0))
    assert plan.calls_by_kind() == {ActionKind.PLAN_ROOT: 1, ActionKind.JUDGE: 1}


def test_without_soft_judges_only_the_root_and_the_pick_are_judged():
    """Rule scores are backed up instead."""
    plan = plan_search(SearchKnobs(soft_top_n=0))
    assert _by_side(plan) == {Side.PROPOSER: 5, Side.JUDGE: 2}


def test_the_most_expensive_knobs_are_planned_in_no_time():
    """A plan is arithmetic, whatever the knobs."""
    knobs = SearchKnobs(rollouts=64, expand_k=16, soft_top_n=16, assistant_check_top_n=64)
    assert plan_search(knobs).calls == 1 + 1 + 64 * 17 + 64 + 1


@pytest.mark.parametrize("scenario", list(GATES))
@given(knobs=KNOBS, seed=st.integers(0, 1000))
def test_a_driven_search_asks_exactly_its_plan(*, scripted, drive, context, scenario, knobs, seed):
    """Round by round and kind by kind, in every scenario, for every combination of knobs."""
    model = scripted(seed=seed, gates=GATES[scenario], unlike=True)
    search = ClassicUct(knobs, context)
    rounds = drive(search, model)
    planned = [
        {part.kind: part.count_calls for part in together}
        for together in plan_search(knobs, scenario).rounds
    ]
    driven = [
        {kind: sum(each.label is kind for each in together) for kind in {e.label for e in together}}
        for together in rounds
    ]
    assert driven == planned
    assert search.is_done
    assert search.result().rounds == len(planned)


@given(knobs=KNOBS, seed=st.integers(0, 1000))
def test_alike_strategies_without_a_cap_cost_the_worst_case(scripted, drive, context, knobs, seed):
    """The worst case is reached, not merely a bound, once the checks are left out."""
    knobs = knobs.model_copy(
        update={
            "max_calls": None,
            "assistant_check_top_n": 0,
            "rollouts": max(1, knobs.rollouts),
            "expand_k": max(2, knobs.expand_k),
        }
    )
    search = ClassicUct(knobs, context)
    rounds = drive(search, scripted(seed=seed, alike=True))
    worst = plan_search(knobs, Scenario.WORST)
    assert (search.result().calls, len(rounds)) == (worst.calls, len(worst.rounds))


@given(
    knobs=KNOBS,
    seed=st.integers(0, 1000),
    alike=st.booleans(),
    gates=st.sampled_from(["never", "always", "after_root"]),
    fail_rate=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
def test_nothing_that_happens_costs_more_than_the_worst_case(
    *, scripted, drive, context, knobs, seed, alike, gates, fail_rate
):
    """Failures, copies, missing scores and early exits stay within calls, rounds and cap."""
    worst = plan_search(knobs, Scenario.WORST)
    search = ClassicUct(knobs, context)
    model = _Unreliable(scripted(seed=seed, alike=alike, gates=gates), fail_rate, seed)
    rounds = drive(search, model)
    assert search.is_done
    assert len(rounds) <= len(worst.rounds)
    assert search.result().calls <= worst.calls
    assert knobs.max_calls is None or worst.calls <= knobs.max_calls
    assert search.result().stop_reason is not None


class _Unreliable:
    """A scripted model some of whose answers fail, say nothing, or repeat themselves."""

    def __init__(self, model, fail_rate, seed):
        self._model, self._fail_rate, self._random = model, fail_rate, random.Random(seed)

    def answer(self, action):
        answer = self._model.answer(action)
        if self._random.random() >= self._fail_rate:
            return answer
        fault = self._random.choice(["failure", "empty", "copies"])
        if fault == "failure" or action.label is ActionKind.PLAN_ROOT:
            return NoAnswer(detail="down")
        if side_of(action.label) is Side.JUDGE:
            return Verdicts({})
        return Drafts(drafts=() if fault == "empty" else answer.drafts[:1] * 3)

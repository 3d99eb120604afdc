"""A search's calls as steps of a turn's plan."""

from collections import Counter

import pytest

from callwise.calls.call import Purpose, Role
from callwise.plans.bound import PlannedCall, Step, flatten
from graph.turn_scenarios import costliest_knobs, search_steps, staged_knobs, worst_ways
from lats.actions import ActionKind, Side, side_of
from lats.search_knobs import SearchKnobs
from lats.search_plan import PlannedCalls, SearchPlan, plan_search

KNOBS = SearchKnobs(expand_k=3, generate_k=4, refine_k=2)


def _calls(*rounds: tuple[PlannedCalls, ...]) -> list[PlannedCall]:
    return [task.call for task in flatten(search_steps(SearchPlan(rounds), KNOBS)).tasks]


@pytest.mark.parametrize("kind", ActionKind)
def test_every_kind_has_a_role_on_its_side(kind: ActionKind) -> None:
    """What the proposer answers goes to `main`, what the judge answers to `judge`."""
    (call,) = _calls((PlannedCalls(kind, 1),))
    expected = Role.MAIN if side_of(kind) is Side.PROPOSER else Role.JUDGE
    assert (call.node, call.role) == ("lats_search", expected)
    assert call.input_tokens > 0


def test_the_first_generation_is_the_plan() -> None:
    """It is the call that the reply must have; others of its round and after it are not."""
    two = (PlannedCalls(ActionKind.GENERATE, 2),)
    calls = _calls(two, (PlannedCalls(ActionKind.JUDGE_LIST, 1),), two)
    purposes = [call.purpose for call in calls]
    assert purposes == [
        Purpose.PLAN,
        Purpose.EXPAND,
        Purpose.JUDGE,
        Purpose.EXPAND,
        Purpose.EXPAND,
    ]


def test_answers_grow_with_their_candidates() -> None:
    """Each kind that writes candidates writes as many as its knob says."""
    sizes = {
        kind: _calls((PlannedCalls(ActionKind.JUDGE, 1),), (PlannedCalls(kind, 1),))[
            1
        ].output_tokens
        for kind in (ActionKind.EXPAND, ActionKind.GENERATE, ActionKind.REFINE)
    }
    assert sizes[ActionKind.REFINE] < sizes[ActionKind.EXPAND] < sizes[ActionKind.GENERATE]


@pytest.mark.parametrize("policy", ["classic_uct", "listwise", "auto"])
def test_no_call_of_the_search_is_lost(policy: str) -> None:
    """As many calls, by side, as the search itself plans."""
    knobs = SearchKnobs(policy=policy, max_calls=7)
    plan = plan_search(knobs)
    calls = [task.call for task in flatten(search_steps(plan, knobs)).tasks]
    by_role = Counter(call.role for call in calls)
    kinds = plan.calls_by_kind().items()
    judged = sum(count for kind, count in kinds if side_of(kind) is Side.JUDGE)
    assert (by_role[Role.MAIN], by_role[Role.JUDGE]) == (plan.calls - judged, judged)


def test_the_costliest_stage_costs_no_less_than_the_others() -> None:
    """Knobs that are not set may be raised by a stage."""
    knobs = SearchKnobs(rollouts=1)
    assert costliest_knobs(knobs, {}) == knobs
    staged = staged_knobs(SearchKnobs.model_construct(_fields_set=set(), **dict(knobs)))
    assert costliest_knobs(knobs, staged).rollouts == 4
    assert staged_knobs(SearchKnobs(stage_presets="off")) == {}


def _most(ways: tuple[Step, ...], field: str) -> dict[str, int]:
    counts = [Counter(str(getattr(t.call, field)) for t in flatten(way).tasks) for way in ways]
    return {name: max(each[name] for each in counts) for each in counts for name in each}


def test_a_capped_search_may_spend_its_cap_on_one_role() -> None:
    """Six candidates calls, or one and five judgements; the first twice where it is repaired."""
    ways = worst_ways(SearchKnobs(policy="listwise", max_calls=6), {}, max_repairs=1)
    assert {len(flatten(way).tasks) for way in ways} == {2, 6}
    assert _most(ways, "role") == {"main": 6, "judge": 5}
    assert _most(ways, "purpose") == {"plan": 2, "expand": 5, "judge": 5}


def test_a_capped_classic_search_may_skip_what_comes_before() -> None:
    """Under its cap each purpose asks as often as it would without, if the cap lets it."""
    knobs = SearchKnobs(max_calls=7, assistant_check_top_n=2)
    ways = worst_ways(knobs, {}, max_repairs=1)
    assert all(len(flatten(way).tasks) <= 7 for way in ways)
    assert _most(ways, "purpose") == {"plan": 1, "expand": 5, "judge": 6, "check": 2}
    assert _most(ways, "role") == {"main": 6, "judge": 7}


@pytest.mark.parametrize("cap", [0, 1])
def test_a_search_that_may_ask_hardly_anything_plans_no_more(cap: int) -> None:
    """No way passes the cap."""
    ways = worst_ways(SearchKnobs(policy="auto", max_calls=cap), {}, max_repairs=2)
    assert max(len(flatten(way).tasks) for way in ways) == cap

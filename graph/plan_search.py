"""The calls of a turn's search as steps of its plan. Their rounds are `lats.plan`'s.

Under a cap a failure moves calls from one kind to another: a judge that is not asked leaves
room for a candidate, a repair takes the place of a later call. So the worst case of a capped
search is several ways of spending the cap (`worst_ways`), of which each bounds something.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from graph.plan_tokens import ESTIMATED_TOKENS, LIST_TOKENS, Tokens, planned_call
from lats.actions import ActionKind
from lats.search_knobs import SearchKnobs, with_stage
from lats.search_plan import PlannedCalls, Scenario, SearchPlan, plan_search
from lats.search_state import DEFAULT_CAP
from turnwise.calls.call import Purpose, Role
from turnwise.plan.steps import Parallel, PlannedCall, Serial, Step

__all__ = ["costliest_knobs", "search_steps", "staged_knobs", "worst_ways"]

_NODE = "lats_search"

_CALLS: Mapping[ActionKind, tuple[Role, Purpose]] = MappingProxyType(
    {
        ActionKind.PLAN_ROOT: (Role.MAIN, Purpose.PLAN),
        ActionKind.EXPAND: (Role.MAIN, Purpose.EXPAND),
        ActionKind.TOP_UP: (Role.MAIN, Purpose.EXPAND),
        ActionKind.JUDGE: (Role.JUDGE, Purpose.JUDGE),
        ActionKind.FINAL_JUDGE: (Role.JUDGE, Purpose.JUDGE),
        ActionKind.CHECK_ASSISTANT: (Role.JUDGE, Purpose.CHECK),
        ActionKind.GENERATE: (Role.MAIN, Purpose.EXPAND),
        ActionKind.REFINE: (Role.MAIN, Purpose.EXPAND),
        ActionKind.JUDGE_LIST: (Role.JUDGE, Purpose.JUDGE),
    }
)
"""Who answers each kind, and what for. The first generation is a plan: see `_calls`."""

_WITHIN_CAP = frozenset({ActionKind.GENERATE, ActionKind.REFINE, ActionKind.JUDGE_LIST})
"""Kinds whose repairs come out of the search's own cap."""

_FIRST_GENERATION = Tokens(
    ESTIMATED_TOKENS[Purpose.PLAN].input, ESTIMATED_TOKENS[Purpose.EXPAND].output
)
"""The prompt of a plan, and an answer of candidates."""

_STAGES = ("initiating", "intensifying", "differentiating")
"""One stage for each preset that a stage of the relationship can set."""


def _candidates(kind: ActionKind, knobs: SearchKnobs) -> int:
    """Return how many candidates a call of a kind writes."""
    if kind in {ActionKind.EXPAND, ActionKind.TOP_UP}:
        return knobs.expand_k
    if kind is ActionKind.GENERATE:
        return knobs.generate_k
    return knobs.refine_k if kind is ActionKind.REFINE else 0


def _calls(planned: PlannedCalls, knobs: SearchKnobs, *, is_first: bool) -> list[PlannedCall]:
    role, purpose = _CALLS[planned.kind]
    call = planned_call(
        _NODE,
        role,
        purpose,
        tokens=LIST_TOKENS if planned.kind is ActionKind.JUDGE_LIST else None,
        speculative=planned.is_speculative,
        candidates=_candidates(planned.kind, knobs),
        is_repairable=planned.kind not in _WITHIN_CAP,
    )
    calls = [call] * planned.count_calls
    if is_first and planned.kind is ActionKind.GENERATE:
        # The call that the reply must have; those beside it could be done without.
        calls[0] = planned_call(
            _NODE,
            role,
            Purpose.PLAN,
            tokens=_FIRST_GENERATION,
            candidates=knobs.generate_k,
            is_repairable=False,
        )
    return calls


def search_steps(plan: SearchPlan, knobs: SearchKnobs) -> Step:
    """Return a search's calls, round by round."""
    return Serial(
        tuple(
            Parallel(
                tuple(
                    call for part in together for call in _calls(part, knobs, is_first=place == 0)
                )
            )
            for place, together in enumerate(plan.rounds)
        )
    )


def worst_ways(
    knobs: SearchKnobs, staged: Mapping[str, SearchKnobs], *, max_repairs: int
) -> tuple[Step, ...]:
    """Return ways in which a search may spend most, the one of most calls and rounds first.

    Whatever a model answers, each node, role and purpose asks at most as much as in one of
    them.

    Args:
        knobs: of the search.
        staged: the same as each stage sets them; see `staged_knobs`.
        max_repairs: times that a wrong answer is asked again. Those of kinds within the cap
            are in the result; `with_repairs` adds the others.
    """
    costliest = costliest_knobs(knobs, staged)
    ways = [search_steps(plan_search(costliest, Scenario.WORST), costliest)]
    for each in (knobs, *staged.values()):
        ways += (
            _uncapped_kinds(each) if each.policy == "classic_uct" else _within(each, max_repairs)
        )
    return tuple(ways)


def _uncapped_kinds(knobs: SearchKnobs) -> list[Step]:
    """Return a classic search's calls of one purpose or role at a time, as far as its cap goes."""
    free = knobs.model_copy(update={"max_calls": None})
    rounds = plan_search(free, Scenario.WORST).rounds
    calls = [
        call
        for place, together in enumerate(rounds)
        for part in together
        for call in _calls(part, knobs, is_first=place == 0)
    ]
    ways = [[call for call in calls if call.purpose is purpose] for purpose in Purpose]
    ways += [[call for call in calls if call.role is role] for role in Role]
    return [Serial(tuple(way[: knobs.max_calls])) for way in ways if way]


def _within(knobs: SearchKnobs, max_repairs: int) -> list[Step]:
    """Return ways in which a capped search spends its cap: on its first call, on one kind."""
    cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    first = PlannedCalls(ActionKind.GENERATE, 1)
    plan = _calls(first, knobs, is_first=True)
    ways: list[list[PlannedCall]] = [plan * (1 + max_repairs)]
    ways += [
        plan + _calls(PlannedCalls(kind, cap), knobs, is_first=False)
        for kind in (ActionKind.GENERATE, ActionKind.REFINE, ActionKind.JUDGE_LIST)
    ]
    return [Serial(tuple(way[:cap])) for way in ways]


def staged_knobs(knobs: SearchKnobs, explicit: Collection[str] | None) -> dict[str, SearchKnobs]:
    """Return the knobs as each stage sets them; none when stages have no say.

    Args:
        knobs: of the search.
        explicit: names that a stage must leave alone; see `lats.stage.with_stage`.
    """
    if knobs.stage_presets == "off":
        return {}
    return {stage: with_stage(knobs, stage, explicit=explicit) for stage in _STAGES}


def costliest_knobs(knobs: SearchKnobs, staged: Mapping[str, SearchKnobs]) -> SearchKnobs:
    """Return the knobs, among those that a stage may set, whose search can cost most."""

    def cost(candidate: SearchKnobs) -> tuple[int, int]:
        plan = plan_search(candidate, Scenario.WORST)
        return plan.calls, len(plan.rounds)

    return max((knobs, *staged.values()), key=cost)

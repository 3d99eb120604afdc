"""What one turn of the reply pipeline will ask, from its knobs alone.

The order of nodes is `graph.order`'s and the search's rounds are `lats.plan`'s, so the
plan waits where the pipeline waits. Rule nodes ask nothing and have no calls here.

Where calls are fused, every scenario has the fused ones, and `worst` has beside them the
separate calls that follow when they fail. Where a turn may be wound down, the scenarios
are of a turn that finds the whole budget, and `worst` bounds every form of it.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from graph.order import predecessors
from graph.plan_search import search_steps, staged_knobs, worst_ways
from graph.plan_tokens import FUSED_TOKENS, limited_call, planned_call
from graph.settings import Settings
from graph.wind_down import Fusing, fusing_for, is_limited, room_at_start
from lats.search_plan import Scenario, plan_search
from turnwise.calls.call import Purpose, Role
from turnwise.calls.client import Prices
from turnwise.calls.endpoint_settings import EndpointSettings
from turnwise.plan.repairs import with_repairs
from turnwise.plan.steps import Network, PlannedCall, Serial, Step, with_calls
from turnwise.plan.turn_plan import ScenarioPlan, TurnPlan

__all__ = ["REPLY_NODE", "plan_turn"]

REPLY_NODE = "final_validator"
"""The node after which the reply is out."""

_NODE_CALLS: Mapping[str, tuple[Role, Purpose]] = MappingProxyType(
    {
        "detection": (Role.FAST, Purpose.DETECT),
        "inner_monologue": (Role.MAIN, Purpose.MONOLOGUE),
        "reasoner": (Role.MAIN, Purpose.REASON),
        "evolver": (Role.FAST, Purpose.EVOLVE),
        "memory_manager": (Role.FAST, Purpose.REMEMBER),
    }
)
"""The nodes that ask exactly one call, where they ask for themselves."""

_FUSED_NODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "detection": ("detection", "inner_monologue", "reasoner"),
        "evolver": ("evolver", "memory_manager"),
    }
)
"""The nodes that a fused call speaks for, by the node that asks it."""

_MEANINGS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.DEFAULT: "no early exit, no failure",
        Scenario.EARLY_EXIT: "the search ends as soon as its gates may open, at the root if they "
        "may open there",
        Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT: "the search ends after its first rollout",
        Scenario.WORST: "a bound on calls, of each node, role and purpose by itself: no early "
        "exit, a top-up, every answer repaired as often as it may be, fused calls followed by the "
        "separate ones, bubbles asked for",
    }
)


def _asks_processor(settings: Settings, scenario: Scenario) -> bool:
    if settings.processor.llm == "auto":
        return scenario is Scenario.WORST
    return settings.processor.llm == "always"


def _fused_call(node: str, role: Role, prompt: str) -> PlannedCall:
    return planned_call(node, role, Purpose.FUSE, tokens=FUSED_TOKENS[prompt])


def _node_parts(fusing: Fusing, *, falls_back: bool) -> dict[str, Step]:
    """Return what the nodes ask that ask one call, or share a fused one.

    Args:
        fusing: which of them ask together.
        falls_back: whether fused calls fail, and the separate ones follow.
    """
    fused: dict[str, PlannedCall] = {}
    if fusing.thinking:
        prompt = "fused_reply" if fusing.reply else "fused_thinking"
        fused["detection"] = _fused_call("detection", Role.MAIN, prompt)
    if fusing.bookkeeping:
        fused["evolver"] = _fused_call("evolver", Role.FAST, "fused_bookkeeping")
    spoken_for = {name for asking in fused for name in _FUSED_NODES[asking]}
    parts: dict[str, Step] = {}
    for node, (role, purpose) in _NODE_CALLS.items():
        apart = node not in spoken_for or falls_back
        calls = (fused.get(node), planned_call(node, role, purpose) if apart else None)
        parts[node] = Serial(tuple(call for call in calls if call is not None))
    return parts


def _fusing(settings: Settings, scenario: Scenario) -> Fusing:
    """Return which nodes ask together; in the worst case, all that may ever have to."""
    if scenario is Scenario.WORST and is_limited(settings):
        return Fusing(thinking=True, bookkeeping=True, reply=True)
    return fusing_for(settings, room_at_start(settings))


def _turn_steps(settings: Settings, search: Step, scenario: Scenario) -> Step:
    is_worst = scenario is Scenario.WORST
    fusing = _fusing(settings, scenario)
    parts: dict[str, Step] = {
        name: Serial() for name in predecessors(overlap=settings.overlap, fuse=settings.fuse)
    }
    parts |= _node_parts(fusing, falls_back=is_worst)
    if not fusing.reply or is_worst:
        parts["lats_search"] = search
    if _asks_processor(settings, scenario):
        parts["processor"] = planned_call("processor", Role.MAIN, Purpose.HUMANIZE)
    if settings.memory.dense:
        if settings.memory.retrieve_k:
            parts["memory_retriever"] = planned_call("memory_retriever", Role.EMBED, Purpose.EMBED)
        parts["memory_writer"] = planned_call("memory_writer", Role.EMBED, Purpose.EMBED)
    network = Network(parts, predecessors(overlap=settings.overlap, fuse=settings.fuse))
    steps = with_calls(network, lambda call: limited_call(call, settings.sampling))
    return with_repairs(steps, settings.repair.max_repairs if is_worst else 0)


def _prices(endpoints: Mapping[Role, EndpointSettings]) -> dict[Role, Prices]:
    """Return the price lists that stand in the settings, by role.

    A role without settings may be served by another model than `main`, named in the
    environment, so `main`'s prices are not taken for its own.
    """
    return {
        role: endpoint.prices.prices()
        for role, endpoint in endpoints.items()
        if endpoint.prices is not None
    }


def plan_turn(settings: Settings, *, explicit: Collection[str] | None = None) -> TurnPlan:
    """Return what one turn will ask.

    Scenarios: the four of the search, and how the default differs where the stage of
    the relationship sets the search's knobs. `worst` bounds them all.

    Args:
        settings: the knobs.
        explicit: names of the search's knobs that a stage must leave alone; see
            `lats.stage.with_stage`.
    """
    knobs = settings.search
    staged = staged_knobs(knobs, explicit)
    scenarios = []
    for scenario in Scenario:
        searches: tuple[Step, ...] = (search_steps(plan_search(knobs, scenario), knobs),)
        if scenario is Scenario.WORST:
            searches = worst_ways(knobs, staged, max_repairs=settings.repair.max_repairs)
        steps, *others = (_turn_steps(settings, search, scenario) for search in searches)
        scenarios.append(
            ScenarioPlan(scenario.value, _MEANINGS[scenario], steps, other_ways=tuple(others))
        )
    policies = [settings.retry, *(each.retry for each in settings.endpoints.values() if each.retry)]
    default = plan_search(knobs)
    has_search = not _fusing(settings, Scenario.DEFAULT).reply
    for stage, chosen in staged.items():
        if has_search and plan_search(chosen) != default:
            search = search_steps(plan_search(chosen), chosen)
            steps = _turn_steps(settings, search, Scenario.DEFAULT)
            meaning = f"no early exit, no failure, and the relationship is {stage}"
            scenarios.append(ScenarioPlan(f"default_{stage}", meaning, steps))
    return TurnPlan(
        preset=settings.preset,
        scenarios=tuple(scenarios),
        reply_part=REPLY_NODE,
        prices=_prices(settings.endpoints),
        max_attempts=max(policy.most_attempts for policy in policies),
        max_calls=settings.budget.turn.max_calls,
    )

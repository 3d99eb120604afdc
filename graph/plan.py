"""What one turn of the reply pipeline will ask, from its knobs alone.

The order of nodes is `graph.order`'s and the search's rounds are `lats.plan`'s, so the
plan waits where the pipeline waits. Rule nodes ask nothing and have no calls here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from graph.order import NODES, predecessors
from graph.settings import Settings
from lats.knobs import SearchKnobs
from lats.plan import PlannedCalls, Scenario, SearchPlan, plan_search
from lats.proposal import Kind
from lats.stage import with_stage
from turnwise.budget.retry import RetryPolicy
from turnwise.calls.client import Prices
from turnwise.calls.endpoint_settings import EndpointSettings
from turnwise.calls.vocabulary import Purpose, Role
from turnwise.plan.repairs import with_repairs
from turnwise.plan.steps import Network, Parallel, PlannedCall, Serial, Step
from turnwise.plan.turn_plan import ScenarioPlan, TurnPlan

__all__ = ["ESTIMATED_TOKENS", "REPLY_NODE", "plan_turn"]

REPLY_NODE = "final_validator"
"""The node after which the reply is out."""


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Estimated tokens of one call: its prompt's and its answer's."""

    input: int
    output: int


ESTIMATED_TOKENS: Mapping[Purpose, _Tokens] = MappingProxyType(
    {
        Purpose.DETECT: _Tokens(1400, 100),
        Purpose.MONOLOGUE: _Tokens(1050, 120),
        Purpose.REASON: _Tokens(1200, 150),
        Purpose.PLAN: _Tokens(1800, 300),
        Purpose.EXPAND: _Tokens(1900, 60),
        Purpose.JUDGE: _Tokens(1300, 120),
        Purpose.CHECK: _Tokens(800, 60),
        Purpose.HUMANIZE: _Tokens(900, 150),
        Purpose.EVOLVE: _Tokens(1200, 80),
        Purpose.REMEMBER: _Tokens(1150, 200),
        Purpose.EMBED: _Tokens(80, 0),
    }
)
"""Tokens of one call by its purpose. Prompts: rounded means of runs over recorded and
shipped conversations with the prompts as they are. Answers, and the prompts of the two
purposes that `classic` seldom asks (check, humanize): guesses at a real model's length.
`turnwise report --table plan` shows them against the actual."""

CANDIDATE_TOKENS = 150
"""Estimated answer tokens of each candidate of an expansion, on top of the table's."""

_NODE_CALLS: Mapping[str, tuple[Role, Purpose]] = MappingProxyType(
    {
        "detection": (Role.FAST, Purpose.DETECT),
        "inner_monologue": (Role.MAIN, Purpose.MONOLOGUE),
        "reasoner": (Role.MAIN, Purpose.REASON),
        "evolver": (Role.FAST, Purpose.EVOLVE),
        "memory_manager": (Role.FAST, Purpose.REMEMBER),
    }
)
"""The nodes that always ask exactly one call."""

_SEARCH_CALLS: Mapping[Kind, tuple[Role, Purpose]] = MappingProxyType(
    {
        Kind.PLAN_ROOT: (Role.MAIN, Purpose.PLAN),
        Kind.EXPAND: (Role.MAIN, Purpose.EXPAND),
        Kind.TOP_UP: (Role.MAIN, Purpose.EXPAND),
        Kind.JUDGE: (Role.JUDGE, Purpose.JUDGE),
        Kind.FINAL_JUDGE: (Role.JUDGE, Purpose.JUDGE),
        Kind.CHECK_ASSISTANT: (Role.JUDGE, Purpose.CHECK),
    }
)

_MEANINGS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.DEFAULT: "no early exit, no failure",
        Scenario.EARLY_EXIT: "the search ends as soon as its gates may open, at the root if they "
        "may open there",
        Scenario.EARLY_EXIT_AFTER_FIRST_ROLLOUT: "the search ends after its first rollout",
        Scenario.WORST: "a bound: no early exit, a top-up, every answer repaired as often as it "
        "may be, bubbles asked for",
    }
)

_STAGES = ("initiating", "intensifying", "differentiating")
"""One stage for each preset that a stage of the relationship can set."""


def _call(
    node: str, role: Role, purpose: Purpose, *, speculative: bool = False, candidates: int = 0
) -> PlannedCall:
    tokens = ESTIMATED_TOKENS[purpose]
    return PlannedCall(
        node=node,
        role=role,
        purpose=purpose,
        input_tokens=tokens.input,
        output_tokens=tokens.output + candidates * CANDIDATE_TOKENS,
        speculative=speculative,
        is_structured=role is not Role.EMBED,
    )


def _search_calls(planned: PlannedCalls, knobs: SearchKnobs) -> tuple[PlannedCall, ...]:
    role, purpose = _SEARCH_CALLS[planned.kind]
    candidates = knobs.expand_k if purpose is Purpose.EXPAND else 0
    call = _call(
        "lats_search",
        role,
        purpose,
        speculative=planned.is_speculative,
        candidates=candidates,
    )
    return (call,) * planned.count_calls


def _search_steps(plan: SearchPlan, knobs: SearchKnobs) -> Step:
    return Serial(
        tuple(
            Parallel(tuple(call for part in together for call in _search_calls(part, knobs)))
            for together in plan.rounds
        )
    )


def _asks_processor(settings: Settings, scenario: Scenario) -> bool:
    if settings.processor.llm == "auto":
        return scenario is Scenario.WORST
    return settings.processor.llm == "always"


def _turn_steps(settings: Settings, knobs: SearchKnobs, scenario: Scenario) -> Step:
    parts: dict[str, Step] = {name: Serial() for name in NODES}
    for node, (role, purpose) in _NODE_CALLS.items():
        parts[node] = _call(node, role, purpose)
    parts["lats_search"] = _search_steps(plan_search(knobs, scenario), knobs)
    if _asks_processor(settings, scenario):
        parts["processor"] = _call("processor", Role.MAIN, Purpose.HUMANIZE)
    if settings.memory.dense:
        if settings.memory.retrieve_k:
            parts["memory_retriever"] = _call("memory_retriever", Role.EMBED, Purpose.EMBED)
        parts["memory_writer"] = _call("memory_writer", Role.EMBED, Purpose.EMBED)
    steps = Network(parts, predecessors(overlap=settings.overlap))
    return with_repairs(steps, settings.repair.max_repairs if scenario is Scenario.WORST else 0)


def _staged(knobs: SearchKnobs, explicit: Collection[str] | None) -> dict[str, SearchKnobs]:
    """Return the knobs as each stage sets them; none when stages have no say."""
    if knobs.stage_presets == "off":
        return {}
    return {stage: with_stage(knobs, stage, explicit=explicit) for stage in _STAGES}


def _worst_knobs(knobs: SearchKnobs, staged: Mapping[str, SearchKnobs]) -> SearchKnobs:
    """Return the knobs, among those that a stage may set, whose search can cost most."""

    def cost(candidate: SearchKnobs) -> tuple[int, int]:
        plan = plan_search(candidate, Scenario.WORST)
        return plan.calls, len(plan.rounds)

    return max((knobs, *staged.values()), key=cost)


def _max_attempts(policy: RetryPolicy) -> int:
    """Return the most attempts that one call can have, whatever goes wrong."""
    return max(
        policy.rate_limited_attempts,
        policy.server_failed_attempts,
        policy.connection_failed_attempts,
        policy.timeout_attempts,
        policy.stream_cut_attempts,
        policy.empty_answer_attempts,
    )


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
    staged = _staged(knobs, explicit)
    scenarios = []
    for scenario in Scenario:
        chosen = _worst_knobs(knobs, staged) if scenario is Scenario.WORST else knobs
        steps = _turn_steps(settings, chosen, scenario)
        scenarios.append(ScenarioPlan(scenario.value, _MEANINGS[scenario], steps))
    default = plan_search(knobs)
    for stage, chosen in staged.items():
        if plan_search(chosen) != default:
            steps = _turn_steps(settings, chosen, Scenario.DEFAULT)
            meaning = f"no early exit, no failure, and the relationship is {stage}"
            scenarios.append(ScenarioPlan(f"default_{stage}", meaning, steps))
    return TurnPlan(
        preset=settings.preset,
        scenarios=tuple(scenarios),
        reply_part=REPLY_NODE,
        prices=_prices(settings.endpoints),
        max_attempts=_max_attempts(settings.retry),
        max_calls=settings.budget.turn.max_calls,
    )

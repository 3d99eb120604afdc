"""Scenarios of one turn: the pipeline run on answers by form, and the search's plan.

The plain loop runs every node but the search against a client that answers by form, and once
more against one whose answers cannot be read, for the worst case; the calls are read from the
ledger. The calls of the search are those of `lats.plan`, which runs the search alone, and its
worst case is a written bound.

Where calls are fused, every scenario has the fused ones, and `worst` also has the separate calls
that follow when they fail. Where a turn may be wound down, the scenarios are of a turn that finds
the whole budget, and `worst` is a bound on every form of it.

Under a cap a failure shifts calls of the search from one kind to another: a judge that is not
asked leaves a call for a candidate, a repair takes a later call's place. So the worst case of a
capped search is several ways of spending the cap (`worst_ways`), each a bound on something.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from callwise.budget.ledger_row import LedgerRow
from callwise.calls import Call, Endpoint
from callwise.calls.call import Purpose, Role
from callwise.calls.policies import DEFAULT_POLICY
from callwise.calls.role_endpoints import settings_by_role
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.snapshot_memory import SnapshotBackend
from callwise.plans.bound import InSequence, Network, PlannedCall, Step, with_calls, with_repairs
from callwise.plans.dry_run import FormClient, steps_by_node
from callwise.plans.makespan import Assumptions
from callwise.plans.policy_bound import NO_PACKS, PackSizes, packed_calls, with_packs, with_policies
from callwise.plans.turn_plan import ScenarioPlan, TurnPlan
from graph.drivers import predecessors, run_step
from graph.engine import TurnContext, make_engine
from graph.fusing import Fusion, calls_at_start, fusing_for, is_limited
from graph.knob_groups import FuseKnobs, SamplingKnobs, sampling_of
from graph.own_nodes import OwnNode, steps_of
from graph.settings import BudgetKnobs, PipelineSettings
from graph.state import TurnState
from graph.steps import QUESTIONS
from lats.actions import ActionKind, Side, side_of
from lats.search_knobs import SearchKnobs, with_stage
from lats.search_plan import PlannedCalls, Scenario, SearchPlan, plan_search
from lats.search_state import DEFAULT_CAP
from nodes.question import CANDIDATE_TOKENS, Tokens
from nodes.records import Bubble

__all__ = [
    "LIST_TOKENS",
    "REPLY_NODE",
    "SEARCH_TOKENS",
    "costliest_knobs",
    "plan_turn",
    "search_steps",
    "staged_knobs",
    "worst_ways",
]

REPLY_NODE = "final_validator"
"""The node after which the reply is out."""

SEARCH_TOKENS: Mapping[Purpose, Tokens] = MappingProxyType(
    {
        Purpose.PLAN: Tokens(1250, 300),
        Purpose.EXPAND: Tokens(1400, 60),
        Purpose.JUDGE: Tokens(1000, 120),
        Purpose.CHECK: Tokens(600, 60),
    }
)
"""Expected tokens of the search's calls, as those of `nodes.question.Question.tokens`. Each
candidate that a call writes adds `CANDIDATE_TOKENS`."""

LIST_TOKENS = Tokens(1300, 420)
"""The same for a call that judges a list, some seven candidates long."""

_EMBEDDING_TOKENS = Tokens(80, 0)

_TOKENS = {question.answer: question.tokens for question in QUESTIONS}

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


def _tokens_of(own: Mapping[type[BaseModel], Tokens], call: Call) -> tuple[int, int]:
    """Return a call's expected tokens; its answer is no longer than its `max_tokens`.

    Args:
        own: the tokens of own nodes' questions, by their answers.
    """
    if call.response_model is None:
        return _EMBEDDING_TOKENS
    tokens = own.get(call.response_model) or _TOKENS[call.response_model]
    return tokens.input, min(tokens.output, call.sampling.max_tokens or tokens.output)


@dataclass(frozen=True, slots=True)
class _DryRun:
    """Calls of a turn that runs on answers by form."""

    steps: Mapping[str, Step]
    searched: bool


async def _dry_run(
    settings: PipelineSettings, nodes: tuple[OwnNode, ...], *, is_readable: bool
) -> _DryRun:
    """Return the calls of a turn without limits, run by a plain loop.

    Args:
        settings: the knobs; their `fuse` decides which nodes ask together.
        is_readable: whether answers have the form asked for. Where they have not, the search
            leaves no bubbles either.
    """
    planned = [Bubble(text="text", delay_seconds=1.0)] if is_readable else []

    async def found(_state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
        """Return a search's result; its calls are planned apart."""
        return {"draft": "text", "planned_bubbles": planned}

    own = {each.question.answer: each.question.tokens for each in nodes if each.question}
    client = FormClient(partial(_tokens_of, own), is_readable=is_readable)
    endpoint = Endpoint(name="plan", model="plan", client=client)
    endpoints = dict.fromkeys((*Role, *settings.models), endpoint)
    rows: list[LedgerRow] = []
    memory = ConversationMemory(SnapshotBackend())
    engine = make_engine(
        settings, endpoints, memory, sinks=(rows.append,), is_offline=True, nodes=nodes
    )
    context = TurnContext(engine)
    state = TurnState(requested_turn=0, user_text="text")
    engine.open_turn(state.identity, 0)
    searched = False
    steps = steps_of(nodes)
    waits = predecessors(overlap=settings.overlap, fuse=settings.fuse, nodes=nodes)
    for name, waits_for in waits.items():
        step, seen = steps[name], state
        if name == _NODE and _NODE not in state.answered:
            searched, step = True, found
        if name == "memory_retriever":  # a memory that reaches further back than what is shown
            seen = state.model_copy(update={"version": state.shown_turns + 1})
        state = state.model_copy(update=await run_step(name, step, waits_for, seen, context))
    engine.close()
    await engine.budgeter.aclose()
    return _DryRun(steps_by_node(rows), searched)


def _run(
    settings: PipelineSettings,
    fusing: Fusion,
    nodes: tuple[OwnNode, ...],
    *,
    is_readable: bool,
) -> _DryRun:
    """Return a turn's calls under some fusing; also where a loop is running already."""
    fuse = settings.fuse.model_dump() | fusing.model_dump(exclude={"wound_down"})
    free = settings.model_copy(
        update={"budget": BudgetKnobs(), "fuse": FuseKnobs(**fuse), "policies": {}}
    )
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _dry_run(free, nodes, is_readable=is_readable)).result()


def _limited(call: PlannedCall, sampling: Mapping[str, SamplingKnobs]) -> PlannedCall:
    """Return a planned call whose answer is no longer than the knobs of its purpose allow."""
    limit = sampling_of(call.purpose, sampling).get("max_tokens")
    if limit is None or limit >= call.output_tokens:
        return call
    return replace(call, output_tokens=limit)


def _turn_steps(
    settings: PipelineSettings,
    dry_run: _DryRun,
    search: Step,
    *,
    max_repairs: int = 0,
    nodes: tuple[OwnNode, ...] = (),
) -> Step:
    """Return a turn's steps: those that were run, and a search in its place."""
    waits = predecessors(overlap=settings.overlap, fuse=settings.fuse, nodes=nodes)
    parts = {name: dry_run.steps.get(name, InSequence()) for name in waits}
    if dry_run.searched:
        limited = with_calls(search, lambda call: _limited(call, settings.sampling))
        parts[_NODE] = with_repairs(limited, max_repairs)
    # A policy's calls are planned apart: they follow from answers, which a plan has not.
    return Network(
        {name: with_policies(each, settings.policies) for name, each in parts.items()}, waits
    )


def plan_turn(settings: PipelineSettings, nodes: tuple[OwnNode, ...] = ()) -> TurnPlan:
    """Return the calls of one turn, by scenario.

    Scenarios: the four of the search, and the default's differences where the stage of
    the relationship sets the search's knobs. `worst` is a bound on them all.

    Args:
        nodes: those that a program has added.
    """
    knobs = settings.search
    staged = staged_knobs(knobs)
    # No other search asks calls that differ in their last message alone.
    packs = settings.pack.items() if knobs.policy == "classic_uct" else ()
    sizes = {purpose: each.size if each.is_on else 1 for purpose, each in packs}
    fusing = fusing_for(settings, calls_at_start(settings))
    answered = _run(settings, fusing, nodes, is_readable=True)
    scenarios = []
    for scenario in Scenario:
        steps: Sequence[Step]
        if scenario is Scenario.WORST:
            if is_limited(settings):
                fusing = Fusion(thinking=True, bookkeeping=True, reply=True)
            unread = _run(settings, fusing, nodes, is_readable=False)
            repairs = settings.repair.max_repairs
            ways = worst_ways(knobs, staged, sizes, max_repairs=repairs)
            steps = [
                _turn_steps(settings, unread, way, max_repairs=repairs, nodes=nodes) for way in ways
            ]
        else:
            search = search_steps(plan_search(knobs, scenario), knobs, sizes)
            steps = [_turn_steps(settings, answered, search, nodes=nodes)]
        meaning = _MEANINGS[scenario]
        scenarios.append(
            ScenarioPlan(scenario.value, meaning, steps[0], other_ways=tuple(steps[1:]))
        )
    endpoints = {
        **{str(role): each for role, each in settings.endpoints.items()},
        **settings.models,
    }
    policies = [settings.retry, *(each.retry for each in endpoints.values() if each.retry)]
    # Each alternative is asked once in place of a wait.
    alternatives = max((len(each.alternatives) for each in endpoints.values()), default=0)
    loads = [settings.load, *(each.load for each in endpoints.values() if each.load)]
    is_hedging = any(each.route is not None and each.route.is_hedging for each in loads)
    most_attempts = max(policy.most_attempts for policy in policies) + alternatives
    default = plan_search(knobs)
    for stage, chosen in staged.items():
        if answered.searched and plan_search(chosen) != default:
            search = search_steps(plan_search(chosen), chosen, sizes)
            meaning = f"no early exit, no failure, and the relationship is {stage}"
            own = _turn_steps(settings, answered, search, nodes=nodes)
            scenarios.append(ScenarioPlan(f"default_{stage}", meaning, own))
    return TurnPlan(
        preset=settings.preset,
        scenarios=tuple(scenarios),
        reply_part=REPLY_NODE,
        # A role without settings may be served by another model than `main`, named in the
        # environment, so `main`'s prices are not taken for its own.
        prices={name: each.prices.prices() for name, each in endpoints.items() if each.prices},
        models=_models(settings),
        max_attempts=2 * most_attempts if is_hedging else most_attempts,
        max_calls=settings.budget.turn.max_calls,
        assumptions=_assumptions(settings),
    )


def _models(settings: PipelineSettings) -> dict[Purpose, tuple[str, ...]]:
    """Return the models that may answer a call, by its purpose, where a table of routes chooses."""
    policies = settings.policies
    chosen = {
        purpose: policies.get(str(purpose)) or policies.get(DEFAULT_POLICY)
        for purpose in Purpose
        if purpose is not Purpose.EMBED
    }
    return {
        purpose: policy.models
        for purpose, policy in chosen.items()
        if policy is not None and str(policy.kind) == "route"
    }


def _assumptions(settings: PipelineSettings) -> Assumptions:
    """Return which roles share an endpoint, and the load knobs of all, as far as settings say."""
    endpoints = settings.endpoints
    chosen = settings_by_role(endpoints, environ={}) if Role.MAIN in endpoints else {}
    return Assumptions(
        load=settings.load,
        endpoint_loads={role: each.load for role, each in chosen.items() if each.load},
        endpoints={
            role: f"{each.kind} {each.base_url or ''} {each.model or ''}"
            for role, each in chosen.items()
        },
    )


_NODE = "lats_search"

_CALLS = {
    Side.PROPOSER: (Role.MAIN, Purpose.EXPAND),
    Side.JUDGE: (Role.JUDGE, Purpose.JUDGE),
}
"""Role and purpose of the calls of each side."""

_PURPOSES = {ActionKind.PLAN_ROOT: Purpose.PLAN, ActionKind.CHECK_ASSISTANT: Purpose.CHECK}
"""Kinds of another purpose. The first generation is a plan, too: see `_calls`."""

_WITHIN_CAP = frozenset({ActionKind.GENERATE, ActionKind.REFINE, ActionKind.JUDGE_LIST})
"""Kinds whose repairs come out of the search's own cap."""

_FIRST_GENERATION = Tokens(SEARCH_TOKENS[Purpose.PLAN].input, SEARCH_TOKENS[Purpose.EXPAND].output)
"""The prompt of a plan, and an answer of candidates."""

_STAGES = ("initiating", "intensifying", "differentiating")
"""One stage for each preset that a stage of the relationship can set."""


def _calls(planned: PlannedCalls, knobs: SearchKnobs, *, is_first: bool) -> list[PlannedCall]:
    role, purpose = _CALLS[side_of(planned.kind)]
    purpose = _PURPOSES.get(planned.kind, purpose)
    tokens = LIST_TOKENS if planned.kind is ActionKind.JUDGE_LIST else SEARCH_TOKENS[purpose]
    candidates = {
        ActionKind.EXPAND: knobs.expand_k,
        ActionKind.TOP_UP: knobs.expand_k,
        ActionKind.GENERATE: knobs.generate_k,
        ActionKind.REFINE: knobs.refine_k,
    }
    written = candidates.get(planned.kind, 0) * CANDIDATE_TOKENS
    call = PlannedCall(
        node=_NODE,
        role=role,
        purpose=purpose,
        input_tokens=tokens.input,
        output_tokens=tokens.output + written,
        speculative=planned.is_speculative,
        is_repairable=planned.kind not in _WITHIN_CAP,
    )
    calls = [call] * planned.count_calls
    if is_first and planned.kind is ActionKind.GENERATE:
        # The call that the reply must have; the others of its round could be done without.
        calls[0] = replace(
            call,
            purpose=Purpose.PLAN,
            input_tokens=_FIRST_GENERATION.input,
            output_tokens=_FIRST_GENERATION.output + written,
            speculative=False,
        )
    return calls


def _rounds(plan: SearchPlan, knobs: SearchKnobs) -> list[list[PlannedCall]]:
    return [
        [call for part in together for call in _calls(part, knobs, is_first=place == 0)]
        for place, together in enumerate(plan.rounds)
    ]


def search_steps(
    plan: SearchPlan, knobs: SearchKnobs, sizes: PackSizes = NO_PACKS, *, fails: bool = False
) -> Step:
    """Return a search's calls, round by round; `sizes` and `fails` are those of `with_packs`."""
    return InSequence(tuple(with_packs(r, sizes, fails=fails) for r in _rounds(plan, knobs)))


def worst_ways(
    knobs: SearchKnobs,
    staged: Mapping[str, SearchKnobs],
    sizes: PackSizes = NO_PACKS,
    *,
    max_repairs: int,
) -> tuple[Step, ...]:
    """Return ways in which a search may spend most, the one of most calls and rounds first.

    For any answers, each node, role and purpose asks at most as much as in one of them.

    Args:
        staged: the knobs as each stage sets them; see `staged_knobs`.
        sizes: see `with_packs`.
        max_repairs: times that a wrong answer is asked again. Those of kinds within the cap
            are in the result; `with_repairs` adds the others.
    """
    costliest = costliest_knobs(knobs, staged)
    ways = [search_steps(plan_search(costliest, Scenario.WORST), costliest, sizes, fails=True)]
    for each in (knobs, *staged.values()):
        ways += (
            _uncapped_kinds(each, sizes)
            if each.policy == "classic_uct"
            else _within(each, max_repairs)
        )
    return tuple(ways)


def _uncapped_kinds(knobs: SearchKnobs, sizes: PackSizes) -> list[Step]:
    """Return a classic search's calls of one purpose or role at a time, within its cap.

    Packed calls without an answer come on top of the cap, which counts questions.
    """
    free = knobs.model_copy(update={"max_calls": None})
    rounds = _rounds(plan_search(free, Scenario.WORST), knobs)
    calls = list(chain.from_iterable(rounds))
    packs = list(chain.from_iterable(packed_calls(each, sizes)[0] for each in rounds))
    kinds = [{(role, each) for role in Role} for each in Purpose]
    kinds += [{(role, each) for each in Purpose} for role in Role]
    ways: list[Step] = []
    for kind in kinds:
        asked = [call for call in calls if (call.role, call.purpose) in kind][: knobs.max_calls]
        failed = [call for call in packs if (call.role, call.purpose) in kind][: len(asked) // 2]
        if asked:
            ways.append(InSequence((*failed, *asked)))
    return ways


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
    return [InSequence(tuple(way[:cap])) for way in ways]


def staged_knobs(knobs: SearchKnobs) -> dict[str, SearchKnobs]:
    """Return the knobs as each stage sets them; none where stages may set none."""
    if knobs.stage_presets == "off":
        return {}
    return {stage: with_stage(knobs, stage) for stage in _STAGES}


def costliest_knobs(knobs: SearchKnobs, staged: Mapping[str, SearchKnobs]) -> SearchKnobs:
    """Return the knobs, among those that a stage may set, whose search can cost most."""

    def cost(candidate: SearchKnobs) -> tuple[int, int]:
        plan = plan_search(candidate, Scenario.WORST)
        return plan.calls, len(plan.rounds)

    return max((knobs, *staged.values()), key=cost)

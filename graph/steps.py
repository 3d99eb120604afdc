"""The fifteen nodes as steps of the graph: what each reads of the state, and what it writes.

A node depends neither on LangGraph nor on the state. A step is the few lines between them, so
this file is the pipeline's table of data flow. Where nodes ask together, one of them asks and the
steps of the others find their part done (`TurnState.answered`).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from callwise.budget.scope import ScopeKind, current_scope
from callwise.calls.errors import ContextTooLong, EndpointError
from callwise.calls.policies import DEFAULT_POLICY, RoutePolicy
from callwise.memory import Identity
from graph.engine import TurnContext
from graph.fusing import fusing_for
from graph.reply_leases import calls_left, held_reply_calls, hold_again, hold_leases
from graph.reply_stream import ReplyingLLM, ShownReply
from graph.state import TurnState, degraded_by
from lats.reflection import Guideline, aged_guidelines
from lats.result import SearchResult
from lats.search_knobs import SearchKnobs
from lats.search_tree import SearchTree
from lats.similarity import text_key
from nodes.bubbles import cut_in_order, split_bubbles, timed_bubbles
from nodes.cleaning import cleaned
from nodes.detection import DETECTION, detect_by_rules
from nodes.early_reply import EarlyReply, with_shown
from nodes.emotion_update import update_mood
from nodes.evolver import EVOLVING, apply_delta
from nodes.final_validator import validate_reply
from nodes.fused_calls import FUSED_BOOKKEEPING, FUSED_REPLY, FUSED_THINKING, ask_fused
from nodes.inner_monologue import MONOLOGUE, think_by_rules
from nodes.lats_search import search_limits, search_reply
from nodes.loader import RelationState, load_turn
from nodes.memory_manager import REMEMBERING, MemoryUpdate
from nodes.memory_retriever import retrieve_memories
from nodes.memory_writer import write_turn
from nodes.mode_manager import choose_mode
from nodes.processor import HUMANIZING, humanize
from nodes.prompt import prompt
from nodes.question import CANDIDATE_TOKENS, Question
from nodes.reasoner import REASONING
from nodes.records import Guidance
from nodes.search.action_calls import SearchMaterial
from nodes.stage_manager import next_stage
from nodes.style import choose_style

__all__ = ["NO_SEARCH", "QUESTIONS", "STEPS", "Step"]

_REPLY_PROMPTS = ("lats_plan", "lats_expand", "lats_generate", "processor")
"""Prompts of answers that reach the user, which a reply must not quote; where one call replies,
that one's as well."""

NO_SEARCH = "fused_reply"
"""The reason of a search that asked nothing."""

TOKENS_A_SECOND = 80 / 2
"""Speed at which `reply.held_seconds` is read as the length of an answer: half of a usual one,
since an answer may be longer than estimated, and a server slower than it usually is."""

Step = Callable[[TurnState, TurnContext], Awaitable[Mapping[str, Any]]]

_GIVEN = {*Identity._fields, "requested_turn", "time", "user_text", "persona", "earlier_lines"}
"""Fields that a turn is given; the loader sets all others, or resets them."""


async def _loader(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    settings = context.engine.settings
    scope = context.engine.turn(state.identity)
    loaded = await load_turn(
        context.engine.memory,
        state.identity.agent_user,
        conversation_id=state.conversation_id,
        turn=int(scope.turn) if scope is not None and scope.turn else state.requested_turn,
        user_text=state.user_text,
        history_turns=settings.memory.history_turns,
    )
    persona = state.persona if state.persona.name or state.persona.background else settings.persona
    fusing = fusing_for(settings, None if scope is None else calls_left(scope))
    lines = state.earlier_lines
    update: dict[str, Any] = {
        # An earlier turn of the same thread left other values.
        **{name: value for name, value in TurnState() if name not in _GIVEN},
        **{name: value for name, value in (*loaded, *loaded.relation) if name != "relation"},
        "history": loaded.history
        or lines[max(len(lines) - 2 * settings.memory.history_turns, 0) :],
        "persona": persona,
        "fusing": fusing,
    }
    if scope is not None:
        hold_leases(context.engine, scope, state.model_copy(update=update), fusing)
    return {**update, "degraded": None}


_RESULTS = {
    "detection": "detection",
    "inner_monologue": "monologue",
    "reasoner": "plan",
    "lats_search": "draft",
}
"""Fields of the state with the result of nodes that may be asked together."""


def _early_reply(state: TurnState, context: TurnContext) -> EarlyReply | None:
    """Return the reader of the call that replies; None where nothing is shown while it arrives.

    The turn's mood and style are known before its answer, since rules find them then. A node of
    a program's own may change the reply, and the processor's call does.
    """
    settings = context.engine.settings
    if not (settings.reply.stream and state.fusing.reply):
        return None
    if context.engine.nodes or settings.processor.llm == "always":
        return None
    policies = settings.policies
    policy = policies.get(FUSED_REPLY.purpose) or policies.get(DEFAULT_POLICY)
    if not isinstance(policy, RoutePolicy | None):  # other policies may take another answer
        return None
    detection = detect_by_rules(state.user_text, state.language)
    monologue = think_by_rules(detection, state.mode, state.language)
    mood = update_mood(state.mood, detection, monologue, state.relationship)
    mode = choose_mode(detection, state.mood, state.relationship, state.mode)
    return EarlyReply(
        language=state.language,
        persona=state.persona,
        style=choose_style(state.relationship, mood, mode, detection),
        mood=mood,
        instructions=_instructions(state),
        max_chars=settings.reply.max_chars,
        show=(context.shown or ShownReply()).show,
    )


async def _ask_fused(state: TurnState, context: TurnContext) -> dict[str, Any]:
    """Return the usable parts of a fused call: of detection, monologue, plan and reply."""
    question: Question[Any, Any] = FUSED_REPLY if state.fusing.reply else FUSED_THINKING
    early = _early_reply(state, context)
    if early is None:
        records, degradations = await ask_fused(context.engine.llm, question, state)
    else:
        llm = ReplyingLLM(context.engine.llm, early)
        records, degradations = await ask_fused(llm, question, state)
        degradations = (*degradations, *llm.degradations)
    scope = context.engine.turn(state.identity)
    if state.fusing.reply and "lats_search" not in records and scope is not None:
        hold_again(context.engine, scope, state)
    results = {_RESULTS[node]: record for node, record in records.items()}
    shown = [] if early is None else list(early.bubbles)
    return {
        **results,
        "answered": list(records),
        "early_bubbles": shown,
        "degraded": list(degradations),
    }


async def _detection(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    fused: dict[str, Any] = {}
    if state.fusing.thinking:
        fused = await _ask_fused(state, context)
        if "detection" in fused:
            return fused
    found, degradation = await DETECTION.ask(context.engine.llm, state)
    return {**fused, "detection": found, **degraded_by(degradation, fused.get("degraded", ()))}


async def _mode_manager(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"mode": choose_mode(state.detection, state.mood, state.relationship, state.mode)}


async def _inner_monologue(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "inner_monologue" in state.answered:
        return {}
    monologue, degradation = await MONOLOGUE.ask(context.engine.llm, state)
    return {"monologue": monologue, **degraded_by(degradation)}


async def _emotion_update(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"mood": update_mood(state.mood, state.detection, state.monologue, state.relationship)}


async def _reasoner(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "reasoner" in state.answered:
        return {}
    plan, degradation = await REASONING.ask(context.engine.llm, state)
    return {"plan": plan, **degraded_by(degradation)}


async def _memory_retriever(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    knobs = context.engine.settings.memory
    memories, degradation = await retrieve_memories(
        context.engine.memory,
        state.identity.agent_user,
        version=state.version,
        user_text=state.user_text,
        max_lines=knobs.retrieve_k,
        shown_turns=state.shown_turns,
        embedder=context.engine.llm if knobs.dense else None,
    )
    return {"memories": memories, **degraded_by(degradation)}


async def _style(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    style = choose_style(state.relationship, state.mood, state.mode, state.detection)
    return {"style": style}


def _seeded(knobs: SearchKnobs, seed: int) -> SearchKnobs:
    """Return the search's knobs with the pipeline's seed, unless they have a seed."""
    if seed == 0 or "seed" in knobs.model_fields_set:
        return knobs
    return knobs.model_copy(update={"seed": seed})


def _in_time(knobs: SearchKnobs, held_seconds: float) -> SearchKnobs:
    """Return the search's knobs with a first call that fits the time held back for it.

    Its answer has `generate_k` candidates, and half as many more where it is the only one.
    """
    most = max(int(held_seconds * TOKENS_A_SECOND / CANDIDATE_TOKENS), 1)
    k = max(k for k in range(1, knobs.generate_k + 1) if k == 1 or k + k // 2 <= most)
    return knobs if k == knobs.generate_k else knobs.model_copy(update={"generate_k": k})


async def _lats_search(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "lats_search" in state.answered:
        cut = split_bubbles(state.draft, style=state.style, mood=state.mood)
        if context.engine.settings.reply.stream:
            texts = cut_in_order(state.draft, is_whole=True, style=state.style)
            cut = timed_bubbles(texts, style=state.style, mood=state.mood)
        return {
            "planned_bubbles": cut,  # by rule, and never a call
            "search": _summary_of_no_search(),
            "guidance": _guidance(aged_guidelines(_guidelines(state))),
        }
    settings = context.engine.settings
    node = current_scope()
    if node is None:
        raise RuntimeError("the search runs inside its node's scope")
    knobs, scope_limits = _seeded(settings.search, settings.seed), settings.budget.search
    if node.scope_limits.is_timed:
        knobs = _in_time(knobs, settings.reply.held_seconds)
    turn = context.engine.turn(state.identity)
    limits = search_limits(
        knobs,
        max_calls=scope_limits.max_calls,
        max_requests=scope_limits.max_requests,
        held_calls=0 if turn is None else held_reply_calls(turn),
    )
    if limits.max_calls is not None:
        caps = {"max_calls": limits.max_calls, "max_requests": limits.max_calls}
        scope_limits = scope_limits.model_copy(update=caps)
    with node.open(ScopeKind.SEARCH, limits=scope_limits):
        outcome = await search_reply(
            context.engine.search_llm,
            knobs=knobs,
            material=SearchMaterial(cleaned(state)),
            max_repairs=settings.repair.max_repairs,
            limits=limits,
            guidelines=_guidelines(state),
        )
    may_fall_back = settings.reply.on_outage == "fallback" or node.scope_limits.is_timed
    is_too_long = isinstance(outcome.error, ContextTooLong)  # a fault of the prompt: no outage
    if isinstance(outcome.error, EndpointError) and not is_too_long and not may_fall_back:
        raise outcome.error
    return {
        "draft": outcome.reply or "",
        "planned_bubbles": outcome.processor_plan or (),
        "search": outcome.summary(),
        "guidance": _guidance(outcome.guidelines),
        **degraded_by(outcome.degradation),
    }


def _summary_of_no_search() -> dict[str, Any]:
    """Return the record of a search that asked nothing."""
    nothing = SearchResult(
        policy=NO_SEARCH,
        best=None,
        stop_reason=None,
        final_judgement=None,
        rollouts_done=0,
        rounds=0,
        asked={},
        failed={},
        tree=SearchTree(None, text_key),
    )
    return {**nothing.record(), "stop_reason": NO_SEARCH}


def _guidelines(state: TurnState) -> list[Guideline]:
    """Return the guidelines of earlier turns, as the search reads them."""
    return [Guideline(**dict(each)) for each in state.guidance]


def _guidance(guidelines: Iterable[Guideline]) -> list[Guidance]:
    """Return a search's guidelines, as state and memory keep them."""
    return [Guidance(**asdict(each)) for each in guidelines]


async def _processor(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if not state.draft:
        return {"bubbles": []}  # there is nothing to cut; the final validation finds a line
    asks = context.engine.settings.processor.llm
    processed, degradation = await humanize(context.engine.llm, state, asks=asks)
    return {"draft": processed.text, "bubbles": processed.bubbles, **degraded_by(degradation)}


def _instructions(state: TurnState) -> list[str]:
    """Return the prompts that a reply must not quote."""
    prompts = (*_REPLY_PROMPTS, *(("fused_reply",) if state.fusing.reply else ()))
    return [prompt(name, state.language) for name in prompts]


async def _final_validator(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    validated = validate_reply(
        state.draft,
        state.bubbles,
        language=state.language,
        persona=state.persona,
        instructions=_instructions(state),
        max_chars=context.engine.settings.reply.max_chars,
    )
    validated = with_shown(validated, state.early_bubbles)
    if context.shown is not None:
        context.shown.show(validated.bubbles, is_whole=True)
    if context.on_reply is not None:
        shown = [bubble.model_dump() for bubble in validated.bubbles]
        await context.on_reply(validated.text, shown)
    violations = list(validated.violations)
    return {"reply": validated.text, "bubbles": validated.bubbles, "violations": violations}


def _of_memory(update: MemoryUpdate) -> dict[str, Any]:
    return {
        "notes": update.notes,
        "new_summary": update.summary,
        "dropped_notes": update.dropped_notes,
    }


async def _evolver(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    update: dict[str, Any] = {}
    delta = None
    if state.fusing.bookkeeping:
        records, degradations = await ask_fused(context.engine.llm, FUSED_BOOKKEEPING, state)
        delta, update["degraded"] = records.get("evolver"), list(degradations)
        if "memory_manager" in records:
            update |= _of_memory(records["memory_manager"])
            update["answered"] = [*state.answered, "memory_manager"]
    if delta is None:
        delta, degradation = await EVOLVING.ask(context.engine.llm, state)
        update |= degraded_by(degradation, update.get("degraded", ()))
    return {**update, "relationship": apply_delta(state.relationship, delta)}


async def _stage_manager(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"relationship": next_stage(state.relationship, state.detection.stage_hint)}


async def _memory_manager(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "memory_manager" in state.answered:
        return {}
    update, degradation = await REMEMBERING.ask(context.engine.llm, state)
    return {**_of_memory(update), **degraded_by(degradation)}


async def _memory_writer(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    knobs = context.engine.settings.memory
    dropped_notes, degradation = await write_turn(
        context.engine.memory,
        state.identity.agent_user,
        conversation_id=state.conversation_id,
        turn=state.turn,
        version=state.version,
        user_text=state.user_text,
        reply=state.reply,
        relation=RelationState(
            relationship=state.relationship,
            mood=state.mood,
            mode=state.mode,
            guidance=tuple(state.guidance),
        ),
        time=state.time,
        notes=state.notes,
        new_summary=state.new_summary,
        embedder=context.engine.llm if knobs.dense else None,
    )
    return {
        "dropped_notes": state.dropped_notes + dropped_notes,
        "requested_turn": None,  # the thread's next input goes on after this turn
        **degraded_by(degradation),
    }


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "loader": _loader,
        "detection": _detection,
        "mode_manager": _mode_manager,
        "inner_monologue": _inner_monologue,
        "emotion_update": _emotion_update,
        "reasoner": _reasoner,
        "memory_retriever": _memory_retriever,
        "style": _style,
        "lats_search": _lats_search,
        "processor": _processor,
        "final_validator": _final_validator,
        "evolver": _evolver,
        "stage_manager": _stage_manager,
        "memory_manager": _memory_manager,
        "memory_writer": _memory_writer,
    }
)
"""All nodes, in the order in which they run when nothing overlaps or is fused: what each reads of
the state, asks and writes. A new node is registered here."""

QUESTIONS: tuple[Question[Any, Any], ...] = (
    DETECTION,
    MONOLOGUE,
    REASONING,
    HUMANIZING,
    EVOLVING,
    REMEMBERING,
    FUSED_THINKING,
    FUSED_REPLY,
    FUSED_BOOKKEEPING,
)
"""Questions of all nodes, without the search's calls and embeddings."""

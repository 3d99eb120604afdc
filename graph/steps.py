"""The fifteen nodes as steps of the graph: what each reads of the state, and what it writes.

A node knows neither LangGraph nor the state. A step is the few lines between them, so
this file, with `thinking_steps` and `bookkeeping_steps`, is the pipeline's table of data
flow. Where nodes ask together, one of them asks and the steps of the others find their
part done (`TurnState.answered`).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from callwise.budget.scope import ScopeKind, current_scope
from callwise.calls.errors import ContextTooLong, EndpointError
from graph.context import TurnContext
from graph.fusing import fusing_for
from graph.reply_leases import (
    calls_left,
    held_reply_calls,
    hold_again,
    hold_bookkeeping,
    hold_reply,
)
from graph.state import TurnState, degraded_by
from lats.reflection import Guideline, aged_guidelines
from lats.result import SearchResult
from lats.search_knobs import SearchKnobs
from lats.search_tree import SearchTree
from lats.similarity import text_key
from nodes.bubbles import split_bubbles
from nodes.detection import DETECTION
from nodes.emotion_update import update_mood
from nodes.evolver import EVOLVING, apply_delta
from nodes.final_validator import validate_reply
from nodes.fused_calls import (
    FUSED_BOOKKEEPING,
    FUSED_REPLY,
    FUSED_THINKING,
    ask_bookkeeping,
    ask_reply,
    ask_thinking,
)
from nodes.inner_monologue import MONOLOGUE
from nodes.lats_search import search_bounds, search_reply
from nodes.loader import RelationState, load_turn
from nodes.memory_manager import REMEMBERING, MemoryUpdate
from nodes.memory_retriever import retrieve_memories
from nodes.memory_writer import write_turn
from nodes.mode_manager import choose_mode
from nodes.processor import HUMANIZING, humanize
from nodes.prompt import prompt
from nodes.question import CANDIDATE_TOKENS, Question
from nodes.reasoner import REASONING
from nodes.records import Detection, DialogueLine, Guidance, Monologue, ResponsePlan, StyleVector
from nodes.search_material import SearchMaterial
from nodes.stage_manager import next_stage
from nodes.style import choose_style

__all__ = ["NO_SEARCH", "QUESTIONS", "STEPS", "Step"]

_REPLY_PROMPTS = ("lats_plan", "lats_expand", "lats_generate", "processor")
"""Prompts whose answers reach the user, and which a reply must not quote."""

_FUSED_REPLY_PROMPT = "fused_reply"
"""The same, where one call replies without a search."""

NO_SEARCH = "fused_reply"
"""Why a search asked nothing."""

TOKENS_A_SECOND = 80 / 2
"""Speed at which `reply.held_seconds` is read as the length of an answer: half of a usual one,
since an answer may be longer than estimated, and a server slower than it usually is."""

Step = Callable[[TurnState, TurnContext], Awaitable[Mapping[str, Any]]]


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
    update: dict[str, Any] = {
        "turn": loaded.turn,
        "version": loaded.version,
        "shown_turns": loaded.shown_turns,
        "language": loaded.language,
        "history": loaded.history or _latest(state.earlier_lines, settings.memory.history_turns),
        "summary": loaded.summary,
        "relationship": loaded.relation.relationship,
        "mood": loaded.relation.mood,
        "mode": loaded.relation.mode,
        "guidance": loaded.relation.guidance,
        "persona": persona,
        "fusing": fusing,
        # What an earlier turn of the same thread left behind.
        "answered": [],
        "detection": Detection(),
        "monologue": Monologue(),
        "plan": ResponsePlan(),
        "memories": [],
        "style": StyleVector(),
        "draft": "",
        "search": {},
        "planned_bubbles": [],
        "bubbles": [],
        "reply": "",
        "violations": [],
        "notes": [],
        "new_summary": "",
        "dropped_notes": 0,
    }
    if scope is not None:
        hold_reply(context.engine, scope, state.model_copy(update=update), fusing)
        hold_bookkeeping(scope, fusing)
    return {**update, "degraded": None}


def _latest(lines: Sequence[DialogueLine], turns: int) -> Sequence[DialogueLine]:
    return lines[max(len(lines) - 2 * turns, 0) :]


async def _ask_at_once(state: TurnState, context: TurnContext) -> dict[str, Any]:
    """Return what a fused call brought of detection, monologue, plan and reply."""
    ask = ask_reply if state.fusing.reply else ask_thinking
    thoughts = await ask(context.llm, state)
    if state.fusing.reply and thoughts.reply is None:
        scope = context.engine.turn(state.identity)
        if scope is not None:
            hold_again(context.engine, scope, state)
    found = {
        "detection": ("detection", thoughts.detection),
        "inner_monologue": ("monologue", thoughts.monologue),
        "reasoner": ("plan", thoughts.plan),
        "lats_search": ("draft", thoughts.reply),
    }
    parts = {node: part for node, part in found.items() if part[1] is not None}
    return {
        **dict(parts.values()),
        "answered": list(parts),
        "degraded": list(thoughts.degradations),
    }


async def _detection(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    fused: dict[str, Any] = {}
    if state.fusing.thinking:
        fused = await _ask_at_once(state, context)
        if "detection" in fused:
            return fused
    found, degradation = await DETECTION.ask(context.llm, state)
    return {**fused, "detection": found, **degraded_by(degradation, fused.get("degraded", ()))}


async def _mode_manager(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"mode": choose_mode(state.detection, state.mood, state.relationship, state.mode)}


async def _inner_monologue(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "inner_monologue" in state.answered:
        return {}
    monologue, degradation = await MONOLOGUE.ask(context.llm, state)
    return {"monologue": monologue, **degraded_by(degradation)}


async def _emotion_update(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"mood": update_mood(state.mood, state.detection, state.monologue, state.relationship)}


async def _reasoner(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "reasoner" in state.answered:
        return {}
    plan, degradation = await REASONING.ask(context.llm, state)
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
        embedder=context.llm if knobs.dense else None,
    )
    return {"memories": memories, **degraded_by(degradation)}


async def _style(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    style = choose_style(state.relationship, state.mood, state.mode, state.detection)
    return {"style": style}


def _seeded(knobs: SearchKnobs, seed: int) -> SearchKnobs:
    """Return the search's knobs with the pipeline's seed, unless they have one of their own."""
    if seed == 0 or "seed" in knobs.model_fields_set:
        return knobs
    return knobs.model_copy(update={"seed": seed})


def _in_time(knobs: SearchKnobs, held_seconds: float) -> SearchKnobs:
    """Return the search's knobs with a first call that the time held back for it can hold.

    Its answer has `generate_k` candidates, and half as many more where it is the only one.
    """
    most = max(int(held_seconds * TOKENS_A_SECOND / CANDIDATE_TOKENS), 1)
    k = max(k for k in range(1, knobs.generate_k + 1) if k == 1 or k + k // 2 <= most)
    return knobs if k == knobs.generate_k else knobs.model_copy(update={"generate_k": k})


async def _lats_search(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "lats_search" in state.answered:
        return {
            # Cut by rule, and never a call.
            "planned_bubbles": split_bubbles(state.draft, style=state.style, mood=state.mood),
            "search": _summary_of_no_search(),
            "guidance": _guidance(aged_guidelines(_guidelines(state))),
        }
    settings = context.engine.settings
    material = SearchMaterial(state)
    node = current_scope()
    if node is None:
        raise RuntimeError("the search runs inside its node's scope")
    knobs, limits = _seeded(settings.search, settings.seed), settings.budget.search
    if node.bounds.is_timed:
        knobs = _in_time(knobs, settings.reply.held_seconds)
    turn = context.engine.turn(state.identity)
    bounds = search_bounds(
        knobs,
        max_calls=limits.max_calls,
        max_requests=limits.max_requests,
        held_calls=0 if turn is None else held_reply_calls(turn),
    )
    if bounds.max_calls is not None:
        caps = {"max_calls": bounds.max_calls, "max_requests": bounds.max_calls}
        limits = limits.model_copy(update=caps)
    with node.open(ScopeKind.SEARCH, limits=limits):
        outcome = await search_reply(
            context.llm_with(keeps_repairs=True),
            knobs=knobs,
            material=material,
            max_repairs=settings.repair.max_repairs,
            bounds=bounds,
            guidelines=_guidelines(state),
        )
    may_fall_back = settings.reply.on_outage == "fallback" or node.bounds.is_timed
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
    """Return what earlier turns learned, as the search reads it."""
    return [Guideline(each.attribute, each.text, each.ttl_turns) for each in state.guidance]


def _guidance(guidelines: Iterable[Guideline]) -> list[Guidance]:
    """Return what a search learned, as state and memory keep it."""
    return [
        Guidance(attribute=each.attribute, text=each.text, ttl_turns=each.ttl_turns)
        for each in guidelines
    ]


async def _processor(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if not state.draft:
        return {"bubbles": []}  # there is nothing to cut; the final validation finds a line
    asks = context.engine.settings.processor.llm
    processed, degradation = await humanize(context.llm, state, asks=asks)
    return {"draft": processed.text, "bubbles": processed.bubbles, **degraded_by(degradation)}


async def _final_validator(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    prompts = (*_REPLY_PROMPTS, *((_FUSED_REPLY_PROMPT,) if state.fusing.reply else ()))
    validated = validate_reply(
        state.draft,
        state.bubbles,
        language=state.language,
        persona=state.persona,
        instructions=[prompt(name, state.language) for name in prompts],
        max_chars=context.engine.settings.reply.max_chars,
    )
    if context.on_reply is not None:
        shown = [bubble.model_dump() for bubble in validated.bubbles]
        await context.on_reply(validated.text, shown)
    return {
        "reply": validated.text,
        "bubbles": validated.bubbles,
        "violations": list(validated.violations),
    }


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
        books = await ask_bookkeeping(context.llm, state)
        delta, update["degraded"] = books.delta, list(books.degradations)
        if books.memory is not None:
            update |= _of_memory(books.memory)
            update["answered"] = [*state.answered, "memory_manager"]
    if delta is None:
        delta, degradation = await EVOLVING.ask(context.llm, state)
        update |= degraded_by(degradation, update.get("degraded", ()))
    return {**update, "relationship": apply_delta(state.relationship, delta)}


async def _stage_manager(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"relationship": next_stage(state.relationship, state.detection.stage_hint)}


async def _memory_manager(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if "memory_manager" in state.answered:
        return {}
    update, degradation = await REMEMBERING.ask(context.llm, state)
    return {**_of_memory(update), **degraded_by(degradation)}


async def _memory_writer(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    knobs = context.engine.settings.memory
    written, degradation = await write_turn(
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
        embedder=context.llm if knobs.dense else None,
    )
    return {
        "dropped_notes": state.dropped_notes + written.dropped_notes,
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
"""What nodes ask, the search's calls and embeddings apart."""

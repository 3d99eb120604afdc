"""The fifteen nodes as steps of the graph: what each reads of the state, and what it writes.

A node knows neither LangGraph nor the state. A step is the few lines between them, so
this file is the pipeline's table of data flow.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from graph.context import TurnContext
from graph.holding import BOOKKEEPING_LEASE, hold_bookkeeping, hold_reply
from graph.state import TurnState
from lats.knobs import SearchKnobs
from nodes.detection import detect
from nodes.emotion_update import update_mood
from nodes.evolver import evolve
from nodes.final_validator import validate_reply
from nodes.inner_monologue import think
from nodes.lats_search import search_reply
from nodes.loader import Standing, load_turn
from nodes.memory_manager import remember
from nodes.memory_retriever import retrieve_memories
from nodes.memory_writer import write_turn
from nodes.mode_manager import choose_mode
from nodes.processor import humanize
from nodes.prompt import prompt
from nodes.reasoner import reason
from nodes.records import Degradation, Detection, Monologue, ResponsePlan, StyleVector
from nodes.relationship import apply_delta
from nodes.search_material import SearchMaterial
from nodes.stage_manager import next_stage
from nodes.style import choose_style
from turnwise.budget.scope import ScopeKind, current_scope
from turnwise.calls.errors import EndpointError

__all__ = ["STEPS", "Step"]

_REPLY_PROMPTS = ("lats_plan", "lats_expand", "processor")
"""Prompts whose answers reach the user, and which a reply must not quote."""

Step = Callable[[TurnState, TurnContext], Awaitable[Mapping[str, Any]]]


def _degraded(degradation: Degradation | None) -> dict[str, Any]:
    return {} if degradation is None else {"degraded": [degradation]}


async def _loader(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    settings = context.engine.settings
    scope = context.engine.turn(state.conversation_id)
    loaded = await load_turn(
        context.engine.book,
        context.agent_user(state),
        conversation_id=state.conversation_id,
        turn=int(scope.turn) if scope is not None and scope.turn else state.requested_turn,
        user_text=state.user_text,
        history_turns=settings.memory.history_turns,
    )
    persona = state.persona if state.persona.name or state.persona.background else settings.persona
    if scope is not None:
        hold_reply(context.engine, scope, state.user_text, loaded, persona)
        hold_bookkeeping(scope)
    return {
        "turn": loaded.turn,
        "version": loaded.version,
        "shown_turns": loaded.shown_turns,
        "language": loaded.language,
        "history": loaded.history,
        "summary": loaded.summary,
        "relationship": loaded.standing.relationship,
        "mood": loaded.standing.mood,
        "mode": loaded.standing.mode,
        "persona": persona,
        # What an earlier turn of the same thread left behind.
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
        "degraded": None,
    }


async def _detection(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    detection, degradation = await detect(
        context.asker,
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.summary,
    )
    return {"detection": detection, **_degraded(degradation)}


async def _mode_manager(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"mode": choose_mode(state.detection, state.mood, state.relationship, state.mode)}


async def _inner_monologue(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    monologue, degradation = await think(
        context.asker,
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.summary,
        detection=state.detection,
        mode=state.mode,
    )
    return {"monologue": monologue, **_degraded(degradation)}


async def _emotion_update(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"mood": update_mood(state.mood, state.detection, state.monologue, state.relationship)}


async def _reasoner(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    plan, degradation = await reason(
        context.asker,
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.summary,
        detection=state.detection,
        monologue=state.monologue,
        mood=state.mood,
        mode=state.mode,
    )
    return {"plan": plan, **_degraded(degradation)}


async def _memory_retriever(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    knobs = context.engine.settings.memory
    memories, degradation = await retrieve_memories(
        context.engine.book,
        context.agent_user(state),
        version=state.version,
        user_text=state.user_text,
        language=state.language,
        max_lines=knobs.retrieve_k,
        shown_turns=state.shown_turns,
        embed_asker=context.asker if knobs.dense else None,
    )
    return {"memories": memories, **_degraded(degradation)}


async def _style(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    style = choose_style(state.relationship, state.mood, state.mode, state.detection)
    return {"style": style}


def _seeded(knobs: SearchKnobs, seed: int) -> SearchKnobs:
    """Return the search's knobs with the pipeline's seed, unless they have one of their own."""
    if seed == 0 or "seed" in knobs.model_fields_set:
        return knobs
    return knobs.model_copy(update={"seed": seed})


async def _lats_search(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    settings = context.engine.settings
    material = SearchMaterial(
        language=state.language,
        user_text=state.user_text,
        persona=state.persona,
        history=tuple(state.history),
        memories=tuple(state.memories),
        plan=state.plan,
        monologue=state.monologue,
        style=state.style,
        mode=state.mode,
        stage=state.relationship.stage,
        summary=state.summary,
    )
    node = current_scope()
    if node is None:
        raise RuntimeError("the search runs inside its node's scope")
    with node.open(ScopeKind.SEARCH, limits=settings.budget.search):
        outcome = await search_reply(
            context.asker,
            knobs=_seeded(settings.search, settings.seed),
            material=material,
            max_repairs=settings.repair.max_repairs,
        )
    may_fall_back = settings.reply.on_outage == "fallback" or node.bounds.is_timed
    if isinstance(outcome.error, EndpointError) and not may_fall_back:
        raise outcome.error
    return {
        "draft": outcome.reply or "",
        "planned_bubbles": outcome.processor_plan or (),
        "search": outcome.summary(),
        **_degraded(outcome.degradation),
    }


async def _processor(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    if not state.draft:
        return {"bubbles": []}  # there is nothing to cut; the final validation finds a line
    processed, degradation = await humanize(
        context.asker,
        language=state.language,
        draft=state.draft,
        planned=state.planned_bubbles,
        llm=context.engine.settings.processor.llm,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        style=state.style,
        mood=state.mood,
        mode=state.mode,
    )
    return {"draft": processed.text, "bubbles": processed.bubbles, **_degraded(degradation)}


async def _final_validator(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    validated = validate_reply(
        state.draft,
        state.bubbles,
        language=state.language,
        persona=state.persona,
        instructions=[prompt(name, state.language) for name in _REPLY_PROMPTS],
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


async def _evolver(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    delta, degradation = await evolve(
        context.asker_with(BOOKKEEPING_LEASE),
        language=state.language,
        user_text=state.user_text,
        reply=state.reply,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        detection=state.detection,
    )
    return {"relationship": apply_delta(state.relationship, delta), **_degraded(degradation)}


async def _stage_manager(state: TurnState, _context: TurnContext) -> Mapping[str, Any]:
    return {"relationship": next_stage(state.relationship, state.detection.stage_hint)}


async def _memory_manager(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    update, degradation = await remember(
        context.asker_with(BOOKKEEPING_LEASE),
        language=state.language,
        user_text=state.user_text,
        reply=state.reply,
        history=state.history,
        persona=state.persona,
        summary=state.summary,
    )
    return {
        "notes": update.notes,
        "new_summary": update.summary,
        "dropped_notes": update.dropped_notes,
        **_degraded(degradation),
    }


async def _memory_writer(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    knobs = context.engine.settings.memory
    written, degradation = await write_turn(
        context.engine.book,
        context.agent_user(state),
        conversation_id=state.conversation_id,
        turn=state.turn,
        version=state.version,
        user_text=state.user_text,
        reply=state.reply,
        standing=Standing(relationship=state.relationship, mood=state.mood, mode=state.mode),
        time=state.time,
        notes=state.notes,
        new_summary=state.new_summary,
        embed_asker=context.asker if knobs.dense else None,
    )
    return {
        "dropped_notes": state.dropped_notes + written.dropped_notes,
        "requested_turn": None,  # the thread's next input goes on after this turn
        **_degraded(degradation),
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
"""Each node's step, by its name."""

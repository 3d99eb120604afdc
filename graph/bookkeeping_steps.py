"""The steps after the reply that ask a model: evolver and memory manager.

Each asks for itself; or the evolver asks one fused call for both, and the memory manager
finds its part done. What that call leaves out, its own step asks for.
"""

from collections.abc import Mapping
from typing import Any

from graph.context import TurnContext
from graph.holding import BOOKKEEPING_LEASE
from graph.state import TurnState, degraded_by
from nodes.evolver import evolve
from nodes.fused_bookkeeping import Books, keep_books_at_once
from nodes.memory_manager import MemoryUpdate, remember
from nodes.relationship import apply_delta

__all__ = ["evolver", "memory_manager"]


def _of_memory(update: MemoryUpdate) -> dict[str, Any]:
    return {
        "notes": update.notes,
        "new_summary": update.summary,
        "dropped_notes": update.dropped_notes,
    }


async def _ask_at_once(state: TurnState, context: TurnContext) -> tuple[Books, dict[str, Any]]:
    """Return what a fused call said of the turn, and the memory manager's part of the update.

    The evolver's part is applied by its own step.
    """
    books = await keep_books_at_once(
        context.asker_with(BOOKKEEPING_LEASE),
        language=state.language,
        user_text=state.user_text,
        reply=state.reply,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        detection=state.detection,
        summary=state.summary,
    )
    update: dict[str, Any] = {"degraded": list(books.degradations)}
    if books.memory is not None:
        update |= _of_memory(books.memory)
        update["answered"] = [*state.answered, "memory_manager"]
    return books, update


async def evolver(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    """Return the relationship after the turn, or what a fused call said of both."""
    fused: dict[str, Any] = {}
    if state.fusing.bookkeeping:
        books, fused = await _ask_at_once(state, context)
        if books.delta is not None:
            return {**fused, "relationship": apply_delta(state.relationship, books.delta)}
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
    return {
        **fused,
        "relationship": apply_delta(state.relationship, delta),
        **degraded_by(degradation, fused.get("degraded", ())),
    }


async def memory_manager(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    """Return what memory gains from the turn."""
    if "memory_manager" in state.answered:
        return {}
    update, degradation = await remember(
        context.asker_with(BOOKKEEPING_LEASE),
        language=state.language,
        user_text=state.user_text,
        reply=state.reply,
        history=state.history,
        persona=state.persona,
        summary=state.summary,
    )
    return {**_of_memory(update), **degraded_by(degradation)}

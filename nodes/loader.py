"""Loader: the start of a turn, which is the conversation so far and the relation.

An adapter: memory keeps plain JSON, independent of the pipeline; the nodes read records.
"""

from collections.abc import Mapping
from itertools import takewhile
from math import ceil
from typing import Any

from pydantic import Field, ValidationError

from callwise.memory import AgentUser, StoreDamaged
from callwise.memory.conversation_memory import ConversationMemory
from nodes.records import DialogueLine, FrozenRecord, Guidance, Language, Mode, Mood, Relationship
from nodes.text import detect_language

__all__ = ["ALL_TURNS", "LoadedTurn", "RelationState", "load_turn", "turns_left_out"]

ALL_TURNS = 2**31
"""More turns than any memory has."""


class RelationState(FrozenRecord):
    """The agent's relation to the user between turns, as memory keeps it."""

    relationship: Relationship = Relationship()
    mood: Mood = Mood()
    mode: Mode = Mode.NORMAL
    guidance: tuple[Guidance, ...] = Field(default=(), exclude_if=lambda kept: not kept)
    """Left out of memory where there is none."""


class LoadedTurn(FrozenRecord):
    """The start of a turn."""

    turn: int = Field(ge=0)
    """Number of the turn in the conversation. Starts at 0."""
    version: int = Field(ge=0)
    """The memory's version at the turn's start; its commit must name it."""
    language: Language
    history: tuple[DialogueLine, ...]
    """The conversation's latest lines, oldest first. Never lines of another one."""
    shown_turns: int = Field(ge=0)
    """Number of the memory's last turns that `history` shows; retrieval leaves them out."""
    summary: str
    relation: RelationState


def _relation(stored: Mapping[str, Any], agent_user: AgentUser) -> RelationState:
    try:
        return RelationState.model_validate(stored)
    except ValidationError as error:
        raise StoreDamaged(
            f"the relation of agent {agent_user.agent_id!r} to user {agent_user.user_id!r} in "
            f"memory cannot be read: {error.errors(include_url=False)[0]}"
        ) from error


def turns_left_out(turns: int, history_turns: int) -> int:
    """Return how many of a conversation's turns, from its beginning, are not shown.

    The window advances in steps of half its length, so that for several turns the prompt
    begins as the one before did, and a provider's prefix cache serves it.
    """
    if history_turns == 0:
        return turns
    step = max(history_turns // 2, 1)
    return step * ceil(max(turns - history_turns, 0) / step)


async def load_turn(
    memory: ConversationMemory,
    agent_user: AgentUser,
    *,
    conversation_id: str,
    turn: int | None,
    user_text: str,
    history_turns: int = 8,
) -> LoadedTurn:
    """Return the start of a turn. A stranger starts from the defaults.

    A turn that was cut off right after its commit starts, when it is run again, from
    what it started from the first time.

    Args:
        turn: its number in the conversation; None goes on after the last one.
        history_turns: see `turns_left_out`; at least 0.

    Raises:
        StoreFailed: when memory cannot be read, or its relation is damaged.
    """
    before = None if turn is None else (conversation_id, turn)
    # To count a conversation's turns among those of others, all are read.
    snapshot = await memory.load(agent_user, max_turns=ALL_TURNS, max_notes=0, before_turn=before)
    entries = snapshot.transcript
    own = [entry for entry in entries if entry.conversation_id == conversation_id]
    if turn is None:
        turn = max((entry.turn for entry in own), default=-1) + 1
    own = own[turns_left_out(len(own), history_turns) :]
    texts = [text for entry in own or entries[-1:] for text in (entry.user_text, entry.reply)]
    lines = ((entry.user_text, entry.reply) for entry in own)
    at_end = takewhile(lambda entry: entry.conversation_id == conversation_id, reversed(entries))
    return LoadedTurn(
        turn=turn,
        version=snapshot.version,
        language=detect_language(user_text, texts),
        history=tuple(
            DialogueLine(role=role, text=text)
            for user, reply in lines
            for role, text in (("user", user), ("agent", reply))
            if role == "user" or text
        ),
        shown_turns=min(len(own), len(list(at_end))),
        summary=snapshot.summary.text if snapshot.summary else "",
        relation=_relation(snapshot.relationship, agent_user),
    )

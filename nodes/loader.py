"""What a turn starts from: the conversation so far, and how the two stand.

An adapter: memory keeps plain JSON and knows no pipeline; the nodes want records.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from pydantic import Field, ValidationError

from callwise.memory import AgentUser, MemorySnapshot, StoreDamaged, TranscriptEntry
from callwise.memory.conversation_memory import ConversationMemory
from nodes.records import DialogueLine, FrozenRecord, Guidance, Language, Mode, Mood, Relationship
from nodes.text import detect_language

__all__ = ["ALL_TURNS", "LoadedTurn", "RelationState", "load_turn", "turns_left_out"]

ALL_TURNS = 2**31
"""More turns than any memory holds."""


class RelationState(FrozenRecord):
    """How the agent stands to the user between turns, as memory keeps it."""

    relationship: Relationship = Relationship()
    mood: Mood = Mood()
    mode: Mode = Mode.NORMAL
    guidance: tuple[Guidance, ...] = Field(default=(), exclude_if=lambda kept: not kept)
    """What the search learned to mind; left out of memory where there is nothing."""


class LoadedTurn(FrozenRecord):
    """What a turn starts from."""

    turn: int = Field(ge=0)
    """Which turn of the conversation this is. Starts at 0."""
    version: int = Field(ge=0)
    """The memory's version that the turn stands on; its commit must name it."""
    language: Language
    history: tuple[DialogueLine, ...]
    """The conversation's latest lines, oldest first. Never lines of another one."""
    shown_turns: int = Field(ge=0)
    """How many of the memory's last turns stand in `history`; retrieval leaves them out."""
    summary: str
    relation: RelationState


def _relation(stored: Mapping[str, Any], agent_user: AgentUser) -> RelationState:
    try:
        return RelationState.model_validate(stored)
    except ValidationError as error:
        raise StoreDamaged(
            f"what agent {agent_user.agent_id!r} remembers of where it stands with user "
            f"{agent_user.user_id!r} cannot be read: {error.errors(include_url=False)[0]}"
        ) from error


def _lines(entries: Sequence[TranscriptEntry]) -> tuple[DialogueLine, ...]:
    lines: list[DialogueLine] = []
    for entry in entries:
        lines.append(DialogueLine(role="user", text=entry.user_text))
        if entry.reply:
            lines.append(DialogueLine(role="agent", text=entry.reply))
    return tuple(lines)


def _trailing(entries: Sequence[TranscriptEntry], conversation_id: str) -> int:
    """Return how many entries at the end are of one conversation, without a gap."""
    count = 0
    for entry in reversed(entries):
        if entry.conversation_id != conversation_id:
            break
        count += 1
    return count


def turns_left_out(turns: int, history_turns: int) -> int:
    """Return how many of a conversation's turns, from its beginning, are not shown.

    The window moves in steps of half its length, so that for several turns the prompt
    begins as the one before did, and a provider's prefix cache serves it.

    Args:
        turns: of the conversation so far.
        history_turns: most turns that are shown; at least 0.
    """
    if history_turns == 0:
        return turns
    step = max(history_turns // 2, 1)
    return step * ceil(max(turns - history_turns, 0) / step)


def _own_turns(
    snapshot: MemorySnapshot, conversation_id: str, history_turns: int
) -> list[TranscriptEntry]:
    own = [entry for entry in snapshot.transcript if entry.conversation_id == conversation_id]
    return own[turns_left_out(len(own), history_turns) :]


async def load_turn(
    memory: ConversationMemory,
    agent_user: AgentUser,
    *,
    conversation_id: str,
    turn: int | None,
    user_text: str,
    history_turns: int = 8,
) -> LoadedTurn:
    """Return what a turn starts from. A stranger starts from the defaults.

    A turn that was cut off right after its commit starts, when it is run again, from
    what it started from the first time.

    Args:
        memory: the memory.
        agent_user: whose memory, about whom.
        conversation_id: the conversation.
        turn: its number there; None goes on after the conversation's last one.
        user_text: what the user said; its language decides the prompts'.
        history_turns: most of the conversation's last turns that are shown; at least 0.
            See `turns_left_out`.

    Raises:
        StoreFailed: when memory cannot be read, or holds what is no relation.
    """
    before = None if turn is None else (conversation_id, turn)
    # To count a conversation's turns among those of others, all must be looked at.
    snapshot = await memory.load(agent_user, max_turns=ALL_TURNS, max_notes=0, before_turn=before)
    own = _own_turns(snapshot, conversation_id, history_turns)
    if turn is None:
        numbers = [e.turn for e in snapshot.transcript if e.conversation_id == conversation_id]
        turn = max(numbers, default=-1) + 1
    spoken = own or snapshot.transcript[-1:]
    texts = [text for entry in spoken for text in (entry.user_text, entry.reply)]
    return LoadedTurn(
        turn=turn,
        version=snapshot.version,
        language=detect_language(user_text, texts),
        history=_lines(own),
        shown_turns=min(len(own), _trailing(snapshot.transcript, conversation_id)),
        summary=snapshot.summary.text if snapshot.summary else "",
        relation=_relation(snapshot.relationship, agent_user),
    )

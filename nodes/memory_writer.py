"""Memory writer: the turn's last step, which keeps all of its changes or none.

An adapter over memory's commit, which keeps the same turn once however often it is
committed. So a run that was cut off can simply run its last turn again.
"""

from collections.abc import Sequence

from callwise.calls import LLM
from callwise.memory import AgentUser, NewNote, TurnCommit
from callwise.memory.conversation_memory import ConversationMemory
from nodes.loader import RelationState
from nodes.memory_retriever import embed_text
from nodes.records import Degradation, NoteDraft

__all__ = ["write_turn"]

NODE = "memory_writer"


async def write_turn(
    memory: ConversationMemory,
    agent_user: AgentUser,
    *,
    conversation_id: str,
    turn: int,
    version: int,
    user_text: str,
    reply: str,
    relation: RelationState,
    time: str | None = None,
    notes: Sequence[NoteDraft] = (),
    new_summary: str = "",
    embedder: LLM | None = None,
) -> tuple[int, Degradation | None]:
    """Keep a finished turn. Nothing may be changed after it.

    Args:
        time: when the user wrote, ISO 8601; None when not known.
        notes: those that quote what was not said are left out.
        new_summary: of everything so far; empty keeps the old one.
        embedder: asks one embedding call, so that vectors find the turn later.

    Returns:
        The number of notes left out, and why the turn has no vector where it should have one.

    Raises:
        MemoryConflict: when another turn was kept since this one was loaded.
        StoreFailed: when nothing could be kept.
        CallError: a fatal one.
    """
    embedding, degradation = None, None
    if embedder is not None:
        embedding, degradation = await embed_text(embedder, f"{user_text}\n{reply}", node=NODE)
    drafted = [NewNote(note.text, note.evidence, note.kind) for note in notes]
    kept = tuple(note for note in drafted if note.is_quoted_from(user_text, reply))
    await memory.commit(
        TurnCommit(
            agent_user=agent_user,
            conversation_id=conversation_id,
            turn=turn,
            user_text=user_text,
            reply=reply,
            expected_version=version,
            time=time,
            notes=kept,
            summary=new_summary or None,
            relationship=relation.model_dump(mode="json"),
            embedding=embedding,
        )
    )
    return len(drafted) - len(kept), degradation

"""Memory retriever: memories that are relevant to the user's words. No language model is asked.

An adapter over memory's ranking: by words always, and by vectors as well where an LLM for
embeddings is given.
"""

from callwise.calls import LLM, Call, CallError, Purpose, Role
from callwise.memory import AgentUser, Embedding, MemorySnapshot, RecalledTurn
from callwise.memory.conversation_memory import ConversationMemory
from nodes.prompt import clip
from nodes.question import degradation_of
from nodes.records import Degradation, MemoryLine

__all__ = ["MAX_EMBEDDED_CHARS", "MAX_SAID_CHARS", "embed_text", "retrieve_memories"]

MAX_EMBEDDED_CHARS = 4000
"""Longest text that is embedded, in characters; common models read little more."""


async def embed_text(
    llm: LLM, text: str, *, node: str
) -> tuple[Embedding | None, Degradation | None]:
    """Return a text's vector, or why there is none. A blank text needs no call and has none.

    Raises:
        CallError: a fatal one.
    """
    if not text.strip():
        return None, None
    call = Call(Role.EMBED, Purpose.EMBED, inputs=(clip(text, MAX_EMBEDDED_CHARS),))
    try:
        reply = await llm.ask(call)
    except CallError as error:
        return None, degradation_of(error, node=node)
    if not reply.vectors:
        detail = "the embedding endpoint answered without a vector"
        return None, Degradation(node=node, reason="invalid", detail=detail)
    return Embedding(model=reply.model or "unnamed", vector=reply.vectors[0]), None


NODE = "memory_retriever"

MAX_SAID_CHARS = 200
"""Shown length of each side of a remembered turn, in characters."""

MAX_NOTES = 2
"""Number of a remembered turn's notes that are shown with it."""


def _line(recalled: RecalledTurn) -> MemoryLine:
    entry = recalled.entry
    return MemoryLine(
        turn=entry.turn,
        day=(entry.time or "")[:10],
        user=clip(entry.user_text, MAX_SAID_CHARS),
        agent=clip(entry.reply, MAX_SAID_CHARS),
        noted=tuple(clip(note.text, MAX_SAID_CHARS) for note in recalled.notes[:MAX_NOTES]),
    )


async def retrieve_memories(
    memory: ConversationMemory,
    agent_user: AgentUser,
    *,
    version: int,
    user_text: str,
    max_lines: int = 5,
    shown_turns: int = 0,
    embedder: LLM | None = None,
) -> tuple[tuple[MemoryLine, ...], Degradation | None]:
    """Return the memories that are relevant to the user's words, most relevant first.

    Args:
        version: the memory's version at the turn's start; later turns are left out.
        max_lines: how many at most; 0 retrieves nothing and asks nothing.
        shown_turns: how many of the last turns the prompt shows already.
        embedder: asks one embedding call to rank by vectors too; None asks none.

    Returns:
        The lines, and why vectors were not used where they should have been.

    Raises:
        StoreFailed: when memory cannot be read.
        CallError: a fatal one.
    """
    if max_lines == 0 or version <= shown_turns:
        return (), None
    embedding, degradation = None, None
    if embedder is not None:
        embedding, degradation = await embed_text(embedder, user_text, node=NODE)
    recalled = await memory.retrieve(
        MemorySnapshot(agent_user, version=version),
        user_text,
        max_lines,
        embedding=embedding,
        skip_recent=shown_turns,
    )
    return tuple(map(_line, recalled)), degradation

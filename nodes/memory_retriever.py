"""What the agent remembers that bears on the user's words. No language model is asked.

An adapter over memory's ranking: by words always, and by vectors as well where an
asker for embeddings is given.
"""

from collections.abc import Mapping
from types import MappingProxyType

from nodes.memory_embedding import embed_text
from nodes.prompt import clip
from nodes.records import Degradation, Language, MemoryLine
from turnwise.calls import Asker
from turnwise.memory import AgentUser, MemorySnapshot, RecalledTurn
from turnwise.memory.book import MemoryBook

__all__ = ["MAX_SAID_CHARS", "retrieve_memories"]

NODE = "memory_retriever"

MAX_SAID_CHARS = 200
"""How much of each side of a remembered turn is shown, in characters."""

MAX_NOTES = 2
"""How many of a remembered turn's notes are shown with it."""

_LABELS: Mapping[Language, tuple[str, str, str]] = MappingProxyType(
    {"en": ("User: ", "You: ", "Noted: "), "zh": ("用户：", "你：", "记下：")}
)


def _line(recalled: RecalledTurn, language: Language) -> MemoryLine:
    """Return one remembered turn as a line: when, who said what, and what was noted."""
    user, agent, noted = _LABELS[language]
    entry = recalled.entry
    day = f"[{entry.time[:10]}] " if entry.time else ""
    parts = [f"{day}{user}{clip(entry.user_text, MAX_SAID_CHARS)}"]
    if entry.reply:
        parts.append(f"{agent}{clip(entry.reply, MAX_SAID_CHARS)}")
    parts.extend(f"{noted}{note.text}" for note in recalled.notes[:MAX_NOTES])
    return MemoryLine(text="\n".join(parts), kind="turn", turn=entry.turn)


async def retrieve_memories(
    book: MemoryBook,
    agent_user: AgentUser,
    *,
    version: int,
    user_text: str,
    language: Language,
    max_lines: int = 5,
    shown_turns: int = 0,
    embed_asker: Asker | None = None,
) -> tuple[tuple[MemoryLine, ...], Degradation | None]:
    """Return the memories that bear on the user's words, most relevant first.

    Args:
        book: the memory.
        agent_user: whose memory, about whom.
        version: the memory's version that the turn stands on; later turns have no part.
        user_text: what the user said.
        language: language of the labels in each line.
        max_lines: how many at most; 0 retrieves nothing and asks nothing.
        shown_turns: how many of the last turns stand in the prompt already.
        embed_asker: asks one embedding call to rank by vectors too; None asks none.

    Returns:
        The lines, and why vectors took no part where they should have.

    Raises:
        StoreFailed: when memory cannot be read.
        CallError: a fatal one.
    """
    if max_lines == 0 or version <= shown_turns:
        return (), None
    embedding, degradation = None, None
    if embed_asker is not None:
        embedding, degradation = await embed_text(embed_asker, user_text, node=NODE)
    recalled = await book.retrieve(
        MemorySnapshot(agent_user, version=version),
        user_text,
        max_lines,
        embedding=embedding,
        skip_recent=shown_turns,
    )
    return tuple(_line(turn, language) for turn in recalled), degradation

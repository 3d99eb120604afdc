"""Fused bookkeeping: evolver and memory manager in one call.

| role | purpose | temperature | max_tokens | asked by |
|---|---|---|---|---|
| fast | fuse | 0 | 1200 | evolver |

Both read the finished turn and neither reads the other, so nothing is lost by asking
them together. A part that cannot be used is left to its own node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from nodes.evolver import EvolverAnswer, RelationshipDelta
from nodes.fused_parts import FusedAnswer, Missing, Unusable, ask_fused, part, usable
from nodes.memory_manager import MemoryAnswer, MemoryUpdate
from nodes.memory_rules import remember_by_rules
from nodes.phrases import detection_shown, relationship_phrase
from nodes.prompt import chat, lines_shown
from nodes.records import Degradation, Detection, Language, Line, Persona, Relationship
from turnwise.calls import Asker, Call, Purpose, Role, Sampling

__all__ = ["BookkeepingAnswer", "Books", "keep_books_at_once"]

NODES = {"movement": "evolver", "memory": "memory_manager"}
"""The node that each part of the answer is for."""

SAMPLING = Sampling(temperature=0.0, max_tokens=1200)


class BookkeepingAnswer(FusedAnswer):
    """What the model answers: the answers of two nodes."""

    movement: Annotated[EvolverAnswer | Unusable, part(EvolverAnswer)] = Missing
    memory: Annotated[MemoryAnswer | Unusable, part(MemoryAnswer)] = Missing


@dataclass(frozen=True, slots=True)
class Books:
    """What came of a fused call. None is what has to be asked apart.

    Args:
        delta: how the turn moved the relationship.
        memory: what memory gains from it.
        degradations: why a part, or both, have to be asked apart.
    """

    delta: RelationshipDelta | None = None
    memory: MemoryUpdate | None = None
    degradations: Sequence[Degradation] = ()


async def keep_books_at_once(
    asker: Asker,
    *,
    language: Language,
    user_text: str,
    reply: str,
    history: Sequence[Line] = (),
    persona: Persona,
    relationship: Relationship,
    detection: Detection,
    summary: str = "",
) -> Books:
    """Return how one fused call judged the turn and what it noted of it.

    Args:
        asker: who reaches the model.
        language: language of the prompt, the reason, the summary and the notes.
        user_text: the message, whole. Untrusted.
        reply: what the agent answered, whole.
        history: the lines before both, oldest first.
        persona: who the agent is.
        relationship: as it was before the turn.
        detection: what was found in the message.
        summary: the summary so far; blank when there is none.

    Raises:
        CallError: a fatal one.
    """
    call = Call(
        role=Role.FAST,
        purpose=Purpose.FUSE,
        messages=chat(
            "fused_bookkeeping",
            language,
            persona=persona,
            chat=lines_shown(history, user_text, reply),
            summary=summary,
            stage=relationship.stage,
            relationship=relationship_phrase(relationship, language),
            detection=detection_shown(detection, language),
        ),
        response_model=BookkeepingAnswer,
        sampling=SAMPLING,
    )
    fused, degradations = await ask_fused(asker, call, answer=BookkeepingAnswer, nodes=NODES)
    if fused is None:
        return Books(degradations=degradations)
    movement, memory = usable(fused.movement), usable(fused.memory)
    carried, _ = remember_by_rules(
        user_text=user_text, reply=reply, summary=summary, language=language
    )
    said = {"user_text": user_text, "reply": reply, "carried": carried}
    return Books(
        delta=movement.record() if movement else None,
        memory=memory.update(**said) if memory else None,
        degradations=degradations,
    )

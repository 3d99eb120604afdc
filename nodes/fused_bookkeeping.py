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
from nodes.question import BOOKKEEPING_LEASE, Question, Tokens
from nodes.records import Degradation
from nodes.turn import TurnView
from turnwise.calls import Asker, Purpose, Role, Sampling

__all__ = ["FUSED_BOOKKEEPING", "BookkeepingAnswer", "Books", "keep_books_at_once"]


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


FUSED_BOOKKEEPING: Question[BookkeepingAnswer, BookkeepingAnswer | None] = Question(
    node="evolver",
    role=Role.FAST,
    purpose=Purpose.FUSE,
    prompt="fused_bookkeeping",
    answer=BookkeepingAnswer,
    fields=("persona", "chat", "stage", "relationship", "detection"),
    sampling=Sampling(temperature=0.0, max_tokens=1200),
    tokens=Tokens(1300, 280),
    convert=lambda answer, _view: answer,
    fallback=lambda _view: None,
    asked=lambda view: {"summary": view.summary},
    lease=BOOKKEEPING_LEASE,
    speaks_for=("evolver", "memory_manager"),
)


async def keep_books_at_once(asker: Asker, view: TurnView) -> Books:
    """Return how one fused call judged the turn and what it noted of it.

    Raises:
        CallError: a fatal one.
    """
    fused, degradations = await ask_fused(asker, FUSED_BOOKKEEPING, view)
    if fused is None:
        return Books(degradations=degradations)
    movement, memory = usable(fused.movement), usable(fused.memory)
    return Books(
        delta=movement.record() if movement else None,
        memory=memory.update(view) if memory else None,
        degradations=degradations,
    )

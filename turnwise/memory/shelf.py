"""The seam between the book and whatever keeps it.

The book thinks in whole turns and one small state. A shelf keeps them somewhere;
`over_store` does in any LangGraph store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from turnwise.memory.records import AgentUser

__all__ = ["KeptTurn", "Shelf"]


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """One turn as it is kept: JSON objects, not yet read.

    Args:
        version: the memory's version that this turn made. Starts at 1.
        entry: the transcript entry.
        notes: the turn's notes.
    """

    version: int
    entry: Mapping[str, Any]
    notes: Sequence[Mapping[str, Any]]


class Shelf(Protocol):
    """Where the book keeps turns and state."""

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state last kept, or None for a stranger. It holds `version`."""
        ...

    async def turns(self, agent_user: AgentUser, *, after: int, upto: int) -> list[KeptTurn]:
        """Return the turns with versions above `after` and up to `upto`, in order.

        Raises:
            StoreDamaged: when one is missing.
        """
        ...

    async def keep(self, agent_user: AgentUser, turn: KeptTurn, state: Mapping[str, Any]) -> None:
        """Keep a turn and the state that it makes, all or nothing.

        Raises:
            MemoryConflict: when the stored version is not `turn.version - 1`.
        """
        ...

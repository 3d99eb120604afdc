"""The state of the reply graph: one typed record, and nothing counted in it.

Channels contain plain JSON, so that a checkpoint can be read by any version and any
checkpointer; each node receives them as the records below. The cost of calls is only in the
budgeter's ledger.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from callwise.memory import Identity
from graph.fusing import Fusion
from nodes.records import Bubble, Degradation, DialogueLine, Guidance, NoteDraft
from nodes.turn import TurnView

__all__ = ["TurnState", "collect_degraded", "degraded_by"]


def collect_degraded(old: list[Any] | None, new: list[Any] | None) -> list[Any]:
    """Return the old rows and the new; `None` empties them, at the start of a turn.

    Parallel branches may each add rows in one step; they are kept in order of node
    name, so that the order does not depend on which branch was faster.
    """
    if new is None:
        return []
    rows = [*(old or []), *new]
    return sorted(rows, key=lambda row: row["node"] if isinstance(row, dict) else row.node)


def degraded_by(
    degradation: Degradation | None, before: Sequence[Degradation] = ()
) -> dict[str, Any]:
    """Return the update that adds a degradation, if there is one, after those before it."""
    rows = [*before, *([] if degradation is None else [degradation])]
    return {"degraded": rows} if rows else {}


class TurnState(TurnView):
    """The whole state of one turn: the view that nodes read, and fields of the graph alone."""

    agent_id: str = Field(default="agent", min_length=1)
    """The owner of the memory, together with `user_id`."""
    user_id: str | None = Field(default=None, min_length=1)
    """The user; None is anonymous, with a memory of this conversation alone."""
    conversation_id: str = Field(default="conversation", min_length=1)
    requested_turn: int | None = Field(default=None, ge=0)
    """Number of the requested turn; None goes on after the conversation's last one."""
    time: str | None = None
    """Time at which the user wrote, as ISO 8601; None when it is not known."""
    earlier_lines: list[DialogueLine] = Field(default=[])
    """The chat before the conversation's first turn; shown until memory has a turn of it."""

    turn: int = Field(default=0, ge=0)
    """Number of the turn in the conversation. Starts at 0."""
    fusing: Fusion = Fusion()
    """The nodes that ask together in this turn; decided when it begins."""
    answered: list[str] = Field(default=[])
    """Nodes whose part of this turn came in a fused call, so that they need not ask."""

    guidance: list[Guidance] = Field(default=[])
    """Repeated faults of replies: for this turn's search, and after it for the next's."""
    search: dict[str, Any] = Field(default={})
    """The search's record: why it stopped, its rollouts, its tree. Plain JSON."""
    early_bubbles: list[Bubble] = Field(default=[])
    """The bubbles that could be shown while the reply was written; its first ones."""
    violations: list[str] = Field(default=[])
    """Rules that the final validation found broken, and mended."""

    notes: list[NoteDraft] = Field(default=[])
    new_summary: str = ""
    dropped_notes: int = Field(default=0, ge=0)
    """Notes whose evidence is not verbatim in the turn."""
    degraded: Annotated[list[Degradation], collect_degraded] = Field(default=[])

    @property
    def identity(self) -> Identity:
        """The agent, the user and the conversation."""
        return Identity(self.agent_id, self.user_id, self.conversation_id)

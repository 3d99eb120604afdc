"""What a search found, and why it stopped."""

from dataclasses import dataclass
from enum import StrEnum

from lats.judgement import Judgement
from lats.proposal import Kind
from lats.tree import Node, Tree

__all__ = ["SearchResult", "StopReason"]


class StopReason(StrEnum):
    """Why a search asked nothing more."""

    ROLLOUTS_DONE = "rollouts_done"
    """It did what its knobs say."""

    EARLY_EXIT = "early_exit"
    """A reply passed all gates."""

    CAP = "cap"
    """`max_calls` left no room for another step."""

    BUDGET = "budget"
    """The driver's budget left no room, or refused a call."""

    EXHAUSTED = "exhausted"
    """No leaf is left whose expansion could bring anything new."""

    FAILED = "failed"
    """There is no root draft, or no expansion ever answered."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The state of a search, at its end or before.

    Args:
        best: the reply to answer with; None when not even a root draft came.
        stop_reason: why it stopped; None while it has not.
        final_judgement: the second look at `best`; None when not asked or not answered.
        rollouts_done: rollouts that are over, failed ones included.
        rounds: batches that were proposed, one waiting for the other.
        asked: proposals made, by kind. Kinds that were not asked are absent.
        failed: proposals that were told as failed or refused, by kind.
        tree: everything that was proposed and judged.
    """

    best: Node | None
    stop_reason: StopReason | None
    final_judgement: Judgement | None
    rollouts_done: int
    rounds: int
    asked: dict[Kind, int]
    failed: dict[Kind, int]
    tree: Tree

    @property
    def calls(self) -> int:
        """Proposals made, of all kinds."""
        return sum(self.asked.values())

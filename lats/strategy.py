"""What a policy decides: the next round, from the state and from what is left to spend."""

from dataclasses import dataclass
from typing import Protocol

from lats.moves import Move
from lats.result import StopReason
from lats.search_state import SearchState

__all__ = ["Left", "Strategy"]

MANY = 1 << 30


@dataclass(frozen=True, slots=True)
class Left:
    """Calls that the next rounds may still spend.

    Args:
        calls: in all; the knobs' cap and the driver's room, whichever is less.
        proposer: of the proposing model.
        judge: of the judging model.
    """

    calls: int
    proposer: int = MANY
    judge: int = MANY

    @property
    def judge_calls(self) -> int:
        """Judge calls that fit if nothing else is asked."""
        return min(self.calls, self.judge)

    @property
    def proposer_calls(self) -> int:
        """Proposer calls that fit if nothing else is asked."""
        return min(self.calls, self.proposer)

    def fits(self, *, proposer: int = 0, judge: int = 0) -> bool:
        """Return whether that many calls fit together."""
        return proposer + judge <= self.calls and proposer <= self.proposer and judge <= self.judge

    def after(self, *, proposer: int = 0, judge: int = 0) -> "Left":
        """Return what is left once that many calls were asked."""
        return Left(self.calls - proposer - judge, self.proposer - proposer, self.judge - judge)


class Strategy(Protocol):
    """One policy: a function of the state. It keeps nothing itself."""

    def next_round(self, state: SearchState, left: Left) -> list[Move] | StopReason:
        """Return the moves of the next round, all of which travel together, or why to stop.

        The moves fit into `left`. `StopReason.CAP` says that nothing useful fits any more,
        whatever it is that binds.
        """
        ...

"""The records of a plan: which calls a search will ask, in which rounds, in which scenario."""

from dataclasses import dataclass
from enum import StrEnum

from lats.proposal import Kind, Side, side_of

__all__ = ["PlannedCalls", "PlannedRound", "Scenario", "SearchPlan"]


class Scenario(StrEnum):
    """What the models are assumed to do. In all but `worst`, whatever is asked is answered."""

    DEFAULT = "default"
    """No reply passes the gates; strategies differ enough."""

    EARLY_EXIT = "early_exit"
    """Every judged reply passes the gates, the root first."""

    EARLY_EXIT_AFTER_FIRST_ROLLOUT = "early_exit_after_first_rollout"
    """Every judged reply but the root passes the gates."""

    WORST = "worst"
    """No reply passes, and strategies are too alike. Nothing that happens costs more."""


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one kind that travel in one round.

    Args:
        kind: what they ask for.
        count_calls: how many; at least 1.
        is_speculative: whether they are asked before it is known that they are needed.
    """

    kind: Kind
    count_calls: int
    is_speculative: bool = False

    @property
    def side(self) -> Side:
        """Who answers them."""
        return side_of(self.kind)


PlannedRound = tuple[PlannedCalls, ...]
"""Calls that travel together."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The rounds of one search, in order; each waits for the one before it."""

    rounds: tuple[PlannedRound, ...]

    @property
    def calls(self) -> int:
        """Calls of all rounds."""
        return sum(self.calls_by_kind().values())

    def calls_by_kind(self) -> dict[Kind, int]:
        """Return how many calls of each kind there are; absent kinds are not asked."""
        counts: dict[Kind, int] = {}
        for part in self._parts():
            counts[part.kind] = counts.get(part.kind, 0) + part.count_calls
        return counts

    def calls_by_side(self) -> dict[Side, int]:
        """Return how many calls the proposer and the judge each answer."""
        counts = dict.fromkeys(Side, 0)
        for part in self._parts():
            counts[part.side] += part.count_calls
        return counts

    def speculative_calls(self) -> int:
        """Return how many calls are asked before it is known that they are needed."""
        return sum(part.count_calls for part in self._parts() if part.is_speculative)

    def _parts(self) -> list[PlannedCalls]:
        return [part for together in self.rounds for part in together]

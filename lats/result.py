"""What a search found, and why it stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from lats.actions import Kind
from lats.answers import NodeId
from lats.judgement import Judgement
from lats.posterior import Belief
from lats.reflection import Guideline
from lats.search_tree import Candidate, Forest
from lats.tree import Node, Tree

__all__ = ["Confidence", "SearchResult", "StateError", "StopReason"]


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

    PLAN_DONE = "plan_done"
    """Its knobs allow no further candidate, refinement or pass, though calls are left."""

    MIN_GAIN = "min_gain"
    """No further call promises as much as `min_gain`."""

    DEADLINE = "deadline"
    """The driver's time ran out."""

    UNJUDGED = "unjudged"
    """Judges were asked twice in a row and nothing usable came."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure a search is of its answer, if its judge may be believed.

    A judge that is biased makes it sure and wrong: this knows of noise only.

    Args:
        chance_best: probability that no other candidate is better, in [0, 1]. Under judging
            by agreement: the answer's cluster's share of all worth.
        mean_score: posterior mean of the answer's score; None under agreement without scores.
        sd: posterior standard deviation, in score; None likewise.
        scores: scores of the answer that went into it.
    """

    chance_best: float
    mean_score: float | None
    sd: float | None
    scores: int


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
        confidence: how sure the search is of `best`; None where no judge was heard, and for
            `classic_uct`, which keeps no posterior.
        guidelines: what the next turn's search should be given, not yet aged.
        planned_cap: calls that the search planned for, when its first round was made; None
            for `classic_uct`.
        beliefs: posteriors of all candidates that have a score; None for `classic_uct`.
        survivors: candidates from scratch that are still in the running; none where the policy
            drops none.
    """

    best: Node | Candidate | None
    stop_reason: StopReason | None
    final_judgement: Judgement | None
    rollouts_done: int
    rounds: int
    asked: dict[Kind, int]
    failed: dict[Kind, int]
    tree: Tree | Forest
    confidence: Confidence | None = None
    guidelines: tuple[Guideline, ...] = ()
    planned_cap: int | None = None
    beliefs: Mapping[NodeId, Belief] | None = None
    survivors: tuple[NodeId, ...] = ()

    @property
    def calls(self) -> int:
        """Proposals made, of all kinds."""
        return sum(self.asked.values())


class StateError(ValueError):
    """A saved state that cannot be read: of another version, another policy, or broken."""

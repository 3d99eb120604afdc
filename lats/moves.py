"""What every search but the classic one proposes: generate, refine, judge a list.

As with `lats.proposal`, a move is answered by whoever drives the search, and its id
follows from its place in the search.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from lats.proposal import Kind, ProposalId
from lats.tree import NodeId

__all__ = ["Generate", "JudgeList", "Move", "Refine", "passes_of"]


@dataclass(frozen=True, slots=True)
class Generate:
    """Propose `k` candidates from the start, in one call. Answered by `Drafts`.

    Args:
        k: candidates wanted, at least 1. More are dropped, fewer are fine.
        attempt: generations asked for before in this search. Starts at 0. Another attempt
            must be another answer, not the first one out of a cache.
        guidelines: what earlier candidates kept getting wrong, in words. Untrusted.
    """

    k: int
    attempt: int
    guidelines: tuple[str, ...] = ()
    kind: Literal[Kind.GENERATE] = Kind.GENERATE

    @property
    def proposal_id(self) -> ProposalId:
        """Unique in the search."""
        return ProposalId(f"generate:{self.attempt}")


@dataclass(frozen=True, slots=True)
class Refine:
    """Propose `k` candidates from given ones, in one call. Answered by `Drafts`.

    Of whole answers: better ones, with what the judge said of these. Of steps: next steps.

    Args:
        node_ids: what to go on from, the best first; at least one. New candidates become
            children of the first.
        k: candidates wanted, at least 1. More are dropped, fewer are fine.
        attempt: times that the first of these was refined before. Starts at 0.
        guidelines: what earlier candidates kept getting wrong, in words. Untrusted.
    """

    node_ids: tuple[NodeId, ...]
    k: int
    attempt: int
    guidelines: tuple[str, ...] = ()
    kind: Literal[Kind.REFINE] = Kind.REFINE

    @property
    def proposal_id(self) -> ProposalId:
        """Unique in the search."""
        return ProposalId(f"refine:{self.node_ids[0]}:{self.attempt}")


@dataclass(frozen=True, slots=True)
class JudgeList:
    """Judge candidates beside each other, in one call. Answered by `Verdicts`.

    Args:
        node_ids: the candidates in the order in which the judge reads them; at least one.
        look: judge calls asked for before in this search. Starts at 0.
        rubric: name of the rubric to judge by.
    """

    node_ids: tuple[NodeId, ...]
    look: int
    rubric: str = "overall"
    kind: Literal[Kind.JUDGE_LIST] = Kind.JUDGE_LIST

    @property
    def proposal_id(self) -> ProposalId:
        """Unique in the search."""
        return ProposalId(f"judge_list:{self.look}")


Move = Generate | Refine | JudgeList


def passes_of(moves: Sequence[Move]) -> int:
    """Return how many times the candidates of a round's judge calls are read over."""
    lists = [move.node_ids for move in moves if isinstance(move, JudgeList)]
    if len(lists) < 2:
        return len(lists)
    return min(Counter(chain.from_iterable(lists)).values(), default=0)

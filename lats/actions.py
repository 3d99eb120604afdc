"""What a search may propose, and what it may be told in return.

A search never calls a model. It proposes: "somebody judge this reply"; whoever drives
it does so and tells it what came. A proposal's id is unique in a search and follows
from its place in it, so a restored search knows its proposals again.

What every search but the classic one proposes: generate, refine, judge a list.

As with `lats.proposal`, a move is answered by whoever drives the search, and its id
follows from its place in the search.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Annotated, Literal, NewType

from pydantic import Field

from lats.answers import Drafts, Failure, NodeId, _Record
from lats.judgement import Judgement

__all__ = [
    "CheckAssistant",
    "ExpandNode",
    "FinalJudge",
    "Generate",
    "JudgeCandidate",
    "JudgeList",
    "Judged",
    "Kind",
    "Move",
    "PlanRoot",
    "Proposal",
    "ProposalId",
    "Refine",
    "Side",
    "Told",
    "TopUp",
    "passes_of",
    "side_of",
]


ProposalId = NewType("ProposalId", str)


class Kind(StrEnum):
    """What a proposal asks for."""

    PLAN_ROOT = "plan_root"
    JUDGE = "judge"
    EXPAND = "expand"
    TOP_UP = "top_up"
    CHECK_ASSISTANT = "check_assistant"
    FINAL_JUDGE = "final_judge"
    GENERATE = "generate"
    REFINE = "refine"
    JUDGE_LIST = "judge_list"


class Side(StrEnum):
    """Which of the two models a search needs would answer."""

    PROPOSER = "proposer"
    JUDGE = "judge"


_PROPOSED = frozenset({Kind.PLAN_ROOT, Kind.EXPAND, Kind.TOP_UP, Kind.GENERATE, Kind.REFINE})


def side_of(kind: Kind) -> Side:
    """Return who answers proposals of a kind."""
    return Side.PROPOSER if kind in _PROPOSED else Side.JUDGE


class PlanRoot(_Record):
    """Propose the first reply. Answered by `Drafts`; the first usable one is the root."""

    kind: Literal[Kind.PLAN_ROOT] = Kind.PLAN_ROOT

    @property
    def proposal_id(self) -> ProposalId:
        """Unique in the search."""
        return ProposalId(self.kind)


class _OfNode(_Record):
    kind: Kind
    node_id: NodeId
    """The node whose reply it is about."""

    @property
    def proposal_id(self) -> ProposalId:
        """Unique in the search."""
        return ProposalId(f"{self.kind}:{self.node_id}")


class _Look(_OfNode):
    look: int
    """Times that a judge was asked about this reply before. Starts at 0.

    A second look must be a second answer, not the first one out of a cache.
    """


class JudgeCandidate(_Look):
    """Judge a node's reply. Answered by a `Judgement`."""

    kind: Literal[Kind.JUDGE] = Kind.JUDGE


class FinalJudge(_Look):
    """Judge the chosen reply once more. Answered by a `Judgement`."""

    kind: Literal[Kind.FINAL_JUDGE] = Kind.FINAL_JUDGE


class CheckAssistant(_OfNode):
    """Say how much a reply sounds like an assistant. A `Judgement` with `assistantness`."""

    kind: Literal[Kind.CHECK_ASSISTANT] = Kind.CHECK_ASSISTANT


class _Widening(_OfNode):
    k: int
    """Variants wanted, at least 1. More are dropped, fewer are fine."""

    attempt: int
    """Times that variants of this node were asked for before. Starts at 0."""

    strategies_used: tuple[str, ...]
    """Strategy tags that variants should not repeat."""

    @property
    def proposal_id(self) -> ProposalId:
        """Unique in the search."""
        return ProposalId(f"{self.kind}:{self.node_id}:{self.attempt}")


class ExpandNode(_Widening):
    """Propose `k` variants of a node's reply in one call. Answered by `Drafts`."""

    kind: Literal[Kind.EXPAND] = Kind.EXPAND
    is_speculative: bool = False
    """Asked before it was known to be needed."""


class TopUp(_Widening):
    """Propose more variants, since the first ones were too alike. Answered by `Drafts`."""

    kind: Literal[Kind.TOP_UP] = Kind.TOP_UP


Proposal = Annotated[
    PlanRoot | JudgeCandidate | FinalJudge | CheckAssistant | ExpandNode | TopUp,
    Field(discriminator="kind"),
]


class Judged(_Record):
    """A judgement, in the form in which a round's answers are kept."""

    kind: Literal["judged"] = "judged"
    judgement: Judgement


Told = Annotated[Drafts | Judged | Failure, Field(discriminator="kind")]


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

"""What a search may propose, and what it may be told in return.

A search never calls a model. It proposes: "somebody judge this reply"; whoever drives
it does so and tells it what came. A proposal's id is unique in a search and follows
from its place in it, so a restored search knows its proposals again.
"""

from enum import StrEnum
from typing import Annotated, Literal, NewType

from pydantic import BaseModel, ConfigDict, Field

from lats.draft import Draft
from lats.judgement import Judgement
from lats.tree import NodeId

__all__ = [
    "CheckAssistant",
    "Drafts",
    "ExpandNode",
    "Failure",
    "FinalJudge",
    "JudgeCandidate",
    "Judged",
    "Kind",
    "PlanRoot",
    "Proposal",
    "ProposalId",
    "Side",
    "Told",
    "TopUp",
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


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Drafts(_Record):
    """What a proposer returned, as it came: too many, too few, blank or twice is allowed."""

    kind: Literal["drafts"] = "drafts"
    drafts: tuple[Draft, ...]


class Judged(_Record):
    """A judgement, in the form in which a round's answers are kept."""

    kind: Literal["judged"] = "judged"
    judgement: Judgement


class Failure(_Record):
    """No answer came."""

    kind: Literal["failure"] = "failure"
    is_refused: bool = False
    """Whether the budget had no room. Then the search asks nothing more."""

    detail: str = ""
    """Why, in a few words."""


Told = Annotated[Drafts | Judged | Failure, Field(discriminator="kind")]

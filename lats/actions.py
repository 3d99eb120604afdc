"""Actions of a search: generate candidates, refine some, judge a list of them.

A search never calls a model. It asks for actions; its driver answers each by a call and passes
the answer to `tell`. An action has all that its call needs. Its id follows from its place in
the search, so a restored search recognises its actions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Annotated, Literal, NewType

from pydantic import Field

from lats.answers import NodeId

__all__ = [
    "Action",
    "ActionId",
    "ActionKind",
    "Generate",
    "JudgeList",
    "Refine",
    "Side",
    "passes_of",
    "side_of",
]

ActionId = NewType("ActionId", str)


class ActionKind(StrEnum):
    """Name under which an action is counted; the first six are those of `classic_uct`."""

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
    """The two models that a search needs."""

    PROPOSER = "proposer"
    JUDGE = "judge"


def is_blank(name: str) -> bool:
    """Return whether a name is left out of JSON."""
    return not name


def side_of(kind: ActionKind) -> Side:
    """Return which model answers actions of a kind."""
    match kind:
        case ActionKind.JUDGE | ActionKind.FINAL_JUDGE | ActionKind.JUDGE_LIST:
            return Side.JUDGE
        case ActionKind.CHECK_ASSISTANT:
            return Side.JUDGE
    return Side.PROPOSER


_Name = Annotated[str, Field(exclude_if=lambda name: not name)]
"""Name of a plug-in; left out of JSON when blank."""


@dataclass(frozen=True, slots=True)
class Generate:
    """Propose `k` candidates from the start, in one call. Answered by `Drafts`.

    Args:
        k: candidates wanted, at least 1. More are dropped, fewer are fine.
        attempt: generations asked for before in this search. Starts at 0. Another attempt
            must be another answer, not the first one out of a cache.
        guidelines: repeated failings of earlier candidates. Untrusted.
        prompt: which instructions to ask by.
        proposer: name of the proposer that answers it; blank where there is only one.
    """

    k: int
    attempt: int
    guidelines: tuple[str, ...] = ()
    prompt: Literal["generate", "plan"] = "generate"
    proposer: _Name = ""
    label: ActionKind = ActionKind.GENERATE
    kind: Literal["generate"] = "generate"

    @property
    def action_id(self) -> ActionId:
        """Unique in the search."""
        return ActionId(f"generate:{self.attempt}")


@dataclass(frozen=True, slots=True)
class Refine:
    """Propose `k` candidates from given ones, in one call. Answered by `Drafts`.

    Of whole answers: better ones, given the judge's verdicts on these. Of steps: next steps.

    Args:
        node_ids: the given candidates, the best first; at least one. New candidates become
            children of the first.
        k: candidates wanted, at least 1. More are dropped, fewer are fine.
        attempt: times that the first of these was refined before. Starts at 0.
        guidelines: repeated failings of earlier candidates. Untrusted.
        prompt: which instructions to ask by. `expand` shows one parent without its scores.
        strategies_used: strategy tags that `expand` should not repeat; `refine` names those
            of the tree.
        is_speculative: asked before it was known to be needed.
        proposer: name of the proposer that answers it; blank where there is only one.
    """

    node_ids: tuple[NodeId, ...]
    k: int
    attempt: int
    guidelines: tuple[str, ...] = ()
    prompt: Literal["refine", "expand"] = "refine"
    strategies_used: tuple[str, ...] = ()
    is_speculative: bool = False
    proposer: _Name = ""
    label: ActionKind = ActionKind.REFINE
    kind: Literal["refine"] = "refine"

    @property
    def action_id(self) -> ActionId:
        """Unique in the search."""
        return ActionId(f"refine:{self.node_ids[0]}:{self.attempt}")


@dataclass(frozen=True, slots=True)
class JudgeList:
    """Judge candidates in one call. Answered by `Verdicts`.

    Args:
        node_ids: the candidates in the order in which the judge reads them; at least one.
        pass_index: judge calls asked for before in this search. Starts at 0.
        sample: index of the answer among those to equal prompts; another sample must not come
            out of a cache. None takes `pass_index`.
        judge: name of the judge that answers, where a search has several; blank where it has
            one.
    """

    node_ids: tuple[NodeId, ...]
    pass_index: int
    rubric: str = "overall"
    sample: int | None = None
    label: ActionKind = ActionKind.JUDGE_LIST
    kind: Literal["judge_list"] = "judge_list"
    judge: Annotated[str, Field(exclude_if=is_blank)] = ""

    @property
    def action_id(self) -> ActionId:
        """Unique in the search."""
        return ActionId(f"judge_list:{self.pass_index}")

    @property
    def sample_index(self) -> int:
        """Index of the answer among those to equal prompts."""
        return self.pass_index if self.sample is None else self.sample


Action = Annotated[Generate | Refine | JudgeList, Field(discriminator="kind")]


def passes_of(actions: Sequence[Action]) -> int:
    """Return how many times the judge calls of a round read all their candidates."""
    lists = [action.node_ids for action in actions if isinstance(action, JudgeList)]
    if len(lists) < 2:
        return len(lists)
    return min(Counter(chain.from_iterable(lists)).values(), default=0)

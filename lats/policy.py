"""The contract of every search, what all of them share, and the driver.

A policy is plain synchronous arithmetic. It has no clock, no generator, no model and
no network; its whole state is plain JSON. A driver asks for a round, has the actions
answered in any order or together, passes each answer to `tell`, and asks again until there are
no more actions.

Every policy promises:

* All actions of one round may travel together. The next round is made when all of this
  one are answered.
* Telling the answers of a round in another order, or twice, makes no difference: the
  first answer to an action counts.
* It ends: each action is asked once, failures are not repeated without limit, and
  `max_calls` is never passed.
* It always has a result; the best so far until it is done.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lats.actions import Action, ActionId, ActionKind, JudgeList
from lats.answers import (
    ActionAnswer,
    Drafts,
    NoAnswer,
    NodeId,
    Verdict,
    Verdicts,
    cleaned_answer,
)
from lats.result import SearchResult, StateError, StopReason
from lats.search_knobs import EarlyExitKnobs
from lats.search_tree import Candidate, SearchTree

__all__ = [
    "UNLIMITED",
    "AnswerRound",
    "PolicyState",
    "RemainingCalls",
    "RepeatedAction",
    "RoundProgress",
    "SavedState",
    "SearchPolicy",
    "closed_gates",
    "drive",
    "dump_state",
    "read_state",
]


@dataclass(frozen=True, slots=True)
class RemainingCalls:
    """Calls that the driver's budget would still accept. `None` means that nothing limits them.

    `is_late`: the time for searching is over. Then nothing fits.
    """

    max_calls: int | None = None
    max_proposer_calls: int | None = None
    max_judge_calls: int | None = None
    is_late: bool = False

    def fits(self, *, proposer: int = 0, judge: int = 0) -> bool:
        """Return whether that many calls fit."""
        if self.is_late and proposer + judge > 0:
            return False
        pairs = (
            (self.max_calls, proposer + judge),
            (self.max_proposer_calls, proposer),
            (self.max_judge_calls, judge),
        )
        return all(limit is None or wanted <= limit for limit, wanted in pairs)


UNLIMITED = RemainingCalls()


@dataclass(slots=True)
class RoundProgress:
    """Progress of a search of any policy.

    Args:
        open_round: the round under way, in the order in which its answers are applied.
        told: answers to the open round, until it is complete.
        closed_ids: actions of earlier rounds. Telling one again is ignored.
        judge_calls: `JudgeList` actions made.
        rounds: rounds made.
        asked: actions made, by kind.
        failed: actions told as failed or refused, by kind.
        stop_reason: None while the search has not stopped.
    """

    open_round: list[Action] = field(default_factory=list)
    told: dict[ActionId, ActionAnswer] = field(default_factory=dict)
    closed_ids: set[ActionId] = field(default_factory=set)
    judge_calls: int = 0
    rounds: int = 0
    asked: dict[ActionKind, int] = field(default_factory=dict)
    failed: dict[ActionKind, int] = field(default_factory=dict)
    stop_reason: StopReason | None = None

    def close_round(self) -> list[tuple[Action, ActionAnswer]]:
        """Close the open round; return its actions in their order, each with its answer."""
        answered = [(action, self.told[action.action_id]) for action in self.open_round]
        self.closed_ids.update(self.told)
        self.open_round, self.told = [], {}
        for action, answer in answered:
            if isinstance(answer, NoAnswer):
                self.failed[action.label] = self.failed.get(action.label, 0) + 1
        return answered


class PolicyState:
    """Everything that a search remembers. No clock, no generator."""

    tree: SearchTree
    progress: RoundProgress

    def nodes(self, ids: Iterable[NodeId]) -> list[Candidate]:
        """Return candidates by id."""
        nodes = self.tree.nodes
        return [nodes[node_id] for node_id in ids]


class SearchPolicy(ABC):
    """One search under way. A policy makes the rounds and applies their answers."""

    _state: PolicyState

    @property
    def tree(self) -> SearchTree:
        """Everything proposed and judged so far. Read only."""
        return self._state.tree

    @property
    def open_answers(self) -> Mapping[ActionId, ActionAnswer]:
        """Answers of the open round, as far as they are told. Read only."""
        return self._state.progress.told

    @property
    def waiting(self) -> list[Action]:
        """Actions of the open round that are not answered yet."""
        progress = self._state.progress
        if not progress.told:
            return list(progress.open_round)
        return [each for each in progress.open_round if each.action_id not in progress.told]

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether nothing will be asked any more."""

    def ask(self, remaining: RemainingCalls = UNLIMITED) -> list[Action]:
        """Return the actions of this round that are not answered yet; none when done.

        Args:
            remaining: what the budget would still accept. The search winds down rather than
                ask for what does not fit. Read when a round is made, not later.
        """
        progress = self._state.progress
        if not progress.open_round:
            made = self._next_round(remaining)
            progress.open_round = made
            progress.rounds += bool(made)
            for action in made:
                progress.asked[action.label] = progress.asked.get(action.label, 0) + 1
        return self.waiting

    def tell(self, action_id: ActionId, answer: ActionAnswer) -> None:
        """Take the answer to an action. A second answer to it is ignored.

        Raises:
            ValueError: when nothing with this id was asked.
            TypeError: when the answer is of the wrong sort for the action.
        """
        progress = self._state.progress
        if action_id in progress.closed_ids or action_id in progress.told:
            return
        _check_answer(progress.open_round, action_id, answer)
        progress.told[action_id] = cleaned_answer(action_id, answer)
        if len(progress.told) == len(progress.open_round):
            self._apply(progress.close_round())

    @abstractmethod
    def result(self) -> SearchResult:
        """Return the result so far."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON, from which the search can continue elsewhere."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SearchPolicy":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """

    @abstractmethod
    def _next_round(self, remaining: RemainingCalls) -> list[Action]:
        """Return the actions of the next round; none when done."""

    @abstractmethod
    def _apply(self, answered: list[tuple[Action, ActionAnswer]]) -> None:
        """Apply the answers of a closed round, in the order of its actions."""


def _check_answer(open_round: Sequence[Action], action_id: ActionId, answer: Any) -> None:
    for action in open_round:
        if action.action_id == action_id:
            break
    else:
        raise ValueError(f"nothing was asked with the id {action_id!r}")
    wanted: type = Verdicts if isinstance(action, JudgeList) else Drafts
    if not isinstance(answer, (wanted, NoAnswer)):
        raise TypeError(
            f"{action_id} is answered by {wanted.__name__} or NoAnswer, got {type(answer).__name__}"
        )


STATE_VERSION = 2
"""Changes when a state of an earlier version could no longer be read."""


class SavedState(BaseModel):
    """A state as it is written."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    version: int = STATE_VERSION
    policy: str
    nodes: list[Candidate]


def dump_state(saved: SavedState) -> dict[str, Any]:
    """Return a saved state as plain JSON, the same however the answers were ordered."""
    raw = saved.model_dump(mode="json")
    progress = raw["progress"]
    progress["closed_ids"] = sorted(progress["closed_ids"])
    progress["told"] = dict(sorted(progress["told"].items()))
    return raw


ModelT = TypeVar("ModelT", bound=SavedState)


def read_state(model: type[ModelT], raw: Mapping[str, Any]) -> ModelT:
    """Return a saved state as its model.

    Raises:
        StateError: when it is of another version, or broken.
    """
    if not isinstance(raw, Mapping):
        raise StateError(f"a state is a mapping, got {type(raw).__name__}")
    if raw.get("version") != STATE_VERSION:
        raise StateError(
            f"expected a state of version {STATE_VERSION}, got version {raw.get('version')!r}"
        )
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "state"
        named = f"{raw.get('policy')!r}: {place}: {first['msg']}"
        raise StateError(f"broken state of a search by {named}") from error


def closed_gates(verdict: Verdict | None, knobs: EarlyExitKnobs) -> tuple[str, ...]:
    """Return the names of the knobs that forbid an early exit; none means it may happen.

    Args:
        verdict: on the reply that would be answered. A missing score keeps its gate closed.
        knobs: the gates. `min_rollouts` is not read.
    """
    if not knobs.enabled:
        return ("enabled",)
    said = verdict or Verdict()
    least = {
        "min_root_score": (said.score, knobs.min_root_score),
        "min_plan_alignment": (said.attributes.get("plan_alignment"), knobs.min_plan_alignment),
        "min_mode_fit": (said.attributes.get("mode_fit"), knobs.min_mode_fit),
    }
    closed = [name for name, (value, bar) in least.items() if value is None or value < bar]
    assistantness = said.attributes.get("assistantness")
    if assistantness is None or assistantness > knobs.max_assistantness:
        closed.append("max_assistantness")
    return tuple(closed)


AnswerRound = Callable[[Sequence[Action]], Awaitable[Sequence[ActionAnswer]]]
"""The actions of one round -> one answer each, in their order. A failure is an answer too;
an exception ends the search."""


class RepeatedAction(RuntimeError):
    """A search asked again for an action that was answered: a defect of the policy."""


async def drive(
    search: SearchPolicy,
    answer_round: AnswerRound,
    *,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
) -> SearchResult:
    """Return the result of a search, new or restored, that is driven to its end.

    A search that asks again for an answered action would never end, so that is an error rather
    than another paid call.

    Args:
        search: given the answers as they come; its `state_dict` after a round is a checkpoint.
        answer_round: given a whole round, which it may answer in parallel.
        remaining: what the budget would still accept; asked before each round.

    Raises:
        RepeatedAction: when the search would never end.
        ValueError: when a round gets more or fewer answers than it has actions.
    """
    told: set[ActionId] = set()
    while actions := search.ask(remaining()):
        again = [each.action_id for each in actions if each.action_id in told]
        if again:
            raise RepeatedAction(f"the search asked for {again[0]!r} after it was told")
        answers = await answer_round(actions)
        for action, answer in zip(actions, answers, strict=True):
            search.tell(action.action_id, answer)
            told.add(action.action_id)
    return search.result()

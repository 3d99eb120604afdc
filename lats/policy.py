"""The contract of every search: it asks for actions and is told what came of them.

A policy is plain synchronous arithmetic. It has no clock, no generator, no model and
no network; its whole state is plain JSON. A driver asks for a round, has the actions
answered in any order or all at once, tells each, and asks again until there are none.

What every policy promises:

* All actions of one round may travel together. The next round is made when all of this
  one have been told.
* Telling the answers of a round in another order, or twice, makes no difference: the
  first answer to an action counts.
* It ends: each action is asked once, failures are not repeated without bound, and
  `max_calls` is never passed.
* It always has a result; the best so far until it is done.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from lats.actions import Action, ActionId, JudgeList
from lats.answers import ActionAnswer, Drafts, NoAnswer, Verdict, Verdicts
from lats.result import SearchResult, StateError
from lats.search_knobs import EarlyExitKnobs
from lats.search_tree import SearchTree

__all__ = [
    "AnswerRound",
    "RemainingCalls",
    "RepeatedAction",
    "SearchPolicy",
    "check_answer",
    "closed_gates",
    "drive",
    "read_state",
]


@dataclass(frozen=True, slots=True)
class RemainingCalls:
    """Calls that the driver's budget would still accept. `None` means that nothing limits them.

    Args:
        max_calls: in all.
        max_proposer_calls: calls of the proposing model.
        max_judge_calls: calls of the judging model.
        is_late: whether the time for searching is over. Then nothing fits.
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


class SearchPolicy(Protocol):
    """One search under way."""

    @property
    def tree(self) -> SearchTree:
        """Everything proposed and judged so far. Read only."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing will be asked any more."""
        ...

    def ask(self, remaining: RemainingCalls = ...) -> Sequence[Action]:
        """Return the actions of this round that were not told yet; none when done.

        Args:
            remaining: what the budget would still accept. The search winds down rather than
                ask for what does not fit. Read when a round is made, not later.
        """
        ...

    def tell(self, action_id: ActionId, answer: ActionAnswer) -> None:
        """Take the answer to an action. A second answer to it is ignored.

        Raises:
            ValueError: when nothing with this id was asked.
            TypeError: when the answer is of the wrong sort for the action.
        """
        ...

    def result(self) -> SearchResult:
        """Return what was found so far."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON, from which the search goes on elsewhere."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SearchPolicy":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        ...


def check_answer(open_round: Sequence[Action], action_id: ActionId, answer: Any) -> None:
    """Refuse an answer that no action of the open round asked for.

    Raises:
        ValueError: when nothing with this id was asked.
        TypeError: when the answer is of the wrong sort for the action.
    """
    for action in open_round:
        if action.action_id == action_id:
            break
    else:
        raise ValueError(f"nothing was asked with the id {action_id!r}")
    wanted: type = Verdicts if isinstance(action, JudgeList) else Drafts
    if not isinstance(answer, wanted | NoAnswer):
        raise TypeError(
            f"{action_id} is answered by {wanted.__name__} or NoAnswer, got {type(answer).__name__}"
        )


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_state(model: type[ModelT], raw: Mapping[str, Any], *, version: int) -> ModelT:
    """Return a saved state as its model.

    Raises:
        StateError: when it is of another version, or broken.
    """
    if not isinstance(raw, Mapping):
        raise StateError(f"a state is a mapping, got {type(raw).__name__}")
    if raw.get("version") != version:
        raise StateError(
            f"expected a state of version {version}, got version {raw.get('version')!r}"
        )
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "state"
        named = f"{raw.get('policy')!r}: {where}: {first['msg']}"
        raise StateError(f"broken state of a search by {named}") from error


def closed_gates(verdict: Verdict | None, knobs: EarlyExitKnobs) -> tuple[str, ...]:
    """Return the names of the knobs that forbid an early exit; none means it may happen.

    Args:
        verdict: what the judge said of the reply that would be answered. A missing score
            keeps its gate closed.
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
what it raises ends the search."""


class RepeatedAction(RuntimeError):
    """A search asked again for what it was told already: a defect of the policy."""


async def drive(
    search: SearchPolicy,
    answer_round: AnswerRound,
    *,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
) -> SearchResult:
    """Return what a search, new or restored, found when it asked for nothing more.

    `answer_round` gets a whole round at once and may answer it in parallel. A search that
    asks for what it was already told would never end, so that is an error rather than another
    paid call.

    Args:
        search: told as it goes; its `state_dict` after a round is a checkpoint.
        answer_round: answers a round.
        remaining: what the budget would still accept; asked before each round.

    Raises:
        RepeatedAction: when the search would go on for ever.
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

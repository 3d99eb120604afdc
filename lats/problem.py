"""A search for any task: a state type, a proposer and a judge.

    solution = await solve(Problem(tuple[int, ...], propose, judge), SearchKnobs(policy="auto"))

States are written as JSON into the search's tree, so a search under way can be saved and
resumed with nothing but the same problem. The proposer and the judge may be plain
functions or coroutine functions; those of one round are then awaited together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lats.actions import Action
from lats.answers import ActionAnswer
from lats.calibration import Calibration, calibrated
from lats.judges import judge_names
from lats.policy import RemainingCalls, drive
from lats.policy_registry import CLASSIC, policy_names
from lats.problem_rounds import Problem, ProblemRounds, StateDrafts
from lats.proposers import check_same_costs, costs_of
from lats.result import Confidence, SearchResult, StateError, StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs

__all__ = ["Solution", "resume", "solve"]

StateT = TypeVar("StateT")

AUTO = SearchKnobs(policy="auto")


@dataclass(frozen=True)
class Solution(Generic[StateT]):
    """The solution of a problem.

    Args:
        best: the state to answer with; None when no state was proposed.
        is_answer: whether it is an answer rather than the most promising step towards one.
        mean_score: mean of its scores, drift removed; None when it has none.
        confidence: None where it was not judged.
        calls: of the proposer and of the judge, failed ones included.
        rounds: rounds of calls that waited for each other.
        result: the whole search, to draw.
        search: the search itself; its `state_dict` can be kept.
    """

    best: StateT | None
    is_answer: bool
    mean_score: float | None
    confidence: Confidence | None
    stop_reason: StopReason
    calls: int
    rounds: int
    result: SearchResult
    search: PosteriorSearch


Checkpoint = Callable[[dict[str, Any]], None]


async def solve(
    problem: Problem[StateT],
    knobs: SearchKnobs = AUTO,
    *,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
    checkpoint: Checkpoint | None = None,
    calibration: Calibration | None = None,
) -> Solution[StateT]:
    """Return the best state that a search finds.

    Args:
        problem: the task.
        knobs: of the search; any policy but `classic_uct`, which is for replies only. Knobs that
            were made without a policy get `auto`.
        remaining: what a budget outside would still accept; asked before each round.
        checkpoint: given the search's state, plain JSON, before each round and at the end.
        calibration: from labelled searches of the task; gives the confidence its `chance_right`.

    Raises:
        TypeError: when states cannot be written as JSON, or `propose` or `judge` return
            something else than they should.
        ValueError: when the policy does not fit, or `judge` returns too many or too few
            scores, or one outside [0, 1].
        Exception: whatever `propose` or `judge` raise and the problem does not list.
    """
    if "policy" not in knobs.model_fields_set:
        knobs = knobs.model_copy(update={"policy": AUTO.policy})
    if knobs.policy == CLASSIC:
        raise ValueError(
            f"policy {CLASSIC!r} is for replies; expected {sorted(policy_names()[1:])}"
        )
    drafts = StateDrafts(problem)
    costs, judges = costs_of(problem.propose, problem.proposer_costs), judge_names(problem.judge)
    search = PosteriorSearch(knobs, start=drafts.start(), proposers=costs, judges=judges)
    return await _solve(problem, drafts, search, remaining, checkpoint, calibration=calibration)


async def resume(
    problem: Problem[StateT],
    state: Mapping[str, Any],
    *,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
    checkpoint: Checkpoint | None = None,
    calibration: Calibration | None = None,
) -> Solution[StateT]:
    """Return the solution of a search that continues from a kept state, as `solve` does.

    A round that was under way is asked again as far as it was not answered.

    Raises:
        StateError: when the state is of another version, policy or problem, or broken.
        Exception: as `solve`.
    """
    search = PosteriorSearch.from_state(state)
    drafts = StateDrafts(problem)
    if search.tree.top.draft != drafts.start():
        raise StateError("the state is of a problem with another start")
    if search.judges != judge_names(problem.judge):
        raise StateError(
            f"the state is of a search with the judges {list(search.judges) or 'unnamed'}; give "
            "the problem the same ones, in the same order"
        )
    check_same_costs(search.proposers, costs_of(problem.propose, problem.proposer_costs))
    for node in search.tree.candidates:
        drafts.state(node.draft)
    return await _solve(problem, drafts, search, remaining, checkpoint, calibration=calibration)


async def _solve(
    problem: Problem[StateT],
    drafts: StateDrafts[StateT],
    search: PosteriorSearch,
    remaining: Callable[[], RemainingCalls],
    checkpoint: Checkpoint | None,
    *,
    calibration: Calibration | None,
) -> Solution[StateT]:
    rounds = ProblemRounds(problem, drafts, search)

    async def answer(actions: Sequence[Action]) -> Sequence[ActionAnswer]:
        if checkpoint is not None:
            checkpoint(search.state_dict())
        return await rounds.answer(actions)

    result = calibrated(await drive(search, answer, remaining=remaining), calibration)
    if checkpoint is not None:
        checkpoint(search.state_dict())
    best, reason = result.best, result.stop_reason
    if reason is None:
        raise RuntimeError("the search proposed nothing and did not stop")
    return Solution(
        best=None if best is None else drafts.state(best.draft),
        is_answer=best is not None and not best.draft.is_step,
        mean_score=None if best is None else search.tree.nodes[best.node_id].mean_score,
        confidence=result.confidence,
        stop_reason=reason,
        calls=result.calls,
        rounds=result.rounds,
        result=result,
        search=search,
    )

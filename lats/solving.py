"""Solve problems: one, one that was begun before, or many side by side.

    solution = await solve(Problem(str, propose, judge), max_calls=10)

States are written as JSON into the search's tree, so a search under way can be saved and
resumed with nothing but the same problem.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from lats.actions import ActionId
from lats.callables import check_function
from lats.chance_calibration import ChanceCalibration, calibrated
from lats.judges import judge_names
from lats.policy import RemainingCalls, RepeatedAction
from lats.problem import Problem
from lats.problem_rounds import Checkpoint, ProblemRounds, concurrency_limit
from lats.proposers import costs_of
from lats.result import Confidence, SearchResult, StopReason, in_scale
from lats.run_apart import run_apart
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.solve_checks import (
    check_calibration,
    check_each,
    check_problem,
    check_same_problem,
    checked_remaining,
    knobs_of,
)
from lats.spending import SpendLimits, least_remaining
from lats.state_drafts import StateDrafts

__all__ = [
    "Solution",
    "begun",
    "resume",
    "resume_sync",
    "resumed",
    "solution_of",
    "solve",
    "solve_all",
    "solve_sync",
]

StateT = TypeVar("StateT")


VERIFIER_EXPLORATION = 0.0
"""Knob `tree_exploration` where a verifier alone decides, unless it is given: there is no luck in
its results, and so nothing to doubt in a step."""


@dataclass(frozen=True)
class Solution(Generic[StateT]):
    """The solution of a problem.

    Args:
        best: the state to answer with; None when no state was proposed.
        is_answer: whether it is an answer rather than the most promising step towards one.
        is_verified: the verifier's True or False on it; None where that is not settled.
        mean_score: mean of its scores, drift removed, in the problem's scale and cut off at its
            ends; None when it has none.
        confidence: None where it was not judged; its score and SD in the problem's scale.
        stop_reason: None only where a `StateSearch` has more to ask.
        stopped_by: names of the knobs and arguments of which another value would have let the
            search go on, such as `max_calls`; none where it had nothing more to ask.
        calls: of the proposer and of the judge, failed ones included.
        rounds: rounds of calls that waited for each other.
        tokens: of all calls that were `Priced`, those before a resumption included.
        usd: likewise.
        result: the whole search, to draw. Its figures are in [0, 1].
        search: the search itself; its `state_dict` can be kept.
    """

    best: StateT | None
    is_answer: bool
    is_verified: bool | None
    mean_score: float | None
    confidence: Confidence | None
    stop_reason: StopReason | None
    stopped_by: tuple[str, ...]
    calls: int
    rounds: int
    tokens: int
    usd: float
    result: SearchResult
    search: PosteriorSearch


async def solve(
    problem: Problem[StateT],
    knobs: SearchKnobs | None = None,
    *,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    max_concurrency: int | AbstractAsyncContextManager[Any] | None = None,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
    checkpoint: Checkpoint | None = None,
    calibration: ChanceCalibration | None = None,
    **changes: Any,
) -> Solution[StateT]:
    """Return the best state that a search finds.

    Args:
        problem: the task.
        knobs: of the search. Where they name no policy it is `auto`.
        max_tokens: most tokens of all calls, which must then return `Priced`. It is passed by no
            more than one call, or by calls that are dearer than those before: see `lats.spending`.
        max_usd: likewise most USD.
        max_concurrency: most calls of the problem's functions under way, at least 1; or an
            `asyncio.Semaphore`, to be shared with other searches. Plain functions run one after
            the other.
        remaining: what a budget outside would still accept; asked before each round.
        checkpoint: given the search's state, plain JSON, before each round and at the end, and
            when an exception ends the search.
        calibration: from labelled searches of the task; gives the confidence its `chance_right`.
        changes: single knobs, in place of those of `knobs`: `max_calls=40, seed=1`.

    Raises:
        TypeError: when states cannot be written as JSON, or a function returns something else
            than it should, or a knob is unknown.
        ValueError: when a knob is out of its range, the policy does not fit, or `judge` returns
            too many or too few scores, or one outside the problem's `score_range`.
        Exception: whatever the problem's functions raise and the problem does not list. Its
            attribute `search` is the search, with the answers of all other calls.
    """
    return await _solve(
        problem,
        begun(problem, knobs, changes),
        spend_limits=SpendLimits(max_tokens, max_usd),
        max_concurrency=max_concurrency,
        remaining=remaining,
        checkpoint=checkpoint,
        calibration=calibration,
    )


async def resume(
    problem: Problem[StateT],
    state: Mapping[str, Any],
    *,
    cap: int | None = None,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    max_concurrency: int | AbstractAsyncContextManager[Any] | None = None,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
    checkpoint: Checkpoint | None = None,
    calibration: ChanceCalibration | None = None,
) -> Solution[StateT]:
    """Return the solution of a search that continues from a kept state, as `solve` does.

    A round that was under way is asked again as far as it was not answered.

    Args:
        problem: as it was.
        state: of `checkpoint`, or of a search's `state_dict`.
        cap: `max_calls` from now on, calls before included. A search that had ended for want of
            calls or budget goes on under it, and one for want of gain where there is more to gain
            by now; one that has spent more already ends without another call. None leaves the cap
            as it was.
        max_tokens: as in `solve`, tokens before included. A search that had ended for want of
            budget goes on as far as these allow.
        max_usd: likewise.
        max_concurrency, remaining, checkpoint, calibration: as in `solve`.

    Raises:
        StateError: when the state is of another version, policy or problem, or broken.
        ValueError: when the cap is negative.
        Exception: as `solve`.
    """
    limits, search = SpendLimits(max_tokens, max_usd), resumed(problem, state, cap)
    if cap is None and limits != SpendLimits() and search.is_out_of_budget:
        search.reopen(search.cap)
    return await _solve(
        problem,
        search,
        spend_limits=limits,
        max_concurrency=max_concurrency,
        remaining=remaining,
        checkpoint=checkpoint,
        calibration=calibration,
    )


def solve_sync(
    problem: Problem[StateT], knobs: SearchKnobs | None = None, **options: Any
) -> Solution[StateT]:
    """Do what `solve` does, for code that cannot await.

    Where a loop runs already, as in a notebook, the search runs on a loop in another thread, and
    this one waits: functions that need the running loop, such as clients made on it, want
    `await solve(...)` there.

    Args:
        problem: the task.
        knobs: as in `solve`.
        options: further arguments of `solve`.

    Raises:
        Exception: as `solve`.
    """
    return run_apart(solve(problem, knobs, **options))


def resume_sync(
    problem: Problem[StateT], state: Mapping[str, Any], **options: Any
) -> Solution[StateT]:
    """Do what `resume` does, as `solve_sync` does what `solve` does."""
    return run_apart(resume(problem, state, **options))


async def solve_all(
    problems: Iterable[Problem[StateT]],
    knobs: SearchKnobs | None = None,
    *,
    max_concurrency: int = 8,
    progress: Callable[[int, Solution[StateT] | Exception], object] | None = None,
    **options: Any,
) -> list[Solution[StateT] | Exception]:
    """Return the solutions of many problems in their order, solved side by side.

    A problem that ends in an exception has that exception in its place; `search` of it is the
    search with all answers. The solutions are those of `solve`, whatever else is under way.

    Args:
        problems: taken one by one as others end.
        knobs: as in `solve`, for each of them.
        max_concurrency: most problems begun and not ended, and most calls under way in all of
            them together; at least 1.
        progress: called as each problem ends, in the order of their ends, with its place and
            what is returned for it.
        options: further arguments of `solve`, for each problem: limits and knobs are of each.

    Raises:
        TypeError: when `max_concurrency` is no whole number, or an option or knob is unknown.
        ValueError: when `max_concurrency` is less than 1, or a knob is out of its range.
        Exception: what `progress`, or taking a problem, raises; what is under way is cancelled.
    """
    check_each(knobs, options)
    if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int):
        raise TypeError(
            f"max_concurrency is {max_concurrency!r}; give the most problems under way, a whole "
            "number from 1 on"
        )
    limit = concurrency_limit(max_concurrency)
    waiting = enumerate(problems)
    found: dict[int, Solution[StateT] | Exception] = {}

    async def work() -> None:
        for place, problem in waiting:
            try:
                done: Solution[StateT] | Exception = await solve(
                    problem, knobs, max_concurrency=limit, **options
                )
            except Exception as error:  # noqa: BLE001 - the others go on; it is returned
                done = error
            found[place] = done
            if progress is not None:
                progress(place, done)

    workers = [asyncio.ensure_future(work()) for _ in range(max_concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [found[place] for place in sorted(found)]


def begun(
    problem: Problem[StateT], knobs: SearchKnobs | None, changes: Mapping[str, Any]
) -> PosteriorSearch:
    """Return a new search of a problem; see `solve`."""
    check_problem(problem)
    given = knobs_of(knobs, changes)
    if problem.judge is None and "tree_exploration" not in given.model_fields_set:
        given = given.model_copy(update={"tree_exploration": VERIFIER_EXPLORATION})
    return PosteriorSearch(
        given,
        start=StateDrafts(problem).start(),
        task=problem.traits,
        proposers=costs_of(problem.propose, problem.proposer_costs),
        judges=judge_names(problem.judge),
    )


def resumed(problem: Problem[StateT], state: Mapping[str, Any], cap: int | None) -> PosteriorSearch:
    """Return the search of a kept state; see `resume`."""
    check_problem(problem)
    search = PosteriorSearch.from_state(state)
    check_same_problem(problem, StateDrafts(problem), search)
    if cap is not None:
        search.reopen(cap)
    return search


async def _solve(
    problem: Problem[StateT],
    search: PosteriorSearch,
    *,
    spend_limits: SpendLimits,
    max_concurrency: int | AbstractAsyncContextManager[Any] | None,
    remaining: Callable[[], RemainingCalls],
    checkpoint: Checkpoint | None,
    calibration: ChanceCalibration | None,
) -> Solution[StateT]:
    check_calibration(calibration)
    check_function(remaining, "remaining", (), "RemainingCalls", is_awaited=False)
    if checkpoint is not None:
        check_function(checkpoint, "checkpoint", ("state",), "nothing", is_awaited=True)
    drafts = StateDrafts(problem)
    rounds = ProblemRounds(
        problem,
        drafts,
        search,
        limit=concurrency_limit(max_concurrency),
        spend_limits=spend_limits,
        checkpoint=checkpoint,
    )

    def left() -> RemainingCalls:
        is_judged = search.task.has_judge and len(search.tree) > 0
        within = spend_limits.remaining(search.spend, is_judged=is_judged)
        return least_remaining(within, checked_remaining(remaining()))

    try:
        await _play(search, rounds, left)
        return solution_of(problem, search, spend_limits, calibration)
    except Exception as error:
        await rounds.keep(error)
        raise


async def _play(
    search: PosteriorSearch, rounds: ProblemRounds[Any], left: Callable[[], RemainingCalls]
) -> None:
    """Ask and answer rounds until the search is done.

    Raises:
        RepeatedAction: when it would never end.
        RuntimeError: when it neither asks nor stops.
    """
    answered: set[ActionId] = set()
    while actions := search.ask(left()):
        again = [each.action_id for each in actions if each.action_id in answered]
        if again:
            raise RepeatedAction(f"the search asked for {again[0]!r} after it was answered")
        await rounds.save()
        answered.update(await rounds.answer(actions))
    await rounds.save()
    if not search.is_done:
        raise RuntimeError("the search proposed nothing and did not stop")


def solution_of(
    problem: Problem[StateT],
    search: PosteriorSearch,
    spend_limits: SpendLimits,
    calibration: ChanceCalibration | None = None,
) -> Solution[StateT]:
    """Return the solution of a search, at its end or before."""
    result, spend = calibrated(search.result(), calibration), search.spend
    best, stopped_by = result.best, result.stopped_by
    if result.stop_reason is StopReason.BUDGET:
        stopped_by = spend_limits.tighter_than(search.calls_left, spend) or stopped_by
    mean = None if best is None else search.tree.nodes[best.node_id].mean_score
    return Solution(
        best=None if best is None else StateDrafts(problem).state(best.draft),
        is_answer=best is not None and not best.draft.is_step,
        is_verified=None if best is None else best.draft.verified,
        mean_score=None if mean is None else in_scale(mean, problem.score_range),
        confidence=_scaled(result.confidence, problem.score_range),
        stop_reason=result.stop_reason,
        stopped_by=stopped_by,
        calls=result.calls,
        rounds=result.rounds,
        tokens=spend.tokens,
        usd=spend.usd,
        result=result,
        search=search,
    )


def _scaled(confidence: Confidence | None, score_range: tuple[float, float]) -> Confidence | None:
    """Return a confidence in a problem's scale; its score is cut off at the scale's ends."""
    if confidence is None or confidence.mean_score is None or confidence.sd is None:
        return confidence
    low, high = score_range
    mean = in_scale(confidence.mean_score, score_range)
    return replace(confidence, mean_score=mean, sd=confidence.sd * (high - low))

"""Solve problems: one, one that was begun before, or many side by side.

    solution = await solve(Problem(str, propose, judge), max_calls=10)

States are written as JSON into the search's tree, so a search under way can be saved and
resumed with nothing but the same problem.
"""

import asyncio
import contextvars
import difflib
import reprlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from lats.actions import Action
from lats.answers import ActionAnswer
from lats.calibration import Calibration, calibrated
from lats.callables import check_function
from lats.judges import judge_names
from lats.policy import RemainingCalls, drive
from lats.policy_registry import CLASSIC, policy_names
from lats.problem import Problem
from lats.problem_rounds import Checkpoint, ProblemRounds, concurrency_limit
from lats.proposers import check_same_costs, costs_of
from lats.result import Confidence, SearchResult, StateError, StopReason, in_scale
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
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
ResultT = TypeVar("ResultT")


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
    calibration: Calibration | None = None,
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
    calibration: Calibration | None = None,
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
        max_tokens: as in `solve`, tokens before included.
        max_usd: likewise.
        max_concurrency, remaining, checkpoint, calibration: as in `solve`.

    Raises:
        StateError: when the state is of another version, policy or problem, or broken.
        ValueError: when the cap is negative.
        Exception: as `solve`.
    """
    return await _solve(
        problem,
        resumed(problem, state, cap),
        spend_limits=SpendLimits(max_tokens, max_usd),
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
    return _run(solve(problem, knobs, **options))


def resume_sync(
    problem: Problem[StateT], state: Mapping[str, Any], **options: Any
) -> Solution[StateT]:
    """Do what `resume` does, as `solve_sync` does what `solve` does."""
    return _run(resume(problem, state, **options))


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
        ValueError: when `max_concurrency` is less than 1.
        Exception: what `progress`, or taking a problem, raises; what is under way is cancelled.
    """
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


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(solving: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what a coroutine returns, on a loop of this thread or, where one runs, of another."""
    if not _is_loop_running():
        return asyncio.run(solving)
    with ThreadPoolExecutor(1, thread_name_prefix="lats-solve") as thread:
        return thread.submit(contextvars.copy_context().run, asyncio.run, solving).result()


def begun(
    problem: Problem[StateT], knobs: SearchKnobs | None, changes: Mapping[str, Any]
) -> PosteriorSearch:
    """Return a new search of a problem; see `solve`."""
    _check_problem(problem)
    given = _knobs(knobs, changes)
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
    _check_problem(problem)
    search = PosteriorSearch.from_state(state)
    _check_same_problem(problem, StateDrafts(problem), search)
    if cap is not None:
        search.reopen(cap)
    return search


def _knobs(knobs: SearchKnobs | None, changes: Mapping[str, Any]) -> SearchKnobs:
    """Return the knobs of a search: `auto` where no policy was chosen.

    Raises:
        TypeError: when `knobs` are none, or one of `changes` is unknown.
        ValueError: when a value is out of its range, or the policy is for replies only.
    """
    if knobs is not None and not isinstance(knobs, SearchKnobs):
        raise TypeError(f"knobs is {knobs!r}; give SearchKnobs(...), or knobs by their names")
    unknown = sorted(changes.keys() - SearchKnobs.model_fields.keys())
    if unknown:
        near = difflib.get_close_matches(unknown[0], SearchKnobs.model_fields, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; docs/knobs.md lists the knobs"
        raise TypeError(f"no knob or option is called {unknown[0]!r}{hint}")
    given = {} if knobs is None else {name: getattr(knobs, name) for name in knobs.model_fields_set}
    try:
        found = SearchKnobs.model_validate({"policy": "auto", **given, **changes})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise ValueError(f"{name} is {first['input']!r}: {first['msg']}") from error
    if found.policy == CLASSIC:
        raise ValueError(
            f"policy {CLASSIC!r} is for replies; expected one of {', '.join(policy_names()[1:])}, "
            "or none for auto"
        )
    return found


def _check_problem(problem: object) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem is {reprlib.repr(problem)}; give lats.Problem(state_type, propose, judge)"
        )


def _check_same_problem(
    problem: Problem[StateT], drafts: StateDrafts[StateT], search: PosteriorSearch
) -> None:
    """Check that a search is one of this problem.

    Raises:
        StateError: when it is not.
    """
    saved, here = search.tree.top.draft, drafts.start()
    if saved.model_copy(update={"key": here.key}) == here != saved:
        raise StateError(f"the state's start has the key {saved.key!r}, and here {here.key!r}")
    if saved != here:
        raise StateError(
            f"the state is of a problem with another start: {saved.reply[:80] or 'none'!r}, and "
            f"here it is {here.reply[:80] or 'none'!r}"
        )
    for name in ("has_judge", "has_verifier", "score_range"):
        before, now = getattr(search.task, name), getattr(problem.traits, name)
        if before != now:
            raise StateError(
                f"the state is of a problem with {name}={before!r}, and here it is {now!r}"
            )
    if search.judges != judge_names(problem.judge):
        raise StateError(
            f"the state is of a search with the judges {list(search.judges) or 'unnamed'}; give "
            "the problem the same ones, in the same order"
        )
    check_same_costs(search.proposers, costs_of(problem.propose, problem.proposer_costs))
    for node in search.tree.candidates:
        drafts.state(node.draft)


async def _solve(
    problem: Problem[StateT],
    search: PosteriorSearch,
    *,
    spend_limits: SpendLimits,
    max_concurrency: int | AbstractAsyncContextManager[Any] | None,
    remaining: Callable[[], RemainingCalls],
    checkpoint: Checkpoint | None,
    calibration: Calibration | None,
) -> Solution[StateT]:
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

    async def answer(actions: Sequence[Action]) -> Sequence[ActionAnswer]:
        await rounds.save()
        return await rounds.answer(actions)

    result = await drive(
        search,
        answer,
        remaining=lambda: least_remaining(spend_limits.remaining(search.spend), remaining()),
    )
    await rounds.save()
    if result.stop_reason is None:
        raise RuntimeError("the search proposed nothing and did not stop")
    return solution_of(problem, search, spend_limits, calibration)


def solution_of(
    problem: Problem[StateT],
    search: PosteriorSearch,
    spend_limits: SpendLimits,
    calibration: Calibration | None = None,
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

"""Rounds of a search answered by a problem's functions; no paid answer is lost."""

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any, Generic, TypeVar

from lats.actions import Action, ActionId, Side, side_of
from lats.answers import ActionAnswer, Draft, Drafts, NoAnswer
from lats.callables import name_of
from lats.policy import RemainingCalls
from lats.problem import Problem, Verified
from lats.problem_calls import ProblemCalls, most_read, priced_list
from lats.problem_scores import read_result, with_results
from lats.search import PosteriorSearch
from lats.spending import Priced, SpendLimits
from lats.state_drafts import StateDrafts

__all__ = ["Checkpoint", "ProblemRounds", "concurrency_limit"]

StateT = TypeVar("StateT")

Checkpoint = Callable[[dict[str, Any]], object]
"""A function of a search's state, plain JSON; it may be a coroutine function."""

_NO_LIMITS = SpendLimits()

_Outcome = tuple[Any, Priced[Any] | None]
"""The items of a function's result, or `NoAnswer`; and its price, where it has one."""

_SKIPPED: _Outcome = (NoAnswer(), None)
"""In place of the answer to a call that was not made, since another one of its round had failed."""

_UNMADE: _Outcome = (NoAnswer(), None)
"""Likewise of one for which `max_tokens` or `max_usd` leave nothing."""


def concurrency_limit(
    max_concurrency: int | AbstractAsyncContextManager[Any] | None,
) -> AbstractAsyncContextManager[Any] | None:
    """Return the limit on calls under way; None where there is none.

    Raises:
        TypeError: when it is neither a number nor a limit.
        ValueError: when it is less than 1.
    """
    if max_concurrency is None or isinstance(max_concurrency, AbstractAsyncContextManager):
        return max_concurrency
    if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int):
        raise TypeError(
            f"max_concurrency is {max_concurrency!r}; give a whole number, an "
            "asyncio.Semaphore, or None"
        )
    if max_concurrency < 1:
        raise ValueError(f"max_concurrency is {max_concurrency}; give at least 1")
    return asyncio.Semaphore(max_concurrency)


class ProblemRounds(Generic[StateT]):
    """Answers the rounds of one search from a problem's functions.

    Args:
        limit: entered by each call of a function; None lets a whole round go together.
        spend_limits: in tokens and USD; where there are any, each result must be a `Priced`.
        checkpoint: given the search's state where a round ends in an error.
    """

    def __init__(
        self,
        problem: Problem[StateT],
        drafts: StateDrafts[StateT],
        search: PosteriorSearch,
        *,
        limit: AbstractAsyncContextManager[Any] | None = None,
        spend_limits: SpendLimits = _NO_LIMITS,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._problem = problem
        self._drafts = drafts
        self._search = search
        self._calls = ProblemCalls(problem, drafts, search)
        self._limit = limit or nullcontext()
        self._spend_limits = spend_limits
        self._is_priced = spend_limits != _NO_LIMITS
        self._checkpoint = checkpoint
        self._is_broken = False
        self._unsaved: Exception | None = None
        self._results: dict[str, Verified] = {}

    async def answer(self, actions: Sequence[Action]) -> list[ActionId]:
        """Answer a round together, and give the search its answers; return the calls made.

        Drafts are made in the round's order, not in that of arrival. Where a call ends in an
        exception that the problem does not list, calls that wait are not made, and those under way
        are waited for and their answers kept before it is raised. So no paid call is lost; a
        resumed search asks again only what was not answered. Drafts whose verifier raised or was
        cut off are kept too, and verified again.

        Raises:
            Exception: the first in the round's order.
        """
        self._is_broken = False
        tasks: dict[ActionId, asyncio.Task[_Outcome]] = {}
        by_side: dict[Side, list[asyncio.Task[_Outcome]]] = {side: [] for side in Side}
        for action in actions:
            if action.action_id in self._search.unverified:
                continue
            earlier = by_side[side_of(action.label)]
            task = asyncio.ensure_future(self._in_turn(action, tuple(earlier)))
            tasks[action.action_id] = task
            earlier.append(task)
        errors: list[Exception] | None = None
        try:
            if tasks:
                await asyncio.wait(tasks.values())
            errors = self._take(actions, tasks)
            await self._verify(actions, errors)
        except asyncio.CancelledError:
            if errors is None:
                for task in tasks.values():
                    task.cancel()
                await asyncio.wait(tasks.values())
                self._take(actions, tasks)
            await self.save()
            raise
        if errors:
            first, *others = errors
            for other in dict.fromkeys(f"{type(other).__name__}: {other}" for other in others):
                first.add_note(f"In the same round: {other}")
            raise first
        return [
            each.action_id
            for each in actions
            if each.action_id not in tasks or tasks[each.action_id].result() is not _UNMADE
        ]

    async def save(self) -> None:
        """Give the checkpoint the search's state."""
        if self._checkpoint is None:
            return
        try:
            done = self._checkpoint(self._search.state_dict())
            if inspect.isawaitable(done):
                await done
        except Exception as error:
            self._unsaved = error
            raise

    async def keep(self, error: Exception) -> None:
        """Give the checkpoint the state, and an error that ends the search the search."""
        vars(error)["search"] = self._search
        error.add_note(
            "The search up to here is this error's `search`: "
            "`resume(problem, error.search.state_dict())` asks again only what is unanswered."
        )
        if error is self._unsaved:
            return
        try:
            await self.save()
        except Exception as other:  # noqa: BLE001 - the first error is the one that is raised
            error.add_note(f"The checkpoint failed too: {type(other).__name__}: {other}")

    def _take(
        self, actions: Sequence[Action], tasks: Mapping[ActionId, "asyncio.Task[_Outcome]"]
    ) -> list[Exception]:
        """Give the search all answers that can be read; return the errors of others."""
        errors: list[Exception] = []
        unmade: list[ActionId] = []
        self._drafts.begin_round(self._search.tree, self._search.open_answers.values())
        for action in actions:
            action_id = action.action_id
            if action_id not in tasks:
                continue
            task = tasks[action_id]
            failed = None if task.cancelled() else task.exception()
            if task.cancelled() or (failed and not isinstance(failed, Exception)):
                continue  # raised by the loop, or by `answer`
            price = None
            try:
                if task.result() is _SKIPPED:
                    continue
                if task.result() is _UNMADE:
                    unmade.append(action_id)
                    continue
                result, price = task.result()
                said = self._read(action, result)
            except Exception as error:  # noqa: BLE001 - raised by `answer`, once the others are kept
                error.add_note(f"In {self._calls.described(action)}.")
                errors.append(error)
                if price is not None:
                    self._search.charge(action_id, price)
                continue
            if isinstance(said, Drafts) and self._problem.verify is not None:
                self._search.hold(action_id, said, price)
            else:
                self._search.tell(action_id, said, price=price)
        for action_id in reversed(unmade):
            self._search.withdraw(action_id)
        return errors

    async def _verify(self, actions: Sequence[Action], errors: list[Exception]) -> None:
        """Give the search the drafts that wait for their verifier; add the errors of others."""
        for action in actions:
            drafts = self._search.unverified.get(action.action_id)
            if drafts is None:
                continue
            count = len(errors)
            verified = await self._with_results(drafts, errors)
            if len(errors) > count:
                self._search.hold(action.action_id, verified, None)
            else:
                self._search.tell(action.action_id, verified)

    def _read(self, action: Action, said: Any) -> ActionAnswer:
        """Return an answer as it is, and a list of items as the answer that it is."""
        if isinstance(said, NoAnswer):
            return said
        try:
            return self._calls.answer(action, said)
        except self._problem.failures as error:
            return NoAnswer(detail=f"{type(error).__name__}: {error}")

    async def _in_turn(
        self, action: Action, earlier: tuple["asyncio.Task[_Outcome]", ...]
    ) -> _Outcome:
        """Return the outcome of a call, which waits for a price where none of its side is known.

        Of a round of such calls the first one goes alone, and the others as far as they fit the
        limits at its price. One judge call at the price of a proposal is kept for what is proposed.

        Args:
            action: the action.
            earlier: calls of its side that are before it in its round.
        """
        side, spend = side_of(action.label), self._search.spend
        if not self._is_priced:
            return await self._call(action)
        # A new round fits, as far as prices are known; one that is asked again may not.
        count = len(earlier) + 1 if side in spend.by_side else 1
        if not _fits(self._spend_limits.remaining(spend), side, count):
            return _UNMADE
        if side in spend.by_side:
            return await self._call(action)
        for place, task in enumerate(earlier):
            await asyncio.wait([task])
            price = None if task.cancelled() or task.exception() else task.result()[1]
            if price is None:
                continue
            after = deepcopy(spend)
            after.add(side, price)
            left = self._spend_limits.remaining(after, is_judged=self._search.task.has_judge)
            if not _fits(left, side, len(earlier) - place):
                return _UNMADE
            break
        return await self._call(action)

    async def _call(self, action: Action) -> _Outcome:
        """Return the items of the function's result; of a failure, `NoAnswer`."""
        async with self._limit:
            if self._is_broken:
                return _SKIPPED
            try:
                return await self._asked(action)
            except asyncio.CancelledError as error:
                self._is_broken = True
                raise _unless_cancelled(self._calls.function(action), error) from error
            except Exception as error:
                answer = self._calls.failure(error)
                if answer is None:
                    self._is_broken = True
                    raise
                return answer, None

    async def _asked(self, action: Action) -> _Outcome:
        """Return the items of the function's result, as far as they are needed."""
        arguments = self._calls.arguments(action)
        said: Any = self._calls.function(action)(*arguments)
        said = await said if inspect.isawaitable(said) else said
        items = said.result if isinstance(said, Priced) else said
        try:
            if isinstance(items, AsyncIterable):
                items = await _collected(items, most_read(action))
                said = replace(said, result=items) if isinstance(said, Priced) else items
            return priced_list(action, said, is_priced=self._is_priced)
        except Exception as error:
            if not isinstance(said, Priced):
                raise
            failure = self._calls.failure(error)
            if failure is None:
                self._search.charge(action.action_id, said)
                raise
            return failure, said

    async def _with_results(self, drafts: Drafts, errors: list[Exception]) -> Drafts:
        """Return drafts with a verifier's results; add what it raises to the errors."""
        fresh = {
            draft.reply: draft
            for draft in drafts.drafts
            if draft.verified is None and draft.passed is None and draft.reply not in self._results
        }
        results = await asyncio.gather(
            *[self._result_of(draft) for draft in fresh.values()], return_exceptions=True
        )
        for reply, result in zip(fresh, results, strict=True):
            if isinstance(result, Exception):
                result.add_note(f"In verify of {reply[:40]!r}, which is kept and verified again.")
                errors.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                self._results[reply] = result
        return with_results(drafts, self._results)

    async def _result_of(self, draft: Draft) -> Verified:
        verify: Any = self._problem.verify
        try:
            async with self._limit:
                said = verify(self._drafts.state(draft))
                said = await said if inspect.isawaitable(said) else said
            return read_result(said, draft.reply)
        except asyncio.CancelledError as error:
            raise _unless_cancelled(verify, error) from error
        except Exception as error:
            if self._calls.failure(error) is None:
                raise
            return None  # listed as settling nothing


def _fits(left: RemainingCalls, side: Side, count: int) -> bool:
    return left.fits(proposer=count) if side is Side.PROPOSER else left.fits(judge=count)


def _unless_cancelled(function: object, error: asyncio.CancelledError) -> BaseException:
    """Return the error of a function that ended as cancelled.

    The same where its task is being cancelled, another where nothing cancelled it.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return error
    return RuntimeError(f"{name_of(function)} ended as cancelled, though its search was not")


async def _collected(items: AsyncIterable[Any], most: int) -> list[Any]:
    """Return the first items, at most so many."""
    found: list[Any] = []
    async for item in items:
        found.append(item)
        if len(found) == most:
            break
    return found

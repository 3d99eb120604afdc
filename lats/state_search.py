"""A search by `ask` and `tell` over a user's own states, for callers who make the calls.

search = StateSearch(problem, max_calls=10)
while requests := search.ask():
    for request in requests:
        search.tell(request, request.function(*request.arguments))
print(search.solution().best)
"""

from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Generic, TypeVar

from lats.actions import Action, ActionId
from lats.answers import Draft, Drafts, NoAnswer
from lats.callables import check_function
from lats.policy import RemainingCalls
from lats.problem import Problem, Verified
from lats.problem_calls import ProblemCalls, priced_list
from lats.problem_scores import read_result, with_results
from lats.search_knobs import SearchKnobs
from lats.solving import Solution, begun, resumed, solution_of
from lats.spending import Priced, SpendLimits
from lats.state_drafts import StateDrafts

__all__ = ["Request", "StateSearch"]

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Request:
    """A call that a search asks for.

    Args:
        action_id: the same after the search is saved and loaded.
        function: the problem's `propose` or `judge`. It may be called anywhere, or answered by
            other means.
        arguments: of the function: `(state, k, context)` or `(states, judge_pass)`.
    """

    action_id: ActionId
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class StateSearch(Generic[StateT]):
    """A search over a problem's states that makes no call itself.

    Verifying is no call: `verify` is called when a round is complete, and must not be a coroutine
    function. What it raises and the problem does not list comes out of `tell`; the results are
    kept, and the next `ask` verifies them again.

    Args:
        problem: the task.
        knobs: as in `solve`.
        state: of `state_dict`, to go on from, with its knobs; None begins a new search.
        cap: as in `resume`.
        changes: single knobs, as in `solve`.

    Raises:
        TypeError: as `solve`, when `verify` is a coroutine function, and when knobs are given
            with a `state`.
        ValueError: as `solve`.
        StateError: as `resume`.
    """

    def __init__(
        self,
        problem: Problem[StateT],
        knobs: SearchKnobs | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        cap: int | None = None,
        **changes: Any,
    ) -> None:
        if problem_verify := getattr(problem, "verify", None):
            check_function(problem_verify, "verify", ("state",), "a result", is_awaited=False)
        if state is None:
            if cap is not None:
                raise TypeError("cap is for a saved `state`; a new search has `max_calls`")
            self._search = begun(problem, knobs, changes)
        elif knobs is not None or changes:
            raise TypeError("a saved `state` has its knobs; leave them out, only `cap` may change")
        else:
            self._search = resumed(problem, state, cap)
        self._problem = problem
        self._drafts = StateDrafts(problem)
        self._calls = ProblemCalls(problem, self._drafts, self._search)
        self._results: dict[ActionId, tuple[Any, Priced[Any] | None]] = {}

    def ask(self, remaining: RemainingCalls | None = None) -> list[Request]:
        """Return the calls of this round that have no result yet; none when the search is done.

        Args:
            remaining: what a budget outside would still accept.
        """
        self._pass_on_round()
        actions = self._search.ask(remaining or RemainingCalls())
        return [
            Request(each.action_id, self._calls.function(each), self._calls.arguments(each))
            for each in actions
            if not self._has_result(each.action_id)
        ]

    def tell(self, request: Request | ActionId, result: Any) -> None:
        """Take the result of a call, in any order. A second one of the same call is ignored.

        Args:
            request: the request, or its `action_id`.
            result: what the function returns, a `Priced` of it, or an exception that it raised.

        Raises:
            TypeError: when it is no such result, or an awaitable.
            ValueError: when nothing was asked with this id, or the result cannot be read.
            Exception: an exception that was given and that the problem does not list. The call
                stays asked.
        """
        action_id = request.action_id if isinstance(request, Request) else request
        open_round = {each.action_id: each for each in self._search.waiting}
        if action_id not in open_round:
            self._search.tell(action_id, NoAnswer())  # ignored if it was answered, else an error
            return
        if not self._has_result(action_id):
            self._results[action_id] = self._read(open_round[action_id], result)
        self._pass_on_round()

    def solution(self) -> Solution[StateT]:
        """Return the solution so far; its `stop_reason` is None while there is more to ask."""
        return solution_of(self._problem, self._search, SpendLimits())

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON, from which a `StateSearch` continues elsewhere."""
        self._pass_on(self._search.waiting)
        return self._search.state_dict()

    def _read(self, action: Action, result: Any) -> tuple[Any, Priced[Any] | None]:
        """Return a result as a list, or as `NoAnswer`, with its price; errors are raised."""
        if isinstance(result, Exception):
            failure = self._calls.failure(result)
            if failure is None:
                raise result
            return failure, None
        if isawaitable(result) or isinstance(result, AsyncIterable):
            raise TypeError(f"the result of {action.action_id} must be awaited first")
        items, price = priced_list(action, result)
        self._drafts.begin_round(self._search.tree, self._search.open_answers.values())
        self._calls.answer(action, items)
        return items, price

    def _has_result(self, action_id: ActionId) -> bool:
        return action_id in self._results or action_id in self._search.unverified

    def _pass_on_round(self) -> None:
        """Give the search the results of the round, verified, once all of them are there."""
        waiting = self._search.waiting
        if not all(self._has_result(each.action_id) for each in waiting):
            return
        self._pass_on(waiting)
        for action_id, drafts in list(self._search.unverified.items()):
            results = {draft.reply: self._verified(draft) for draft in drafts.drafts}
            self._search.tell(action_id, with_results(drafts, results))

    def _pass_on(self, waiting: list[Action]) -> None:
        """Give the search the results, in the order of the round; drafts wait to be verified."""
        self._drafts.begin_round(self._search.tree, self._search.open_answers.values())
        for action in waiting:
            action_id = action.action_id
            if action_id not in self._results:
                continue
            answer, price = self._results[action_id]
            if not isinstance(answer, NoAnswer):
                answer = self._calls.answer(action, answer)
            if isinstance(answer, Drafts) and self._problem.verify is not None:
                self._search.hold(action_id, answer, price)
            else:
                self._search.tell(action_id, answer, price=price)
            del self._results[action_id]

    def _verified(self, draft: Draft) -> Verified:
        verify: Any = self._problem.verify
        try:
            return read_result(verify(self._drafts.state(draft)), draft.reply)
        except Exception as error:
            if self._calls.failure(error) is None:
                raise
            return None  # listed as settling nothing

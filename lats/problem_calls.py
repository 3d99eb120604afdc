"""Calls of a search to a problem's functions: their arguments, and their results as answers."""

import reprlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from lats.actions import Action, JudgeList, Refine
from lats.answers import ActionAnswer, Drafts, NoAnswer, NodeId, Verdicts
from lats.callables import name_of
from lats.problem import JudgedState, Problem, ProblemPass, ProposalContext
from lats.problem_scores import read_verdict
from lats.result import in_scale
from lats.search import PosteriorSearch
from lats.spending import Priced
from lats.state_drafts import StateDrafts

__all__ = ["ProblemCalls", "most_read", "priced_list"]

StateT = TypeVar("StateT")

MAX_READ_PER_WANTED = 16
"""Proposed states that are read for each that was asked for."""


class ProblemCalls(Generic[StateT]):
    """Calls of one search to a problem's functions."""

    def __init__(
        self, problem: Problem[StateT], drafts: StateDrafts[StateT], search: PosteriorSearch
    ) -> None:
        self._problem = problem
        self._drafts = drafts
        self._search = search

    def function(self, action: Action) -> Any:
        """Return the function that answers an action; None where the problem has none."""
        if isinstance(action, JudgeList):
            judge = self._problem.judge
            return judge[action.judge] if isinstance(judge, Mapping) else judge
        propose = self._problem.propose
        return propose[action.proposer] if isinstance(propose, Mapping) else propose

    def arguments(self, action: Action) -> tuple[Any, ...]:
        """Return the arguments of an action's function.

        Raises:
            TypeError: when the problem has no such function.
        """
        if isinstance(action, JudgeList):
            if self._problem.judge is None:
                raise TypeError("the policy asks for a judge, and the problem has none; give one")
            states = [self._leader(node_id).state for node_id in action.node_ids]
            return states, ProblemPass(action.pass_index, action.rubric, action.judge)
        ids = action.node_ids if isinstance(action, Refine) else ()
        leaders = tuple(map(self._leader, ids))
        context = ProposalContext(action.attempt, leaders, action.guidelines, action.proposer)
        return leaders[0].state if leaders else self._drafts.start_state(), action.k, context

    def described(self, action: Action) -> str:
        """Return an action's call, for errors."""
        if isinstance(action, JudgeList):
            call = f"judge({len(action.node_ids)} states, pass {action.pass_index})"
        else:
            source = f"state {action.node_ids[0]}" if isinstance(action, Refine) else "the start"
            call = f"propose({source}, k={action.k}, attempt {action.attempt})"
        return f"{call} by {name_of(self.function(action))}, action {action.action_id}"

    def failure(self, error: Exception) -> NoAnswer | None:
        """Return an exception as an answer; None where the problem does not list it."""
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
            error = error.__cause__  # a coroutine raises it as the other
        is_refused = isinstance(error, self._problem.refusals)
        if not is_refused and not isinstance(error, self._problem.failures):
            return None
        return NoAnswer(is_refused=is_refused, detail=f"{type(error).__name__}: {error}")

    def answer(self, action: Action, items: list[Any]) -> ActionAnswer:
        """Return the items of a function's result as the answer to its action.

        Raises:
            TypeError: when they are no states or scores.
            ValueError: when there are too many or too few scores, or one out of its range.
        """
        if not isinstance(action, JudgeList):
            return Drafts(tuple(self._drafts.draft(each, source="propose gave") for each in items))
        asked = len(action.node_ids)
        if len(items) != asked:
            got = "more" if len(items) > asked else str(len(items))
            raise ValueError(
                f"judge returned {got} scores for {asked} states; give None for a state that "
                "has none"
            )
        found = {}
        for node_id, score in zip(action.node_ids, items, strict=True):
            reply = self._search.tree.nodes[node_id].draft.reply
            verdict = read_verdict(score, reply, self._problem.score_range)
            if verdict is not None:
                found[node_id] = verdict
        return Verdicts(found)

    def _leader(self, node_id: NodeId) -> JudgedState[StateT]:
        node = self._search.tree.nodes[node_id]
        mean = node.mean_score
        scaled = None if mean is None else in_scale(mean, self._problem.score_range)
        return JudgedState(self._drafts.state(node.draft), scaled, node.verdict)


def _result_name(action: Action) -> tuple[str, str]:
    """Return the names of an action's function and of what it returns."""
    return ("judge", "scores") if isinstance(action, JudgeList) else ("propose", "states")


def most_read(action: Action) -> int:
    """Return how many items of a function's result are read at most."""
    if isinstance(action, JudgeList):
        return len(action.node_ids) + 1
    return MAX_READ_PER_WANTED * action.k


def priced_list(
    action: Action, said: Any, *, is_priced: bool = False
) -> tuple[list[Any], Priced[Any] | None]:
    """Return what an action's function returned as a list, and its price; None without one.

    Args:
        action: the action.
        said: the result, nothing in it to be awaited.
        is_priced: whether a limit reads the price.

    Raises:
        TypeError: when it is no list, or has no price where one is needed.
    """
    name, wanted = _result_name(action)
    if is_priced and not isinstance(said, Priced):
        raise TypeError(
            f"{name} returned {reprlib.repr(said)} under max_tokens or max_usd; return "
            f"lats.Priced({wanted}, tokens=..., usd=...)"
        )
    price = said if isinstance(said, Priced) else None
    items = said.result if isinstance(said, Priced) else said
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        hint = {
            "propose": "a single state goes into a list as well",
            "judge": "it is given several states and returns one score for each, in order",
        }[name]
        raise TypeError(
            f"{name} returned {reprlib.repr(items)}, expected {wanted} in a list; {hint}"
        )
    return list(islice(items, most_read(action))), price

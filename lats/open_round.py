"""Calls of the round under way that are more than answered or not.

Drafts that are paid for wait for their verifier; a call that cannot be read has its price all the
same; one that no budget was left for was never made.
"""

from collections.abc import Mapping
from typing import TypeVar

from lats.actions import Action, ActionId, Generate, JudgeList, Refine, passes_of, side_of
from lats.answers import ActionAnswer, Drafts, cleaned_answer
from lats.policy import SearchPolicy
from lats.result import StopReason
from lats.search_state import SearchState
from lats.spending import Priced

__all__ = ["OpenRound"]

KeyT = TypeVar("KeyT")


class OpenRound(SearchPolicy):
    """The round under way of a posterior search."""

    _state: SearchState

    @property
    def cap(self) -> int:
        """Calls that it may make."""
        return self._state.cap

    @property
    def is_out_of_budget(self) -> bool:
        """Whether it ended for want of budget, its cap not used up."""
        return self._state.progress.stop_reason is StopReason.BUDGET

    @property
    def unverified(self) -> Mapping[ActionId, Drafts]:
        """Drafts of open actions that wait for their verifier. Read only."""
        return self._state.unverified

    @property
    def open_answers(self) -> Mapping[ActionId, ActionAnswer]:
        """Answers of the open round, those that wait for their verifier included. Read only."""
        return {**self._state.progress.told, **self._state.unverified}

    def tell(self, action_id: ActionId, answer: ActionAnswer) -> None:
        """Take the answer to an action; see `SearchPolicy.tell`."""
        super().tell(action_id, answer)
        self._state.unverified.pop(action_id, None)

    def hold(self, action_id: ActionId, drafts: Drafts, price: Priced[object] | None) -> None:
        """Keep drafts of an open action, which are passed on once they are verified.

        Args:
            action_id: of an action that waits.
            drafts: those that it brought.
            price: what they took; it is counted here.
        """
        cleaned = cleaned_answer(action_id, drafts)
        if isinstance(cleaned, Drafts):
            self._state.unverified[action_id] = cleaned
        if price is not None:
            self.charge(action_id, price)

    def charge(self, action_id: ActionId, price: Priced[object]) -> None:
        """Add what a call of an open action took, whatever becomes of its result."""
        self._state.spend.add(side_of(self._opened(action_id).label), price)
        self._state.progress.spent_calls += price.calls - 1

    def withdraw(self, action_id: ActionId) -> None:
        """Take an open action back whose call was not made: it counts as never asked.

        Of several the last one goes first; then they can be asked again.
        """
        state, progress = self._state, self._state.progress
        action, before = self._opened(action_id), passes_of(progress.open_round)
        progress.open_round.remove(action)
        progress.passes -= before - passes_of(progress.open_round)
        progress.spent_calls -= 1
        _take_one(progress.asked, action.label)
        if not isinstance(action, JudgeList) and action.proposer:
            _take_one(progress.proposer_calls, action.proposer)
        # A number that a later call bears already is not given again.
        match action:
            case Generate():
                progress.generations -= action.attempt == progress.generations - 1
            case Refine():
                node = state.tree.nodes[action.node_ids[0]]
                node.expansions -= action.attempt == node.expansions - 1
                state.tree.add_pending(action.node_ids[0], -1)
            case JudgeList():
                progress.judge_calls -= action.pass_index == progress.judge_calls - 1
                for node_id in action.node_ids:
                    state.tree.nodes[node_id].judge_passes -= 1
        if not progress.open_round:
            progress.rounds -= 1
        elif len(progress.told) == len(progress.open_round):
            self._apply(progress.close_round())

    def _opened(self, action_id: ActionId) -> Action:
        return next(each for each in self._state.progress.open_round if each.action_id == action_id)


def _take_one(counts: dict[KeyT, int], key: KeyT) -> None:
    """Lower a count by 1; one of 0 is left out."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]

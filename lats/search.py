"""The machine behind every policy but the classic one: ask, tell, and a posterior.

It keeps the tree, the beliefs and the counts; a strategy decides the next round from them.
See `SearchPolicy` for what it promises.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lats.actions import Action, ActionId, Generate, JudgeList, Refine, passes_of
from lats.answers import ActionAnswer, Draft
from lats.policy import RemainingCalls, check_answer, closed_gates
from lats.posterior import belief
from lats.ranking import RANKED_WHOLE, TieBreak, answers, confidence, is_judged, leading, ranked
from lats.reflection import Guideline
from lats.result import SearchResult, StateError, StopReason
from lats.schedule import CallsLeft
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState, load_search, save_search
from lats.search_tree import SearchTree
from lats.strategies import STRATEGIES
from lats.update import cleaned_answer, take_round

__all__ = ["PosteriorSearch"]


MAX_EMPTY_ROUNDS = 2
"""Rounds in a row that bring nothing, after which a search asks no more of their kind."""

_UNLIMITED = RemainingCalls()
_START = Draft(reply="")
_GATES = frozenset({"plan_alignment", "assistantness", "mode_fit"})


class PosteriorSearch:
    """One search under way, by the strategy that its knobs name.

    Args:
        knobs: all settings.
        start: what candidates from scratch start from, for tasks that have such a thing.
        guidelines: of earlier turns, aged.
        tie_break: decides between candidates that are otherwise equal. Give the same one
            again to `from_state`.

    Raises:
        ValueError: when the knobs name no strategy that this machine has.
    """

    def __init__(
        self,
        knobs: SearchKnobs,
        *,
        start: Draft = _START,
        guidelines: Iterable[Guideline] = (),
        tie_break: TieBreak | None = None,
    ) -> None:
        if knobs.policy not in STRATEGIES:
            raise ValueError(f"{knobs.policy!r} is none of {sorted(STRATEGIES)}")
        self._strategy = STRATEGIES[knobs.policy]
        self._state = SearchState(knobs, start, guidelines=tuple(guidelines))
        self._tie_break = tie_break

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, tie_break: TieBreak | None = None
    ) -> "PosteriorSearch":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        loaded = load_search(state)
        if loaded.given_knobs.policy not in STRATEGIES:
            raise StateError(f"a state of {loaded.given_knobs.policy!r} is for another search")
        told = loaded.progress.told
        told.update({told_id: cleaned_answer(told_id, told[told_id]) for told_id in told})
        search = cls(loaded.given_knobs, tie_break=tie_break)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return save_search(self._state)

    @property
    def tree(self) -> SearchTree:
        """Everything proposed and judged so far. Read only."""
        return self._state.tree

    @property
    def is_done(self) -> bool:
        """Whether nothing will be proposed any more."""
        return self._state.progress.stop_reason is not None

    def ask(self, remaining: RemainingCalls = _UNLIMITED) -> list[Action]:
        """Return the actions of this round that were not told yet; none when done."""
        progress = self._state.progress
        if not progress.open_round and progress.stop_reason is None:
            self._make_round(remaining)
        if not progress.told:
            return list(progress.open_round)
        return [each for each in progress.open_round if each.action_id not in progress.told]

    def tell(self, action_id: ActionId, answer: ActionAnswer, *, calls: int = 1) -> None:
        """Take the answer to a action. A second answer to it is ignored.

        Args:
            action_id: of the action.
            answer: what came of it.
            calls: calls that it took, repairs and retries included; at least 1. Leave it where
                the `remaining` given to `ask` counts them already.

        Raises:
            ValueError: when nothing with this id was proposed, or `calls` is less than 1.
            TypeError: when the answer is of the wrong sort for the action.
        """
        progress = self._state.progress
        if action_id in progress.closed_ids or action_id in progress.told:
            return
        check_answer(progress.open_round, action_id, answer)
        if calls < 1:
            raise ValueError(f"an answer takes at least 1 call, got {calls}")
        progress.told[action_id] = cleaned_answer(action_id, answer)
        progress.spent_calls += calls - 1
        if len(progress.told) == len(progress.open_round):
            # Gates open on what a judge said: what was just proposed is to be judged first.
            is_judged = any(isinstance(each, JudgeList) for each in progress.open_round)
            take_round(self._state)
            if progress.stop_reason is None:
                progress.stop_reason = self._reason_to_stop(is_judged=is_judged)

    def result(self) -> SearchResult:
        """Return what was found so far: the best posterior mean, and how sure that is."""
        state, progress = self._state, self._state.progress
        order = ranked(state, answers(state), tie_break=self._tie_break)
        best = order[0] if order else None
        return SearchResult(
            policy=state.given_knobs.policy,
            best=best,
            stop_reason=progress.stop_reason,
            final_judgement=None,
            rollouts_done=progress.cycles,
            rounds=progress.rounds,
            asked=dict(progress.asked),
            failed=dict(progress.failed),
            tree=state.tree,
            confidence=None if best is None else confidence(state, best),
            guidelines=progress.guidelines,
            planned_cap=progress.planned_cap,
            beliefs={
                node.node_id: belief(node, state.noise)
                for node in state.tree.candidates
                if node.score_count
            },
            survivors=tuple(progress.survivors),
        )

    def _left(self, remaining: RemainingCalls) -> CallsLeft:
        """Return what may still be spent, by the knobs' cap and the driver's remaining."""
        state = self._state
        calls = max(state.cap - state.progress.spent_calls, 0)
        if remaining.is_late:
            calls = 0
        calls = _within(calls, remaining.max_calls)
        proposer = 0 if state.progress.is_refused else _within(calls, remaining.max_proposer_calls)
        return CallsLeft(calls, proposer, _within(calls, remaining.max_judge_calls))

    def _make_round(self, remaining: RemainingCalls) -> None:
        state, progress = self._state, self._state.progress
        left = self._left(remaining)
        if progress.planned_cap is None:
            progress.planned_cap = left.calls
        if not left.calls:
            progress.stop_reason = self._what_binds(remaining, left)
            return
        found = self._strategy.next_round(state, left)
        if not isinstance(found, StopReason) and found:
            self._register(_fitting(found, left))
        elif isinstance(found, StopReason) and found is not StopReason.CAP:
            progress.stop_reason = found
        else:
            progress.stop_reason = self._what_binds(remaining, left)

    def _register(self, actions: list[Action]) -> None:
        state, progress = self._state, self._state.progress
        progress.open_round = list(actions)
        progress.rounds += 1
        progress.spent_calls += len(actions)
        for action in actions:
            progress.asked[action.label] = progress.asked.get(action.label, 0) + 1
            match action:
                case Generate():
                    progress.generations += 1
                case Refine():
                    state.tree.nodes[action.node_ids[0]].expansions += 1
                    state.tree.add_pending(action.node_ids[0], 1)
                case JudgeList():
                    progress.judge_calls += 1
                    for node_id in action.node_ids:
                        state.tree.nodes[node_id].judge_passes += 1
        progress.passes += passes_of(actions)

    def _what_binds(self, remaining: RemainingCalls, left: CallsLeft) -> StopReason:
        state = self._state
        if remaining.is_late:
            return StopReason.DEADLINE
        by_knobs = state.cap - state.progress.spent_calls
        is_tight = left.calls < by_knobs or min(left.proposer, left.judge) < left.calls
        return StopReason.BUDGET if is_tight else StopReason.CAP

    def _reason_to_stop(self, *, is_judged: bool) -> StopReason | None:
        """Return why the round just taken in is the last; None while it need not be."""
        state, progress = self._state, self._state.progress
        if progress.empty_rounds >= MAX_EMPTY_ROUNDS and not len(state.tree):
            return StopReason.FAILED
        if progress.unjudged_rounds >= MAX_EMPTY_ROUNDS:
            return StopReason.UNJUDGED
        return StopReason.EARLY_EXIT if is_judged and self._is_good_enough() else None

    def _is_good_enough(self) -> bool:
        """Return whether the leader passes all gates, or its score is enough by itself."""
        state, knobs = self._state, self._state.knobs
        if knobs.stop_score is None and not knobs.early_exit.enabled:
            return False
        if knobs.stop_score is None and not self._may_pass_gates():
            return False
        if state.progress.has_steps:  # the lead may be full of these
            known = ranked(state, [node for node in answers(state) if is_judged(node)])
        else:
            known = leading(state, knobs.leaders + 1)
        best = next((node for node in known if not node.draft.is_step), None)
        if best is None or best.verdict is None or best.mean_score is None:
            return False
        if knobs.stop_score is not None and best.mean_score >= knobs.stop_score:
            return True
        if state.progress.cycles < knobs.early_exit.min_rollouts:
            return False
        believed = min(max(belief(best, state.noise).mean, 0.0), 1.0)
        return not closed_gates(replace(best.verdict, score=believed), knobs.early_exit)

    def _may_pass_gates(self) -> bool:
        """Return whether any candidate has all that the gates look at: cheaper than a ranking."""
        nodes, front = self._state.tree.nodes, self._state.progress.front
        known = nodes.values() if len(nodes) <= RANKED_WHOLE + 1 else map(nodes.__getitem__, front)
        said = (node.verdict for node in known if node.verdict is not None)
        return any(verdict.attributes.keys() >= _GATES for verdict in said)


def _within(calls: int, limit: int | None) -> int:
    return calls if limit is None else min(calls, max(limit, 0))


def _fitting(actions: list[Action], left: CallsLeft) -> list[Action]:
    """Return the first actions that fit together, whatever a strategy wants."""
    fitting: list[Action] = []
    proposer = judge = 0
    for action in actions:
        is_judge = isinstance(action, JudgeList)
        proposer, judge = proposer + (not is_judge), judge + is_judge
        if not left.fits(proposer=proposer, judge=judge):
            break
        fitting.append(action)
    return fitting

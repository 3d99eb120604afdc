"""The posterior search: rounds by a strategy, beliefs about the candidates, one cap.

It keeps the tree, the beliefs and the counts; a strategy decides the next round from them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lats.actions import Action, ActionId, Generate, JudgeList, Refine, passes_of, side_of
from lats.answers import ActionAnswer, Draft, NoAnswer, cleaned_answer
from lats.judges import checked_judges
from lats.open_round import OpenRound
from lats.policy import UNLIMITED, RemainingCalls, closed_gates
from lats.policy_checks import pick_of, strategy_of
from lats.policy_registry import CLASSIC, policy_names
from lats.posterior import belief
from lats.proposers import assign_proposers, checked_costs, proposer_stats, signed_drafts
from lats.ranking import (
    FRONT,
    RANKED_WHOLE,
    TieBreak,
    answers,
    confidence,
    is_judged,
    leading,
    open_leading,
    ranked,
)
from lats.reflection import Guideline
from lats.result import SearchResult, StateError, StopReason
from lats.search_knobs import SearchKnobs
from lats.search_schedule import CallsLeft
from lats.search_state import SearchState, TaskTraits, load_search, save_search
from lats.spending import Priced, Spend
from lats.update import apply_round

__all__ = ["PosteriorSearch"]

MAX_EMPTY_ROUNDS = 2
"""Rounds in a row that bring nothing, after which a search asks no more of their kind."""

_REOPENED = frozenset(
    {
        StopReason.CAP,
        StopReason.BUDGET,
        StopReason.DEADLINE,
        StopReason.PLAN_DONE,
        StopReason.MIN_GAIN,
    }
)
"""Reasons to stop that another cap may lift."""

_START = Draft(reply="")
_GATES = frozenset({"plan_alignment", "assistantness", "mode_fit"})


class PosteriorSearch(OpenRound):
    """One search under way, by the strategy that its knobs name.

    Args:
        knobs: all settings.
        start: the draft that candidates from scratch descend from, for tasks that have one.
        guidelines: of earlier turns, aged.
        task: traits of the task.
        tie_break: decides between candidates that are otherwise equal. Give the same one
            again to `from_state`.
        judges: names of several judges, which judge calls then bear; none where there is one.
        proposers: where several answer proposals, the relative cost of a call of each, by name;
            `Generate` and `Refine` name the one to ask.

    Raises:
        ValueError: when the knobs name a policy that is no strategy, or proposers or judges have
            no usable names or costs.
    """

    def __init__(
        self,
        knobs: SearchKnobs,
        *,
        start: Draft = _START,
        guidelines: Iterable[Guideline] = (),
        task: TaskTraits | None = None,
        tie_break: TieBreak | None = None,
        judges: Iterable[str] = (),
        proposers: Mapping[str, float] | None = None,
    ) -> None:
        self._strategy = strategy_of(knobs.policy)
        self._pick = pick_of(knobs.policy)
        self._state = SearchState(
            knobs,
            start,
            guidelines=tuple(guidelines),
            task=task or TaskTraits(),
            proposers=None if proposers is None else checked_costs(proposers),
            judges=checked_judges(judges),
        )
        self._tie_break = tie_break

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, tie_break: TieBreak | None = None
    ) -> "PosteriorSearch":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        _check_policy(state)
        loaded = load_search(state)
        told = loaded.progress.told
        told.update({told_id: cleaned_answer(told_id, told[told_id]) for told_id in told})
        search = cls(loaded.given_knobs, tie_break=tie_break)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return save_search(self._state)

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of several judges; none where there is one."""
        return self._state.judges

    @property
    def proposers(self) -> Mapping[str, float]:
        """Relative cost of each proposer by name; none where there is one without a name."""
        return self._state.proposers

    @property
    def is_done(self) -> bool:
        """Whether nothing will be asked any more."""
        return self._state.progress.stop_reason is not None

    @property
    def task(self) -> TaskTraits:
        """Traits of the task."""
        return self._state.task

    @property
    def calls_left(self) -> int:
        """Calls that its cap leaves."""
        return max(self._state.cap - self._state.progress.spent_calls, 0)

    @property
    def spend(self) -> Spend:
        """Amounts that its calls took, as far as they were given. Read only."""
        return self._state.spend

    def reopen(self, cap: int) -> None:
        """Go on under another cap, be the search done or under way.

        Actions that were asked, not answered, and do not fit any more count as failed.

        Raises:
            ValueError: when the cap is no cap.
        """
        state, progress = self._state, self._state.progress
        if type(cap) is not int or cap < 0:
            raise ValueError(f"cap is {cap!r}; give a whole number from 0 on")
        state.given_knobs = state.given_knobs.model_copy(update={"max_calls": cap})
        state.knobs = state.given_knobs
        progress.stop_reason = None if progress.stop_reason in _REOPENED else progress.stop_reason
        progress.is_refused = False
        if progress.planned_cap is not None:
            progress.planned_cap = cap
        waiting = [each for each in self.waiting if each.action_id not in state.unverified]
        kept = max(len(waiting) - max(progress.spent_calls - cap, 0), 0)
        for action in waiting[kept:]:
            self.tell(action.action_id, NoAnswer(detail="the cap was lowered"))

    def tell(
        self,
        action_id: ActionId,
        answer: ActionAnswer,
        *,
        calls: int = 1,
        price: Priced[object] | None = None,
    ) -> None:
        """Take the answer to an action; see `SearchPolicy.tell`.

        `calls` is how many it took, repairs and retries included; at least 1. Leave it where the
        `remaining` given to `ask` counts them already. `price` is what it took in all; its
        `calls` are read in place of the others.

        Raises:
            ValueError: also when `calls` is less than 1.
        """
        calls = calls if price is None else price.calls
        if calls < 1:
            raise ValueError(f"an answer takes at least 1 call, got {calls}")
        progress = self._state.progress
        is_new = action_id not in progress.told and action_id not in progress.closed_ids
        sides = {each.action_id: each.label for each in progress.open_round} if price else {}
        super().tell(action_id, answer)
        progress.spent_calls += (calls - 1) * is_new
        if is_new and price is not None:
            self._state.spend.add(side_of(sides[action_id]), price)

    def result(self) -> SearchResult:
        """Return the result so far: the strategy's pick or the best posterior mean."""
        state, progress = self._state, self._state.progress
        order = ranked(state, answers(state), tie_break=self._tie_break)
        best = order[0] if order else None
        if order and self._pick is not None:
            best = self._pick(state, order)
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
            stopped_by=self._stopped_by(),
            score_range=state.task.score_range,
            readings=tuple(state.readings),
            proposers=proposer_stats(state),
        )

    def _stopped_by(self) -> tuple[str, ...]:
        """Return the names of the knobs that stopped the search; see `SearchResult`."""
        state, knobs, nodes = self._state, self._state.knobs, list(self._state.tree.candidates)
        is_flat = not state.progress.has_steps
        match state.progress.stop_reason:
            case StopReason.CAP:
                return ("max_calls",)
            case StopReason.MIN_GAIN:
                return ("min_gain",)
            case StopReason.BUDGET | StopReason.DEADLINE:
                return ("refusals",) if state.progress.is_refused else ("remaining",)
            case StopReason.EARLY_EXIT if state.is_solved:
                return ("verify",)
            case StopReason.EARLY_EXIT:
                return ("early_exit",) if knobs.stop_score is None else ("stop_score",)
            case StopReason.PLAN_DONE | StopReason.EXHAUSTED:
                deepest = max((each.depth for each in nodes if each.draft.is_step), default=0)
                passes = max((each.judge_passes for each in nodes), default=0)
                first = sum(each.depth == 1 for each in nodes)
                bound = {
                    "max_candidates": is_flat and first >= state.max_candidates,
                    "max_passes": is_flat and passes >= state.max_passes,
                    "refine": is_flat and not state.may_refine and knobs.policy != "best_of_n",
                    "max_depth": deepest == knobs.max_depth,
                }
                return tuple(name for name, is_bound in bound.items() if is_bound)
            case _:
                return ()

    def _left(self, remaining: RemainingCalls) -> CallsLeft:
        """Return the calls left by the knobs' cap and by the driver's budget."""
        state = self._state
        calls = self.calls_left
        if remaining is UNLIMITED and not state.progress.is_refused:
            return CallsLeft(calls, calls, calls)
        calls = 0 if remaining.is_late else _within(calls, remaining.max_calls)
        proposer = 0 if state.progress.is_refused else _within(calls, remaining.max_proposer_calls)
        return CallsLeft(calls, proposer, _within(calls, remaining.max_judge_calls))

    def _next_round(self, remaining: RemainingCalls) -> list[Action]:
        state, progress = self._state, self._state.progress
        if progress.stop_reason is not None:
            return []
        left = self._left(remaining)
        if progress.planned_cap is None:
            progress.planned_cap = left.calls
        found = self._strategy(state, _free_judging(left, state)) if left.calls else StopReason.CAP
        if state.task.has_verifier:
            found = self._until_solved(found, left)
        if isinstance(found, StopReason) and found is not StopReason.CAP:
            progress.stop_reason = found
        elif isinstance(found, StopReason) or not found:
            progress.stop_reason = self._what_binds(remaining, left)
        else:
            actions = assign_proposers(state, _fitting(found, left))
            if not actions:
                progress.stop_reason = self._what_binds(remaining, left)
            self._count(actions)
            return actions
        return []

    def _until_solved(
        self, found: list[Action] | StopReason, left: CallsLeft
    ) -> list[Action] | StopReason:
        """Return a strategy's round as a verifier wants it.

        Any generation may bring the answer that ends the search, so at most as many travel
        together as were asked before. A plan is not done while every answer is refuted, nor, where
        a verifier alone decides, before the answer is found, unless the knobs limit it. Then
        generations alternate with refinements, and give way to them once they repeat themselves.
        """
        state, progress = self._state, self._state.progress
        knobs = state.given_knobs
        together = max(knobs.parallel_leaves, progress.generations, 1)
        if not isinstance(found, StopReason) and found:
            is_from_scratch = all(isinstance(action, Generate) for action in found)
            return found[:together] if is_from_scratch else found
        is_limited = bool(found is StopReason.MIN_GAIN and knobs.min_gain)
        if not state.task.has_judge:  # with a judge, refuted candidates do not count
            is_limited |= len(state.tree) >= state.max_candidates
        is_open = not state.task.has_judge or all(
            node.draft.verified is False for node in answers(state)
        )
        if is_limited or not is_open or progress.has_steps or not left.calls:
            return found
        may_refine = state.may_refine and knobs.policy != "best_of_n"
        leaders = open_leading(state, FRONT) if may_refine else []
        if progress.empty_rounds >= MAX_EMPTY_ROUNDS + 2 * len(leaders):
            return StopReason.EXHAUSTED if len(state.tree) else StopReason.FAILED
        if leaders and left.proposer_calls and (progress.is_exhausted or progress.rounds % 2):
            # The best first; one that was tried more often gives way to the next.
            rank = {node.node_id: place for place, node in enumerate(leaders)}
            best = min(leaders, key=lambda node: rank[node.node_id] + node.expansions)
            return [Refine((best.node_id,), knobs.refine_k, best.expansions, state.guideline_texts)]
        wanted = min(together, left.proposer_calls)
        return state.generate([knobs.generate_k] * wanted) or found

    def _count(self, actions: list[Action]) -> None:
        tree, progress = self._state.tree, self._state.progress
        progress.spent_calls += len(actions)
        for action in actions:
            if not isinstance(action, JudgeList) and action.proposer:
                made = progress.proposer_calls.get(action.proposer, 0)
                progress.proposer_calls[action.proposer] = made + 1
            match action:
                case Generate():
                    progress.generations += 1
                case Refine():
                    tree.nodes[action.node_ids[0]].expansions += 1
                    tree.add_pending(action.node_ids[0], 1)
                case JudgeList():
                    progress.judge_calls += 1
                    for node_id in action.node_ids:
                        tree.nodes[node_id].judge_passes += 1
        progress.passes += passes_of(actions)

    def _what_binds(self, remaining: RemainingCalls, left: CallsLeft) -> StopReason:
        state = self._state
        if remaining.is_late:
            return StopReason.DEADLINE
        by_knobs = state.cap - state.progress.spent_calls
        is_tight = left.calls < by_knobs or min(left.proposer, left.judge) < left.calls
        return StopReason.BUDGET if is_tight else StopReason.CAP

    def _apply(self, answered: list[tuple[Action, ActionAnswer]]) -> None:
        state, progress = self._state, self._state.progress
        if state.proposers:
            answered = [(action, signed_drafts(action, answer)) for action, answer in answered]
        judged = apply_round(state, answered)
        if progress.stop_reason is not None:
            return
        if progress.empty_rounds >= MAX_EMPTY_ROUNDS and not len(state.tree):
            progress.stop_reason = StopReason.FAILED
        elif progress.unjudged_rounds >= max(MAX_EMPTY_ROUNDS, len(state.judges)):
            progress.stop_reason = StopReason.UNJUDGED
        elif state.is_solved or (judged and self._is_good_enough()):
            progress.stop_reason = StopReason.EARLY_EXIT

    def _is_good_enough(self) -> bool:
        """Return whether the leader passes all gates, or its score is enough by itself."""
        state, knobs = self._state, self._state.knobs
        if knobs.stop_score is None and not (knobs.early_exit.enabled and self._may_pass_gates()):
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
        """Return whether any candidate has all scores that the gates read: cheaper than ranking."""
        nodes, front = self._state.tree.nodes, self._state.progress.front
        known = nodes.values() if len(nodes) <= RANKED_WHOLE + 1 else map(nodes.__getitem__, front)
        said = (node.verdict for node in known if node.verdict is not None)
        return any(verdict.attributes.keys() >= _GATES for verdict in said)


def _free_judging(left: CallsLeft, state: SearchState) -> CallsLeft:
    """Return the calls left with those of a judge that costs none: one for each proposal."""
    if state.task.has_judge:
        return left
    return CallsLeft(2 * left.proposer_calls, left.proposer_calls, left.proposer_calls)


def _check_policy(state: Mapping[str, Any]) -> None:
    """Check that a saved state is one of a strategy that is known here."""
    given: Any = state
    if not isinstance(given, Mapping):
        return  # refused with all others that are no state
    policy = state.get("policy")
    if policy == CLASSIC:
        raise StateError(f"a state of {CLASSIC!r} is for another search: use resume_search")
    if policy not in policy_names():
        expected = f"expected {CLASSIC} or {sorted(policy_names()[1:])}"
        if not isinstance(policy, str):
            raise StateError(f"this is no state of a search, its policy is {policy!r}: {expected}")
        raise StateError(
            f"the state needs the policy {policy!r}, which is not known here: {expected}; one of "
            f"your own is registered first, by lats.register_policy({policy!r}, next_round)"
        )


def _within(calls: int, limit: int | None) -> int:
    return calls if limit is None else min(calls, max(limit, 0))


def _fitting(actions: list[Action], left: CallsLeft) -> list[Action]:
    """Return the first actions that fit together, whatever a strategy wants."""
    proposer = judge = 0
    for place, action in enumerate(actions):
        is_judge = isinstance(action, JudgeList)
        proposer, judge = proposer + (not is_judge), judge + is_judge
        if not left.fits(proposer=proposer, judge=judge):
            return actions[:place]
    return actions

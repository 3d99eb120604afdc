"""The classic search: UCT over whole replies, one expansion per rollout, a few judged.

    plan the root -> judge it -> [ select a leaf -> expand it (-> top up) -> judge the
    best by rule -> back up -> gates ] x rollouts (-> check) -> judge the pick again

Source: LATS (arXiv 2310.04406) for select, expand, evaluate and back up. Departures:
a node is a finished reply, so there is no simulation and no terminal state; only the
best candidates by rule are judged; the answer is the best mean value. Knobs say how
much of each.

A rollout that failed is over, like any other: only the next rollout asks again, so the number
of rounds is limited by the knobs alone. A refusal by the budget ends the search immediately.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from lats.actions import Action, ActionKind, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, NoAnswer, Verdicts
from lats.classic_state import (
    ClassicPhase,
    ClassicState,
    best_passes_gates,
    end_rollout,
    grow,
    load_state,
    pick,
    plant,
    select_leaf,
    short_of,
    stop,
)
from lats.policy import UNLIMITED, RemainingCalls, SearchPolicy
from lats.result import SearchResult, StopReason
from lats.rule_score import FastScorer, ReplyContext, RuleScore
from lats.search_knobs import ClassicKnobs
from lats.search_tree import Candidate
from lats.similarity import missing_strategies

__all__ = ["ASSISTANT_CHECK", "CHECKS_PER_ROUND", "MAX_STRATEGIES_USED", "SINGLE", "ClassicUct"]

CHECKS_PER_ROUND = 4
"""Assistant checks that are asked together."""

TOP_UP_SIMILARITY = 0.6
"""Similarity from which two strategy tags count as the same strategy."""

MAX_STRATEGIES_USED = 32
"""Most tags that an action carries, the latest ones."""

SINGLE, ASSISTANT_CHECK = "single", "assistant_check"
"""Rubrics of this search: a judge of one reply, and how much it sounds like an assistant."""


class ClassicUct(SearchPolicy):
    """One classic search under way.

    Args:
        knobs: all settings; a stage preset is already applied.
        context: of the turn, for the rules.
        scorer: the rule score; `RuleScore(context)` by default. Give the same one again to
            `from_state`.
    """

    _state: ClassicState

    def __init__(
        self, knobs: ClassicKnobs, context: ReplyContext, *, scorer: FastScorer | None = None
    ) -> None:
        self._state = ClassicState(knobs, context, scorer or RuleScore(context))

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, scorer: FastScorer | None = None
    ) -> "ClassicUct":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        loaded = load_state(state, scorer)
        search = cls(loaded.knobs, loaded.context)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return self._state.dump()

    @property
    def is_done(self) -> bool:
        """Whether nothing will be asked any more."""
        return self._state.progress.phase is ClassicPhase.DONE

    def result(self) -> SearchResult:
        """Return the result so far."""
        progress = self._state.progress
        return SearchResult(
            policy="classic_uct",
            best=pick(self._state),
            stop_reason=progress.stop_reason,
            final_judgement=progress.final_judgement,
            rollouts_done=progress.rollouts_done,
            rounds=progress.rounds,
            asked=dict(progress.asked),
            failed=dict(progress.failed),
            tree=self._state.tree,
        )

    def _next_round(self, remaining: RemainingCalls) -> list[Action]:
        # Every step either asks, or leads to a later phase or to the next rollout.
        while not self.is_done:
            actions = _STEPS[self._state.progress.phase](self._state, remaining)
            if actions:
                return actions
        return []

    def _apply(self, answered: list[tuple[Action, ActionAnswer]]) -> None:
        """Apply a round and move on. A refusal ends the search: the next call would be refused."""
        state, progress = self._state, self._state.progress
        for action, answer in answered:
            if isinstance(action, JudgeList):
                if isinstance(answer, Verdicts):
                    _note_verdict(state, action, answer)
            elif isinstance(answer, Drafts):
                _note_drafts(state, action, answer.drafts)
        was_prefetched = len(answered) > 1 and answered[-1][0].label is ActionKind.EXPAND
        _move_on(state, was_prefetched=was_prefetched)
        if any(isinstance(answer, NoAnswer) and answer.is_refused for _, answer in answered):
            if progress.stop_reason in {None, StopReason.FAILED}:
                progress.stop_reason = StopReason.BUDGET
            progress.phase = ClassicPhase.DONE


def _note_drafts(
    state: ClassicState, action: Generate | Refine, offered: tuple[Draft, ...]
) -> None:
    progress, tree = state.progress, state.tree
    pending = (progress.drafts or []) if action.label is ActionKind.TOP_UP else []
    new = {tree.key_of(draft): draft for draft in pending}
    for draft in offered:
        key = tree.key_of(draft)
        if len(new) < len(pending) + action.k and key not in new and not tree.has_key(key):
            new[key] = draft
    progress.drafts = list(new.values())
    if action.label is ActionKind.EXPAND:
        tags = [draft.strategy_tag for draft in offered[: action.k]]
        progress.missing = missing_strategies(tags, similarity=TOP_UP_SIMILARITY)


def _note_verdict(state: ClassicState, action: JudgeList, answer: Verdicts) -> None:
    node_id = action.node_ids[0]
    verdict = answer.by_id.get(node_id)
    if verdict is None:
        return
    if action.label is ActionKind.FINAL_JUDGE:
        state.progress.final_judgement = verdict
    elif action.label is ActionKind.CHECK_ASSISTANT:
        state.tree.nodes[node_id].assistantness = verdict.attributes.get("assistantness")
    else:
        state.note_verdict(state.tree.nodes[node_id], verdict)


def _move_on(state: ClassicState, *, was_prefetched: bool) -> None:
    """Decide what follows the round that was just noted."""
    progress = state.progress
    match progress.phase:
        case ClassicPhase.PLAN:
            plant(state)
        case ClassicPhase.ROOT:
            if best_passes_gates(state):
                stop(state, StopReason.EARLY_EXIT)
            else:
                progress.phase = ClassicPhase.TOP_UP if was_prefetched else ClassicPhase.EXPAND
        case ClassicPhase.EXPAND:
            progress.phase = ClassicPhase.TOP_UP
        case ClassicPhase.TOP_UP:
            grow(state)
        case ClassicPhase.JUDGE:
            if not progress.to_judge:
                end_rollout(state)
        case ClassicPhase.FINAL:
            progress.phase = ClassicPhase.DONE


def _is_short(
    state: ClassicState, remaining: RemainingCalls, *, proposer: int = 0, judge: int = 0
) -> bool:
    """Return whether that many calls are too many; the rollouts are stopped then."""
    reason = short_of(state, remaining, proposer=proposer, judge=judge)
    if reason is not None:
        stop(state, reason)
    return reason is not None


def _plan(state: ClassicState, _remaining: RemainingCalls) -> list[Action]:
    """Ask for the root. Only the cap is read: the budget reserves this call."""
    if _is_short(state, UNLIMITED, proposer=1):
        return []
    return [Generate(1, 0, prompt="plan", label=ActionKind.PLAN_ROOT)]


def _judge_root(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    knobs, root = state.knobs, state.tree.top
    if _is_short(state, remaining, judge=1):
        return []
    actions: list[Action] = [_judge_call(state, root, ActionKind.JUDGE)]
    judges = 1 + knobs.picks_per_rollout + knobs.final_calls
    if (
        knobs.prefetch
        and knobs.rollouts
        and not short_of(state, remaining, proposer=1, judge=judges)
    ):
        state.progress.leaf_id = root.node_id
        actions.append(_widening(state, root, ActionKind.EXPAND, knobs.expand_k, is_ahead=True))
    return actions


def _expand(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    """Ask for the next rollout's expansion, or stop the rollouts with a reason."""
    knobs, progress = state.knobs, state.progress
    if progress.rollouts_done >= knobs.rollouts:
        stop(state, _reason_of_the_end(state))
        return []
    leaf = select_leaf(
        state.tree, exploration=knobs.exploration, seed=knobs.seed, step=progress.rollouts_done
    )
    if leaf is None:
        stop(state, StopReason.EXHAUSTED)
        return []
    judges = knobs.picks_per_rollout + knobs.final_calls
    if _is_short(state, remaining, proposer=1, judge=judges):
        return []
    progress.leaf_id = leaf.node_id
    return [_widening(state, leaf, ActionKind.EXPAND, knobs.expand_k)]


def _reason_of_the_end(state: ClassicState) -> StopReason:
    if state.tree.top.is_closed:
        return StopReason.EXHAUSTED
    if len(state.tree) == 1 and state.knobs.rollouts:
        return StopReason.FAILED
    return StopReason.ROLLOUTS_DONE


def _widening(
    state: ClassicState, leaf: Candidate, label: ActionKind, k: int, *, is_ahead: bool = False
) -> Refine:
    """Return the action that asks for variants of a leaf."""
    leaf.expansions += 1
    return Refine(
        (leaf.node_id,),
        k,
        leaf.expansions - 1,
        prompt="expand",
        strategies_used=_strategies_used(state),
        is_speculative=is_ahead,
        label=label,
    )


def _strategies_used(state: ClassicState) -> tuple[str, ...]:
    """Return the tags of the tree and of the pending variants, each once, the oldest first."""
    tags = state.tags
    pending = dict.fromkeys(
        draft.strategy_tag
        for draft in state.progress.drafts or []
        if draft.strategy_tag and draft.strategy_tag not in tags
    )
    latest = tuple(islice(reversed(tags), MAX_STRATEGIES_USED))[::-1]
    return (*latest, *pending)[-MAX_STRATEGIES_USED:]


def _top_up(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    """Ask for more variants when they are too alike and that many calls remain; else go on."""
    knobs, progress = state.knobs, state.progress
    judges = knobs.picks_per_rollout + knobs.final_calls
    may_ask = progress.missing and progress.top_ups_used < knobs.max_top_ups
    if (
        not may_ask
        or short_of(state, remaining, proposer=1, judge=judges)
        or progress.leaf_id is None
    ):
        grow(state)
        return []
    progress.top_ups_used += 1
    leaf = state.tree.nodes[progress.leaf_id]
    return [_widening(state, leaf, ActionKind.TOP_UP, progress.missing)]


def _judge_call(state: ClassicState, node: Candidate, label: ActionKind) -> JudgeList:
    """Return the action by which the judge reads one node, another sample each time."""
    is_check = label is ActionKind.CHECK_ASSISTANT
    node.judge_passes += not is_check
    index = state.progress.judge_calls
    state.progress.judge_calls += 1
    rubric, sample = (ASSISTANT_CHECK, 0) if is_check else (SINGLE, node.judge_passes - 1)
    return JudgeList((node.node_id,), index, rubric, sample, label)


def _judge(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    """Ask for as many judge calls of the rollout as may travel together."""
    progress = state.progress
    chunk = progress.to_judge[: state.knobs.soft_max_concurrency]
    while chunk and short_of(state, remaining, judge=len(chunk)):
        chunk.pop()
    if not chunk:
        stop(state, short_of(state, remaining, judge=1) or StopReason.BUDGET)
        return []
    progress.to_judge = progress.to_judge[len(chunk) :]
    return [_judge_call(state, node, ActionKind.JUDGE) for node in state.nodes(chunk)]


def _check(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    """Ask for as many assistant checks as may travel together, the last judge call kept."""
    progress = state.progress
    chunk = progress.to_check[:CHECKS_PER_ROUND]
    while chunk and short_of(state, remaining, judge=len(chunk) + state.knobs.final_calls):
        chunk.pop()
    if not chunk:
        progress.to_check = []
        progress.phase = ClassicPhase.FINAL
        return []
    progress.to_check = progress.to_check[len(chunk) :]
    return [_judge_call(state, node, ActionKind.CHECK_ASSISTANT) for node in state.nodes(chunk)]


def _judge_pick(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    node = pick(state)
    if node is None or not state.knobs.rejudge_final or short_of(state, remaining, judge=1):
        state.progress.phase = ClassicPhase.DONE
        return []
    return [_judge_call(state, node, ActionKind.FINAL_JUDGE)]


_STEPS = {
    ClassicPhase.PLAN: _plan,
    ClassicPhase.ROOT: _judge_root,
    ClassicPhase.EXPAND: _expand,
    ClassicPhase.TOP_UP: _top_up,
    ClassicPhase.JUDGE: _judge,
    ClassicPhase.CHECK: _check,
    ClassicPhase.FINAL: _judge_pick,
}
"""The next round by phase; when it is empty, the phase has changed instead."""

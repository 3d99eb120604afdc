"""The classic search: UCT over whole replies, one expansion a rollout, a few judged.

    plan the root -> judge it -> [ select a leaf -> expand it (-> top up) -> judge the
    best by rule -> back up -> gates ] x rollouts (-> check) -> judge the pick again

Source: LATS (arXiv 2310.04406) for select, expand, evaluate and back up. Departures:
a node is a finished reply, so there is no simulation and no terminal state; only the
best candidates by rule are judged; the answer is the best mean value. Knobs say how
much of each.

A rollout that failed is over, like any other: nothing is repeated but by the next
rollout, so the number of rounds is bounded by the knobs alone. A refusal by the budget
ends the search at once.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from lats.actions import Action, ActionId, ActionKind, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, NoAnswer, NodeId, Verdicts, admit_drafts
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
from lats.policy import RemainingCalls, check_answer
from lats.result import SearchResult, StopReason
from lats.rule_score import FastScorer, ReplyContext, fast_score
from lats.search_knobs import ClassicKnobs
from lats.search_tree import Candidate, SearchTree
from lats.similarity import missing_strategies, text_key

__all__ = ["ASSISTANT_CHECK", "CHECKS_PER_ROUND", "MAX_STRATEGIES_USED", "SINGLE", "ClassicUct"]

CHECKS_PER_ROUND = 4
"""Assistant checks that are asked together."""

TOP_UP_SIMILARITY = 0.6
"""Similarity from which two strategy tags count as the same strategy."""

MAX_STRATEGIES_USED = 32
"""Most tags that an action carries, the latest ones."""

SINGLE, ASSISTANT_CHECK = "single", "assistant_check"
"""Rubrics of this search: a judge of one reply, and how much it sounds like an assistant."""

_UNLIMITED = RemainingCalls()


class ClassicUct:
    """One classic search under way; see `SearchPolicy` for the contract.

    Args:
        knobs: all settings; a stage preset is already applied.
        context: what the rules know of the turn.
        scorer: the rule score. Give the same one again to `from_state`.
    """

    def __init__(
        self, knobs: ClassicKnobs, context: ReplyContext, *, scorer: FastScorer = fast_score
    ) -> None:
        self._state = ClassicState(knobs, context)
        self._scorer = scorer

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, scorer: FastScorer = fast_score
    ) -> "ClassicUct":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        loaded = load_state(state)
        search = cls(loaded.knobs, loaded.context, scorer=scorer)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return self._state.dump()

    @property
    def tree(self) -> SearchTree:
        """Everything proposed and judged so far. Read only."""
        return self._state.tree

    @property
    def is_done(self) -> bool:
        """Whether nothing will be asked any more."""
        return self._state.progress.phase is ClassicPhase.DONE

    def ask(self, remaining: RemainingCalls = _UNLIMITED) -> list[Action]:
        """Return the actions of this round that were not told yet; none when done."""
        progress = self._state.progress
        # Every step either asks, or moves on: to a later phase, or to the next rollout.
        while not progress.open_round and progress.phase is not ClassicPhase.DONE:
            progress.open_round = _next_round(self._state, remaining, self._scorer)
            if progress.open_round:
                progress.rounds += 1
                for action in progress.open_round:
                    progress.asked[action.label] = progress.asked.get(action.label, 0) + 1
        if not progress.told:
            return list(progress.open_round)
        return [each for each in progress.open_round if each.action_id not in progress.told]

    def tell(self, action_id: ActionId, answer: ActionAnswer) -> None:
        """Take the answer to an action. A second answer to it is ignored.

        Raises:
            ValueError: when nothing with this id was asked.
            TypeError: when the answer is of the wrong sort for the action.
        """
        progress = self._state.progress
        if action_id in progress.closed_ids or action_id in progress.told:
            return
        check_answer(progress.open_round, action_id, answer)
        progress.told[action_id] = answer
        if len(progress.told) == len(progress.open_round):
            _take_round(self._state, self._scorer)

    def result(self) -> SearchResult:
        """Return what was found so far."""
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


def _take_round(state: ClassicState, scorer: FastScorer) -> None:
    """Take in the answers to the open round, in the order of its actions, and move on.

    A refusal ends the search: what is refused now is refused later.
    """
    progress = state.progress
    answered = [(each, progress.told[each.action_id]) for each in progress.open_round]
    progress.closed_ids.update(progress.told)
    progress.open_round, progress.told = [], {}
    is_refused = False
    for action, answer in answered:
        if isinstance(answer, NoAnswer):
            progress.failed[action.label] = progress.failed.get(action.label, 0) + 1
            is_refused = is_refused or answer.is_refused
        elif isinstance(action, JudgeList) and isinstance(answer, Verdicts):
            _note_verdict(state, action, answer)
        elif not isinstance(action, JudgeList) and isinstance(answer, Drafts):
            _note_drafts(state, action, answer.drafts)
    was_prefetched = len(answered) > 1 and answered[-1][0].label is ActionKind.EXPAND
    _move_on(state, scorer, was_prefetched=was_prefetched)
    if is_refused:
        if progress.stop_reason in {None, StopReason.FAILED}:
            progress.stop_reason = StopReason.BUDGET
        progress.phase = ClassicPhase.DONE


def _note_drafts(
    state: ClassicState, action: Generate | Refine, offered: tuple[Draft, ...]
) -> None:
    progress, has_key = state.progress, state.tree.has_key
    if action.label is ActionKind.TOP_UP:
        pending = progress.drafts or []
        keys = {text_key(draft.reply) for draft in pending}
        progress.drafts = pending + admit_drafts(
            offered, k=action.k, is_known=lambda key: key in keys or has_key(key)
        )
        return
    progress.drafts = admit_drafts(offered, k=action.k, is_known=has_key)
    if action.label is ActionKind.EXPAND:
        usable = [draft for draft in offered if draft.reply.strip()][: action.k]
        progress.missing = missing_strategies(
            [draft.strategy_tag.strip() for draft in usable],
            similarity=TOP_UP_SIMILARITY,
        )


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


def _move_on(state: ClassicState, scorer: FastScorer, *, was_prefetched: bool) -> None:
    """Decide what follows the round that was just noted."""
    progress = state.progress
    match progress.phase:
        case ClassicPhase.PLAN:
            plant(state, scorer)
        case ClassicPhase.ROOT:
            if best_passes_gates(state):
                stop(state, StopReason.EARLY_EXIT)
            else:
                progress.phase = ClassicPhase.TOP_UP if was_prefetched else ClassicPhase.EXPAND
        case ClassicPhase.EXPAND:
            progress.phase = ClassicPhase.TOP_UP
        case ClassicPhase.TOP_UP:
            grow(state, scorer)
        case ClassicPhase.JUDGE:
            if not progress.to_judge:
                end_rollout(state)
        case ClassicPhase.FINAL:
            progress.phase = ClassicPhase.DONE
        case ClassicPhase.CHECK | ClassicPhase.DONE:
            pass


def _next_round(state: ClassicState, remaining: RemainingCalls, scorer: FastScorer) -> list[Action]:
    """Return the next round; when it is empty, the state has moved on instead.

    Args:
        state: its phase and what goes with it are changed.
        remaining: what the budget would still accept.
        scorer: the rule score, for variants that become nodes on the way.
    """
    match state.progress.phase:
        case ClassicPhase.PLAN:
            return _plan(state)
        case ClassicPhase.ROOT:
            return _judge_root(state, remaining)
        case ClassicPhase.EXPAND:
            return _expand(state, remaining)
        case ClassicPhase.TOP_UP:
            return _top_up(state, remaining, scorer)
        case ClassicPhase.JUDGE:
            return _judge(state, remaining)
        case ClassicPhase.CHECK:
            return _check(state, remaining)
        case ClassicPhase.FINAL:
            return _judge_pick(state, remaining)
        case ClassicPhase.DONE:
            return []


def _plan(state: ClassicState) -> list[Action]:
    """Ask for the root. Only the cap is read: the budget holds a lease for this call."""
    reason = short_of(state, _UNLIMITED, proposer=1)
    if reason is not None:
        stop(state, reason)
        return []
    return [Generate(1, 0, prompt="plan", label=ActionKind.PLAN_ROOT)]


def _judge_root(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    knobs, root = state.knobs, state.tree.top
    reason = short_of(state, remaining, judge=1)
    if reason is not None:
        stop(state, reason)
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
    """Ask for the next rollout's expansion, or stop the rollouts and say why."""
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
    reason = short_of(state, remaining, proposer=1, judge=judges)
    if reason is not None:
        stop(state, reason)
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


def _top_up(state: ClassicState, remaining: RemainingCalls, scorer: FastScorer) -> list[Action]:
    """Ask for more variants when they are too alike and that many calls remain; else go on."""
    knobs, progress = state.knobs, state.progress
    judges = knobs.picks_per_rollout + knobs.final_calls
    may_ask = progress.missing and progress.top_ups_used < knobs.max_top_ups
    if (
        not may_ask
        or short_of(state, remaining, proposer=1, judge=judges)
        or progress.leaf_id is None
    ):
        grow(state, scorer)
        return []
    progress.top_ups_used += 1
    leaf = state.tree.nodes[progress.leaf_id]
    return [_widening(state, leaf, ActionKind.TOP_UP, progress.missing)]


def _judge_call(state: ClassicState, node: Candidate, label: ActionKind) -> JudgeList:
    """Return the action by which the judge reads one node, another sample each time."""
    node.judge_passes += 1
    index = state.progress.judge_calls
    state.progress.judge_calls += 1
    return JudgeList((node.node_id,), index, SINGLE, node.judge_passes - 1, label)


def _assistant_check(state: ClassicState, node_id: NodeId) -> JudgeList:
    index = state.progress.judge_calls
    state.progress.judge_calls += 1
    return JudgeList((node_id,), index, ASSISTANT_CHECK, 0, ActionKind.CHECK_ASSISTANT)


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
    return [_judge_call(state, state.tree.nodes[each], ActionKind.JUDGE) for each in chunk]


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
    return [_assistant_check(state, node_id) for node_id in chunk]


def _judge_pick(state: ClassicState, remaining: RemainingCalls) -> list[Action]:
    node = pick(state)
    if node is None or not state.knobs.rejudge_final or short_of(state, remaining, judge=1):
        state.progress.phase = ClassicPhase.DONE
        return []
    return [_judge_call(state, node, ActionKind.FINAL_JUDGE)]

"""What the classic search proposes next, given its state and the room that is left."""

from lats.classic_closing import pick, short_of, stop
from lats.classic_rollout import grow
from lats.classic_state import ClassicState, Phase
from lats.fast_score import FastScorer
from lats.proposal import (
    CheckAssistant,
    ExpandNode,
    FinalJudge,
    JudgeCandidate,
    PlanRoot,
    Proposal,
    TopUp,
)
from lats.result import StopReason
from lats.room import Room
from lats.select import select_leaf
from lats.tree import NodeId

__all__ = ["MAX_STRATEGIES_USED", "next_round"]

MAX_STRATEGIES_USED = 32
"""Most tags that a proposal carries, the latest ones; a long prompt helps nobody."""


def next_round(state: ClassicState, room: Room, scorer: FastScorer) -> list[Proposal]:
    """Return the next round; when it is empty, the state has moved on instead.

    Args:
        state: its phase and what goes with it are changed.
        room: what the budget would still accept.
        scorer: the rule score, for variants that become nodes on the way.
    """
    match state.phase:
        case Phase.PLAN:
            return _plan(state)
        case Phase.ROOT:
            return _judge_root(state, room)
        case Phase.EXPAND:
            return _expand(state, room)
        case Phase.TOP_UP:
            return _top_up(state, room, scorer)
        case Phase.JUDGE:
            return _judge(state, room)
        case Phase.CHECK:
            return _check(state, room)
        case Phase.FINAL:
            return _judge_pick(state, room)
        case Phase.DONE:
            return []


def _plan(state: ClassicState) -> list[Proposal]:
    """Propose the root. Only the cap is asked: the budget holds a lease for this call."""
    reason = short_of(state, Room(), proposer=1)
    if reason is not None:
        stop(state, reason)
        return []
    return [PlanRoot()]


def _judge_root(state: ClassicState, room: Room) -> list[Proposal]:
    knobs = state.knobs
    reason = short_of(state, room, judge=1)
    if reason is not None:
        stop(state, reason)
        return []
    proposals: list[Proposal] = [_look_at(state, state.tree.root.node_id)]
    judges = 1 + knobs.picks_per_rollout + knobs.final_calls
    if knobs.prefetch and knobs.rollouts and not short_of(state, room, proposer=1, judge=judges):
        proposals.append(_expansion(state, state.tree.root.node_id, is_speculative=True))
    return proposals


def _expand(state: ClassicState, room: Room) -> list[Proposal]:
    """Propose the next rollout's expansion, or stop the rollouts and say why."""
    knobs = state.knobs
    if state.rollouts_done >= knobs.rollouts:
        stop(state, _reason_of_the_end(state))
        return []
    leaf = select_leaf(
        state.tree, exploration=knobs.exploration, seed=knobs.seed, step=state.rollouts_done
    )
    if leaf is None:
        stop(state, StopReason.EXHAUSTED)
        return []
    judges = knobs.picks_per_rollout + knobs.final_calls
    reason = short_of(state, room, proposer=1, judge=judges)
    if reason is not None:
        stop(state, reason)
        return []
    return [_expansion(state, leaf.node_id, is_speculative=False)]


def _reason_of_the_end(state: ClassicState) -> StopReason:
    if state.tree.root.is_closed:
        return StopReason.EXHAUSTED
    if len(state.tree) == 1 and state.knobs.rollouts:
        return StopReason.FAILED
    return StopReason.ROLLOUTS_DONE


def _expansion(state: ClassicState, node_id: NodeId, *, is_speculative: bool) -> ExpandNode:
    leaf = state.tree.nodes[node_id]
    proposal = ExpandNode(
        node_id=node_id,
        k=state.knobs.expand_k,
        attempt=leaf.expansions,
        strategies_used=_strategies_used(state),
        is_speculative=is_speculative,
    )
    leaf.expansions += 1
    state.leaf_id = node_id
    return proposal


def _strategies_used(state: ClassicState) -> tuple[str, ...]:
    """Return the tags of the tree and of the pending variants, each once, the oldest first."""
    drafts = [node.draft for node in state.tree.nodes.values()] + (state.drafts or [])
    tags = dict.fromkeys(draft.strategy_tag for draft in drafts if draft.strategy_tag)
    return tuple(tags)[-MAX_STRATEGIES_USED:]


def _top_up(state: ClassicState, room: Room, scorer: FastScorer) -> list[Proposal]:
    """Propose more variants when they are too alike and there is room; else go on."""
    knobs = state.knobs
    judges = knobs.picks_per_rollout + knobs.final_calls
    may_ask = state.missing and state.top_ups_used < knobs.max_top_ups
    if not may_ask or short_of(state, room, proposer=1, judge=judges) or state.leaf_id is None:
        grow(state, scorer)
        return []
    leaf = state.tree.nodes[state.leaf_id]
    proposal = TopUp(
        node_id=leaf.node_id,
        k=state.missing,
        attempt=leaf.expansions,
        strategies_used=_strategies_used(state),
    )
    leaf.expansions += 1
    state.top_ups_used += 1
    return [proposal]


def _look_at(state: ClassicState, node_id: NodeId) -> JudgeCandidate:
    node = state.tree.nodes[node_id]
    node.looks += 1
    return JudgeCandidate(node_id=node_id, look=node.looks - 1)


def _judge(state: ClassicState, room: Room) -> list[Proposal]:
    """Propose as many judge calls of the rollout as may travel together."""
    chunk = state.to_judge[: state.knobs.soft_max_concurrency]
    while chunk and short_of(state, room, judge=len(chunk)):
        chunk.pop()
    if not chunk:
        stop(state, short_of(state, room, judge=1) or StopReason.BUDGET)
        return []
    state.to_judge = state.to_judge[len(chunk) :]
    return [_look_at(state, node_id) for node_id in chunk]


def _check(state: ClassicState, room: Room) -> list[Proposal]:
    """Propose as many assistant checks as may travel together, and leave room for the end."""
    chunk = state.to_check[: state.knobs.assistant_check_max_concurrency]
    while chunk and short_of(state, room, judge=len(chunk) + state.knobs.final_calls):
        chunk.pop()
    if not chunk:
        state.to_check = []
        state.phase = Phase.FINAL
        return []
    state.to_check = state.to_check[len(chunk) :]
    return [CheckAssistant(node_id=node_id) for node_id in chunk]


def _judge_pick(state: ClassicState, room: Room) -> list[Proposal]:
    node = pick(state)
    if node is None or not state.knobs.rejudge_final or short_of(state, room, judge=1):
        state.phase = Phase.DONE
        return []
    node.looks += 1
    return [FinalJudge(node_id=node.node_id, look=node.looks - 1)]

"""The whole state of the classic search, as a record that is plain JSON when dumped.

UCT: how much a child deserves the next visit.

Backup: a node's value counts for the node and for everything above it.

Selection: from the root to the leaf that the next rollout expands.

Ranking: which reply the search would answer with, and which after it.

How the classic search ends: why, with which reply, and what is still asked then.
"""

import hashlib
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lats.actions import Kind, Proposal, ProposalId, Told
from lats.answers import Draft, NodeId
from lats.judgement import Judgement
from lats.policy import Room, closed_gates
from lats.result import StateError, StopReason
from lats.rule_score import FastScorer, ReplyContext
from lats.search_knobs import ClassicKnobs
from lats.tree import Node, Tree

__all__ = [
    "STATE_VERSION",
    "ClassicState",
    "Phase",
    "backup",
    "end_rollout",
    "grow",
    "load_state",
    "order_of_replies",
    "pick",
    "plant",
    "ranked_nodes",
    "select_leaf",
    "short_of",
    "stop",
    "stops_early",
    "uct_score",
]


STATE_VERSION = 1
"""Changes when a state of an earlier version could no longer be read."""


class Phase(StrEnum):
    """What the next round is for."""

    PLAN = "plan"
    ROOT = "root"
    EXPAND = "expand"
    TOP_UP = "top_up"
    JUDGE = "judge"
    CHECK = "check"
    FINAL = "final"
    DONE = "done"


class ClassicState(BaseModel):
    """Everything the classic search remembers. No clock, no generator."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    policy: Literal["classic_uct"] = "classic_uct"
    knobs: ClassicKnobs
    context: ReplyContext
    phase: Phase = Phase.PLAN
    tree: Tree

    open_round: list[Proposal] = []
    """The round under way, in the order in which its answers are taken in."""

    told: dict[ProposalId, Told] = {}
    """Answers to the open round, until all are there."""

    closed_ids: set[ProposalId] = set()
    """Proposals of earlier rounds. Telling one again is ignored."""

    leaf_id: NodeId | None = None
    """The node whose variants this rollout asks for."""

    drafts: list[Draft] | None = None
    """Variants of the leaf that have not become nodes yet; None when no answer came."""

    missing: int = 0
    """Strategies that the leaf's variants lack."""

    to_judge: list[NodeId] = []
    to_check: list[NodeId] = []
    rollouts_done: int = 0
    top_ups_used: int = 0
    stop_reason: StopReason | None = None

    exit_id: NodeId | None = None
    """The node that passed all gates."""

    final_judgement: Judgement | None = None
    rounds: int = 0
    asked: dict[Kind, int] = {}
    failed: dict[Kind, int] = {}

    def dump(self) -> dict[str, Any]:
        """Return the state as plain JSON, the same however the answers were ordered."""
        state = self.model_dump(mode="json")
        state["closed_ids"] = sorted(state["closed_ids"])
        state["told"] = dict(sorted(state["told"].items()))
        return state


def load_state(state: Mapping[str, Any]) -> ClassicState:
    """Return a saved state.

    Raises:
        StateError: when it is of another version or policy, or broken.
    """
    if state.get("policy") != "classic_uct":
        raise StateError(f"expected a state of classic_uct, got one of {state.get('policy')!r}")
    if state.get("version") != STATE_VERSION:
        raise StateError(
            f"expected a state of version {STATE_VERSION}, got version {state.get('version')!r}"
        )
    try:
        return ClassicState.model_validate(state)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "state"
        raise StateError(f"broken state of a search: {where}: {first['msg']}") from error


def uct_score(mean_value: float, visits: int, parent_visits: int, *, exploration: float) -> float:
    """Return how much a child deserves the next visit.

    Source: LATS (arXiv 2310.04406), the UCT of its selection step.
    We depart from it in one place: an unvisited child scores infinity.

    Args:
        mean_value: mean of all values backed up through the child, in [0, 1]. Not a sum.
        visits: how many those are; 0 when it was never judged, nor anything below it.
        parent_visits: the same of its parent; at least `visits`.
        exploration: weight of the second term; 0 is greedy.

    Returns:
        A figure to compare between siblings only. Unitless.
    """
    if visits == 0:
        return math.inf
    return mean_value + exploration * math.sqrt(math.log(max(parent_visits, 1)) / visits)


def backup(tree: Tree, node_id: NodeId, value: float) -> None:
    """Add a node's own value to it and to its ancestors, one visit each.

    Every valued candidate is backed up by itself, so that the mean value of an
    ancestor is a mean over candidates. (Backing up only the best of a rollout would
    reward rollouts that judge more candidates.)

    Args:
        tree: changed in place.
        node_id: the node whose reply has the value. Once a node only.
        value: in [0, 1].
    """
    for node in tree.path_to_root(node_id):
        node.visits += 1
        node.value_sum += value


def _lot(seed: int, step: int, node: Node) -> bytes:
    """Return a node's lot in a draw: the same for the same seed and step."""
    return hashlib.sha256(f"{seed}/{step}/{node.node_id}".encode()).digest()


def select_leaf(tree: Tree, *, exploration: float, seed: int, step: int) -> Node | None:
    """Return the open leaf that UCT leads to, or None when every leaf is closed.

    Siblings that deserve the visit equally are told apart by their rule score, then
    by lot.

    Args:
        tree: not empty.
        exploration: weight of UCT's second term.
        seed: of the lots.
        step: which selection this is; another step draws other lots. Starts at 0.
    """
    node = tree.root
    if node.is_closed:
        return None
    while node.children_ids:
        parent_visits = node.visits
        node = max(
            (child for child in tree.children(node) if not child.is_closed),
            key=lambda child: (
                uct_score(child.mean_value, child.visits, parent_visits, exploration=exploration),
                child.fast_score,
                _lot(seed, step, child),
            ),
        )
    return node


def _own_value(node: Node, is_judged: bool) -> float:
    return (node.judged_score or 0.0) if is_judged else node.fast_score


def ranked_nodes(tree: Tree, *, is_judged: bool) -> list[Node]:
    """Return the replies that may be answered, the best first.

    Best is the highest mean value; equal means are told apart by the reply's own
    value, then by birth.

    Args:
        tree: the search's tree.
        is_judged: whether values are the judge's. Then only replies that the judge
            scored are ranked, or, when it scored none, all by rule score.
            Otherwise values are rule scores and every reply has one.
    """
    nodes = list(tree.nodes.values())
    if is_judged:
        judged = [node for node in nodes if node.judged_score is not None]
        if not judged:
            return sorted(nodes, key=lambda node: -node.fast_score)
        nodes = judged
    return sorted(nodes, key=lambda node: (-node.mean_value, -_own_value(node, is_judged)))


def short_of(
    state: ClassicState, room: Room, *, proposer: int = 0, judge: int = 0
) -> StopReason | None:
    """Return what leaves no room for that many calls: the cap, the budget, or None."""
    cap = state.knobs.max_calls
    if cap is not None and sum(state.asked.values()) + proposer + judge > cap:
        return StopReason.CAP
    return None if room.fits(proposer=proposer, judge=judge) else StopReason.BUDGET


def order_of_replies(state: ClassicState) -> list[Node]:
    """Return the replies that may be answered, best first; one that passed all gates leads."""
    nodes = ranked_nodes(state.tree, is_judged=state.knobs.soft_top_n > 0)
    return sorted(nodes, key=lambda node: node.node_id != state.exit_id)


def pick(state: ClassicState) -> Node | None:
    """Return the reply to answer with, or None when there is none.

    The best that the assistant check did not object to; the best of all when it
    objected to each. A check that was not made, or not answered, does not object.
    """
    order = order_of_replies(state)
    bar = state.knobs.early_exit.max_assistantness
    for node in order:
        if node.checked_assistantness is None or node.checked_assistantness <= bar:
            return node
    return order[0] if order else None


def stop(state: ClassicState, reason: StopReason) -> None:
    """End the rollouts, and go on to what is asked at the end.

    Nothing is when there is no choice to confirm: the root alone, or an exit on the
    root's own judgement.
    """
    state.stop_reason = reason
    state.drafts = None
    state.to_judge = []
    if len(state.tree) <= 1 or state.rollouts_done == 0:
        state.phase = Phase.DONE
        return
    leaders = order_of_replies(state)[: state.knobs.assistant_check_top_n]
    state.to_check = [node.node_id for node in leaders]
    state.phase = Phase.CHECK


def _add(state: ClassicState, parent: Node | None, scorer: FastScorer) -> list[Node]:
    """Return the new nodes that the pending drafts make under a parent."""
    drafts, state.drafts = state.drafts or [], None
    nodes = []
    for draft in drafts:
        score = scorer(draft.reply, (), state.context)
        node = state.tree.add(parent, draft, fast_score=score)
        if state.knobs.soft_top_n == 0:
            backup(state.tree, node.node_id, score)
        nodes.append(node)
    return nodes


def _picked(state: ClassicState, nodes: list[Node], scorer: FastScorer) -> list[Node]:
    """Return the new nodes that the judge reads: the best by rule, unlike their siblings."""

    def score(node: Node) -> float:
        siblings = [other.draft.reply for other in nodes if other is not node]
        return scorer(node.draft.reply, siblings, state.context)

    n_picks = state.knobs.picks_per_rollout
    return sorted(nodes, key=lambda node: -score(node))[:n_picks] if n_picks else []


def plant(state: ClassicState, scorer: FastScorer) -> None:
    """Make the first draft the root, or end the search when there is none."""
    if _add(state, None, scorer):
        state.phase = Phase.ROOT
    else:
        stop(state, StopReason.FAILED)


def grow(state: ClassicState, scorer: FastScorer) -> None:
    """Make the leaf's variants its children, and pick those that the judge reads.

    A leaf whose expansion was answered with nothing new is closed; one whose
    expansion failed may be expanded again by a later rollout.
    """
    if state.leaf_id is None:
        raise ValueError("there is no leaf to grow")
    leaf = state.tree.nodes[state.leaf_id]
    if state.drafts == []:
        state.tree.close(leaf)
    picked = _picked(state, _add(state, leaf, scorer), scorer)
    state.to_judge = [node.node_id for node in picked]
    if picked:
        state.phase = Phase.JUDGE
    else:
        end_rollout(state)


def end_rollout(state: ClassicState) -> None:
    """Count the rollout, and go on to the next one or to the end."""
    state.rollouts_done += 1
    state.leaf_id, state.missing = None, 0
    state.phase = Phase.EXPAND
    stops_early(state)


def stops_early(state: ClassicState) -> bool:
    """Stop when the best reply that was judged passes all gates, and return whether it did."""
    gates = state.knobs.early_exit
    if not gates.enabled or state.rollouts_done < gates.min_rollouts:
        return False
    best = next((node for node in order_of_replies(state) if node.judged_score is not None), None)
    if best is None or closed_gates(best.judgement, gates):
        return False
    state.exit_id = best.node_id
    stop(state, StopReason.EARLY_EXIT)
    return True

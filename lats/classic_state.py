"""State and arithmetic of `classic_uct`: UCT selection, backup, ranking, closing."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lats.answers import Draft, NodeId, Verdict
from lats.policy import (
    PolicyState,
    RemainingCalls,
    RoundProgress,
    SavedState,
    closed_gates,
    dump_state,
    read_state,
)
from lats.result import StateError, StopReason
from lats.rule_score import FastScorer, ReplyContext, RuleScore
from lats.search_knobs import ClassicKnobs
from lats.search_tree import Candidate, SearchTree
from lats.similarity import text_key

__all__ = [
    "ClassicPhase",
    "ClassicState",
    "backup",
    "best_passes_gates",
    "end_rollout",
    "grow",
    "load_state",
    "pick",
    "plant",
    "ranked_nodes",
    "select_leaf",
    "short_of",
    "stop",
    "uct_score",
]


class ClassicPhase(StrEnum):
    """Purpose of the next round."""

    PLAN = "plan"
    ROOT = "root"
    EXPAND = "expand"
    TOP_UP = "top_up"
    JUDGE = "judge"
    CHECK = "check"
    FINAL = "final"
    DONE = "done"


@dataclass(slots=True)
class ClassicProgress(RoundProgress):
    """Progress of a classic search.

    Args:
        leaf_id: the node whose variants this rollout asks for.
        drafts: variants of the leaf that are not in the tree yet; None when no answer came.
        missing: strategies that the leaf's variants lack.
        to_judge: nodes of this rollout that the judge has not read yet.
        to_check: leading nodes that wait for the assistant check.
        exit_id: the node that passed all gates.
        final_judgement: the second judgement of the pick.
    """

    phase: ClassicPhase = ClassicPhase.PLAN
    leaf_id: NodeId | None = None
    drafts: list[Draft] | None = None
    missing: int = 0
    to_judge: list[NodeId] = field(default_factory=list)
    to_check: list[NodeId] = field(default_factory=list)
    rollouts_done: int = 0
    top_ups_used: int = 0
    exit_id: NodeId | None = None
    final_judgement: Verdict | None = None


class _SavedClassic(SavedState):
    policy: str = "classic_uct"
    knobs: ClassicKnobs
    context: ReplyContext
    progress: ClassicProgress


class ClassicState(PolicyState):
    """Everything that a classic search remembers.

    `tags` (strategy tags of the tree, each once, the oldest first) and `passing` (judged nodes
    that pass all gates) follow from the rest; they are kept so that no round reads all nodes.
    """

    progress: ClassicProgress

    def __init__(self, knobs: ClassicKnobs, context: ReplyContext, scorer: FastScorer) -> None:
        self.knobs = knobs
        self.context = context
        self.scorer = scorer
        self.tree = SearchTree(None, text_key)
        self.progress = ClassicProgress()
        self.tags: dict[str, None] = {}
        self.passing: set[NodeId] = set()

    def add(self, parent: Candidate | None, draft: Draft, rule_score: float) -> Candidate:
        """Return a new node below a parent, or the root."""
        node = self.tree.add(parent, draft, rule_score=rule_score)
        if node is None:
            raise ValueError(f"the tree has the reply {draft.reply[:40]!r}")
        if draft.strategy_tag:
            self.tags[draft.strategy_tag] = None
        return node

    def note_verdict(self, node: Candidate, verdict: Verdict) -> None:
        """Keep the judge's verdict on a node, and back its score up."""
        node.verdict = verdict
        if verdict.score is not None:
            node.score_sum, node.score_count = verdict.score, 1
            if self.knobs.soft_top_n > 0:
                backup(self.tree, node.node_id, verdict.score)
            if not closed_gates(verdict, self.knobs.early_exit):
                self.passing.add(node.node_id)

    def dump(self) -> dict[str, Any]:
        """Return the state as plain JSON, the same however the answers were ordered."""
        return dump_state(
            _SavedClassic(
                knobs=self.knobs,
                context=self.context,
                nodes=list(self.tree.nodes.values()),
                progress=self.progress,
            )
        )


def load_state(raw: Mapping[str, Any], scorer: FastScorer | None) -> ClassicState:
    """Return a saved state; the rule score is that of its context by default.

    Raises:
        StateError: when it is of another version or policy, or broken.
    """
    if raw.get("policy") != "classic_uct":
        raise StateError(f"expected a state of classic_uct, got one of {raw.get('policy')!r}")
    saved = read_state(_SavedClassic, raw)
    state = ClassicState(saved.knobs, saved.context, scorer or RuleScore(saved.context))
    try:
        state.tree = SearchTree.restored(saved.nodes, text_key, has_start=False)
    except ValueError as error:
        raise StateError(f"broken state of a search: {error}") from error
    state.progress = saved.progress
    for node in saved.nodes:
        if node.draft.strategy_tag:
            state.tags[node.draft.strategy_tag] = None
        if node.score_count and not closed_gates(node.verdict, saved.knobs.early_exit):
            state.passing.add(node.node_id)
    return state


def uct_score(mean_value: float, visits: int, parent_visits: int, *, exploration: float) -> float:
    """Return how much a child deserves the next visit, to compare between siblings only.

    Source: LATS (arXiv 2310.04406), the UCT of its selection step.
    We depart from it in one place: an unvisited child scores infinity.

    Args:
        mean_value: mean of all values backed up through the child, in [0, 1]. Not a sum.
        visits: how many those are; 0 when it was never judged, nor anything below it.
        parent_visits: the same of its parent; at least `visits`.
        exploration: weight of the second term; 0 is greedy.
    """
    if visits == 0:
        return math.inf
    return mean_value + exploration * math.sqrt(math.log(max(parent_visits, 1)) / visits)


def backup(tree: SearchTree, node_id: NodeId, value: float) -> None:
    """Add a node's own value, in [0, 1], to it and to its ancestors, one visit each.

    Every valued candidate is backed up by itself, once, so that the mean value of an
    ancestor is a mean over candidates. (Backing up only the best of a rollout would
    reward rollouts that judge more candidates.)
    """
    for node in tree.path_to_top(node_id):
        node.visits += 1
        node.value_sum += value


def _lot(seed: int, step: int, node: Candidate) -> bytes:
    return hashlib.sha256(f"{seed}/{step}/{node.node_id}".encode()).digest()


def select_leaf(tree: SearchTree, *, exploration: float, seed: int, step: int) -> Candidate | None:
    """Return the open leaf that UCT leads to, or None when every leaf is closed.

    Siblings that deserve the visit equally are ordered by their rule score, then by lot:
    another `step` draws other lots from the seed.
    """
    node = tree.top
    if node.is_closed:
        return None
    while node.children_ids:
        best: list[Candidate] = []
        most = (-math.inf, -math.inf)
        for child in tree.children(node):
            if child.is_closed:
                continue
            deserved = math.inf
            if child.visits:  # as few have
                deserved = uct_score(
                    child.mean_value, child.visits, node.visits, exploration=exploration
                )
            own = (deserved, child.rule_score or 0.0)
            if own > most:
                best, most = [child], own
            elif own == most:
                best.append(child)
        node = best[0] if len(best) == 1 else max(best, key=lambda each: _lot(seed, step, each))
    return node


def ranked_nodes(tree: SearchTree, *, is_judged: bool) -> list[Candidate]:
    """Return the replies that may be answered, the best first.

    Best is the highest mean value; equal means are ordered by the reply's own value, then by
    birth. Where values are the judge's, only replies that it scored are ranked, or, when it
    scored none, all by rule score. Otherwise values are rule scores and every reply has one.
    """
    nodes = list(tree.nodes.values())
    if is_judged:
        judged = [node for node in nodes if node.score_count]
        if not judged:
            return sorted(nodes, key=lambda node: -(node.rule_score or 0.0))
        return sorted(judged, key=lambda node: (-node.mean_value, -(node.mean_score or 0.0)))
    return sorted(nodes, key=lambda node: (-node.mean_value, -(node.rule_score or 0.0)))


def _order_of_replies(state: ClassicState) -> list[Candidate]:
    """Return the replies that may be answered, best first; one that passed all gates leads."""
    nodes = ranked_nodes(state.tree, is_judged=state.knobs.soft_top_n > 0)
    return sorted(nodes, key=lambda node: node.node_id != state.progress.exit_id)


def pick(state: ClassicState) -> Candidate | None:
    """Return the reply to answer with, or None when there is none.

    The best that the assistant check did not object to; the best of all when it
    objected to each. A check that was not made, or not answered, does not object.
    """
    order = _order_of_replies(state)
    bar = state.knobs.early_exit.max_assistantness
    for node in order:
        if node.assistantness is None or node.assistantness <= bar:
            return node
    return order[0] if order else None


def short_of(
    state: ClassicState, remaining: RemainingCalls, *, proposer: int = 0, judge: int = 0
) -> StopReason | None:
    """Return why that many calls do not fit; None where they do."""
    cap = state.knobs.max_calls
    if cap is not None and sum(state.progress.asked.values()) + proposer + judge > cap:
        return StopReason.CAP
    return None if remaining.fits(proposer=proposer, judge=judge) else StopReason.BUDGET


def stop(state: ClassicState, reason: StopReason) -> None:
    """End the rollouts, and go on to the checks and the second judgement of the pick.

    There are none without a choice to confirm: the root alone, or an exit on the root's own
    judgement.
    """
    progress = state.progress
    progress.stop_reason = reason
    progress.drafts = None
    progress.to_judge = []
    if len(state.tree) <= 1 or progress.rollouts_done == 0:
        progress.phase = ClassicPhase.DONE
        return
    leaders = _order_of_replies(state)[: state.knobs.assistant_check_top_n]
    progress.to_check = [node.node_id for node in leaders]
    progress.phase = ClassicPhase.CHECK


def _add_drafts(state: ClassicState, parent: Candidate | None) -> list[Candidate]:
    """Return the new nodes that the pending drafts make under a parent."""
    drafts, state.progress.drafts = state.progress.drafts or [], None
    nodes = []
    for draft in drafts:
        score = state.scorer(draft.reply, ())
        node = state.add(parent, draft, score)
        if state.knobs.soft_top_n == 0:
            backup(state.tree, node.node_id, score)
        nodes.append(node)
    return nodes


def _picked(state: ClassicState, nodes: list[Candidate]) -> list[Candidate]:
    """Return the new nodes that the judge reads: the best by rule, unlike their siblings."""
    n_picks = state.knobs.picks_per_rollout
    if not n_picks:
        return []
    replies = [node.draft.reply for node in nodes]
    scores = [
        state.scorer(reply, replies[:place] + replies[place + 1 :])
        for place, reply in enumerate(replies)
    ]
    best_first = sorted(range(len(nodes)), key=scores.__getitem__, reverse=True)
    return [nodes[place] for place in best_first[:n_picks]]


def plant(state: ClassicState) -> None:
    """Make the first draft the root, or end the search when there is none."""
    if _add_drafts(state, None):
        state.progress.phase = ClassicPhase.ROOT
    else:
        stop(state, StopReason.FAILED)


def grow(state: ClassicState) -> None:
    """Make the leaf's variants its children, and pick those that the judge reads.

    A leaf whose expansion was answered with nothing new is closed; one whose
    expansion failed may be expanded again by a later rollout.
    """
    progress = state.progress
    if progress.leaf_id is None:
        raise ValueError("there is no leaf to grow")
    leaf = state.tree.nodes[progress.leaf_id]
    if progress.drafts == []:
        state.tree.close(leaf)
    picked = _picked(state, _add_drafts(state, leaf))
    progress.to_judge = [node.node_id for node in picked]
    if picked:
        progress.phase = ClassicPhase.JUDGE
    else:
        end_rollout(state)


def end_rollout(state: ClassicState) -> None:
    """Count the rollout, and go on to the next one or to the end."""
    progress = state.progress
    progress.rollouts_done += 1
    progress.leaf_id, progress.missing = None, 0
    progress.phase = ClassicPhase.EXPAND
    if best_passes_gates(state):
        stop(state, StopReason.EARLY_EXIT)


def best_passes_gates(state: ClassicState) -> bool:
    """Return whether the best reply that was judged passes all gates; it is noted then."""
    progress, gates = state.progress, state.knobs.early_exit
    if not state.passing or progress.rollouts_done < gates.min_rollouts:
        return False
    best = next(node for node in _order_of_replies(state) if node.score_count)
    if best.node_id not in state.passing:
        return False
    progress.exit_id = best.node_id
    return True

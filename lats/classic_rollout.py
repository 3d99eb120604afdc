"""The inside of a classic rollout: from variants to nodes, to values, to its end."""

from lats.backup import backup
from lats.classic_closing import order_of_replies, stop
from lats.classic_state import ClassicState, Phase
from lats.fast_score import FastScorer
from lats.gates import closed_gates
from lats.result import StopReason
from lats.tree import Node

__all__ = ["end_rollout", "grow", "plant", "stops_early"]


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

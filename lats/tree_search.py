"""The tree below: select leaves by their posterior, expand, judge, back up.

    child's worth + tree_exploration * sqrt(spread) * sqrt(2 ln(N) / n)

n counts visits, those under way included; N likewise of the parent. The mean is over
finished visits only, and the bonus is in units of the scores' own standard deviation.
Source: WU-UCT (arXiv 1810.11755). We depart from it in what is backed up: posterior means
rather than rewards; and for tasks of several steps a node is worth its best leaf, since
whoever walks the tree chooses.
"""

import math

from lats.candidate import Candidate
from lats.judging import judge_round, passes_allowed, unread, with_anchors
from lats.moves import Move, Refine
from lats.result import StopReason
from lats.search_state import SearchState
from lats.standing import FRONT, leading
from lats.stopping import NextCall, best_next_call
from lats.strategy import Left

__all__ = ["select_leaves", "tree_round"]


def _worth(node: Candidate, parent: Candidate, *, bonus: float, has_steps: bool) -> float:
    visits = node.visits + node.pending_visits
    if not visits:
        return math.inf if not node.looks else 0.0
    value = node.best_value if has_steps else node.mean_value
    total = max(parent.visits + parent.pending_visits, 2)
    return (value or 0.0) + bonus * math.sqrt(2 * math.log(total) / visits)


def _select(state: SearchState, taken: set[str], start: Candidate) -> Candidate | None:
    forest = state.forest
    bonus = state.knobs.tree_exploration * math.sqrt(state.noise.spread)
    has_steps = state.progress.has_steps
    node = start
    while node.children_ids:
        open_children = [
            child
            for child in forest.children(node)
            if not child.is_closed and child.node_id not in taken
        ]
        if not open_children:
            return None
        parent = node
        node = max(
            open_children,
            key=lambda child: (
                _worth(child, parent, bonus=bonus, has_steps=has_steps),
                child.own_value or 0.0,
                -child.birth,
            ),
        )
    return None if node is forest.start else node


def select_leaves(state: SearchState, count: int) -> list[Candidate]:
    """Return the leaves that deserve the next expansions, at most `count`, all different.

    Where candidates were dropped at the root (`survivors`), only what is below the others
    is looked at.
    """
    start = state.forest.start
    taken: set[str] = set()
    if state.progress.survivors:
        alive = set(state.progress.survivors)
        taken = {child_id for child_id in start.children_ids if child_id not in alive}
    chosen: list[Candidate] = []
    while len(chosen) < count:
        leaf = _select(state, taken, start)
        if leaf is None:
            break
        chosen.append(leaf)
        taken.add(leaf.node_id)
        for step in state.forest.path_to_start(leaf.node_id):
            step.pending_visits += 1
    for leaf in chosen:  # proposing them counts them as pending; here it was for choosing
        for step in state.forest.path_to_start(leaf.node_id):
            step.pending_visits -= 1
    return chosen


def _passes(state: SearchState, left: Left, fresh: list[Candidate]) -> int:
    """Return how often new candidates are read: more where a choice decides all below it."""
    knobs = state.knobs
    if fresh[0].depth > 1 or knobs.min_gain > 0:
        return 1
    if knobs.max_depth is not None:
        spare = left.calls - 1 - 2 * (knobs.max_depth - 1)
        return min(max(1 + spare, 1), 3)
    return 2 if left.calls >= 4 else 1


def tree_round(
    state: SearchState, left: Left, guidelines: tuple[str, ...]
) -> list[Move] | StopReason:
    """Return the next round of a tree that has candidates already, or why to stop."""
    progress, knobs = state.progress, state.knobs
    fresh = unread(state)
    if fresh:
        if not left.judge_calls:
            return StopReason.CAP
        passes = min(_passes(state, left, fresh), max(passes_allowed(state, fresh), 1))
        return list(judge_round(state, with_anchors(state, fresh), left, passes=passes))
    if not left.calls:
        return StopReason.CAP
    readers = _rereadable(state)
    can_expand = left.fits(proposer=1, judge=1) and (knobs.refine or progress.has_steps)
    if knobs.min_gain > 0:
        possible = {NextCall.REFINE} if can_expand else set()
        possible |= {NextCall.READ} if left.judge_calls and len(readers) > 1 else set()
        found = best_next_call(state, leading(state, FRONT), possible)
        if isinstance(found, StopReason):
            return found
        can_expand = found is NextCall.REFINE
    if can_expand:
        room = min(knobs.parallel_leaves, left.proposer, left.calls - 1)
        leaves = select_leaves(state, room)
        if not leaves:
            return StopReason.EXHAUSTED
        return [
            Refine((leaf.node_id,), knobs.refine_k, leaf.expansions, guidelines) for leaf in leaves
        ]
    if left.judge_calls and len(readers) > 1:
        return list(judge_round(state, readers, left, passes=1))
    return StopReason.CAP


def _rereadable(state: SearchState) -> list[Candidate]:
    """Return the leaders among those that the judge may read once more."""
    known = [node for node in leading(state, FRONT) if passes_allowed(state, [node])]
    return known[: max(state.knobs.leaders, 2)]

"""`posterior_uct`: a tree search whose nodes have posteriors, for answers and for steps.

Select leaves by their posterior, expand, judge, back up:

    child's worth + tree_exploration * sqrt(spread) * sqrt(2 ln(N) / n)

n counts visits, those under way included; N likewise of the parent. The worth is of
finished visits only, and the bonus is in units of the scores' own standard deviation.
Source: WU-UCT (arXiv 1810.11755). We depart from it in two places. A child is worth the best
posterior mean below it (for answers its own included) rather than a mean of rewards, since
the search chooses where it walks. And an answer that has children may be refined again, an arm like
its children; expansions of steps are taken to be complete.
"""

import math

from lats.actions import Action, Refine
from lats.gain import BestNextCall, best_next_call
from lats.ranking import FRONT, leading
from lats.result import StopReason
from lats.schedule import CallsLeft, judge_round, passes_allowed, unread, with_anchors
from lats.search_state import SearchState
from lats.search_tree import Candidate

__all__ = ["next_round", "select_leaves", "tree_round"]

import os
ROOT_PASSES, DEEPER_PASSES = eval(os.environ.get('PASSES','(3,2)'))
"""Most passes over new steps: the first ones, and those below them."""

CALLS_PER_STEP = 2
"""Calls of one step: one to propose, one to judge."""


def _walk(state: SearchState, taken: set[str], weight: float) -> Candidate | None:
    """Return the end of the walk from the start; None where everything is closed or taken.

    The walk may neither end at nor pass the ids in `taken`. `weight` of the bonus is in score.
    """
    nodes, has_steps, sqrt, log = state.tree.nodes, state.progress.has_steps, math.sqrt, math.log
    start = node = state.tree.top
    while node.children_ids:
        bonus = weight * sqrt(2 * log(max(node.visits + node.pending_visits, 2)))
        if has_steps or node is start or node.node_id in taken:
            best, best_worth = None, -math.inf
        else:  # an answer can be refined again; its worth then is its own value
            best, best_worth = node, (node.own_value or 0.0) + bonus / sqrt(1 + node.expansions)
        for child_id in node.children_ids:
            child = nodes[child_id]
            visits = child.visits + child.pending_visits
            if visits:
                worth = (child.best_value or 0.0) + bonus / sqrt(visits)
            else:  # unread ones come first; those that a judge gave nothing usable of, last
                worth = -math.inf if child.judge_passes else math.inf
            is_better = worth > best_worth or best is None
            if is_better and not child.is_closed and child_id not in taken:
                best, best_worth = child, worth
        if best is None or best is node:
            return best
        node = best
    return None if node is start else node


def _walk_steps(state: SearchState, taken: set[str], weight: float) -> Candidate | None:
    from lats.update import own_expansion, RULE, PWC, PWA
    nodes = state.tree.nodes
    node = state.tree.top
    while True:
        bonus = weight * math.sqrt(2 * math.log(max(node.visits + node.pending_visits, 2)))
        best, worth = None, -math.inf
        if node.node_id not in taken:
            own = own_expansion(state, node)
            if own is not None:
                if RULE == 'pw' and node.children_ids and own > -5:
                    allowed = len(node.children_ids) < PWC*node.visits**PWA
                    own = 9.0 if allowed else -9.0
                best, worth = node, own + bonus/math.sqrt(1+len(node.children_ids)/state.knobs.refine_k)
        for c in node.children_ids:
            child = nodes[c]
            if child.is_closed or child.expansion_value is None: continue
            if c in taken and not child.children_ids: continue
            visits = child.visits + child.pending_visits
            w = child.expansion_value + bonus/math.sqrt(max(visits,1))
            if w > worth or (w == worth and best is node): best, worth = child, w
        if best is None or best is node: return best
        node = best


def _select(state: SearchState, taken: set[str], calls: int) -> Candidate | None:
    """Return the leaf of the next expansion; None where everything is closed or taken.

    Where it is known how deep answers lie, a leaf from which none can be reached with the
    calls left is passed over; where the calls reach for one way only, the best one is taken.
    """
    weight = state.knobs.tree_exploration * math.sqrt(state.noise.spread)
    max_depth = state.knobs.max_depth
    if state.progress.has_steps:
        if state.knobs.stop_score == 1: weight = 0.0
        if max_depth is None: return _walk_steps(state, taken, weight)
        return _select_deep(state, taken, calls, weight)
    if max_depth is None or not state.progress.has_steps:
        return _walk(state, taken, weight)
    best = _walk(state, taken, 0.0)
    if best is not None and calls >= CALLS_PER_STEP * (max_depth - best.depth + 1):
        best = _walk(state, taken, weight)
    while best is not None and CALLS_PER_STEP * (max_depth - best.depth) > calls:
        taken = {*taken, best.node_id}
        best = _walk(state, taken, 0.0)
    return best


def _select_deep(state, taken, calls, weight):
    max_depth = state.knobs.max_depth
    best = _walk_steps(state, taken, 0.0)
    if best is not None and calls >= CALLS_PER_STEP * (max_depth - best.depth + 1):
        best = _walk_steps(state, taken, weight)
    seen = 0
    while best is not None and CALLS_PER_STEP * (max_depth - best.depth) > calls and seen < 64:
        taken = {*taken, best.node_id}; seen += 1
        best = _walk_steps(state, taken, 0.0)
    return best


def select_leaves(state: SearchState, count: int, *, calls: int) -> list[Candidate]:
    """Return the leaves that deserve the next expansions, at most `count`, all different.

    Where candidates were dropped at the root, only those below `survivors` are considered.

    Args:
        state: of the search.
        count: leaves wanted, at least 1.
        calls: that are left, those for these leaves included.
    """
    start = state.tree.top
    taken: set[str] = set()
    if state.progress.survivors:
        alive = set(state.progress.survivors)
        taken = {child_id for child_id in start.children_ids if child_id not in alive}
    chosen: list[Candidate] = []
    while len(chosen) < count:
        leaf = _select(state, taken, calls - CALLS_PER_STEP * len(chosen))
        if leaf is None:
            break
        chosen.append(leaf)
        if count == 1:
            return chosen
        taken.add(leaf.node_id)
        state.tree.add_pending(leaf.node_id, 1)
    for leaf in chosen:  # proposing them counts them as pending; here it was for choosing
        state.tree.add_pending(leaf.node_id, -1)
    return chosen


def _passes(state: SearchState, left: CallsLeft, fresh: list[Candidate]) -> int:
    """Return the passes over new candidates: more where a choice decides all below it.

    Where it is known how deep answers lie, a further pass is made only of calls that the way
    there does not need.
    """
    knobs, depth = state.knobs, fresh[0].depth
    if state.min_gain > 0 or knobs.stop_score == 1:  # one pass of a verifier is enough
        return 1
    if knobs.max_depth is None:
        return 2 if depth == 1 and left.calls >= 4 else 1
    if depth >= knobs.max_depth:
        return 1
    spare = left.calls - 1 - CALLS_PER_STEP * (knobs.max_depth - depth)
    return min(1 + max(spare, 0), ROOT_PASSES if depth == 1 else DEEPER_PASSES)


def tree_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the next round of a tree that has candidates already, or why to stop."""
    progress, knobs = state.progress, state.knobs
    fresh = unread(state)
    if fresh:
        if not left.judge_calls:
            return StopReason.CAP
        passes = min(_passes(state, left, fresh), max(passes_allowed(state, fresh), 1))
        return judge_round(state, with_anchors(state, fresh), left, passes=passes)
    if not left.calls:
        return StopReason.CAP
    can_expand = left.fits(proposer=1, judge=1) and (knobs.refine or progress.has_steps)
    readers = [] if can_expand and not state.min_gain else _rereadable(state)
    if state.min_gain > 0:
        possible = {BestNextCall.REFINE} if can_expand else set()
        possible |= {BestNextCall.READ} if left.judge_calls and len(readers) > 1 else set()
        found = best_next_call(state, leading(state, FRONT), possible)
        if isinstance(found, StopReason):
            return found
        can_expand = found is BestNextCall.REFINE
    if can_expand:
        remaining = min(knobs.parallel_leaves, left.proposer, left.calls - 1)
        leaves = select_leaves(state, remaining, calls=left.calls)
        if leaves:
            texts = state.guideline_texts
            if leaves[0] is state.tree.top: return state.generate([knobs.generate_k])
            return [
                Refine((leaf.node_id,), knobs.refine_k, leaf.expansions, texts) for leaf in leaves if leaf is not state.tree.top
            ]
        if not any(not node.is_closed for node in state.tree.children(state.tree.top)):
            return StopReason.EXHAUSTED
        readers = _rereadable(state)
    if left.judge_calls and len(readers) > 1:
        return judge_round(state, readers, left, passes=1)
    # Where an expansion would fit, it is the knobs that want no more.
    return StopReason.PLAN_DONE if left.fits(proposer=1, judge=1) else StopReason.CAP


def _rereadable(state: SearchState) -> list[Candidate]:
    """Return the leaders among those that the judge may read once more."""
    known = [node for node in leading(state, FRONT) if passes_allowed(state, [node])]
    return known[: max(state.knobs.leaders, 2)]


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop: generate once, then grow a tree."""
    if len(state.tree):
        return tree_round(state, left)
    if not left.proposer_calls:
        return StopReason.CAP
    return state.generate([1 if left.calls == 1 else state.knobs.generate_k])

"""`posterior_uct`: a tree search whose nodes have posteriors, for answers and for steps.

Select leaves by their posterior, expand, judge, back up:

    child's worth + tree_exploration * sqrt(spread) * sqrt(2 ln(N) / n)

n counts visits, those under way included; N likewise of the parent. The worth is of
finished visits only, and the bonus is in units of the scores' own standard deviation.
Source: WU-UCT (arXiv 1810.11755). We depart from it in two places. A child is worth the best
posterior mean below it (for answers its own included) rather than a mean of rewards, since
the search chooses where it walks. And a node that has children may be expanded again, an arm like
its children: an answer to be refined once more, a step for further next steps, see `widening`. A
step is worth the best request for next ones below it.

An exact judge is asked once, and greedily.
"""

import math

from lats.actions import Action, Generate, Refine
from lats.gain import BestNextCall, best_next_call
from lats.ranking import FRONT, leading
from lats.result import StopReason
from lats.search_schedule import CallsLeft, judge_round, passes_allowed, unread, with_anchors
from lats.search_state import SearchState
from lats.search_tree import Candidate
from lats.widening import best_request, request_worth

__all__ = ["next_round", "select_leaves", "tree_round"]

ROOT_PASSES, DEEPER_PASSES = 3, 2
"""Most passes over new steps: the first ones, and those below them."""

CALLS_PER_STEP = 2
"""Calls of one step: one to propose, one to judge."""


def _walk(state: SearchState, taken: set[str], weight: float) -> Candidate | None:
    """Return the answer to refine, by a walk from the start; None where all is closed or taken.

    The walk may neither end at nor pass the ids in `taken`. `weight` of the bonus is in score.
    """
    nodes, sqrt, log = state.tree.nodes, math.sqrt, math.log
    start = node = state.tree.top
    while node.children_ids:
        bonus = weight * sqrt(2 * log(max(node.visits + node.pending_visits, 2)))
        if node is start or node.node_id in taken:
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


def _select(state: SearchState, taken: set[str], dropped: set[str], calls: int) -> Candidate | None:
    """Return the node of the next expansion; None where everything is closed or taken.

    Where it is known how deep answers lie, a step from which none can be reached with the
    calls left is passed over; where the calls reach for one way only, the best one is taken.
    """
    weight = state.knobs.tree_exploration * math.sqrt(state.noise.spread)
    if not state.progress.has_steps:
        return _walk(state, taken | dropped, weight)
    weight = 0.0 if state.is_exact else weight
    if dropped:
        taken = {*taken, state.tree.top.node_id}
    max_depth = _depth_to_reach(state)
    if max_depth is None:
        return best_request(state, weight=weight, taken=taken, barred=dropped)
    best = best_request(state, weight=0.0, taken=taken, barred=dropped)
    if best is not None and calls >= CALLS_PER_STEP * (max_depth - best.depth + 1) and weight:
        return best_request(state, weight=weight, taken=taken, barred=dropped)
    least = max_depth - calls // CALLS_PER_STEP
    if best is not None and best.depth < least:
        return _deep_enough(state, least, taken | dropped)
    return best


def _depth_to_reach(state: SearchState) -> int | None:
    """Return the depth at which answers lie; None where it is not known.

    A `max_depth` that the calls could not reach from the start, or that an answer lies above, is
    a bound, not where answers lie.
    """
    max_depth, planned = state.knobs.max_depth, state.progress.planned_cap
    if state.progress.has_shallow_answer:
        return None
    if max_depth is not None and planned is not None and CALLS_PER_STEP * max_depth > planned:
        return None
    return max_depth


def _deep_enough(state: SearchState, least: int, taken: set[str]) -> Candidate | None:
    """Return the best step to expand among those at this depth and below it; None without one."""
    found: Candidate | None = None
    found_worth = -math.inf
    for node in state.tree.candidates:
        if node.depth < least or node.is_closed:
            continue
        worth = request_worth(state, node)
        path = state.tree.path_to_top(node.node_id)
        if worth is None or worth <= found_worth or any(step.node_id in taken for step in path):
            continue
        found, found_worth = node, worth
    return found


def select_leaves(state: SearchState, count: int, *, calls: int) -> list[Candidate]:
    """Return the nodes that deserve the next expansions, at most `count`, all different.

    The start is one of them where more first steps are wanted. Where candidates were dropped at
    the root, only those below `survivors` are considered.

    Args:
        state: of the search.
        count: leaves wanted, at least 1.
        calls: that are left, those for these leaves included.
    """
    start = state.tree.top
    taken: set[str] = set()
    dropped: set[str] = set()
    if state.progress.survivors:
        alive = set(state.progress.survivors)
        dropped = {child_id for child_id in start.children_ids if child_id not in alive}
    chosen: list[Candidate] = []
    while len(chosen) < count:
        leaf = _select(state, taken, dropped, calls - CALLS_PER_STEP * len(chosen))
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
    max_depth, depth = _depth_to_reach(state), fresh[0].depth
    if state.min_gain > 0 or state.is_exact:  # one pass of a verifier is enough
        return 1
    if max_depth is None:
        return 2 if depth == 1 and left.calls >= 4 else 1
    if depth >= max_depth:
        return 1
    spare = left.calls - 1 - CALLS_PER_STEP * (max_depth - depth)
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
    can_expand = left.fits(proposer=1, judge=1) and (progress.has_steps or state.may_refine)
    readers = [] if can_expand and not state.min_gain else _rereadable(state)
    if state.min_gain > 0:
        possible = {BestNextCall.REFINE} if can_expand else set()
        possible |= {BestNextCall.READ} if left.judge_calls and len(readers) > 1 else set()
        found = best_next_call(state, leading(state, FRONT), possible, min_gain=state.min_gain)
        if isinstance(found, StopReason):
            return found
        can_expand = found is BestNextCall.REFINE
    if can_expand:
        remaining = min(knobs.parallel_leaves, left.proposer, left.calls - 1)
        leaves = select_leaves(state, remaining, calls=left.calls)
        if leaves:
            return [_expansion(state, leaf) for leaf in leaves]
        if state.tree.top.is_closed:
            return StopReason.EXHAUSTED
        readers = _rereadable(state)
    if left.judge_calls and len(readers) > 1:
        return judge_round(state, readers, left, passes=1)
    return _why_no_more(state, left)


def _why_no_more(state: SearchState, left: CallsLeft) -> StopReason:
    """Return why nothing is asked, though not all is closed."""
    # Steps may be open that the calls left are too few for. Else, where an expansion would fit, it
    # is the knobs that want no more.
    is_short = state.progress.has_steps and not state.progress.survivors
    if is_short or not left.fits(proposer=1, judge=1):
        return StopReason.CAP
    return StopReason.PLAN_DONE


def _expansion(state: SearchState, node: Candidate) -> Action:
    """Return the call that expands a node, the start included."""
    knobs, texts = state.knobs, state.guideline_texts
    if node.parent_id is None:
        return Generate(knobs.generate_k, state.progress.generations, texts)
    return Refine((node.node_id,), knobs.refine_k, node.expansions, texts)


def _rereadable(state: SearchState) -> list[Candidate]:
    """Return the leaders among those that the judge may read once more; none of an exact one."""
    if state.is_exact and state.progress.has_steps:
        return []
    known = [node for node in leading(state, FRONT) if passes_allowed(state, [node])]
    return known[: max(state.knobs.leaders, 2)]


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop: generate once, then grow a tree."""
    if len(state.tree):
        return tree_round(state, left)
    if not left.proposer_calls:
        return StopReason.CAP
    return state.generate([1 if left.calls == 1 else state.knobs.generate_k])

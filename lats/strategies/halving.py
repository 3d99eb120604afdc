"""`halving`: the root as the identification of a best arm, and a tree below what survives.

Candidates from scratch are read together twice; then only the better half is read again,
and so on, until no more are left than there are leaders: about half of the calls. What is
left grows a tree below the survivors.

Source: sequential halving (Karnin, Koren and Somekh 2013). We depart from it in its unit:
a judge call reads all that are left, so a stage costs one call, not one per candidate.
"""

from lats.actions import Action
from lats.ranking import is_judged, ranked
from lats.result import StopReason
from lats.search_schedule import CallsLeft, judge_round, passes_allowed, root_generations, split
from lats.search_state import SearchState
from lats.strategies.posterior_uct import tree_round

__all__ = ["next_round"]


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop."""
    knobs = state.knobs
    if not len(state.tree):
        wanted = min(root_generations(left.calls), left.proposer_calls)
        k = 1 if left.calls == 1 else knobs.generate_k
        total = min(max(state.max_candidates, k), wanted * k)
        return state.generate(split(total, k)[:wanted]) or StopReason.CAP
    roots = state.tree.children(state.tree.top)
    if len(roots) > 1 and not state.progress.cycles and all(node.judge_passes for node in roots):
        return _stage(state, left) or tree_round(state, left)
    return tree_round(state, left)


def _stage(state: SearchState, left: CallsLeft) -> list[Action]:
    """Return the next pass over the better half; none when the root is decided."""
    progress, knobs = state.progress, state.knobs
    roots = state.tree.children(state.tree.top)
    alive = state.nodes(progress.survivors) if progress.survivors else roots
    alive = [node for node in ranked(state, alive) if is_judged(node)]
    if len(alive) <= knobs.leaders or left.calls <= (progress.planned_cap or 0) // 2:
        return []
    kept = alive[: max((len(alive) + 1) // 2, knobs.leaders)]
    if not left.judge_calls or not passes_allowed(state, kept):
        return []
    progress.survivors = [node.node_id for node in kept]
    return judge_round(state, kept, left, passes=1)

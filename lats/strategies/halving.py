"""`halving`: the root as the identification of a best arm, and a tree below what survives.

Candidates from scratch are read together twice; then only the better half is read again,
and so on, until no more are left than there are leaders: about half of the calls. What is
left grows a tree below the survivors.

Source: sequential halving (Karnin, Koren and Somekh 2013). We depart from it in its unit:
a judge call reads all that are still in, so a stage costs a call, not a call each.
"""

from lats.actions import Action, Generate
from lats.ranking import is_judged, ranked
from lats.result import StopReason
from lats.schedule import CallsLeft, judge_round, passes_allowed, root_generations
from lats.search_state import SearchState
from lats.strategies.posterior_uct import tree_round

__all__ = ["HALVING", "Halving"]


class Halving:
    """See the head of this file."""

    def next_round(self, state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
        """Return the actions of the next round, or why to stop."""
        progress = state.progress
        texts = tuple(each.text for each in progress.guidelines)
        if not len(state.tree):
            return _generations(state, left, texts) or StopReason.CAP
        roots = state.tree.children(state.tree.top)
        if all(node.judge_passes for node in roots) and not progress.cycles and len(roots) > 1:
            stage = _stage(state, left)
            if stage:
                return stage
        return tree_round(state, left, texts)


def _generations(state: SearchState, left: CallsLeft, texts: tuple[str, ...]) -> list[Action]:
    knobs, progress = state.knobs, state.progress
    wanted = min(root_generations(left.calls), left.proposer_calls)
    actions: list[Action] = []
    remaining = max(knobs.max_candidates, knobs.generate_k)
    k = 1 if left.calls == 1 else knobs.generate_k
    while remaining > 0 and len(actions) < wanted:
        actions.append(Generate(min(k, remaining), progress.generations + len(actions), texts))
        remaining -= k
    return actions


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
    return list(judge_round(state, kept, left, passes=1))


HALVING = Halving()

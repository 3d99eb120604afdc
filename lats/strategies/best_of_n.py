"""`best_of_n`: as many candidates as can be judged once, and the best of them."""

from lats.actions import Action
from lats.result import StopReason
from lats.search_knobs import SearchKnobs
from lats.search_schedule import CallsLeft, judge_round, next_of_bracket, unread
from lats.search_state import SearchState

__all__ = ["judge_calls_for", "next_round", "planned_generations"]


def judge_calls_for(candidates: int, knobs: SearchKnobs) -> int:
    """Return how many calls it takes to judge that many candidates once."""
    if candidates < 2:
        return 0
    match knobs.judging:
        case "pointwise":
            return candidates
        case "pairwise":
            return candidates - 1
        case _:
            if candidates <= knobs.max_items:
                return 1
            return -(-(candidates - 1) // (knobs.max_items - 1))


def planned_generations(cap: int, knobs: SearchKnobs) -> list[int]:
    """Return how many candidates each generation asks for, the most that can be judged.

    `cap` is for generations and judging together, at least 1.
    """
    counts: list[int] = []
    while len(counts) < cap:
        k = knobs.generate_k
        if knobs.max_candidates is not None:
            k = min(k, knobs.max_candidates - sum(counts))
        while k > 0 and len(counts) + 1 + judge_calls_for(sum(counts) + k, knobs) > cap:
            k -= 1
        if k <= 0:
            break
        counts.append(k)
    return counts


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop."""
    if not len(state.tree):
        counts = planned_generations(left.calls, state.knobs)[: left.proposer_calls]
        return state.generate(counts) or StopReason.CAP
    if state.progress.bracket:
        return next_of_bracket(state, left) or StopReason.PLAN_DONE
    fresh = unread(state)
    if not fresh or len(state.tree) < 2:
        return StopReason.PLAN_DONE
    if not left.judge_calls:
        return StopReason.CAP
    if state.knobs.judging == "pairwise":
        state.progress.bracket = [node.node_id for node in fresh]
        return next_of_bracket(state, left) or StopReason.CAP
    return judge_round(state, fresh, left, passes=1)

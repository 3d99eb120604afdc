"""`listwise`: all candidates compared, in few and wide rounds.

Generate, judge, and with refinement improve on the leaders and judge again. Above 10 calls
with refinement the root is decided by halving, with a tree below.

With `min_gain` it proceeds call by call instead: one wide generation, two passes, and then
the call that promises most, until that is too little.
"""

import math

from lats.actions import Action, Refine
from lats.gain import BestNextCall, best_next_call
from lats.ranking import leading, open_leading
from lats.result import StopReason
from lats.search_schedule import (
    REFINE_CALLS,
    CallsLeft,
    first_generations,
    first_passes,
    judge_round,
    next_of_bracket,
    passes_allowed,
    split,
    unread,
    with_anchors,
)
from lats.search_state import SearchState
from lats.strategies import halving

__all__ = ["MAX_PLANNED_CAP", "by_gain", "fresh_generations", "next_round"]

GAIN_PASSES = 2
"""Passes before the gain of another call is asked: one shows no noise."""

MAX_PLANNED_CAP = 10
"""Cap up to which the schedule by cap is used."""


def fresh_generations(state: SearchState, left: CallsLeft, wanted: int) -> list[Action]:
    """Return that many calls from scratch, as far as they and `max_candidates` allow."""
    k = state.knobs.generate_k
    if left.calls == 1:
        k = 1  # no call is left to choose
    elif wanted == 1 and not len(state.tree):
        k += k // 2  # the only generation there may be: half as many more cost tokens only
    remaining = min(state.max_candidates - len(state.tree), k * wanted)
    if state.proposers:  # each is asked, for its share
        k = min(k, math.ceil(remaining / wanted))
    return state.generate(split(remaining, k)[: left.proposer_calls])


def refinements(state: SearchState, left: CallsLeft) -> list[Action]:
    """Return a call that improves on the leaders; none where it cannot, or fits no more."""
    progress, knobs = state.progress, state.knobs
    if not state.may_refine or progress.empty_rounds:
        return []
    if progress.is_exhausted and not state.is_exact:
        return []
    if not left.fits(proposer=1, judge=REFINE_CALLS - 1):
        return []
    leaders = open_leading(state, knobs.leaders)
    if not leaders:
        return []
    ids = tuple(node.node_id for node in leaders)
    return [Refine(ids, knobs.refine_k, leaders[0].expansions, state.guideline_texts)]


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop."""
    progress, knobs = state.progress, state.knobs
    planned = min(progress.planned_cap or left.calls, progress.spent_calls + left.calls)
    grows_tree = state.may_refine and knobs.judging in {"listwise", "pointwise"}
    if planned > MAX_PLANNED_CAP and grows_tree and state.min_gain == 0:
        return halving.next_round(state, left)
    if not len(state.tree):
        # After failures only as much is asked again as leaves calls for judging.
        if state.min_gain > 0:
            wanted = 1
        elif knobs.judging == "agreement":
            # Half of all: a cluster shows among many candidates, and among many checks.
            wanted = max(left.calls // 2, 1)
        else:
            wanted = first_generations(
                left.calls, can_refine=state.may_refine, proposers=len(state.proposers)
            )
        return fresh_generations(state, left, wanted) or StopReason.CAP
    if state.min_gain > 0:
        return by_gain(state, left, min_gain=state.min_gain)
    judging = _first_reading(state, left, _passes(state, left))
    if judging is not None:
        return judging
    return _refine_or_read_on(state, left) if left.calls else StopReason.CAP


def _first_reading(
    state: SearchState, left: CallsLeft, passes: int
) -> list[Action] | StopReason | None:
    """Return judge calls for candidates that no judge has read; None when there are none."""
    if state.progress.bracket:
        pairs = next_of_bracket(state, left)
        if pairs:
            return pairs
    fresh = unread(state)
    if not fresh or (len(state.tree) == 1 and not state.knobs.early_exit.enabled):
        return None
    if not left.judge_calls:
        return StopReason.CAP
    readers = with_anchors(state, fresh)
    if state.knobs.judging == "pairwise":
        state.progress.bracket = [node.node_id for node in readers]
        return next_of_bracket(state, left) or StopReason.CAP
    passes = max(min(passes, passes_allowed(state, readers)), 1)
    return judge_round(state, readers, left, passes=passes)


def _passes(state: SearchState, left: CallsLeft) -> int:
    """Return the passes over new candidates that the plan by cap has."""
    may_refine = state.may_refine and not state.progress.is_exhausted and left.proposer > 0
    if state.progress.cycles and may_refine:
        # One, so that more can be refined; a call that no refinement fits into is a second pass.
        return 2 if left.calls == REFINE_CALLS else 1
    return left.calls if state.progress.cycles else first_passes(left.calls, can_refine=may_refine)


def _refine_or_read_on(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    actions = refinements(state, left)
    if actions:
        return actions
    readers = leading(state, len(state.tree))
    passes = min(left.judge_calls, passes_allowed(state, readers))
    if not passes or len(readers) < 2 or state.knobs.judging == "pairwise":
        return StopReason.EXHAUSTED if state.progress.is_exhausted else StopReason.PLAN_DONE
    return judge_round(state, readers, left, passes=passes)


def by_gain(
    state: SearchState, left: CallsLeft, *, min_gain: float, share: float = 0.0
) -> list[Action] | StopReason:
    """Return the call that promises most, or stop when that is too little.

    Args:
        state: of a search that has candidates.
        left: at least the calls of the next round.
        min_gain: in standard deviations of the scores within a call; above 0.
        share: of the calls left that one round may spend on passes, in [0, 1]; always one.
    """
    so_far = state.progress.passes
    judging = _first_reading(state, left, 1 if so_far else GAIN_PASSES)
    if judging is not None:
        return judging
    if not left.calls:
        return StopReason.CAP
    readers = leading(state, len(state.tree))
    most = min(left.judge_calls, passes_allowed(state, readers))
    may = {
        BestNextCall.READ: len(readers) > 1 and most > 0 and state.knobs.judging != "pairwise",
        BestNextCall.GENERATE: not state.progress.is_exhausted
        and not state.progress.empty_rounds
        and len(state.tree) + state.knobs.generate_k <= state.max_candidates
        and left.fits(proposer=1, judge=1),
        BestNextCall.REFINE: bool(refinements(state, left)),
    }
    possible = {call for call, is_open in may.items() if is_open}
    match best_next_call(state, readers, possible, min_gain=min_gain, most_passes=most):
        case BestNextCall.READ:
            # No more than double what was read, so that a judge with nothing to add stays cheap.
            passes = max(min(math.ceil(share * left.judge_calls), so_far, most), 1)
            return judge_round(state, readers, left, passes=passes)
        case BestNextCall.GENERATE:
            return fresh_generations(state, left, 1)
        case BestNextCall.REFINE:
            return refinements(state, left)
        case reason:
            return reason

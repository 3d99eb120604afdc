"""Which further call promises most, and whether that is enough: the knob `min_gain`."""

from collections.abc import Set as AbstractSet
from enum import StrEnum

from lats.candidate import Candidate
from lats.gain import gain_of_candidates, gain_of_pass
from lats.posterior import belief
from lats.result import StopReason
from lats.search_state import SearchState

__all__ = ["NextCall", "best_next_call"]


class NextCall(StrEnum):
    """What a search may spend its next call on."""

    READ = "read"
    GENERATE = "generate"
    REFINE = "refine"


def best_next_call(
    state: SearchState, readers: list[Candidate], possible: AbstractSet[NextCall]
) -> NextCall | StopReason:
    """Return the call that promises most, or why none is made.

    Args:
        state: of the search; `min_gain` is read from its knobs.
        readers: candidates that a judge call would read; the best first.
        possible: calls that fit and make sense.

    Returns:
        `MIN_GAIN` when the most promising call promises less than `min_gain`, in score a
        call; `PLAN_DONE` when none is possible.
    """
    if not possible or not readers:
        return StopReason.EXHAUSTED if state.progress.is_dry else StopReason.PLAN_DONE
    noise, knobs = state.noise, state.knobs
    beliefs = [belief(node, noise) for node in readers]
    gains: dict[NextCall, float] = {}
    if NextCall.READ in possible:
        gains[NextCall.READ] = gain_of_pass(beliefs, noise)
    if NextCall.GENERATE in possible:
        gain = gain_of_candidates(beliefs, noise, k=knobs.generate_k, prior_mean=noise.grand_mean)
        gains[NextCall.GENERATE] = gain / 2
    if NextCall.REFINE in possible:
        # What a leader's children are worth is not known before there are some: as much.
        expected = beliefs[0].mean + noise.refine_shift
        gain = gain_of_candidates(beliefs, noise, k=knobs.refine_k, prior_mean=expected)
        gains[NextCall.REFINE] = gain / 2
    best = max(gains, key=lambda call: gains[call])
    return best if gains[best] >= state.min_gain else StopReason.MIN_GAIN

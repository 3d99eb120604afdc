"""`auto`: picks plan and stopping from the task, the cap, the judge and the remaining calls.

- Candidates that are steps: `posterior_uct`. Else `listwise`, which halves where it is large
  and spends its cap.
- A judge measured to repeat itself needs no third pass: the calls go to refinement. A judge
  measured to contradict itself cannot tell a refinement from a mishap: none is made, the
  calls go to passes.
- Above 10 calls, and where the budget leaves less than the knobs allow, it stops as soon as
  a call promises less than `AUTO_MIN_GAIN`, unless `min_gain` is set.
"""

from typing import Any

from lats.actions import Action
from lats.result import StopReason
from lats.schedule import CallsLeft
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState
from lats.strategies import listwise, posterior_uct

__all__ = ["AUTO_MIN_GAIN", "next_round", "tuned_knobs"]

AUTO_MIN_GAIN = 0.002
"""Gain below which `auto` stops where it stops by gain, in score per call."""

MIN_REPEATS = 4
"""Repeated scores after which a judge's reliability counts as measured."""

RELIABLE, UNRELIABLE = 0.85, 0.15


def tuned_knobs(state: SearchState) -> SearchKnobs:
    """Return the knobs as `auto` sets them at this point of a search; a function of the state."""
    given, noise = state.given_knobs, state.noise
    changes: dict[str, Any] = {}
    if noise.noise_weight >= MIN_REPEATS and given.judging != "agreement":
        if noise.reliability >= RELIABLE:
            changes["max_passes"] = min(2, given.max_passes)
        elif noise.reliability <= UNRELIABLE and not state.progress.has_steps:
            changes["refine"] = False
    planned = state.progress.planned_cap
    is_large = planned is not None and planned > listwise.MAX_PLANNED_CAP
    is_short = planned is not None and planned < state.cap
    if (is_large or is_short) and given.min_gain is None:
        changes["min_gain"] = AUTO_MIN_GAIN
    return given.model_copy(update=changes) if changes else given


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop."""
    state.knobs = tuned_knobs(state)
    if state.takes_steps:
        return posterior_uct.next_round(state, left)
    return listwise.next_round(state, left)

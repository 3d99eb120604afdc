"""`auto`: picks plan and stopping from the task, the cap and what the judge has shown.

- Candidates that are steps: `posterior_uct`.
- Verdicts that have checks or answers: by agreement, which a judge's bias harms least.
- Else `listwise`. The first six calls are planned for themselves, so that a larger cap begins
  as a smaller one does. What is beyond them is spent as long as a call promises more than
  `min_gain`, in rounds of half of what is left.
- Where refinement is asked for: a judge measured to contradict itself cannot tell a refinement
  from a mishap, so none is made.
"""

from typing import Any

from lats.actions import Action
from lats.result import StopReason
from lats.search_knobs import SearchKnobs
from lats.search_schedule import CallsLeft
from lats.search_state import DEFAULT_CAP, SearchState
from lats.strategies import listwise, posterior_uct

__all__ = ["AUTO_MIN_GAIN", "next_round", "tuned_knobs"]

AUTO_MIN_GAIN = 0.02
"""`min_gain` beyond the first calls where none is given."""

MIN_REPEATS = 4
"""Repeated scores after which a judge's reliability counts as measured."""

UNRELIABLE = 0.4
"""Measured reliability up to which none is refined for. Two passes over eight candidates put five
of six judges that score by lot below it, and one of thirty whose reliability is 0.75."""

SHARE_OF_ROUND = 0.5
"""Share of the calls left that one round beyond the first calls may spend on passes."""


def tuned_knobs(state: SearchState) -> SearchKnobs:
    """Return the knobs as `auto` sets them at this point of a search; a function of the state."""
    given, noise = state.given_knobs, state.noise
    changes: dict[str, Any] = {}
    if given.judging == "listwise" and not state.takes_steps and _has_checks(state):
        changes["judging"] = "agreement"
    if given.refine and noise.noise_weight >= MIN_REPEATS and noise.reliability <= UNRELIABLE:
        changes["refine"] = False
    if given.min_gain and not state.takes_steps:
        changes["min_gain"] = 0.0  # the first calls are planned; it is read beyond them
    return given.model_copy(update=changes)


def _has_checks(state: SearchState) -> bool:
    said = (node.verdict for node in state.tree.candidates if node.verdict is not None)
    return any(verdict.checks or verdict.answer for verdict in said)


def next_round(state: SearchState, left: CallsLeft) -> list[Action] | StopReason:
    """Return the actions of the next round, or why to stop."""
    state.knobs = tuned_knobs(state)
    if state.takes_steps:
        return posterior_uct.next_round(state, left)
    first = max(DEFAULT_CAP - state.progress.spent_calls, 0)
    given = state.given_knobs.min_gain
    min_gain = AUTO_MIN_GAIN if given is None else given
    by_plan = not min_gain or state.knobs.judging in {"agreement", "pairwise"}
    if by_plan or left.calls <= first:
        return listwise.next_round(state, left)
    if first:
        found = listwise.next_round(state, left.at_most(first))
        if not isinstance(found, StopReason):
            return found
    return listwise.by_gain(state, left, min_gain=min_gain, share=SHARE_OF_ROUND)

"""Checks of what a search of a problem is begun, resumed or limited with."""

import difflib
import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from lats.chance_calibration import ChanceCalibration
from lats.judges import judge_names
from lats.policy import RemainingCalls
from lats.policy_registry import CLASSIC, policy_names
from lats.problem import Problem
from lats.proposers import check_same_costs, costs_of
from lats.result import StateError
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.spending import SpendLimits
from lats.state_drafts import StateDrafts

__all__ = [
    "check_calibration",
    "check_each",
    "check_problem",
    "check_same_problem",
    "checked_remaining",
    "knobs_of",
]

StateT = TypeVar("StateT")


def knobs_of(knobs: SearchKnobs | None, changes: Mapping[str, Any]) -> SearchKnobs:
    """Return the knobs of a search: `auto` where no policy was chosen.

    Raises:
        TypeError: when `knobs` are none, or one of `changes` is unknown.
        ValueError: when a value is out of its range, or the policy is for replies only.
    """
    if knobs is not None and not isinstance(knobs, SearchKnobs):
        raise TypeError(f"knobs is {knobs!r}; give SearchKnobs(...), or knobs by their names")
    unknown = sorted(changes.keys() - SearchKnobs.model_fields.keys())
    if unknown:
        near = difflib.get_close_matches(unknown[0], SearchKnobs.model_fields, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; docs/knobs.md lists the knobs"
        raise TypeError(f"no knob or option is called {unknown[0]!r}{hint}")
    given = {} if knobs is None else {name: getattr(knobs, name) for name in knobs.model_fields_set}
    try:
        found = SearchKnobs.model_validate({"policy": "auto", **given, **changes})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise ValueError(f"{name} is {first['input']!r}: {first['msg']}") from error
    if found.policy == CLASSIC:
        raise ValueError(
            f"policy {CLASSIC!r} is for replies; expected one of {', '.join(policy_names()[1:])}, "
            "or none for auto"
        )
    return found


def check_problem(problem: object) -> None:
    """Check that a problem is one.

    Raises:
        TypeError: when it is not.
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem is {reprlib.repr(problem)}; give lats.Problem(state_type, propose, judge)"
        )


def check_same_problem(
    problem: Problem[StateT], drafts: StateDrafts[StateT], search: PosteriorSearch
) -> None:
    """Check that a search is one of this problem.

    Raises:
        StateError: when it is not.
    """
    saved, here = search.tree.top.draft, drafts.start()
    if saved.model_copy(update={"key": here.key}) == here != saved:
        raise StateError(f"the state's start has the key {saved.key!r}, and here {here.key!r}")
    if saved != here:
        raise StateError(
            f"the state is of a problem with another start: {saved.reply[:80] or 'none'!r}, and "
            f"here it is {here.reply[:80] or 'none'!r}"
        )
    for name in ("has_judge", "has_verifier", "score_range"):
        before, now = getattr(search.task, name), getattr(problem.traits, name)
        if before != now:
            raise StateError(
                f"the state is of a problem with {name}={before!r}, and here it is {now!r}"
            )
    if search.judges != judge_names(problem.judge):
        raise StateError(
            f"the state is of a search with the judges {list(search.judges) or 'unnamed'}; give "
            "the problem the same ones, in the same order"
        )
    check_same_costs(search.proposers, costs_of(problem.propose, problem.proposer_costs))
    for node in search.tree.candidates:
        drafts.state(node.draft)


def check_calibration(calibration: object) -> None:
    """Check that a calibration is one, before it is needed at the end.

    Raises:
        TypeError: when it is something else than a calibration or None.
    """
    if calibration is not None and not isinstance(calibration, ChanceCalibration):
        raise TypeError(
            f"calibration is {reprlib.repr(calibration)}; give a lats.ChanceCalibration: read it "
            "from its file by lats.load_calibration(path), or fit one by lats.fit_calibration"
        )


_OPTIONS = frozenset({"max_tokens", "max_usd", "remaining", "checkpoint", "calibration"})
"""Arguments of `solve` for each problem that are no knobs."""


def check_each(knobs: SearchKnobs | None, options: Mapping[str, Any]) -> None:
    """Check, once, what many problems are to be solved with.

    Raises:
        TypeError: when an option or knob is unknown, or the calibration is none.
        ValueError: when a knob or limit is out of its range.
    """
    knobs_of(knobs, {name: options[name] for name in options.keys() - _OPTIONS})
    SpendLimits(options.get("max_tokens"), options.get("max_usd"))
    check_calibration(options.get("calibration"))


def checked_remaining(left: object) -> RemainingCalls:
    """Return what `remaining` returned.

    Raises:
        TypeError: when it is something else than remaining calls.
    """
    if not isinstance(left, RemainingCalls):
        raise TypeError(
            f"remaining returned {reprlib.repr(left)}; return lats.RemainingCalls(max_calls=...)"
        )
    return left

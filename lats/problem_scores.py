"""Reading of what a problem's judge and verifier return."""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import fields
from numbers import Real
from typing import Any

from lats.answers import Drafts, Verdict

__all__ = ["read_result", "read_verdict", "with_results"]

_SLACK = 1e-9
"""Rounding error by which scores may lie outside their range, as a share of it."""

_PARTS = tuple(field.name for field in fields(Verdict))


def _plain(value: Any) -> Any:
    """Return a scalar of an array library as Python's own."""
    if isinstance(value, bool | int | float | str | Mapping | Verdict | None):
        return value
    return value.item() if getattr(value, "shape", None) == () else value


def read_verdict(score: Any, reply: str, score_range: tuple[float, float]) -> Verdict | None:
    """Return one state's `Score` as a verdict; None where the judge has no opinion.

    Args:
        score: as the judge returned it.
        reply: text of the state, for errors.
        score_range: worst and best score.

    Raises:
        TypeError: when it is no `Score`.
        ValueError: when a score is outside the range, or a mapping has unknown keys.
    """
    score = _plain(score)
    if score is None or isinstance(score, Verdict):
        return score
    if not isinstance(score, Mapping):
        figure = _in_unit(score, reply, score_range)
        return None if figure is None else Verdict(score=figure)
    unknown = [key for key in score if key not in _PARTS]
    if unknown:
        raise ValueError(
            f"judge gave {reply[:40]!r} a mapping with {unknown[0]!r}; expected keys are "
            f"{', '.join(_PARTS)}"
        )
    parts = dict(score)
    parts["score"] = _in_unit(parts.get("score"), reply, score_range)
    for name in ("attributes", "checks"):
        if not isinstance(parts.setdefault(name, {}), Mapping):
            raise TypeError(
                f"judge gave {reply[:40]!r} {name} that are no mapping: {parts[name]!r}"
            )
    given = parts["attributes"].items()
    read = {name: _in_unit(value, reply, score_range) for name, value in given}
    parts["attributes"] = {name: value for name, value in read.items() if value is not None}
    for name in ("reason", "answer"):
        if not isinstance(parts.setdefault(name, ""), str):
            raise TypeError(f"judge gave {reply[:40]!r} the {name} {parts[name]!r}; give a str")
    return Verdict(**parts)


def _in_unit(score: Any, reply: str, score_range: tuple[float, float]) -> float | None:
    """Return a score of a range in [0, 1]; None where it is missing."""
    score, (low, high) = _plain(score), score_range
    if score is None:
        return None
    if isinstance(score, bool):
        return float(score)
    if not isinstance(score, Real):
        raise TypeError(
            f"judge scored {reply[:40]!r} {reprlib.repr(score)}; expected a figure in "
            f"[{low:g}, {high:g}], a mapping with a `score`, a Verdict, or None"
        )
    figure = float(score)
    if math.isnan(figure):
        return None
    share = (figure - low) / (high - low)
    if not -_SLACK <= share <= 1 + _SLACK:
        raise ValueError(
            f"judge scored {reply[:40]!r} {figure}; expected a figure in [{low:g}, {high:g}]. "
            "Declare another scale as `score_range=(worst, best)` of the Problem"
        )
    return min(max(share, 0.0), 1.0)


def read_result(result: Any, text: str) -> bool | float | None:
    """Return a verifier's result on one state.

    Args:
        result: as the verifier returned it.
        text: of the state, for errors.

    Raises:
        ValueError: when it is no result.
    """
    result = _plain(result)
    if result is None or isinstance(result, bool):
        return result
    if not isinstance(result, Real) or not 0 <= float(result) <= 1:
        raise ValueError(
            f"verify returned {reprlib.repr(result)} for {text[:40]!r}; return True, False, the "
            "share of checks passed in [0, 1], or None where that is not settled"
        )
    return float(result)


def with_results(drafts: Drafts, results: Mapping[str, bool | float | None]) -> Drafts:
    """Return drafts with a verifier's results on them, given by the drafts' texts."""
    found = []
    for draft in drafts.drafts:
        result = results.get(draft.reply)
        name = "verified" if isinstance(result, bool) else "passed"
        found.append(draft if result is None else draft.model_copy(update={name: result}))
    return Drafts(tuple(found))

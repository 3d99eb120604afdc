"""Calibration of a search's confidence against truth, from labelled searches.

`Confidence.chance_best` is right about the judge's noise and nothing else: what a judge cannot see
it does not include. Where it is known of some searches whether their answer was right, the chance
that an answer is right follows from it:

    logit(chance_right) = intercept + slope * logit(chance_best),    slope >= 0

Source: Platt (1999), on the logit, as a maximum a posteriori: intercept ~ N(0, 1.5^2),
slope ~ N(0, 0.3^2). With few labels it is near their share of right answers, which is what is known
then. On seven recorded pools it lost least of Platt, beta and isotonic calibration with 12, 20 and
30 labels, and .002 more than the best of them, in log loss, with several hundred.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lats.result import SearchResult

__all__ = [
    "MIN_LABELS",
    "CalibrationError",
    "ChanceCalibration",
    "LabelledSearch",
    "calibrated",
    "fit_calibration",
    "labelled",
    "load_calibration",
]

MIN_LABELS = 10
"""Labels below which nothing is fitted."""

MAX_FILE_BYTES = 100_000
"""Longest file of a calibration that is read."""

INTERCEPT_SD, SLOPE_SD = 1.5, 0.3
"""Standard deviations of the priors, both about 0."""

EDGE = 0.005
"""Chances are kept this far from 0 and 1."""

MAX_STEPS = 100

Chance = Annotated[float, Field(ge=0, le=1)]


class CalibrationError(ValueError):
    """Labels or a file that no calibration can be made of."""


@dataclass(frozen=True, slots=True)
class LabelledSearch:
    """One search whose answer was labelled.

    Args:
        chance_best: its confidence, in [0, 1].
        is_right: whether its answer was right, by whatever counts as right in the task: the best
            of its candidates, or good enough. The same in all labels.
        policy: name of the search; blank where it is not known.
        calls: that it made; 0 where they are not known.
    """

    chance_best: float
    is_right: bool
    policy: str = ""
    calls: int = 0


def labelled(result: SearchResult, *, is_right: bool) -> LabelledSearch | None:
    """Return a search with its label; None where it has no confidence."""
    if result.confidence is None:
        return None
    return LabelledSearch(result.confidence.chance_best, is_right, result.policy, result.calls)


def _logit(chance: float) -> float:
    kept = min(max(chance, EDGE), 1 - EDGE)
    return math.log(kept / (1 - kept))


def _logistic(value: float) -> float:
    if value < 0:
        return math.exp(value) / (1 + math.exp(value))
    return 1 / (1 + math.exp(-value))


class ChanceCalibration(BaseModel):
    """A fitted calibration. It names its labels, and does not go beyond what they showed.

    Outside of the chances that were seen it keeps the value at the nearest that was.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    calibration: Annotated[int, Field(ge=1, le=1)] = 1
    """Version of the format."""

    task: str = Field(min_length=1, max_length=200)
    """Name of the task whose searches were labelled."""

    labels: int = Field(ge=MIN_LABELS)
    """Labelled searches."""

    right: int = Field(ge=0)
    """Labelled searches whose answer was right."""

    intercept: float
    """Logit of the chance of being right at a `chance_best` of a half."""

    slope: float = Field(ge=0)
    """Rise of that logit with the logit of `chance_best`. 0: it has no bearing on being right."""

    low: Chance
    """Least `chance_best` that was seen."""

    high: Chance
    """Greatest `chance_best` that was seen."""

    policies: tuple[str, ...] = Field(default=(), strict=False)
    """Policies of the labelled searches, sorted; none where they are not known."""

    min_calls: int = Field(default=0, ge=0)
    """Fewest calls of a labelled search; 0 where they are not known."""

    max_calls: int = Field(default=0, ge=0)
    """Most calls of a labelled search; 0 where they are not known."""

    def chance_right(self, chance_best: float) -> float:
        """Return the chance that an answer is right, in (0, 1)."""
        known = min(max(chance_best, self.low), self.high)
        return _logistic(self.intercept + self.slope * _logit(known))

    def note(self, chance_best: float, *, policy: str = "", calls: int = 0) -> str:
        """Return what the chance is based on, and where this search is outside of that."""
        outside = []
        if not self.low <= chance_best <= self.high:
            outside.append(
                f"its chance {chance_best:.2f} is outside of {self.low:.2f} to {self.high:.2f}"
            )
        if policy and self.policies and policy not in self.policies:
            outside.append(f"its policy {policy!r} is none of {', '.join(self.policies)}")
        if calls and self.max_calls and not self.min_calls <= calls <= self.max_calls:
            outside.append(f"its {calls} calls are outside of {self.min_calls} to {self.max_calls}")
        basis = f"{self.labels} labels of {self.task!r}, {self.right} right"
        return basis if not outside else f"{basis}; not like these: {', '.join(outside)}"

    def to_json(self) -> str:
        """Return it as JSON, for a file."""
        return self.model_dump_json(indent=1) + "\n"


def fit_calibration(labels: Iterable[LabelledSearch], *, task: str) -> ChanceCalibration:
    """Return the calibration of labelled searches.

    Args:
        labels: at least `MIN_LABELS`, of different problems of one task: labels of one problem
            repeat each other.
        task: name of it, 1 to 200 characters.

    Raises:
        CalibrationError: when there are too few labels, a chance is not in [0, 1], or a label is
            neither True nor False.
    """
    known = list(labels)
    if len(known) < MIN_LABELS:
        raise CalibrationError(
            f"{len(known)} labelled searches are too few; label {MIN_LABELS} or more"
        )
    for each in known:
        if not 0 <= each.chance_best <= 1:
            raise CalibrationError(f"a chance is in [0, 1], got {each.chance_best!r}")
        if not isinstance(_plain(each.is_right), bool):
            raise CalibrationError(f"is_right is True or False, got {each.is_right!r}")
    intercept, slope = _fitted(known)
    calls = [each.calls for each in known]
    try:
        return ChanceCalibration(
            task=task,
            labels=len(known),
            right=sum(bool(each.is_right) for each in known),
            intercept=intercept,
            slope=slope,
            low=min(each.chance_best for each in known),
            high=max(each.chance_best for each in known),
            policies=tuple(sorted({each.policy for each in known if each.policy})),
            min_calls=min(calls) if all(calls) else 0,
            max_calls=max(calls) if all(calls) else 0,
        )
    except ValidationError as error:
        raise CalibrationError(_first(error)) from error


def _plain(value: Any) -> Any:
    """Return a scalar of an array library as Python's own."""
    return value.item() if getattr(value, "shape", None) == () else value


def _fitted(labels: list[LabelledSearch]) -> tuple[float, float]:
    """Return intercept and slope at the posterior's mode, by Newton's method.

    The posterior is log-concave; a step is halved until it does not lower it. Where the mode has a
    negative slope, the one with slope 0 is returned.
    """
    points = [(_logit(each.chance_best), float(each.is_right)) for each in labels]
    fitted = _mode(points)
    return fitted if fitted[1] >= 0 else _mode([(0.0, right) for _, right in points])


def _loss(points: list[tuple[float, float]], intercept: float, slope: float) -> float:
    """Return the negative logarithm of the posterior, up to a constant."""
    loss = 0.5 * ((intercept / INTERCEPT_SD) ** 2 + (slope / SLOPE_SD) ** 2)
    for x, right in points:
        value = intercept + slope * x
        loss += max(value, 0.0) + math.log1p(math.exp(-abs(value))) - right * value
    return loss


def _mode(points: list[tuple[float, float]]) -> tuple[float, float]:
    intercept = slope = 0.0
    loss = _loss(points, intercept, slope)
    for _ in range(MAX_STEPS):
        down_a, down_b = intercept / INTERCEPT_SD**2, slope / SLOPE_SD**2
        aa, ab, bb = 1 / INTERCEPT_SD**2, 0.0, 1 / SLOPE_SD**2
        for x, right in points:
            chance = _logistic(intercept + slope * x)
            weight = chance * (1 - chance)
            down_a += chance - right
            down_b += (chance - right) * x
            aa, ab, bb = aa + weight, ab + weight * x, bb + weight * x * x
        det = aa * bb - ab * ab
        step_a, step_b = (bb * down_a - ab * down_b) / det, (aa * down_b - ab * down_a) / det
        share = 1.0
        while _loss(points, intercept - share * step_a, slope - share * step_b) > loss:
            share /= 2
            if share < EDGE:
                return intercept, slope
        intercept, slope = intercept - share * step_a, slope - share * step_b
        loss = _loss(points, intercept, slope)
        if abs(step_a) + abs(step_b) < 1e-10:
            break
    return intercept, slope


def load_calibration(path: Path | str) -> ChanceCalibration:
    """Return the calibration in a file. The file is not trusted.

    Raises:
        CalibrationError: when it is not there, too long, or no calibration; nothing of its
            content is in the message.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CalibrationError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CalibrationError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
    try:
        found = ChanceCalibration.model_validate(json.loads(data))
    except ValidationError as error:
        raise CalibrationError(f"{path} is no calibration: {_first(error)}") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(
            f"{path} is no JSON; write it with `ChanceCalibration.to_json`"
        ) from error
    if found.right > found.labels or found.low > found.high or found.min_calls > found.max_calls:
        raise CalibrationError(f"{path} is no calibration: its figures contradict each other")
    return found


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "the whole"
    return f"{name if name in ChanceCalibration.model_fields else 'another field'}: {first['msg']}"


def calibrated(result: SearchResult, calibration: ChanceCalibration | None) -> SearchResult:
    """Return a result whose confidence has `chance_right`; the same where there is none."""
    if calibration is None or result.confidence is None:
        return result
    chance = result.confidence.chance_best
    confidence = replace(
        result.confidence,
        chance_right=calibration.chance_right(chance),
        calibration=calibration.note(chance, policy=result.policy, calls=result.calls),
    )
    return replace(result, confidence=confidence)

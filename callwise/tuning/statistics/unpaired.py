"""Differences of arms that have no conversation in common: the studentised bootstrap, unpaired.

In an experiment each conversation has one arm, so nothing can be paired. Conversations are drawn in
each arm for itself, as many as it has, and a draw's difference is measured in the draw's own
standard error, the root of both squared ones. Everything else is as for paired differences: the
linearised error of a ratio, the floor of a draw's error, and the wider of both forms at each end
(`bootstrap.py`, `critical.py`).

`scale` compares with a multiple: of `ours - 1.05 theirs` the lower end above 0 shows a rise by more
than 5 %.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.statistics.bootstrap import (
    DRAWS,
    MIN_CONVERSATIONS,
    Interval,
    NamedDifference,
)
from callwise.tuning.statistics.cluster_draws import MIN_SE_SHARE, NEGLIGIBLE
from callwise.tuning.statistics.critical import (
    common_factor,
    critical_values_of,
    holm,
    p_values,
    require_level,
)
from callwise.tuning.statistics.shares import student_quantile

__all__ = ["ArmDifference", "ArmSums", "compare_arms", "lower_bound", "unpaired_difference"]

Floats = NDArray[np.float64]

MAX_DRAWN = 1_000
"""Most conversations of an arm that are drawn one by one; the mean of more is taken as normal."""

_MAX_CELLS = 2_000_000
"""Most weights of conversations in draws that are in memory at a time: 16 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class ArmSums:
    """One figure of an arm, summed over the known turns of each of its conversations.

    Args:
        value_sums: (C,) sums of the figure.
        turn_counts: (C,) known turns, each at least 1.
    """

    value_sums: Floats
    turn_counts: Floats

    @classmethod
    def of_turns(cls, turns: Iterable[tuple[str, float | None]]) -> "ArmSums":
        """Return the sums of turns, each the name of its conversation and a figure, or None."""
        sums: dict[str, list[float]] = {}
        for name, value in turns:
            if value is not None:
                sums.setdefault(name, []).append(float(value))
        return cls.of_sums((float(np.sum(each)), len(each)) for each in sums.values())

    @classmethod
    def of_sums(cls, sums: Iterable[tuple[float, float]]) -> "ArmSums":
        """Return the sums of conversations that are added up already: value and known turns."""
        pairs = np.array([pair for pair in sums if pair[1]], dtype=np.float64).reshape(-1, 2)
        return cls(pairs[:, 0].copy(), pairs[:, 1].copy())

    @property
    def mean(self) -> float | None:
        """Mean over known turns; None where there is none."""
        turns = float(self.turn_counts.sum())
        return float(self.value_sums.sum()) / turns if turns else None


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """An arm's mean, its standard error, and how far the means of draws lie off.

    Args:
        moved: (B,) mean of each draw less the arm's.
        errors: (B,) standard error of each draw.
    """

    mean: float
    error: float
    moved: Floats
    errors: Floats


def _drawn(arm: ArmSums, rng: np.random.Generator, draws: int, max_drawn: int) -> _Drawn:
    count, turns = len(arm.value_sums), float(arm.turn_counts.sum())
    mean = float(arm.value_sums.sum()) / turns
    residuals = arm.value_sums - mean * arm.turn_counts
    correction = np.sqrt(count / (count - 1)) if count > 1 else 1.0
    error = float(correction * np.sqrt((residuals**2).sum()) / turns)
    size = float(np.abs(arm.value_sums).sum()) / turns
    error = error if error > NEGLIGIBLE * size else 0.0
    moved, errors = np.zeros(draws), np.zeros(draws)
    if not error:
        return _Drawn(mean, error, moved, errors)
    if count > max_drawn:
        return _Drawn(mean, error, error * rng.standard_normal(draws), np.full(draws, error))
    step = max(1, _MAX_CELLS // count)
    for start in range(0, draws, step):
        end = min(start + step, draws)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=end - start)
        weights = drawn.astype(np.float64)
        drawn_turns = weights @ arm.turn_counts
        off = weights @ residuals
        shift = off / drawn_turns
        # Squared residuals from the draw's own mean, written out from those of the sample.
        squares = weights @ residuals**2
        squares -= shift * (
            2 * (weights @ (residuals * arm.turn_counts)) - shift * (weights @ arm.turn_counts**2)
        )
        moved[start:end] = shift
        errors[start:end] = correction * np.sqrt(np.maximum(squares, 0.0)) / drawn_turns
    np.maximum(errors, MIN_SE_SHARE * error, out=errors)
    return _Drawn(mean, error, moved, errors)


@dataclass(frozen=True, slots=True, eq=False)
class _Difference:
    """A difference of two arms, its standard error, and (B,) distances of draws in errors."""

    mean: float
    error: float
    distances: Floats


def _difference(ours: _Drawn, theirs: _Drawn, scale: float) -> _Difference:
    error = float(np.hypot(ours.error, scale * theirs.error))
    off = ours.moved - scale * theirs.moved
    errors = np.hypot(ours.errors, scale * theirs.errors)
    is_moving = (errors > 0) & (error > 0)
    distances = np.divide(off, errors, out=np.zeros_like(off), where=is_moving)
    return _Difference(ours.mean - scale * theirs.mean, error, distances)


def _streams(
    arms: Sequence[ArmSums], seed: int, draws: int, max_drawn: int = MAX_DRAWN
) -> list[_Drawn]:
    """Return the draws of each arm, from a stream for its place."""
    return [
        _drawn(arm, np.random.default_rng([seed, 2, place]), draws, max_drawn)
        for place, arm in enumerate(arms)
    ]


def _why_none(arms: Mapping[str, int]) -> str:
    few = [f"{name} has {count}" for name, count in arms.items() if count < MIN_CONVERSATIONS]
    return (
        f"an interval needs {MIN_CONVERSATIONS} conversations of each arm, and {', '.join(few)}: "
        "record more conversations"
    )


def unpaired_difference(
    ours: ArmSums,
    theirs: ArmSums,
    *,
    level: float = 0.95,
    scale: float = 1.0,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Return the mean of one arm less that of another, with its interval.

    Args:
        scale: the other mean is multiplied by it, above 0.

    Raises:
        ValueError: when the draws are too few for the level.
    """
    found = compare_arms(
        {"ours": ours, "theirs": theirs}, "theirs", level=level, scale=scale, seed=seed, draws=draws
    )
    return found["ours"].alone


def lower_bound(
    ours: ArmSums,
    theirs: ArmSums,
    *,
    alpha: float,
    scale: float = 1.0,
    seed: int = 0,
    draws: int | None = None,
) -> float | None:
    """Return a one-sided lower bound of `ours - scale * theirs`; None where there is none.

    It is for small chances and few conversations, so it is wide: an arm's error is at least that
    of the other arm with as many conversations, since a rare value may not have occurred yet; the
    critical value is at least Student's; and as in `Studentised.widening`, a bound without another
    side is a little wider.

    Args:
        alpha: chance that the difference lies below it, in (0, .5).
        draws: None takes enough for the level: 8 beyond the bound, and at least `DRAWS`.
    """
    counts = len(ours.value_sums), len(theirs.value_sums)
    if min(counts) < MIN_CONVERSATIONS:
        return None
    draws = max(DRAWS, round(8 / alpha)) if draws is None else draws
    one, other = _streams((ours, theirs), seed, draws, MAX_DRAWN // 5)
    found = _difference(one, other, scale)
    error = float(
        np.hypot(
            max(one.error, scale * other.error * np.sqrt(counts[1] / counts[0])),
            max(scale * other.error, one.error * np.sqrt(counts[0] / counts[1])),
        )
    )
    fewest = min(counts)
    down = max(
        float(critical_values_of(found.distances[None, :], alpha).down[0]),
        student_quantile(1 - alpha, fewest - 1),
    )
    return found.mean - down * error * float(np.sqrt(fewest / (fewest - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDifference(NamedDifference):
    """One arm less the control. Its intervals have the conversations and turns of the arm."""

    arm: str
    control: str


def compare_arms(
    arms: Mapping[str, ArmSums],
    control: str,
    *,
    level: float = 0.95,
    scale: float = 1.0,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, ArmDifference]:
    """Return every other arm less the control, which was named before the data were seen.

    Args:
        scale: the control's mean is multiplied by it, above 0.

    Raises:
        KeyError: when there is no such arm.
        ValueError: when the draws are too few for the level.
    """
    require_level(level, draws)
    counts = {name: len(arm.value_sums) for name, arm in arms.items()}
    others = [name for name in arms if name != control]
    enough = [name for name in others if min(counts[name], counts[control]) >= MIN_CONVERSATIONS]
    drawn = dict(
        zip(
            (control, *enough),
            _streams([arms[name] for name in (control, *enough)], seed, draws),
            strict=True,
        )
        if enough
        else ()
    )
    found = {name: _difference(drawn[name], drawn[control], scale) for name in enough}
    distances = np.array([found[name].distances for name in enough]).reshape(len(enough), draws)
    critical = critical_values_of(distances, (1 - level) / 2)
    factor = common_factor(distances, critical, level, is_lower_only=False)
    raw = p_values(distances, np.array([_in_errors(found[name]) for name in enough]))
    adjusted = holm(raw)
    differences = {}
    for name in others:
        p_value = p_adjusted = None
        alone = together = _without_interval(arms, name, control, level, scale)
        if name in found:
            at = enough.index(name)
            ends = float(critical.down[at]), float(critical.up[at])
            alone = _with_interval(alone, found[name], ends, 1.0)
            together = _with_interval(alone, found[name], ends, factor)
            p_value, p_adjusted = float(raw[at]), float(adjusted[at])
        differences[name] = ArmDifference(
            arm=name,
            control=control,
            alone=alone,
            together=together,
            p_value=p_value,
            p_adjusted=p_adjusted,
        )
    return differences


def _in_errors(found: _Difference) -> float:
    """Return a difference in its standard errors; infinite where it does not vary."""
    if found.error:
        return found.mean / found.error
    return 0.0 if found.mean == 0 else float(np.copysign(np.inf, found.mean))


def _without_interval(
    arms: Mapping[str, ArmSums], name: str, control: str, level: float, scale: float
) -> Interval:
    ours, theirs = arms[name], arms[control]
    mean = None
    if ours.mean is not None and theirs.mean is not None:
        mean = ours.mean - scale * theirs.mean
    counts = {each: len(arms[each].value_sums) for each in (name, control)}
    return Interval(
        mean=mean,
        low=None,
        high=None,
        level=level,
        conversations=counts[name],
        turns=int(ours.turn_counts.sum()),
        why_none=_why_none(counts) if min(counts.values()) < MIN_CONVERSATIONS else "",
    )


def _with_interval(
    interval: Interval, found: _Difference, ends: tuple[float, float], factor: float
) -> Interval:
    down, up = (end * factor * found.error if found.error else 0.0 for end in ends)
    return Interval(
        mean=found.mean,
        low=found.mean - down,
        high=found.mean + up,
        level=interval.level,
        conversations=interval.conversations,
        turns=interval.turns,
    )

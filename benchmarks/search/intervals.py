"""Intervals over prompts: means, paired differences, and what may be claimed of them.

The prompt is the unit. Seeds of one prompt are averaged first: more seeds make a prompt's
figure sharper, and never the sample larger. Differences are taken prompt by prompt, since
every policy met the same shuffles.

The interval is the expanded percentile bootstrap: percentile intervals are too narrow in
small samples, so their level is set to what makes them as wide as Student's t would be.
Source: Hesterberg (2015), What Teachers Should Know About the Bootstrap, section 3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DRAWS",
    "MARGIN_SHARE",
    "Claim",
    "Interval",
    "compare",
    "holm",
    "margin_of",
    "mean_interval",
    "paired_difference",
    "prompts_needed",
]

DRAWS = 10_000
"""Resamples of a bootstrap."""

MARGIN_SHARE = 0.01
"""Loss that still counts as not worse, as a share of the gap from random to oracle."""

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over prompts and its interval.

    Args:
        mean: over prompts, of each one's mean over seeds.
        low: lower end.
        high: upper end.
        prompts: prompts that went into it.
    """

    mean: float
    low: float
    high: float
    prompts: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on one policy compared with another.

    Args:
        difference: its truth less the other's.
        margin: loss that still counts as not worse; in truth, at least 0.
        is_not_worse: whether the interval excludes a loss of more than the margin.
        is_better: whether the interval excludes 0 from below.
        p_not_worse: one-sided bootstrap p-value of "worse by more than the margin".
        p_better: one-sided bootstrap p-value of "not better".
        prompts_needed: prompts at which this mean difference, if it stays, would settle "not
            worse"; None when it lies at or below the margin itself, so that no number would.
    """

    difference: Interval
    margin: float
    is_not_worse: bool
    is_better: bool
    p_not_worse: float
    p_better: float
    prompts_needed: int | None


def _per_prompt(values: ArrayLike) -> NDArray[np.float64]:
    """Return one figure a prompt, (prompts,), of (prompts,) or (prompts, seeds).

    Raises:
        ValueError: when there are fewer than two prompts, another shape, or figures that are
            not finite.
    """
    figures = np.asarray(values, dtype=np.float64)
    if figures.ndim == 2:
        figures = figures.mean(axis=1)
    if figures.ndim != 1 or len(figures) < 2:
        raise ValueError(f"expected two prompts or more, got the shape {np.shape(values)}")
    if not np.isfinite(figures).all():
        raise ValueError("a figure is not finite")
    return figures


def _t_quantile(level: float, freedom: int) -> float:
    """Return a quantile of Student's t, good to .02 from 5 degrees of freedom on.

    Source: the Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5.
    """
    z = _NORMAL.inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))


def _bootstrap(figures: NDArray[np.float64], seed: int, draws: int) -> NDArray[np.float64]:
    """Return means of resampled prompts, (draws,)."""
    count = len(figures)
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(count, np.full(count, 1 / count), size=draws)
    means: NDArray[np.float64] = weights @ figures / count
    return means


def _interval(figures: NDArray[np.float64], means: NDArray[np.float64], level: float) -> Interval:
    count = len(figures)
    mean = float(figures.mean())
    if np.ptp(figures) == 0:
        return Interval(mean, mean, mean, count)
    tail = (1 - level) / 2
    wide = math.sqrt(count / (count - 1)) * _t_quantile(tail, count - 1)
    tail = _NORMAL.cdf(wide)
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(mean, float(low), float(high), count)


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """Return the mean over prompts and its interval.

    Args:
        values: (prompts, seeds), or (prompts,).
        level: of the interval, in (0, 1).
        seed: of the resampling.
        draws: resamples.

    Raises:
        ValueError: when there are fewer than two prompts, or figures that are not finite.
    """
    figures = _per_prompt(values)
    return _interval(figures, _bootstrap(figures, seed, draws), level)


def _paired(ours: ArrayLike, theirs: ArrayLike) -> NDArray[np.float64]:
    first, second = _per_prompt(ours), _per_prompt(theirs)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} prompts cannot be paired with {len(second)}")
    return first - second


def paired_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Return the mean difference over the same prompts, and its interval.

    Args:
        ours: (prompts, seeds), or (prompts,).
        theirs: the same prompts in the same order.
        level: of the interval, in (0, 1).
        seed: of the resampling.
        draws: resamples.

    Raises:
        ValueError: when they cannot be paired, or as `mean_interval` does.
    """
    return mean_interval(_paired(ours, theirs), level=level, seed=seed, draws=draws)


def margin_of(random_truth: float, oracle_truth: float) -> float:
    """Return the loss that still counts as not worse, in truth.

    Raises:
        ValueError: when the oracle is below the pick by lot.
    """
    if oracle_truth < random_truth:
        raise ValueError(f"the oracle, {oracle_truth}, is below a pick by lot, {random_truth}")
    return MARGIN_SHARE * (oracle_truth - random_truth)


def compare(
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    margin: float,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> Claim:
    """Return the claim on one policy compared with another on the same prompts.

    Args:
        ours: truths, (prompts, seeds), or (prompts,).
        theirs: of the same prompts in the same order.
        margin: loss that still counts as not worse; see `margin_of`.
        level: of the interval, in (0, 1).
        seed: of the resampling.
        draws: resamples.

    Raises:
        ValueError: when they cannot be paired, or the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"a margin is at least 0, got {margin}")
    figures = _paired(ours, theirs)
    means = _bootstrap(figures, seed, draws)
    found = _interval(figures, means, level)
    return Claim(
        difference=found,
        margin=margin,
        is_not_worse=found.low > -margin or found.low == found.high == 0,
        is_better=found.low > 0,
        p_not_worse=_p_value(means, -margin),
        p_better=_p_value(means, 0.0),
        prompts_needed=prompts_needed(figures, margin=margin, level=level),
    )


def _p_value(means: NDArray[np.float64], bound: float) -> float:
    """Return the share of resamples at or below a bound, never quite 0."""
    return float((1 + np.count_nonzero(means <= bound)) / (1 + len(means)))


def prompts_needed(differences: ArrayLike, *, margin: float, level: float = 0.95) -> int | None:
    """Return the prompts at which "not worse" would be settled, if the mean held.

    The half-width of an interval falls with the square root of the prompts; this is where
    it meets the distance from the mean difference to the margin.

    Args:
        differences: ours less theirs, (prompts, seeds), or (prompts,).
        margin: loss that still counts as not worse.
        level: of the interval, in (0, 1).

    Returns:
        At least 2; None when the mean lies at or below the margin, and varies.
    """
    figures = _per_prompt(differences)
    sd = float(figures.std(ddof=1))
    distance = float(figures.mean()) + margin
    if distance <= 0:
        return 2 if sd == 0 and distance == 0 else None
    z = _NORMAL.inv_cdf((1 + level) / 2)
    return max(math.ceil((z * sd / distance) ** 2), 2)


def holm(p_values: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    """Return p-values adjusted for how many there are, by name (or by place, from 0).

    Source: Holm (1979): the smallest times their number, the next times one less, and so
    on, none below the one before.

    Raises:
        ValueError: when one is not in [0, 1].
    """
    named = (
        dict(p_values)
        if isinstance(p_values, Mapping)
        else {f"{place}": value for place, value in enumerate(p_values)}
    )
    wrong = [name for name, value in named.items() if not 0 <= value <= 1]
    if wrong:
        raise ValueError(f"the p-value of {wrong[0]!r} is not in [0, 1]: {named[wrong[0]]}")
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, (name, value) in enumerate(sorted(named.items(), key=lambda each: each[1])):
        highest = max(highest, min((len(named) - place) * value, 1.0))
        adjusted[name] = highest
    return {name: adjusted[name] for name in named}

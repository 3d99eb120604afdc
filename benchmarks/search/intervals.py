"""Intervals over prompts: means, paired differences, and means over pools.

The prompt is the unit. Seeds of one prompt are averaged first: more seeds make a prompt's
figure sharper, and never the sample larger. Differences are taken prompt by prompt, since
every policy met the same shuffles. Pools that have the same prompts share the draws of the
bootstrap, so that a mean over pools counts each prompt once; the pools themselves are not
drawn, so an interval of such a mean is one for these pools, not for pools to come.

The interval is the expanded percentile bootstrap: percentile intervals are too narrow in
small samples, so their level is set to what makes them as wide as Student's t would be.
Source: Hesterberg (2015), What Teachers Should Know About the Bootstrap, section 3.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DRAWS",
    "Drawn",
    "Interval",
    "Pooled",
    "drawn_mean",
    "interval_of",
    "mean_interval",
    "paired_difference",
    "pooled",
    "resamples",
]

Floats = NDArray[np.float64]

DRAWS = 10_000
"""Resamples of a bootstrap."""

LEVEL = 0.95
"""Of an interval, unless another is asked for."""

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

    @property
    def is_open(self) -> bool:
        """Whether 0 lies in it, so that a difference may have either sign."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure of some prompts and the same figure of each resample.

    Args:
        mean: the figure.
        draws: of the resamples, (draws,).
        prompts: ids, in order.
    """

    mean: float
    draws: Floats
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pooled:
    """A figure on each of several pools, and its mean over them, each pool counting once.

    Args:
        mean: over the pools, and its interval.
        by_pool: the figure of each pool, and its interval.
    """

    mean: Interval
    by_pool: Mapping[str, Interval]

    @property
    def least(self) -> tuple[str, Interval]:
        """The pool with the lowest figure."""
        return min(self.by_pool.items(), key=lambda each: each[1].mean)

    @property
    def most(self) -> tuple[str, Interval]:
        """The pool with the highest figure."""
        return max(self.by_pool.items(), key=lambda each: each[1].mean)


def _per_prompt(values: ArrayLike) -> Floats:
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


@lru_cache(maxsize=8)
def resamples(prompts: tuple[str, ...], seed: int = 0, draws: int = DRAWS) -> Floats:
    """Return the share of each prompt in each resample, (draws, prompts); rows sum to 1.

    Equal prompts are drawn equally, other prompts independently.
    """
    name = hashlib.sha256("\n".join(prompts).encode()).digest()[:8]
    lots = np.random.default_rng([seed, int.from_bytes(name, "big")])
    count = len(prompts)
    weights: Floats = lots.multinomial(count, np.full(count, 1 / count), size=draws) / count
    weights.flags.writeable = False
    return weights


def drawn_mean(figures: Floats, prompts: tuple[str, ...], seed: int = 0) -> Drawn:
    """Return the mean of a figure over prompts, and that of each resample.

    Args:
        figures: by prompt, (prompts,).
        prompts: ids, in order.
        seed: of the resampling.
    """
    return Drawn(float(figures.mean()), resamples(prompts, seed) @ figures, prompts)


def interval_of(drawn: Sequence[Drawn], level: float = LEVEL) -> Interval:
    """Return the mean of figures, each of a pool, with the interval of their resamples.

    Args:
        drawn: of one pool or several; those of equal prompts were drawn together.
        level: of the interval, in (0, 1).
    """
    draws = np.mean([each.draws for each in drawn], axis=0)
    sizes = [len(prompts) for prompts in {each.prompts for each in drawn}]
    count, freedom = sum(sizes), sum(sizes) - len(sizes)
    mean = float(np.mean([each.mean for each in drawn]))
    if np.ptp(draws) <= 1e-12 * max(abs(mean), 1.0):
        return Interval(mean, mean, mean, count)
    wide = math.sqrt(count / freedom) * _t_quantile((1 - level) / 2, freedom)
    tail = _NORMAL.cdf(wide)
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(mean, float(low), float(high), count)


def pooled(drawn: Mapping[str, Drawn]) -> Pooled:
    """Return the figures of pools by name with their mean over pools.

    Raises:
        ValueError: when there is no pool.
    """
    if not drawn:
        raise ValueError("there is no pool to take a mean over")
    by_pool = {pool: interval_of([each]) for pool, each in drawn.items()}
    return Pooled(interval_of(list(drawn.values())), by_pool)


def mean_interval(
    values: ArrayLike, *, level: float = LEVEL, seed: int = 0, draws: int = DRAWS
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
    prompts = tuple(map(str, range(len(figures))))
    drawn = Drawn(float(figures.mean()), resamples(prompts, seed, draws) @ figures, prompts)
    return interval_of([drawn], level)


def paired_difference(
    ours: ArrayLike, theirs: ArrayLike, *, level: float = LEVEL, seed: int = 0, draws: int = DRAWS
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
    first, second = _per_prompt(ours), _per_prompt(theirs)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} prompts cannot be paired with {len(second)}")
    return mean_interval(first - second, level=level, seed=seed, draws=draws)

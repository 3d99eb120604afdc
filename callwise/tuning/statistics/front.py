"""The Pareto front of settings in cost and quality, and how often each setting is on it.

A setting is on the front when no other has at least its quality for at most its cost, and is
better in one of the two. Other conversations would give other fronts: the share of draws in which
a setting is on the front measures that. It is a description: a share of .95 is no test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.bootstrap import Bootstrap, BootstrapOptions, Interval
from callwise.tuning.statistics.cluster_draws import require_same_turns
from callwise.tuning.statistics.critical import require_level

__all__ = ["Front", "FrontPoint", "is_on_front", "knee_of", "pareto_front"]

Floats = NDArray[np.float64]

DIGITS = 11
"""Significant digits in which two settings must differ to count as different."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One setting in the plane of cost and quality.

    Args:
        front_share: share of draws in which none does, in [0, 1].
    """

    setting: str
    cost: Interval
    quality: Interval
    is_on_front: bool
    front_share: float


@dataclass(frozen=True, slots=True)
class Front:
    """All settings in the plane of cost and quality.

    Args:
        points: by setting, those with a known cost and quality, in the panels' order.
        knee: the one of them past which quality is bought most dearly; None of an empty front.
    """

    points: dict[str, FrontPoint]
    front: tuple[str, ...]
    knee: str | None
    left_out: tuple[str, ...]
    why_empty: str = ""


def is_on_front(costs: Floats, qualities: Floats) -> NDArray[np.bool_]:
    """Return which points no other of their row dominates; equal points are all on the front.

    Args:
        costs: (..., S) lower is better.
        qualities: (..., S) higher is better.

    Returns:
        (..., S); False where a cost or a quality is NaN.
    """
    is_known = ~(np.isnan(costs) | np.isnan(qualities))
    cost = _rounded(np.where(is_known, costs, np.inf))
    quality = _rounded(np.where(is_known, qualities, -np.inf))
    order = np.lexsort((-quality, cost), axis=-1)
    cost = np.take_along_axis(cost, order, axis=-1)
    quality = np.take_along_axis(quality, order, axis=-1)
    best_before = np.roll(np.maximum.accumulate(quality, axis=-1), 1, axis=-1)
    best_before[..., :1] = -np.inf
    is_first = quality > best_before
    # An equal point comes right after the one that it equals, and shares its place.
    is_twin = (cost == np.roll(cost, 1, axis=-1)) & (quality == np.roll(quality, 1, axis=-1))
    is_twin[..., :1] = False
    leader = np.maximum.accumulate(np.where(is_twin, 0, np.arange(cost.shape[-1])), axis=-1)
    on_front = np.take_along_axis(is_first, leader, axis=-1)
    found = np.zeros_like(on_front)
    np.put_along_axis(found, order, on_front, axis=-1)
    answer: NDArray[np.bool_] = found & is_known
    return answer


def _rounded(values: Floats) -> Floats:
    """Return values without digits that are only the order of a sum."""
    finite = np.abs(values[np.isfinite(values)])
    size = float(finite.max(initial=0.0))
    if size == 0:
        return values
    places = DIGITS - int(np.floor(np.log10(size))) - 1
    rounded: Floats = np.round(values, places)
    return rounded


def knee_of(costs: Sequence[float], qualities: Sequence[float]) -> int | None:
    """Return the place of the knee of a front: the point farthest above the ends' chord.

    Both axes are scaled to the front's own range. The ends lie on the chord, at distance 0, so
    of two points the cheaper is the knee, and of one point that one; ties go to the cheaper.

    Source: maximum distance to the chord, as in Satopaa et al. (2011), Kneedle, without its
    smoothing.

    Args:
        costs: of the points on a front, in ascending order.

    Returns:
        None of no points.
    """
    if not len(costs):
        return None
    cost, quality = np.asarray(costs, dtype=float), np.asarray(qualities, dtype=float)
    width, height = float(np.ptp(cost)), float(np.ptp(quality))
    if width == 0 or height == 0:
        return 0
    above = (quality - quality[0]) / height - (cost - cost[0]) / width
    return int(np.argmax(np.round(above, DIGITS)))


def pareto_front(
    cost: Panel,
    quality: Panel,
    *,
    level: float = 0.95,
    **options: Unpack[BootstrapOptions],
) -> Front:
    """Return the front of cost, lower being better, and quality, higher being better.

    Raises:
        ValueError: when the panels are not of the same turns, or as `mean_intervals` does.
    """
    require_same_turns(cost, quality)
    axes = [Bootstrap(panel, **options) for panel in (cost, quality)]
    require_level(level, axes[0].draw_count)
    means = [axis.sums.means for axis in axes]
    is_known = ~np.isnan(means[0]) & ~np.isnan(means[1])
    left_out = tuple(n for n, ok in zip(cost.settings, is_known, strict=True) if not ok)
    if not is_known.any():
        return Front({}, (), None, left_out, _why_empty(means[0], means[1]))
    on_front = is_on_front(means[0], means[1])
    drawn = [axis.draws.means(axis.sums).T for axis in axes]
    shares = is_on_front(drawn[0], drawn[1]).mean(axis=0)
    intervals = [axis.mean_intervals(level) for axis in axes]
    points = {
        name: FrontPoint(
            setting=name,
            cost=intervals[0][name],
            quality=intervals[1][name],
            is_on_front=bool(on_front[at]),
            front_share=float(shares[at]),
        )
        for at, name in enumerate(cost.settings)
        if is_known[at]
    }
    order = [at for at in np.lexsort((-means[1], means[0])).tolist() if on_front[at]]
    knee = knee_of(means[0][order].tolist(), means[1][order].tolist())
    return Front(
        points=points,
        front=tuple(cost.settings[at] for at in order),
        knee=None if knee is None else cost.settings[order[knee]],
        left_out=left_out,
    )


def _why_empty(costs: Floats, qualities: Floats) -> str:
    if not len(costs):
        return "the sweep has no rows, so there is no front: run at least one setting"
    if np.isnan(qualities).all():
        return (
            f"none of {len(costs)} settings has a known quality, so there is no front: "
            "let a referee judge the replies, or give human labels"
        )
    return (
        f"none of {len(costs)} settings has both a known cost and a known quality, so there is "
        "no front: price the models, or take calls as the cost"
    )

"""The maximum of independent normals: its mean, and who attains it. Integrated on a grid.

The one room of the search that needs numpy; whoever wants it imports it when it is needed,
so that a plan is made without.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance_of_max", "expected_max"]

_MIN_POINTS, _MAX_POINTS = 201, 20_001
_POINTS_PER_SD = 2.0
_REACH_SDS = 6.0
_MIN_SD = 1e-9


def _erf(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error function, to 1.5e-7. Source: Abramowitz and Stegun 7.1.26."""
    size = np.abs(values)
    t = 1 / (1 + 0.3275911 * size)
    poly = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    signed: NDArray[np.float64] = np.sign(values) * (1 - poly * np.exp(-size * size))
    return signed


def _grid(
    means: Sequence[float], sds: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return points, and each one's standard score for each normal: (points,), (n, points)."""
    centre = np.asarray(means, dtype=np.float64)
    width = np.maximum(np.asarray(sds, dtype=np.float64), _MIN_SD)
    low = float(np.max(centre - _REACH_SDS * width))
    high = float(np.max(centre + _REACH_SDS * width))
    # The narrowest of them must not fall between two points.
    wanted = math.ceil((high - low) / float(np.min(width)) * _POINTS_PER_SD) + 1
    points = np.linspace(low, high, min(max(wanted, _MIN_POINTS), _MAX_POINTS))
    return points, (points - centre[:, None]) / width[:, None], width


def _integral(values: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Return the integral over evenly spaced points, by trapezoids."""
    step = float(points[1] - points[0])
    return step * (float(values.sum()) - (float(values[0]) + float(values[-1])) / 2)


def expected_max(means: Sequence[float], sds: Sequence[float]) -> float:
    """Return the expected maximum of independent normals.

    Args:
        means: at least one.
        sds: as many, at least 0.
    """
    if len(means) == 1:
        return float(means[0])
    points, scores, _ = _grid(means, sds)
    below = np.prod(0.5 * (1 + _erf(scores / math.sqrt(2))), axis=0)
    return float(points[-1]) - _integral(below, points)


def chance_of_max(means: Sequence[float], sds: Sequence[float], place: int) -> float:
    """Return the probability that one of several independent normals is the highest, in [0, 1].

    Args:
        means: at least two.
        sds: as many, at least 0.
        place: which one, from 0.
    """
    points, scores, width = _grid(means, sds)
    below = 0.5 * (1 + _erf(scores / math.sqrt(2)))
    others = np.prod(np.delete(below, place, axis=0), axis=0)
    density = np.exp(-0.5 * scores[place] ** 2) / (math.sqrt(2 * math.pi) * width[place])
    return min(max(_integral(density * others, points), 0.0), 1.0)

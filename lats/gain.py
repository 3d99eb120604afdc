"""What another call would be worth: the expected rise of the best posterior mean.

Source: the knowledge gradient (Frazier, Powell and Dayanik 2008) for independent normal
beliefs, computed for whole calls: a judge call reads several candidates at once, so the
expectation is over all of their means moving together. The expected maximum is integrated
on a grid; candidates far below the leader add nothing and are left out.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lats.noise import NoiseModel
from lats.posterior import Belief

__all__ = ["chance_best", "expected_max", "gain_of_candidates", "gain_of_pass"]

_GRID = 201
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
    points = np.linspace(low, high, _GRID)
    return points, (points - centre[:, None]) / width[:, None], width


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
    return float(points[-1] - np.trapezoid(below, points))


def chance_best(beliefs: Sequence[Belief], place: int) -> float:
    """Return the probability that one of several beliefs is the highest, in [0, 1].

    Args:
        beliefs: at least one.
        place: which one, from 0.
    """
    if len(beliefs) == 1:
        return 1.0
    sds = [each.sd for each in beliefs]
    points, scores, width = _grid([each.mean for each in beliefs], sds)
    below = 0.5 * (1 + _erf(scores / math.sqrt(2)))
    others = np.prod(np.delete(below, place, axis=0), axis=0)
    density = np.exp(-0.5 * scores[place] ** 2) / (math.sqrt(2 * math.pi) * width[place])
    return float(min(max(np.trapezoid(density * others, points), 0.0), 1.0))


def _movement(variance: float, noise: NoiseModel) -> float:
    """Return how far one more score would move a belief's mean, as an SD."""
    own_noise = (1 - noise.reliability) * noise.spread
    return variance / math.sqrt(variance + own_noise)


def gain_of_pass(beliefs: Sequence[Belief], noise: NoiseModel) -> float:
    """Return what one judge call over these candidates is expected to add to the answer.

    Args:
        beliefs: of the candidates that it would read; at least one, in any order.
        noise: what is known of the judge.

    Returns:
        In score, at least 0.
    """
    means = [each.mean for each in beliefs]
    moved = [_movement(each.variance, noise) for each in beliefs]
    return max(expected_max(means, moved) - max(means), 0.0)


def gain_of_candidates(
    beliefs: Sequence[Belief], noise: NoiseModel, *, k: int, prior_mean: float
) -> float:
    """Return what `k` new candidates, judged once beside these, are expected to add.

    Args:
        beliefs: of the candidates that the judge would read beside the new ones.
        noise: what is known of the judge.
        k: new candidates, at least 1.
        prior_mean: score expected of each of them.

    Returns:
        In score, at least 0. It takes two calls: one to propose and one to judge.
    """
    new = Belief(prior_mean, noise.reliability * noise.spread)
    best = max(each.mean for each in beliefs)
    both = [*beliefs, *[new] * k]
    moved = [_movement(each.variance, noise) for each in both]
    return max(expected_max([each.mean for each in both], moved) - best, 0.0)

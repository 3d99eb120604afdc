"""What another call would be worth: the expected rise of the best posterior mean.

Source: the knowledge gradient (Frazier, Powell and Dayanik 2008) for independent normal
beliefs, computed for whole calls: a judge call reads several candidates at once, so the
expectation is over all of their means moving together.
"""

import math
from collections.abc import Sequence

from lats.noise import NoiseModel
from lats.posterior import Belief

__all__ = ["chance_best", "expected_max", "gain_of_candidates", "gain_of_pass"]


def expected_max(means: Sequence[float], sds: Sequence[float]) -> float:
    """Return the expected maximum of independent normals.

    Args:
        means: at least one.
        sds: as many, at least 0.
    """
    if len(means) == 1:
        return float(means[0])
    from lats import normal_max  # noqa: PLC0415 - numpy takes longer to load than a plan

    return normal_max.expected_max(means, sds)


def chance_best(beliefs: Sequence[Belief], place: int) -> float:
    """Return the probability that one of several beliefs is the highest, in [0, 1].

    Args:
        beliefs: at least one.
        place: which one, from 0.
    """
    if len(beliefs) == 1:
        return 1.0
    from lats import normal_max  # noqa: PLC0415 - numpy takes longer to load than a plan

    means, sds = [each.mean for each in beliefs], [each.sd for each in beliefs]
    return normal_max.chance_of_max(means, sds, place)


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

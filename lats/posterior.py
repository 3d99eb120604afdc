"""The posterior of a candidate's quality: a normal, from its prior and its scores.

    quality ~ N(prior, r V)         V: spread of scores within a call; prior: the mean of
                                    all, or the parent's mean and what refining has added
    score   ~ N(quality + drift of the call, (1 - r) V)       r: the judge's reliability

So with n scores the posterior mean is `(prior (1 - r) + r * score_sum) / (1 - r + r n)`,
and V cancels: only how reliable the judge is decides how far a lucky score is believed.
That is what cures the winner's curse when counts are uneven.

A call's drift is estimated from the residuals of all it read, each weighted by how much
is known of its candidate, and removed before scores are added up. Candidates that were
judged before (anchors) thereby tie the calls together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lats.candidate import Candidate
from lats.noise import NoiseModel

__all__ = ["Belief", "belief", "drift_of", "means_by"]

DRIFT_SHARE = 1.0
"""Assumed variance of a call's drift, in units of the spread. A drift that is plainly larger is
its own evidence that this one varies more: nearly all of it is removed."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of a candidate's quality: a normal distribution.

    Args:
        mean: in score.
        variance: in score squared; above 0.
    """

    mean: float
    variance: float

    @property
    def sd(self) -> float:
        """Its square root, in score."""
        return math.sqrt(self.variance)


def belief(node: Candidate, noise: NoiseModel) -> Belief:
    """Return what is believed of a candidate."""
    reliability, spread = noise.reliability, noise.spread
    prior = noise.grand_mean if node.prior_mean is None else node.prior_mean + noise.refine_shift
    weight = 1 - reliability + reliability * node.score_count
    mean = (prior * (1 - reliability) + reliability * node.score_sum) / weight
    return Belief(mean, spread * reliability * (1 - reliability) / weight)


def means_by(noise: NoiseModel) -> Callable[[Candidate], float]:
    """Return what gives `belief(...).mean` of many candidates, reading the judge's noise once."""
    reliability, grand_mean, shift = noise.reliability, noise.grand_mean, noise.refine_shift
    doubt = 1 - reliability

    def mean(node: Candidate) -> float:
        prior = grand_mean if node.prior_mean is None else node.prior_mean + shift
        weight = doubt + reliability * node.score_count
        return (prior * doubt + reliability * node.score_sum) / weight

    return mean


def drift_of(scored: list[tuple[Candidate, float]], noise: NoiseModel) -> float:
    """Return how much a call's scores lie above what they would be in an average call.

    Args:
        scored: candidates that the call read, each with its score.
        noise: what is known of the judge, this call left out.

    Returns:
        In score. 0 for a call that read one candidate, which says nothing of drift, and for
        the first call, which is what later ones are measured against.
    """
    if len(scored) < 2 or not noise.mean_count:
        return 0.0
    reliability, spread, believed = noise.reliability, noise.spread, means_by(noise)
    doubt = 1 - reliability
    weighted = total = 0.0
    for node, score in scored:
        # One over what a score varies by: the belief's variance and the judge's noise.
        known = doubt + reliability * node.score_count
        weight = known / (spread * doubt * (reliability + known))
        weighted += weight * (score - believed(node))
        total += weight
    seen, uncertainty = weighted / total, 1 / total
    varies = max(DRIFT_SHARE * spread, seen * seen - uncertainty)
    return seen * varies / (varies + uncertainty)

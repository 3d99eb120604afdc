"""Posterior of a candidate's quality: a normal, from its prior and its scores.

    quality ~ N(prior, r V)         V: spread of scores within a call; prior: below
    score   ~ N(quality + drift of the call, (1 - r) V)       r: the judge's reliability

The prior of a candidate from scratch is the mean of those; of a step, its parent's mean and what
steps have added so far. That of a refined answer is what refinements have brought so far, and
from nothing known the mean of the candidates from scratch: a leader leads by luck as well, and a
child that inherited the luck would win by one more lucky score.

So with n scores the posterior mean is `(prior (1 - r) + r * score_sum) / (1 - r + r n)`,
and V cancels: only how reliable the judge is decides how far a lucky score is believed.
That is what cures the winner's curse when counts are uneven.

A call's drift is estimated from the residuals of all candidates it read, each weighted by how
much is known of it, and removed before scores are added up. Candidates that were judged before
(anchors) thereby tie the calls together.

**Noise of the judge**, learned while it judges, starting from an assumption.

Two variances matter. `spread` is the variance of scores between the candidates of one
call: true differences and noise together. `noise` is the variance of a candidate's scores
between calls, drift removed. `1 - noise / spread` is the judge's reliability: the
correlation of two of its judgements of the same candidates.

Both start from a few imagined observations, so that the first real ones do not move them
far. Source: an inverse-gamma prior for each, read at its mean; the idea of reliability as
intraclass correlation is Shrout and Fleiss (1979).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from lats.search_tree import Candidate, Count

__all__ = ["Belief", "NoiseModel", "belief", "drift_of", "posterior_means"]

PRIOR_SPREAD = 0.15**2
"""Assumed variance of scores within a call, in score squared."""

PRIOR_SPREAD_WEIGHT = 1.0
"""Observations that the assumed spread counts for."""

PRIOR_NOISE_WEIGHT = 2.0
"""Observations that the assumed reliability counts for: two passes over a few candidates are to
tell a judge that repeats itself from one that does not."""

PRIOR_SHIFT_WEIGHT = 4.0
"""Observations that no gain of refinements and steps counts for."""

MIN_RELIABILITY, MAX_RELIABILITY = 0.05, 0.98

EXACT_RELIABILITY = 1 - 1e-9
"""Reliability of exact scores: a belief is the score itself, and of unscored ones the prior."""

_SumOfSquares = Annotated[float, Field(ge=0)]


@dataclass(slots=True)
class NoiseModel:
    """A judge's noise, as far as it is known.

    Args:
        prior_reliability: assumed correlation of two judgements, in (0, 1).
        spread_sum: sum of squared deviations from their call's mean.
        spread_weight: degrees of freedom in that sum.
        noise_sum: sum of squared deviations of repeated scores from their candidate's mean.
        noise_weight: degrees of freedom in that sum.
        mean_sum: sum of the drift-corrected scores of candidates from scratch.
        shift_sum: sum of the differences between steps' scores and their parent's posterior
            mean.
        refined_sum: sum of the drift-corrected scores of refined answers.
        is_exact: whether scores have no noise at all: a verifier gives them.
    """

    prior_reliability: Annotated[float, Field(gt=0, lt=1)]
    spread_sum: _SumOfSquares = 0.0
    spread_weight: Count = 0
    noise_sum: _SumOfSquares = 0.0
    noise_weight: Count = 0
    mean_sum: float = 0.0
    mean_count: Count = 0
    shift_sum: float = 0.0
    shift_count: Count = 0
    refined_sum: float = 0.0
    refined_count: Count = 0
    is_exact: Annotated[bool, Field(exclude_if=lambda is_exact: not is_exact)] = False

    @property
    def spread(self) -> float:
        """Variance of scores within a call, above 0."""
        total = PRIOR_SPREAD_WEIGHT * PRIOR_SPREAD + self.spread_sum
        return total / (PRIOR_SPREAD_WEIGHT + self.spread_weight)

    @property
    def reliability(self) -> float:
        """Correlation of two judgements, in [.05, .98]; of exact ones next to 1."""
        if self.is_exact:
            return EXACT_RELIABILITY
        spread = self.spread
        prior = PRIOR_NOISE_WEIGHT * (1 - self.prior_reliability) * spread
        noise = (prior + self.noise_sum) / (PRIOR_NOISE_WEIGHT + self.noise_weight)
        return min(max(1 - noise / spread, MIN_RELIABILITY), MAX_RELIABILITY)

    @property
    def grand_mean(self) -> float:
        """Mean score of candidates from scratch; 0.5 before there is one."""
        return self.mean_sum / self.mean_count if self.mean_count else 0.5

    @property
    def step_shift(self) -> float:
        """Expected gain of a step over its parent, in score; 0 at first."""
        return self.shift_sum / (PRIOR_SHIFT_WEIGHT + self.shift_count)

    @property
    def refined_mean(self) -> float:
        """Expected score of a refined answer; the mean of those from scratch at first."""
        total = PRIOR_SHIFT_WEIGHT * self.grand_mean + self.refined_sum
        return total / (PRIOR_SHIFT_WEIGHT + self.refined_count)

    def note_call(self, scores: list[float]) -> None:
        """Add the scores of one call, as they came."""
        if len(scores) > 1:
            mean = math.fsum(scores) / len(scores)
            self.spread_sum += math.fsum([(score - mean) ** 2 for score in scores])
            self.spread_weight += len(scores) - 1

    def note_repeat(self, score: float, *, mean_before: float, count_before: int) -> None:
        """Add another score of a candidate that had some, drift removed."""
        self.noise_sum += (score - mean_before) ** 2 * count_before / (count_before + 1)
        self.noise_weight += 1


DRIFT_SHARE = 1.0
"""Assumed variance of a call's drift, in units of the spread. A drift that is plainly larger is
its own evidence that this one varies more: nearly all of it is removed."""


@dataclass(frozen=True, slots=True)
class Belief:
    """The posterior of a candidate's quality: a normal distribution.

    Args:
        mean: in score.
        variance: in score squared; above 0.
    """

    mean: float
    variance: float

    @property
    def sd(self) -> float:
        """Standard deviation, in score."""
        return math.sqrt(self.variance)


def belief(node: Candidate, noise: NoiseModel) -> Belief:
    """Return the posterior of a candidate's quality."""
    reliability = noise.reliability
    weight = 1 - reliability + reliability * node.score_count
    variance = noise.spread * reliability * (1 - reliability) / weight
    return Belief(posterior_means((node,), noise)[0], variance)


def posterior_means(nodes: Iterable[Candidate], noise: NoiseModel) -> list[float]:
    """Return `belief(...).mean` of each candidate."""
    reliability, shift, grand_mean = noise.reliability, noise.step_shift, noise.grand_mean
    refined_mean = noise.refined_mean if noise.refined_count else grand_mean
    doubt = 1 - reliability
    means = []
    for node in nodes:
        if node.prior_mean is not None:
            prior = node.prior_mean + shift
        else:
            prior = refined_mean if node.depth > 1 else grand_mean
        weight = doubt + reliability * node.score_count
        means.append((prior * doubt + reliability * node.score_sum) / weight)
    return means


def drift_of(scored: list[tuple[Candidate, float]], noise: NoiseModel) -> float:
    """Return how much higher a call's scores are than in an average call, in score.

    0 for a call that read one candidate, from which drift cannot be estimated, and for the
    first call, against which later ones are measured.

    Args:
        scored: candidates that the call read, each with its score.
        noise: of the judge, this call left out.
    """
    if len(scored) < 2 or not noise.mean_count:
        return 0.0
    # What is expected of a candidate that was never read is a guess: progress is no drift.
    scored = [(node, score) for node, score in scored if node.score_count] or scored
    reliability, spread = noise.reliability, noise.spread
    doubt = 1 - reliability
    means = posterior_means([node for node, _ in scored], noise)
    weighted = total = 0.0
    for (node, score), mean in zip(scored, means, strict=True):
        # One over what a score varies by: the belief's variance and the judge's noise.
        known = doubt + reliability * node.score_count
        weight = known / (spread * doubt * (reliability + known))
        weighted += weight * (score - mean)
        total += weight
    seen, uncertainty = weighted / total, 1 / total
    varies = max(DRIFT_SHARE * spread, seen * seen - uncertainty)
    return seen * varies / (varies + uncertainty)

"""How noisy a judge is: learned while it judges, starting from an assumption.

Two variances matter. `spread` is the variance of scores between the candidates of one
call: true differences and noise together. `noise` is the variance of a candidate's scores
between calls, drift removed. `1 - noise / spread` is the judge's reliability: the
correlation of two of its judgements of the same candidates.

Both start from a few imagined observations, so that the first real ones do not throw them
about. Source: an inverse-gamma prior for each, read at its mean; the idea of reliability as
intraclass correlation is Shrout and Fleiss (1979).
"""

import math
from dataclasses import dataclass

__all__ = ["NoiseModel"]

PRIOR_SPREAD = 0.15**2
"""Assumed variance of scores within a call, in score squared."""

PRIOR_SPREAD_WEIGHT = 1.0
"""Observations that the assumed spread counts for."""

PRIOR_NOISE_WEIGHT = 6.0
"""Observations that the assumed reliability counts for."""

PRIOR_SHIFT_WEIGHT = 4.0
"""Observations that no shift at all counts for."""

MIN_RELIABILITY, MAX_RELIABILITY = 0.05, 0.98


@dataclass(slots=True)
class NoiseModel:
    """What is known of a judge's noise.

    Args:
        prior_reliability: assumed correlation of two judgements, in (0, 1).
        spread_sum: sum of squared deviations from their call's mean.
        spread_weight: degrees of freedom in that sum.
        noise_sum: sum of squared deviations of repeated scores from their candidate's mean.
        noise_weight: degrees of freedom in that sum.
        mean_sum: sum of the drift-corrected scores of candidates from scratch.
        mean_count: how many those are.
        shift_sum: sum of how far refined candidates scored above what was expected of them:
            their parent's posterior mean.
        shift_count: how many those are.
    """

    prior_reliability: float
    spread_sum: float = 0.0
    spread_weight: int = 0
    noise_sum: float = 0.0
    noise_weight: int = 0
    mean_sum: float = 0.0
    mean_count: int = 0
    shift_sum: float = 0.0
    shift_count: int = 0

    @property
    def spread(self) -> float:
        """Variance of scores within a call, above 0."""
        total = PRIOR_SPREAD_WEIGHT * PRIOR_SPREAD + self.spread_sum
        return total / (PRIOR_SPREAD_WEIGHT + self.spread_weight)

    @property
    def reliability(self) -> float:
        """Correlation of two judgements of the same candidates, in [.05, .98]."""
        spread = self.spread
        prior = PRIOR_NOISE_WEIGHT * (1 - self.prior_reliability) * spread
        noise = (prior + self.noise_sum) / (PRIOR_NOISE_WEIGHT + self.noise_weight)
        return min(max(1 - noise / spread, MIN_RELIABILITY), MAX_RELIABILITY)

    @property
    def grand_mean(self) -> float:
        """Mean score of candidates from scratch; 0.5 before there is one."""
        return self.mean_sum / self.mean_count if self.mean_count else 0.5

    @property
    def refine_shift(self) -> float:
        """How far a refined candidate is expected to score above its parent; 0 at first."""
        return self.shift_sum / (PRIOR_SHIFT_WEIGHT + self.shift_count)

    def note_call(self, scores: list[float]) -> None:
        """Take in the scores of one call, as they came."""
        if len(scores) > 1:
            mean = math.fsum(scores) / len(scores)
            self.spread_sum += math.fsum((score - mean) ** 2 for score in scores)
            self.spread_weight += len(scores) - 1

    def note_repeat(self, score: float, *, mean_before: float, count_before: int) -> None:
        """Take in another score of a candidate that had some, drift removed."""
        self.noise_sum += (score - mean_before) ** 2 * count_before / (count_before + 1)
        self.noise_weight += 1

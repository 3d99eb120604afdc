"""EWMA control chart of one signal, whose false-alarm rate does not depend on its level.

Problem: mean and spread of a run's latency are not known in advance. A chart that estimates them
from a first stretch and then treats them as known raises false alarms far more often than its
tables state.

Choice: a self-starting chart. Each value is compared with all values before it; the deviation,
divided by the estimated spread, has Student's t distribution, and is turned into the normal score
of the same probability. For independent normal values these scores are independent and standard
normal from the first on, so that the average run length between false alarms is that of a chart
with known parameters: `ARL0` windows. After an alarm the chart begins again at the new level.

Sources: Roberts 1959 (EWMA); Lucas and Saccucci 1990, Technometrics 32:1 (run lengths, by a Markov
chain); Hawkins 1987, The Statistician 36 (self-starting); Wallace 1959, Ann. Math. Stat. 30 (the
normal score of a t value). The limit is ours, for one week of minutes.
"""

import math

__all__ = ["ARL0", "LEAST_VALUES", "ControlChart"]

ARL0 = 10_080
"""Mean number of windows between two false alarms of one chart: a week of minutes."""

WEIGHT = 0.2
"""Weight of the latest value in the average."""

LIMIT_SIGMAS = 3.8365
"""Limit in standard deviations of the average, for `ARL0` at this weight."""

LEAST_VALUES = 20
"""Values from which on a chart judges."""


class ControlChart:
    """Watches a signal for a change of its level, up or down.

    Args:
        least_spread: smallest standard deviation that is taken for the signal, above 0: a change
            within it is none.
    """

    def __init__(self, least_spread: float) -> None:
        self._least_spread = least_spread
        self.restart()

    def restart(self) -> None:
        """Forget the level."""
        self._count = 0
        self._mean = self._squares = self._average = 0.0
        self.score: float | None = None
        """The average in parts of its limit; None while too few values are known."""

    def add(self, value: float, least_spread: float = 0.0) -> bool:
        """Add the value of a window; return whether it is an anomaly.

        Args:
            least_spread: that of this value, where it is larger than the chart's.
        """
        is_anomaly = False
        self.score = None
        if self._count >= LEAST_VALUES:
            free = self._count - 1
            spread = math.sqrt(self._squares / free)
            # Both grow by the error of the estimated mean.
            ratio = math.sqrt(1 + 1 / self._count)
            deviation = (value - self._mean) / ratio
            least = max(self._least_spread, least_spread)
            score = deviation / least if spread < least else _normal_score(deviation / spread, free)
            self._average = WEIGHT * score + (1 - WEIGHT) * self._average
            sigma = math.sqrt(WEIGHT / (2 - WEIGHT))
            self.score = self._average / (LIMIT_SIGMAS * sigma)
            is_anomaly = abs(self.score) >= 1
        if is_anomaly:
            found = self.score
            self.restart()
            self.score = found
        self._count += 1
        shift = value - self._mean
        self._mean += shift / self._count
        self._squares += shift * (value - self._mean)
        return is_anomaly


def _normal_score(t: float, free: int) -> float:
    """Return the standard normal value of the same probability as a t value, by Wallace."""
    part = (8 * free + 1) / (8 * free + 3)
    return math.copysign(part * math.sqrt(free * math.log1p(t * t / free)), t)

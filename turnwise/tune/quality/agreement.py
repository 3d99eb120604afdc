"""How far people agree who rated the same replies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from turnwise.tune.row import ReplyKey

__all__ = ["Agreement", "agreement_of"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of raters, over the replies that at least two of them rated.

    Args:
        raters: how many people rated anything.
        shared_replies: replies that at least two of them rated.
        pairs: pairs of ratings of one reply by two people.
        equal_share: share of those pairs that are equal, in [0, 1].
        mean_distance: mean distance of a pair, in the unit of the scale.
        alpha: Krippendorff's alpha for interval data: 1 is full agreement, 0 is chance, below
            0 is worse than chance. None where all ratings are equal: then nothing varies
            that could be agreed on.
    """

    raters: int
    shared_replies: int
    pairs: int
    equal_share: float
    mean_distance: float
    alpha: float | None

    def sentence(self) -> str:
        """Return the figures in one line."""
        alpha = "not defined" if self.alpha is None else f"{self.alpha:.3f}"
        return (
            f"{self.raters} raters, {self.shared_replies} replies rated by two or more: "
            f"Krippendorff's alpha {alpha} (interval), {self.equal_share:.0%} of pairs equal, "
            f"mean distance {self.mean_distance:.3g}"
        )


def agreement_of(ratings: Mapping[ReplyKey, Mapping[str, float]]) -> Agreement | None:
    """Return how far raters agree; None where no two of them rated the same reply.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), the canonical
    form with missing data: alpha = 1 - D_observed / D_expected with squared distances, each
    rating of a reply weighted by one over the other ratings of that reply.

    Args:
        ratings: by reply, then by rater.
    """
    shared = [list(own.values()) for own in ratings.values() if len(own) >= 2]
    if not shared:
        return None
    distances = [abs(a - b) for values in shared for a, b in combinations(values, 2)]
    pooled = np.array([value for values in shared for value in values])
    observed = math.fsum(_squared(np.array(values)) / (len(values) - 1) for values in shared)
    expected = _squared(pooled) / (len(pooled) - 1)
    return Agreement(
        raters=len({rater for own in ratings.values() for rater in own}),
        shared_replies=len(shared),
        pairs=len(distances),
        equal_share=float(np.mean([distance == 0 for distance in distances])),
        mean_distance=float(np.mean(distances)),
        alpha=None if expected <= 0 else float(1.0 - observed / expected),
    )


def _squared(values: NDArray[np.float64]) -> float:
    """Return the sum of squared distances over ordered pairs of values."""
    if np.ptp(values) == 0:
        return 0.0
    centred = values - values.mean()
    return float(2.0 * len(values) * np.sum(centred**2))

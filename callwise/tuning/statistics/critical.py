"""Critical values: standard errors from a figure to its bound, for one figure or many together.

A studentised interval has two forms. The symmetric one takes a quantile of the draws' distances
in either direction; the equal-tailed one takes one for each side. In simulation each is a little
short where the other is not (`docs/statistics.md`), so each end is the farther of both.

For many figures together each keeps its own ends, all widened by one common factor: the quantile,
over draws, of the largest distance of any figure, in units of its ends. A figure with a
heavy-tailed distribution therefore does not widen the others.

Source: Hall (1992), The Bootstrap and Edgeworth Expansion, 3.5 and 3.6; for many together the
max-t of Westfall and Young (1993), balanced in the sense of Beran (1988).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CriticalValue",
    "common_factor",
    "critical_values_of",
    "holm",
    "p_values",
    "require_level",
    "width_of",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CriticalValue:
    """Standard errors from a figure down to its lower end, and up to its upper end.

    Args:
        down: (F,) at least 0; infinity where the draws are too few for the level.
        up: (F,) the same.
    """

    down: Floats
    up: Floats

    def of(self, places: NDArray[np.intp]) -> "CriticalValue":
        """Return the critical values of some of the figures."""
        return CriticalValue(self.down[places], self.up[places])


def require_level(level: float, draws: int) -> None:
    """Check that draws are enough for a two-sided interval of a level.

    Raises:
        ValueError: when the level is not in (0, 1), or its tail contains no draw.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level}")
    needed = math.ceil(2 / (1 - level)) - 1
    if draws < needed:
        raise ValueError(f"level {level} needs {needed} draws or more, got {draws}")


def _upper(values: Floats, tail: float) -> Floats:
    """Return (F,) the least value that at most a share `tail` of draws (and one more) exceeds."""
    draws = values.shape[-1]
    place = math.ceil((draws + 1) * (1 - tail) - 1e-9)
    if place > draws:
        return np.full(values.shape[:-1], np.inf)
    found: Floats = np.partition(values, place - 1, axis=-1)[..., place - 1]
    return found


def critical_values_of(distances: Floats, tail: float) -> CriticalValue:
    """Return the critical values of each figure, `tail` left out beyond each end.

    Args:
        distances: (F, B) in standard errors.
        tail: share left out at one end, in (0, .5).
    """
    both = _upper(np.abs(distances), 2 * tail)
    return CriticalValue(
        down=np.maximum(both, _upper(distances, tail)),
        up=np.maximum(both, _upper(-distances, tail)),
    )


def width_of(critical: Floats, standard_errors: Floats, factor: Floats | float = 1.0) -> Floats:
    """Return (F,) the distance of a bound from its figure.

    It is 0 for a figure that does not vary, even where the draws are too few for a bound.

    Args:
        critical: (F,) in standard errors, one side of a `CriticalValue`.
        standard_errors: (F,) at least 0.
    """
    varies = standard_errors > 0
    found: Floats = np.zeros(len(standard_errors))
    factors = np.broadcast_to(factor, found.shape)
    found[varies] = critical[varies] * standard_errors[varies] * factors[varies]
    return found


def common_factor(
    distances: Floats, critical: CriticalValue, level: float, *, is_lower_only: bool
) -> float:
    """Return the factor that makes all intervals valid together; at least 1.

    Args:
        distances: (F, B) in standard errors.
        is_lower_only: whether only lower ends must be valid.
    """
    if not len(distances):
        return 1.0
    farthest = np.zeros(distances.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        for distance, down, up in zip(distances, critical.down, critical.up, strict=True):
            # A figure that never varies has no critical value.
            if down > 0:
                np.maximum(farthest, distance / down, out=farthest)
            if up > 0 and not is_lower_only:
                np.maximum(farthest, -distance / up, out=farthest)
    return max(1.0, float(_upper(farthest, 1 - level)))


def p_values(distances: Floats, observed: Floats) -> Floats:
    """Return (F,) two-sided p-values of no difference, consistent with the interval.

    Args:
        distances: (F, B) in standard errors.
        observed: (F,) the figures in their standard errors; infinite where they do not vary.
    """
    draws = distances.shape[1]
    size = np.abs(observed)[:, None]
    both = (1 + (np.abs(distances) >= size).sum(axis=1)) / (draws + 1)
    beyond = np.where(observed[:, None] >= 0, distances >= size, -distances >= size)
    one = 2 * (1 + beyond.sum(axis=1)) / (draws + 1)
    found: Floats = np.minimum(np.maximum(both, one), 1.0)
    return found


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for how many there are.

    Source: Holm (1979): the smallest times their number, the next times one less, and so on,
    none below the one before.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    found = np.empty_like(adjusted)
    found[order] = adjusted
    return found

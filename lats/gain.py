"""Expected gain of another call: how far it raises the best posterior mean.

Source: the knowledge gradient (Frazier, Powell and Dayanik 2008) for independent normal
beliefs, computed for whole calls: a judge call reads several candidates together, so the
expectation is over all of their means moving together. The knob `min_gain` is compared with it
in standard deviations of the scores within a call: judges use a tenth of their scale or all of it.
"""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from lats.posterior import Belief, NoiseModel, belief
from lats.result import StopReason
from lats.search_state import SearchState
from lats.search_tree import Candidate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BestNextCall",
    "best_next_call",
    "chance_best",
    "expected_max",
    "gain_of_call",
    "gain_per_pass",
]

_MIN_POINTS, _MAX_POINTS = 201, 20_001
_POINTS_PER_SD = 2.0
_REACH_SDS = 6.0
_MIN_SD = 1e-9


class _Grid(NamedTuple):
    """Several normals on one grid of evenly spaced points.

    Args:
        points: (points,), in score.
        scores: (n, points); each normal's standard score at each point.
        width: (n,); standard deviations, in score.
        below: (n, points); each normal's probability of lying below a point.
    """

    points: "NDArray[np.float64]"
    scores: "NDArray[np.float64]"
    width: "NDArray[np.float64]"
    below: "NDArray[np.float64]"

    def integral(self, values: "NDArray[np.float64]") -> float:
        """Return the integral of values at the points, by trapezoids."""
        step = float(self.points[1] - self.points[0])
        return step * (float(values.sum()) - (float(values[0]) + float(values[-1])) / 2)


def _grid_of(means: Sequence[float], sds: Sequence[float]) -> _Grid:
    import numpy as np  # noqa: PLC0415 - slow to load, and a plan needs none of it

    centre = np.asarray(means, dtype=np.float64)
    width = np.maximum(np.asarray(sds, dtype=np.float64), _MIN_SD)
    low = float(np.max(centre - _REACH_SDS * width))
    high = float(np.max(centre + _REACH_SDS * width))
    # The narrowest of them must not fall between two points.
    wanted = math.ceil((high - low) / float(np.min(width)) * _POINTS_PER_SD) + 1
    points = np.linspace(low, high, min(max(wanted, _MIN_POINTS), _MAX_POINTS))
    scores = (points - centre[:, None]) / width[:, None]
    # The error function, to 1.5e-7. Source: Abramowitz and Stegun 7.1.26.
    values = scores / math.sqrt(2)
    size = np.abs(values)
    t = 1 / (1 + 0.3275911 * size)
    poly = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    erf = np.sign(values) * (1 - poly * np.exp(-size * size))
    return _Grid(points, scores, width, 0.5 * (1 + erf))


def expected_max(means: Sequence[float], sds: Sequence[float]) -> float:
    """Return the expected maximum of independent normals.

    Args:
        means: at least one.
        sds: as many, at least 0.
    """
    if len(means) == 1:
        return float(means[0])
    grid = _grid_of(means, sds)
    return float(grid.points[-1]) - grid.integral(grid.below.prod(axis=0))


def chance_best(beliefs: Sequence[Belief], place: int) -> float:
    """Return the probability that one of several beliefs is the highest, in [0, 1].

    Args:
        beliefs: at least one.
        place: which one, from 0.
    """
    if len(beliefs) == 1:
        return 1.0
    import numpy as np  # noqa: PLC0415 - as above

    grid = _grid_of([each.mean for each in beliefs], [each.sd for each in beliefs])
    others = np.prod(np.delete(grid.below, place, axis=0), axis=0)
    density = np.exp(-0.5 * grid.scores[place] ** 2)
    density = density / (math.sqrt(2 * math.pi) * grid.width[place])
    return min(max(grid.integral(density * others), 0.0), 1.0)


def gain_of_call(
    beliefs: Sequence[Belief],
    noise: NoiseModel,
    *,
    k: int = 0,
    prior_mean: float = 0.0,
    passes: int = 1,
) -> float:
    """Return the expected gain of judge calls over these and `k` new candidates.

    `prior_mean` is the score expected of each new one. The gain is in score, at least 0. New
    candidates take another call, to propose them; `passes` are the judge calls that read all.
    """
    new = Belief(prior_mean, noise.reliability * noise.spread)
    best = max(each.mean for each in beliefs)
    both = [*beliefs, *[new] * k]
    own_noise = (1 - noise.reliability) * noise.spread / passes
    # By how much the scores would change each belief's mean, as an SD.
    moved = [each.variance / math.sqrt(each.variance + own_noise) for each in both]
    return max(expected_max([each.mean for each in both], moved) - best, 0.0)


def gain_per_pass(beliefs: Sequence[Belief], noise: NoiseModel, most: int) -> float:
    """Return the expected gain per pass of the best number of passes, at most `most`, in score.

    One more pass often cannot change the leader where several could.
    Source: the KG(*) policy (Frazier and Powell 2010).
    """
    counts = [count for count in (1, 2, 4, 8, 16) if count <= most]
    return max(gain_of_call(beliefs, noise, passes=count) / count for count in counts)


class BestNextCall(StrEnum):
    """Ways to spend the next call."""

    READ = "read"
    GENERATE = "generate"
    REFINE = "refine"


def best_next_call(
    state: SearchState,
    readers: list[Candidate],
    possible: AbstractSet[BestNextCall],
    *,
    min_gain: float,
    most_passes: int = 1,
) -> BestNextCall | StopReason:
    """Return the call that promises most, or why none is made.

    Args:
        state: of the search.
        readers: candidates that a judge call would read; the best first.
        possible: calls that fit and make sense.
        min_gain: least gain per call, in standard deviations of the scores within a call.
        most_passes: passes that fit; at least 1 where reading is possible.

    Returns:
        `MIN_GAIN` when the most promising call promises less than `min_gain`; `PLAN_DONE` when
        none is possible.
    """
    if not possible or not readers:
        return StopReason.EXHAUSTED if state.progress.is_exhausted else StopReason.PLAN_DONE
    noise, knobs = state.noise, state.knobs
    beliefs = [belief(node, noise) for node in readers]
    gains: dict[BestNextCall, float] = {}
    if BestNextCall.READ in possible:
        gains[BestNextCall.READ] = gain_per_pass(beliefs, noise, most_passes)
    if BestNextCall.GENERATE in possible:
        gain = gain_of_call(beliefs, noise, k=knobs.generate_k, prior_mean=noise.grand_mean)
        gains[BestNextCall.GENERATE] = gain / 2
    if BestNextCall.REFINE in possible:
        is_step = readers[0].draft.is_step
        expected = beliefs[0].mean + noise.step_shift if is_step else noise.refined_mean
        gain = gain_of_call(beliefs, noise, k=knobs.refine_k, prior_mean=expected)
        gains[BestNextCall.REFINE] = gain / 2
    best = max(gains, key=lambda call: gains[call])
    bar = min_gain * math.sqrt(noise.spread)
    return best if gains[best] >= bar else StopReason.MIN_GAIN

"""The settings of the simulated pool: candidates and judge, and the grid."""

import itertools
import math
from dataclasses import dataclass

from callwise.simulator.judge import JUDGE_CALIBRATION

__all__ = ["GRID", "SimulatedSetting"]


@dataclass(frozen=True, slots=True)
class SimulatedSetting:
    """One kind of prompt, and one judge.

    Args:
        accuracy: within-prompt correlation of one score with the truth, in [0, 1]; None is
            the calibrated judge (.26).
        similarity: correlation of two candidates of one request, in [0, 1].
        gain: mean gain of a child on an average parent, before the ceiling, in SD; None
            where nothing can be refined, and a child is the next candidate from scratch.
        reliability: correlation of two scores of the judge; None keeps the calibrated
            proportion of bias and noise.
        candidates: candidates from scratch that a prompt has, as a recorded pool has; None
            gives as many as are asked for.
        is_rounded: whether scores are coarse, and tie. Where not, `accuracy` and
            `reliability` are those of the reading itself.
        unjudged_rate: share of judge requests that say nothing of anyone.
    """

    accuracy: float | None = 0.5
    similarity: float = 0.3
    gain: float | None = 0.5
    reliability: float | None = None
    candidates: int | None = None
    is_rounded: bool = True
    unjudged_rate: float = 0.0

    @property
    def name(self) -> str:
        """As text, for a table."""
        accuracy = "calibrated" if self.accuracy is None else f"{self.accuracy:g}"
        gain = "none" if self.gain is None else f"{self.gain:g}"
        return f"accuracy {accuracy}, similarity {self.similarity:g}, gain {gain}"

    def weights(self) -> tuple[float, float, float]:
        """Return the weights of truth, bias and noise in a reading; their squares sum to 1."""
        figures = JUDGE_CALIBRATION
        lost = figures.rounding_attenuation if self.is_rounded else 1.0
        truth = figures.truth_weight
        bias, noise = figures.bias_weight, figures.noise_weight
        if self.accuracy is not None:
            truth = min(self.accuracy / lost, 1.0)
            rest = math.sqrt((1 - truth * truth) / (bias * bias + noise * noise))
            bias, noise = bias * rest, noise * rest
        if self.reliability is None:
            return truth, bias, noise
        repeats = min(max(self.reliability / lost**2, truth**2), 1.0)
        return truth, math.sqrt(repeats - truth**2), math.sqrt(1.0 - repeats)


GRID: tuple[SimulatedSetting, ...] = tuple(
    SimulatedSetting(accuracy, similarity, gain)
    for accuracy, similarity, gain in itertools.product(
        (0.3, 0.5, 0.8), (0.0, 0.3, 0.6), (0.0, 0.5)
    )
)
"""Judge accuracy x candidate similarity x refinement gain."""

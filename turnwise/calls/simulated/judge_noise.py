"""How the simulated judge misreads the hidden quality of a reply.

One latent reading, in within-prompt SD, is a weighted sum of the truth, a bias that
the same rubric repeats for the same reply, and noise that is new in each look; a
score is the reading rounded to coarse steps, so that scores tie. What is common to a
call (drift) cancels when its items are compared with each other; position favours
what stands first. The figures stand in `calibration.py` and nowhere else.
"""

import math
from dataclasses import dataclass

from turnwise.calls.simulated.calibration import JUDGE_CALIBRATION, JudgeCalibration
from turnwise.calls.simulated.draws import Draws, hashed_normal
from turnwise.calls.simulated.quality import TextReading

__all__ = ["ItemLook", "Judge", "JudgeWeights", "Look", "judge_weights"]

_MAX_KEPT_BIASES = 16_384

_NEAR_LEVELS = 3
"""How many scores below and above the written one are likely enough to be told."""


@dataclass(frozen=True, slots=True)
class JudgeWeights:
    """The three weights of a latent reading; their squares sum to 1."""

    truth: float
    bias: float
    noise: float


def judge_weights(accuracy: float | None, figures: JudgeCalibration) -> JudgeWeights:
    """Return the weights, calibrated, or such that one score correlates by `accuracy`.

    Bias and noise keep their proportion when accuracy is overridden.

    Args:
        accuracy: within-prompt correlation of one rounded score with the truth, in
            [0, 1]; None is the calibrated judge. Above `rounding_attenuation` it is
            capped there: then only rounding errs.
        figures: the calibration.
    """
    bias, noise = figures.bias_weight.value, figures.noise_weight.value
    if accuracy is None:
        return JudgeWeights(figures.truth_weight.value, bias, noise)
    truth = min(accuracy / figures.rounding_attenuation.value, 1.0)
    rest = math.sqrt((1.0 - truth * truth) / (bias * bias + noise * noise))
    return JudgeWeights(truth, bias * rest, noise * rest)


class Judge:
    """A judge with a seed, an accuracy, and biases that stay.

    Args:
        seed: the seed of its biases.
        accuracy: see `judge_weights`.
        figures: the calibration.

    Attributes:
        weights: of truth, bias and noise in a latent reading.
        noise_shares: how noise is made up of the call's, the item's and the field's own
            draw; squares sum to 1.
    """

    def __init__(
        self,
        seed: int,
        accuracy: float | None = None,
        figures: JudgeCalibration = JUDGE_CALIBRATION,
    ) -> None:
        self.seed = seed
        self.figures = figures
        self.weights = judge_weights(accuracy, figures)
        same, other = figures.bias_r_same_field.value, figures.bias_r_other_field.value
        self._bias_shares = (math.sqrt(other), math.sqrt(same - other), math.sqrt(1.0 - same))
        drift, halo = figures.drift_share.value, figures.halo_share.value
        self.noise_shares = (
            math.sqrt(drift),
            math.sqrt((1.0 - drift) * halo),
            math.sqrt((1.0 - drift) * (1.0 - halo)),
        )
        self._biases: dict[tuple[str, str, str], float] = {}

    def bias(self, letters: str, rubric: str, field: str) -> float:
        """Return what this rubric always gets wrong about this reply. Mean 0, SD 1.

        Args:
            letters: the reply's letters.
            rubric: the judge's instructions, or a digest of them.
            field: the name of the score.
        """
        key = (letters, rubric, field)
        known = self._biases.get(key)
        if known is None:
            common, by_field, own = self._bias_shares
            known = (
                common * hashed_normal("bias", self.seed, letters)
                + by_field * hashed_normal("bias", self.seed, letters, field)
                + own * hashed_normal("bias", self.seed, letters, field, rubric)
            )
            if len(self._biases) >= _MAX_KEPT_BIASES:
                self._biases.clear()
            self._biases[key] = known
        return known

    def look(self, rubric: str, draws: Draws) -> "Look":
        """Return one look: everything that one call reads."""
        return Look(self, rubric, draws)


class Look:
    """One call of a judge: its drift is drawn once, each item's noise once."""

    def __init__(self, judge: Judge, rubric: str, draws: Draws) -> None:
        self.judge = judge
        self.rubric = rubric
        self.draws = draws
        self.drift = draws.normal()

    def item(self, reading: TextReading, position: int = 0, count: int = 1) -> "ItemLook":
        """Return the look at one item.

        Args:
            reading: the item's text as it really is.
            position: where it stands in the call, from 0.
            count: how many items the call holds.
        """
        slope = 0.0 if count < 2 else 1.0 - 2.0 * position / (count - 1)
        place = slope * self.judge.figures.position_bias_sd.value
        return ItemLook(self, reading, place)


class ItemLook:
    """What one look makes of one item; the same field asked twice reads the same."""

    __slots__ = ("_latent", "_look", "_place", "_shared", "reading")

    def __init__(self, look: Look, reading: TextReading, place: float) -> None:
        self._look = look
        self.reading = reading
        self._place = place
        drift, halo, _ = look.judge.noise_shares
        self._shared = drift * look.drift + halo * look.draws.normal()
        self._latent: dict[str, float] = {}

    def latent(self, field: str) -> float:
        """Return the unrounded reading of a field, in within-prompt SD."""
        known = self._latent.get(field)
        if known is not None:
            return known
        judge = self._look.judge
        weights = judge.weights
        noise = self._shared + judge.noise_shares[2] * self._look.draws.normal()
        value = (
            weights.truth * self.reading.quality
            + weights.bias * judge.bias(self.reading.letters, self._look.rubric, field)
            + weights.noise * noise
            + self._place
        )
        self._latent[field] = value
        return value

    def share(self, field: str) -> float:
        """Return the score of a field as a share of its range, in [0, 1]. Rounded: it ties."""
        return self._share_at(round(self._steps(field)))

    def levels(self, field: str) -> list[tuple[float, float]]:
        """Return the scores that the judge might have written, lowest first.

        Returns:
            Each score as `share` gives it, and how far it lies above the latent reading,
            in rounding steps. The written one is in the middle.
        """
        steps = self._steps(field)
        middle = round(steps)
        near = range(middle - _NEAR_LEVELS, middle + _NEAR_LEVELS + 1)
        return [(self._share_at(level), level - steps) for level in near]

    def _steps(self, field: str) -> float:
        return self.latent(field) / self._look.judge.figures.step_sd.value

    def _share_at(self, level: int) -> float:
        figures = self._look.judge.figures
        rounded = level * figures.step_sd.value
        share = figures.score_centre.value + figures.score_sd.value * rounded
        return min(max(round(share, 3), 0.0), 1.0)

    def assistantness(self) -> float:
        """Return how much of an assistant is heard in it, in [0, 1]; lower is better."""
        heard = 0.10 + 0.6 * self.reading.assistant_share
        return min(max(round(heard + 0.06 * self._look.draws.normal(), 2), 0.0), 1.0)

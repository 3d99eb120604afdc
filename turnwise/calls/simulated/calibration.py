"""Every figure of the simulated judge, with its unit and where it comes from.

`benchmarks/calibrate_judge.py` computes the measured and the solved figures; they
were computed on 2026-11-20. To change one, run it again and change it here, nowhere
else. A figure whose source says "assumed" was chosen, not measured.
"""

from dataclasses import dataclass, fields

__all__ = ["JUDGE_CALIBRATION", "Figure", "JudgeCalibration"]

_POOL = (
    "measured: Topical-Chat pool, 60 prompts x 4 machine replies, "
    "median of 28 GPT-3.5 judge configurations x 20 samples"
)
_SOLVED = "solved from truth_r, repeat_r and tie_rate by benchmarks/calibrate_judge.py"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the noise model.

    Args:
        value: the number.
        unit: what it counts.
        source: where it comes from, or why it was assumed.
    """

    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """How the simulated judge errs. Latent readings have SD 1 within a prompt.

    A latent reading is `truth_weight * q + bias_weight * b + noise_weight * e`, all
    three standard normal: the hidden quality, what the rubric always gets wrong about
    this reply, and what differs from one look to the next.
    """

    truth_r: Figure = Figure(0.260, "within-prompt correlation of one score and truth", _POOL)
    repeat_r: Figure = Figure(0.533, "within-prompt correlation of two samples", _POOL)
    tie_rate: Figure = Figure(0.501, "share of pairs of a prompt with equal scores", _POOL)
    repeat_equal: Figure = Figure(0.688, "share of repeats with an equal score", _POOL)
    strong_truth_r: Figure = Figure(
        0.501,
        "as truth_r; not the default, a value for `judge_accuracy`",
        "measured: the same pool with the two human-written replies",
    )
    role_play_r: Figure = Figure(
        0.582,
        "correlation across contexts; an upper bound, not used",
        "measured: CharacterBench, CharacterJudge in Chinese, median of 7 dimensions",
    )
    truth_weight: Figure = Figure(0.299, "weight in the latent reading", _SOLVED)
    bias_weight: Figure = Figure(0.778, "weight in the latent reading", _SOLVED)
    noise_weight: Figure = Figure(0.553, "weight in the latent reading", _SOLVED)
    step_sd: Figure = Figure(1.946, "rounding step, within-prompt SD", _SOLVED)
    rounding_attenuation: Figure = Figure(
        0.870, "correlation of a latent reading and the rounded one", _SOLVED
    )
    bias_r_same_field: Figure = Figure(
        0.697, "correlation of the biases of two rubrics that score the same attribute", _POOL
    )
    bias_r_other_field: Figure = Figure(
        0.505, "correlation of the biases of two rubrics that score other attributes", _POOL
    )
    drift_share: Figure = Figure(
        0.25,
        "share of the noise variance that all items of one call have in common",
        "assumed: the pool has one reply a call, so drift and noise cannot be told apart",
    )
    halo_share: Figure = Figure(
        0.50,
        "share of an item's noise variance that all its scores in one call have in common",
        "assumed: the pool has one attribute a call",
    )
    position_bias_sd: Figure = Figure(
        0.25,
        "latent SD added to the first item of a list, taken from the last, linear between",
        "assumed: position bias is systematic (arXiv 2406.07791); its size is not in the pool",
    )
    score_centre: Figure = Figure(
        0.66, "score of an average reply, as a share of the range", "assumed"
    )
    score_sd: Figure = Figure(
        0.16, "score change for one latent SD, as a share of the range", "assumed"
    )

    token_spread_steps: Figure = Figure(
        0.50,
        "SD of a score token's distribution around the latent reading, in rounding steps",
        "assumed: the pool has samples of scores, and no log-probabilities",
    )
    token_noise_steps: Figure = Figure(
        0.15,
        "SD by which that distribution's centre misses the latent reading, in rounding steps",
        "assumed: as above",
    )

    def rows(self) -> list[tuple[str, float, str, str]]:
        """Return name, value, unit and source of each figure, in order."""
        figures = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, figure.value, figure.unit, figure.source) for name, figure in figures]


JUDGE_CALIBRATION = JudgeCalibration()

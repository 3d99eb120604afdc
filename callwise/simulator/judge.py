"""The simulated judge: how it misreads the hidden quality of a reply, and its calibration.

One latent reading, in within-prompt SD, is a weighted sum of the truth, a bias that the
same rubric repeats for the same reply, and noise that is new in each judge call; a score is
the reading rounded to coarse steps, so that scores tie. What a call has in common (drift)
cancels when its items are compared with each other; position favours the first items.

At a score's token the model is in doubt between the steps around the reading, so that the
mean over them carries more than the rounded score; every other token is certain. A score
passes through the filling of a schema as a number that carries its levels, so that it is
found again in the text, whatever the schema is.

`benchmarks/calibrate_judge.py` computes the measured and the solved figures of
`JUDGE_CALIBRATION`; they were computed on 2026-11-20. To change one, run it again. A figure
whose source is "assumed" was chosen, not measured.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson

from callwise.calls.reply import TokenLogprobs
from callwise.simulator.faults import SeededStream, hashed_normal
from callwise.simulator.phrases import TextReading

__all__ = [
    "JUDGE_CALIBRATION",
    "AnswerOdds",
    "CalibratedFigure",
    "ItemNoise",
    "JudgeCalibration",
    "JudgePassNoise",
    "JudgeWeights",
    "SimulatedJudge",
    "judge_weights",
    "numbers_of",
    "with_levels",
]

_POOL = (
    "measured: Topical-Chat pool, 60 prompts x 4 machine replies, "
    "median of 28 GPT-3.5 judge configurations x 20 samples"
)
_SOLVED = "solved from truth_r, repeat_r and tie_rate by benchmarks/calibrate_judge.py"


@dataclass(frozen=True, slots=True)
class CalibratedFigure:
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

    truth_r: CalibratedFigure = CalibratedFigure(
        0.260, "within-prompt correlation of one score and truth", _POOL
    )
    repeat_r: CalibratedFigure = CalibratedFigure(
        0.533, "within-prompt correlation of two samples", _POOL
    )
    tie_rate: CalibratedFigure = CalibratedFigure(
        0.501, "share of pairs of a prompt with equal scores", _POOL
    )
    repeat_equal: CalibratedFigure = CalibratedFigure(
        0.688, "share of repeats with an equal score", _POOL
    )
    strong_truth_r: CalibratedFigure = CalibratedFigure(
        0.501,
        "as truth_r; not the default, a value for `judge_accuracy`",
        "measured: the same pool with the two human-written replies",
    )
    role_play_r: CalibratedFigure = CalibratedFigure(
        0.582,
        "correlation across contexts; an upper bound, not used",
        "measured: CharacterBench, CharacterJudge in Chinese, median of 7 dimensions",
    )
    truth_weight: CalibratedFigure = CalibratedFigure(
        0.299, "weight in the latent reading", _SOLVED
    )
    bias_weight: CalibratedFigure = CalibratedFigure(0.778, "weight in the latent reading", _SOLVED)
    noise_weight: CalibratedFigure = CalibratedFigure(
        0.553, "weight in the latent reading", _SOLVED
    )
    step_sd: CalibratedFigure = CalibratedFigure(1.946, "rounding step, within-prompt SD", _SOLVED)
    rounding_attenuation: CalibratedFigure = CalibratedFigure(
        0.870, "correlation of a latent reading and the rounded one", _SOLVED
    )
    bias_r_same_field: CalibratedFigure = CalibratedFigure(
        0.697, "correlation of the biases of two rubrics that score the same attribute", _POOL
    )
    bias_r_other_field: CalibratedFigure = CalibratedFigure(
        0.505, "correlation of the biases of two rubrics that score other attributes", _POOL
    )
    drift_share: CalibratedFigure = CalibratedFigure(
        0.25,
        "share of the noise variance that all items of one call have in common",
        "assumed: the pool has one reply a call, so drift and noise cannot be told apart",
    )
    halo_share: CalibratedFigure = CalibratedFigure(
        0.50,
        "share of an item's noise variance that all its scores in one call have in common",
        "assumed: the pool has one attribute a call",
    )
    position_bias_sd: CalibratedFigure = CalibratedFigure(
        0.25,
        "latent SD added to the first item of a list, taken from the last, linear between",
        "assumed: position bias is systematic (arXiv 2406.07791); its size is not in the pool",
    )
    score_centre: CalibratedFigure = CalibratedFigure(
        0.66, "score of an average reply, as a share of the range", "assumed"
    )
    score_sd: CalibratedFigure = CalibratedFigure(
        0.16, "score change for one latent SD, as a share of the range", "assumed"
    )

    token_spread_steps: CalibratedFigure = CalibratedFigure(
        0.50,
        "SD of a score token's distribution around the latent reading, in rounding steps",
        "assumed: the pool has samples of scores, and no log-probabilities",
    )
    token_noise_steps: CalibratedFigure = CalibratedFigure(
        0.15,
        "SD by which that distribution's centre misses the latent reading, in rounding steps",
        "assumed: as above",
    )

    def rows(self) -> list[tuple[str, float, str, str]]:
        """Return name, value, unit and source of each figure, in order."""
        figures = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, figure.value, figure.unit, figure.source) for name, figure in figures]


JUDGE_CALIBRATION = JudgeCalibration()


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


class SimulatedJudge:
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

    def look(self, rubric: str, draws: SeededStream) -> "JudgePassNoise":
        """Return one look: everything that one call reads."""
        return JudgePassNoise(self, rubric, draws)


class JudgePassNoise:
    """One call of a judge: its drift is drawn once, each item's noise once."""

    def __init__(self, judge: SimulatedJudge, rubric: str, draws: SeededStream) -> None:
        self.judge = judge
        self.rubric = rubric
        self.draws = draws
        self.drift = draws.normal()

    def item(self, reading: TextReading, position: int = 0, count: int = 1) -> "ItemNoise":
        """Return the look at one item.

        Args:
            reading: the item's text as it really is.
            position: where it stands in the call, from 0.
            count: how many items the call holds.
        """
        slope = 0.0 if count < 2 else 1.0 - 2.0 * position / (count - 1)
        place = slope * self.judge.figures.position_bias_sd.value
        return ItemNoise(self, reading, place)


class ItemNoise:
    """What one look makes of one item; the same field asked twice reads the same."""

    __slots__ = ("_latent", "_look", "_place", "_shared", "reading")

    def __init__(self, look: JudgePassNoise, reading: TextReading, place: float) -> None:
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


MAX_TOKEN_CHARS = 12
"""Longest token that is not a number, in characters."""

DIGITS = 6
"""Decimals of a log-probability: fewer than a machine's own arithmetic may differ in."""

_TOKENS = re.compile(
    r'"(?:[^"\\]|\\.)*+"?'  # a string, or the rest of one that was cut
    r"|(-?[0-9][0-9.eE+-]*+)"
    r'|[^"0-9-]++|-',
    re.DOTALL,
)

Levels = Sequence[tuple[float | int, float]]
"""Numbers that might stand somewhere, and how far each lies above the reading, in steps."""


class _ScoredFloat(float):
    levels: Levels = ()


class _ScoredInt(int):
    levels: Levels = ()


def with_levels(number: float, levels: Levels) -> float | int:
    """Return an equal number that carries its levels, for `numbers_of`."""
    scored = _ScoredInt(number) if isinstance(number, int) else _ScoredFloat(number)
    scored.levels = tuple(levels)
    return scored


def numbers_of(content: Any) -> Iterator[float | int]:
    """Yield the numbers of a JSON value in the order in which they are written."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from numbers_of(item)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content


def _written(number: float) -> str:
    return orjson.dumps(number, default=float).decode()


@dataclass(frozen=True, slots=True)
class AnswerOdds:
    """What the log-probabilities of one answer follow from.

    Args:
        top: how many alternatives a token has at most; 0 for none.
        seed: decides by how much the distributions miss the readings.
        numbers: of the whole answer, in order.
    """

    top: int
    seed: tuple[object, ...]
    numbers: tuple[float | int, ...] = ()

    def tokens_of(self, text: str) -> tuple[TokenLogprobs, ...]:
        """Return the tokens of the answer's text; they join to it.

        A number outside quotes is one token; what stands between two of them, quotes
        and strings included, is cut into pieces of 12 characters.

        Args:
            text: the answer, which may have been cut off or spoilt since.
        """
        tokens: list[TokenLogprobs] = []
        between: list[str] = []
        found = 0
        for match in _TOKENS.finditer(text):
            number = match.group(1)
            if number is None:
                between.append(match.group())
                continue
            tokens += self._certain("".join(between))
            between.clear()
            tokens.append(self._number(number, found))
            found += 1
        return (*tokens, *self._certain("".join(between)))

    def _certain(self, text: str) -> Iterable[TokenLogprobs]:
        for start in range(0, len(text), MAX_TOKEN_CHARS):
            token = text[start : start + MAX_TOKEN_CHARS]
            yield TokenLogprobs(token, 0.0, ((token, 0.0),) if self.top else ())

    def _number(self, token: str, index: int) -> TokenLogprobs:
        """Return the token of the answer's `index`-th number."""
        number = self.numbers[index] if index < len(self.numbers) else None
        levels: Levels = getattr(number, "levels", ())
        if number is None or not levels or _written(number) != token:
            return TokenLogprobs(token, 0.0, ((token, 0.0),) if self.top else ())
        logprobs = self._logprobs(levels, index)
        likeliest = sorted(logprobs.items(), key=lambda item: (-item[1], item[0]))
        return TokenLogprobs(token, logprobs[token], tuple(likeliest[: self.top]))

    def _logprobs(self, levels: Levels, index: int) -> dict[str, float]:
        """Return the log-probability of each text that might be written."""
        spread = JUDGE_CALIBRATION.token_spread_steps.value
        noise = JUDGE_CALIBRATION.token_noise_steps.value
        miss = noise * hashed_normal("odds", *self.seed, index)
        weights: dict[str, float] = {}
        for number, distance in levels:
            text = _written(number)
            weight = math.exp(-(((distance - miss) / spread) ** 2) / 2)
            weights[text] = weights.get(text, 0.0) + weight
        total = math.fsum(weights.values())
        # Adding 0.0 turns a minus zero into zero.
        return {
            text: round(math.log(weight / total), DIGITS) + 0.0 for text, weight in weights.items()
        }

"""The simulated judge: how it misreads the hidden quality of a reply, and its calibration.

A latent reading, in within-prompt SD, is `truth_weight * q + bias_weight * b + noise_weight * e`,
all three standard normal: the hidden quality, a bias that the same rubric repeats for the same
reply, and noise that is new in each judge call. Drift, which all items of a call share, cancels
when they are compared with each other; position favours the first items.

A score is a draw around the reading, in hundredths of its range. The recorded judges round to
coarse steps instead, so that half of their scores tie; the draw's spread is the error that their
rounding makes (`rounding_attenuation`), so that scores correlate with the truth and with their
repeats as recorded, and candidates of a call have scores that differ.

At a score's token the model is in doubt between the scores around the reading, so that the
mean over them carries more than the one that was drawn; every other token is certain. A score
passes through the filling of a schema as a number that carries its levels, so that it is
found again in the text, whatever the schema is.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from callwise.calls.reply import TokenLogprobs
from callwise.simulator.faults import SeededStream, hashed_normal
from callwise.simulator.phrases import TextReading

__all__ = [
    "JUDGE_CALIBRATION",
    "AnswerOdds",
    "ItemNoise",
    "JudgeCalibration",
    "JudgePassNoise",
    "JudgeWeights",
    "SimulatedJudge",
    "judge_weights",
    "numbers_of",
    "with_levels",
]


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """The errors of the simulated judge. Latent readings have SD 1 within a prompt.

    Each figure is *measured*, *solved* from measured ones, or *assumed* (chosen). The pool is
    Topical-Chat, 60 prompts x 4 machine replies, median of 28 GPT-3.5 judge configurations x 20
    samples. `benchmarks/calibrate_judge.py` computes the measured and the solved figures; these
    are of 2026-11-20.
    """

    truth_r: float = 0.260
    """Within-prompt correlation of one score and truth. Measured: the pool."""

    repeat_r: float = 0.533
    """Within-prompt correlation of two samples. Measured: the pool."""

    tie_rate: float = 0.501
    """Share of pairs of a prompt with equal scores. Measured: the pool. The simulated model's
    scores hardly tie."""

    repeat_equal: float = 0.688
    """Share of repeats with an equal score. Measured: the pool. Not shown either."""

    truth_weight: float = 0.299
    """Weight of the truth in the latent reading. Solved from truth_r, repeat_r and tie_rate."""

    bias_weight: float = 0.778
    """Weight of the bias in the latent reading. Solved likewise."""

    noise_weight: float = 0.553
    """Weight of the noise in the latent reading. Solved likewise."""

    step_sd: float = 1.946
    """Rounding step of the pool's judges, in within-prompt SD. Solved likewise. The simulated
    model does not round so."""

    rounding_attenuation: float = 0.870
    """Correlation of a latent reading and the score. Solved likewise."""

    bias_r_same_field: float = 0.697
    """Correlation of the biases of two rubrics that score one attribute. Measured: the pool."""

    bias_r_other_field: float = 0.505
    """Correlation of the biases of two rubrics that score other attributes. Measured: the pool."""

    drift_share: float = 0.25
    """Share of the noise variance that all items of one call have in common. Assumed: the pool
    has one reply per call, so drift and noise cannot be separated."""

    halo_share: float = 0.50
    """Share of an item's noise variance that all its scores in one call have in common. Assumed:
    the pool has one attribute per call."""

    position_bias_sd: float = 0.25
    """Latent SD added to the first item of a list, taken from the last, linear between. Assumed:
    position bias is systematic (arXiv 2406.07791); its size is not in the pool."""

    score_centre: float = 0.66
    """Score of an average reply, as a share of the range. Assumed."""

    score_sd: float = 0.16
    """Score change for one latent SD, as a share of the range. Assumed."""

    token_noise_sd: float = 0.29
    """SD by which the centre of a score token's distribution misses the latent reading, in latent
    SD. Assumed: the pool has samples of scores, and no log-probabilities."""


JUDGE_CALIBRATION = JudgeCalibration()

_NEAR_LEVELS = 3
"""Number of scores above and below the written one that are listed."""

_LEVEL_SD = 0.625
"""Distance of two listed scores, in latent SD: a tenth of the range."""


class JudgeWeights(NamedTuple):
    """The three weights of a latent reading; their squares sum to 1."""

    truth: float
    bias: float
    noise: float


def _scatter_sd(kept: float) -> float:
    """Return the SD of a score around its reading, of which it keeps this correlation."""
    return math.sqrt(1.0 - kept * kept)


def judge_weights(accuracy: float | None, figures: JudgeCalibration) -> JudgeWeights:
    """Return the weights, calibrated, or such that one score correlates by `accuracy`.

    Bias and noise keep their proportion when accuracy is overridden.

    Args:
        accuracy: within-prompt correlation of one score with the truth, in
            [0, 1]; None is the calibrated judge. Above `rounding_attenuation` it is
            capped there: then only the draw errs.
        figures: the calibration.
    """
    bias, noise = figures.bias_weight, figures.noise_weight
    if accuracy is None:
        return JudgeWeights(figures.truth_weight, bias, noise)
    truth = min(accuracy / figures.rounding_attenuation, 1.0)
    rest = math.sqrt((1.0 - truth * truth) / (bias * bias + noise * noise))
    return JudgeWeights(truth, bias * rest, noise * rest)


class SimulatedJudge:
    """A judge with a seed, an accuracy (see `judge_weights`), and biases that stay.

    Attributes:
        noise_shares: parts of the noise that the call, the item and the field draw; squares
            sum to 1.
        bias: of a reply's letters, a rubric (its text or digest) and a field: what this rubric
            always gets wrong about this reply. Mean 0, SD 1. The latest 1,024 are kept.
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
        same, other = figures.bias_r_same_field, figures.bias_r_other_field
        self._bias_shares = (math.sqrt(other), math.sqrt(same - other), math.sqrt(1.0 - same))
        drift, halo = figures.drift_share, figures.halo_share
        self.noise_shares = (
            math.sqrt(drift),
            math.sqrt((1.0 - drift) * halo),
            math.sqrt((1.0 - drift) * (1.0 - halo)),
        )
        self.bias = lru_cache(maxsize=1024)(self._bias)

    def _bias(self, letters: str, rubric: str, field: str) -> float:
        common, by_field, own = self._bias_shares
        return (
            common * hashed_normal("bias", self.seed, letters)
            + by_field * hashed_normal("bias", self.seed, letters, field)
            + own * hashed_normal("bias", self.seed, letters, field, rubric)
        )


class JudgePassNoise:
    """The noise of one judge call: its drift is drawn once, each item's noise once."""

    def __init__(self, judge: SimulatedJudge, rubric: str, draws: SeededStream) -> None:
        self.judge = judge
        self.rubric = rubric
        self.draws = draws
        self.drift = draws.normal()

    def item(self, reading: TextReading, position: int = 0, count: int = 1) -> "ItemNoise":
        """Return what the judge reads of an item: its true reading, its index, of `count` items."""
        slope = 0.0 if count < 2 else 1.0 - 2.0 * position / (count - 1)
        return ItemNoise(self, reading, slope * self.judge.figures.position_bias_sd)


class ItemNoise:
    """One item as one judge call reads it; the same field asked twice reads the same."""

    __slots__ = ("_judge_pass", "_place", "_readings", "_shared", "reading")

    def __init__(self, judge_pass: JudgePassNoise, reading: TextReading, place: float) -> None:
        self._judge_pass = judge_pass
        self.reading = reading
        self._place = place
        drift, halo, _ = judge_pass.judge.noise_shares
        self._shared = drift * judge_pass.drift + halo * judge_pass.draws.normal()
        self._readings: dict[str, tuple[float, float]] = {}

    def latent(self, field: str) -> float:
        """Return the reading of a field, in within-prompt SD."""
        return self._reading(field)[0]

    def drawn(self, field: str) -> float:
        """Return the score of a field before it is rounded and cut to its range, in latent SD."""
        return self._reading(field)[1]

    def share(self, field: str) -> float:
        """Return the score of a field as a share of its range, in [0, 1]."""
        return self._share_at(self.drawn(field))

    def levels(self, field: str) -> list[tuple[float, float]]:
        """Return scores that the judge might have written, lowest first.

        Returns:
            Each score as `share` gives it, and its distance above the latent reading, in latent
            SD. The written one is in the middle.
        """
        latent, drawn = self._reading(field)
        near = range(-_NEAR_LEVELS, _NEAR_LEVELS + 1)
        levels = [drawn + level * _LEVEL_SD for level in near]
        return [(self._share_at(level), level - latent) for level in levels]

    def _reading(self, field: str) -> tuple[float, float]:
        if field not in self._readings:
            judge, draws = self._judge_pass.judge, self._judge_pass.draws
            noise = self._shared + judge.noise_shares[2] * draws.normal()
            latent = (
                judge.weights.truth * self.reading.quality
                + judge.weights.bias
                * judge.bias(self.reading.letters, self._judge_pass.rubric, field)
                + judge.weights.noise * noise
                + self._place
            )
            kept = judge.figures.rounding_attenuation
            self._readings[field] = latent, kept * latent + _scatter_sd(kept) * draws.normal()
        return self._readings[field]

    def _share_at(self, drawn: float) -> float:
        figures = self._judge_pass.judge.figures
        share = figures.score_centre + figures.score_sd * drawn
        return min(max(round(share, 3), 0.0), 1.0)

    def assistantness(self) -> float:
        """Return how much it sounds like an assistant, in [0, 1]; lower is better."""
        share = 0.10 + 0.6 * self.reading.assistant_share
        return min(max(round(share + 0.06 * self._judge_pass.draws.normal(), 2), 0.0), 1.0)


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
"""Numbers that might have been written, each with its distance above the reading, in latent SD."""


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
    """The source of the log-probabilities of one answer.

    Args:
        top: most alternatives of a token; 0 for none.
        seed: decides by how much the distributions miss the readings.
        numbers: of the whole answer, in order.
    """

    top: int
    seed: tuple[object, ...]
    numbers: tuple[float | int, ...] = ()

    def tokens_of(self, text: str) -> tuple[TokenLogprobs, ...]:
        """Return the tokens of the answer's text, which may be cut off or spoilt; they join to it.

        A number outside quotes is one token; the text between two of them, quotes and
        strings included, is cut into pieces of 12 characters.
        """
        tokens: list[TokenLogprobs] = []
        done = 0
        numbers = (match for match in _TOKENS.finditer(text) if match[1] is not None)
        for index, number in enumerate(numbers):
            tokens += self._certain(text[done : number.start()])
            tokens.append(self._number(number[1], index))
            done = number.end()
        return (*tokens, *self._certain(text[done:]))

    def _certain(self, text: str) -> Iterable[TokenLogprobs]:
        for start in range(0, len(text), MAX_TOKEN_CHARS):
            token = text[start : start + MAX_TOKEN_CHARS]
            yield TokenLogprobs(token, 0.0, ((token, 0.0),) if self.top else ())

    def _number(self, token: str, index: int) -> TokenLogprobs:
        """Return the token of the answer's `index`-th number."""
        number = self.numbers[index] if index < len(self.numbers) else 0
        levels: Levels = getattr(number, "levels", ())
        if not levels or _written(number) != token:
            return TokenLogprobs(token, 0.0, ((token, 0.0),) if self.top else ())
        logprobs = self._logprobs(levels, index)
        likeliest = sorted(logprobs.items(), key=lambda item: (-item[1], item[0]))
        return TokenLogprobs(token, logprobs[token], tuple(likeliest[: self.top]))

    def _logprobs(self, levels: Levels, index: int) -> dict[str, float]:
        """Return the log-probability of each text that might be written."""
        spread = _scatter_sd(JUDGE_CALIBRATION.rounding_attenuation)
        miss = JUDGE_CALIBRATION.token_noise_sd * hashed_normal("odds", *self.seed, index)
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

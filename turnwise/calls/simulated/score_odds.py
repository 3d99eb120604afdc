"""How sure the simulated model is of its tokens: their log-probabilities.

A score is a latent reading rounded to coarse steps. At its token the model is in doubt
between the steps around the reading, so that the mean over them tells more than the
rounded score does; every other token is certain. That is assumed, not measured: the two
figures stand in `calibration.py`.

A score travels through the filling of a schema as a number that carries its levels, so
that it is found again in the text whatever the schema looks like.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from turnwise.calls.reply import TokenLogprobs
from turnwise.calls.simulated.calibration import JUDGE_CALIBRATION
from turnwise.calls.simulated.draws import hashed_normal

__all__ = ["AnswerOdds", "numbers_of", "with_levels"]

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

"""Calibration of input estimates by the counts that an endpoint reports.

A tokenizer that is not known may take several times the estimated tokens, and not the same
number of times for English as for Chinese: 1.1 and 2.4 for the one of SmolLM2. So each
endpoint and model has two factors, one for ASCII and one for all other characters, fitted to
the counts that its answers report:

    reported = ascii_factor * ascii_tokens + other_factor * other_tokens

The fit is a least-squares one on relative errors over the last `MAX_SEEN` answers, with a weak
pull to where the factors start, so that one answer changes the factor of its kind of text.
What a fit leaves short of an answer that came is added for calls like it: after its first
answer a call of the same kind and size is never estimated at less than was reported.

No factor is below 1: an estimate is raised by what is reported, and never lowered. A count
that no tokenizer can come to (`MAX_RATIO`) teaches nothing, so one absurd answer changes
nothing. Only counts of calls that were estimated are looked at, and of those only the ones
that are not as predicted.
"""

import math
from collections import deque
from typing import NamedTuple

from callwise.budget.token_tables import InputTokens

__all__ = ["Calibration"]

MAX_SEEN = 32
"""Answers that the factors are fitted to: the last ones."""

MAX_RATIO = 8.0
"""Reported tokens over estimated ones, or its inverse, that is taken for a wrong count. A
byte-level tokenizer comes to 7 on Korean, the script that is estimated the lowest."""

AS_PREDICTED = 0.9
"""Share of what is predicted, without the margin, from which an answer teaches nothing new."""

SHORT_TOKENS = 50
"""Size at which an answer counts half as much as a long one: what a server adds to each
prompt, such as a further system prompt, is a large part of a short prompt."""

ASCII_PULL, OTHER_PULL = 1.0, 0.05
"""Weight of the start against one long answer of that kind alone. The ASCII factor is known
well, the other one is not: see `docs/tokens.md`."""


class _Seen(NamedTuple):
    estimated: InputTokens
    reported: int


class Calibration:
    """The factors of one endpoint and model.

    Args:
        ascii_factor: where the factor of ASCII text starts; at least 1.
        other_factor: where the factor of all other characters starts; at least 1.
    """

    __slots__ = ("_ascii", "_other", "_seen", "_short", "_start")

    def __init__(self, ascii_factor: float = 1.0, other_factor: float = 1.0) -> None:
        self._start = (ascii_factor, other_factor)
        self._ascii, self._other = self._start
        self._seen: deque[_Seen] = deque(maxlen=MAX_SEEN)
        self._short: list[tuple[float, int]] = []

    def tokens(self, estimated: InputTokens, margin: float) -> int:
        """Return how many input tokens to reserve; `margin`, at least 1, is a factor of the fit."""
        fitted = self._ascii * estimated.ascii + self._other * estimated.other
        if not self._short:
            return math.ceil(fitted * margin)
        whole = estimated.total
        missing = max(short * min(1.0, whole / size) for short, size in self._short)
        return math.ceil(fitted * margin + missing)

    def observe(self, estimated: InputTokens, reported: int) -> None:
        """Learn from the input tokens that an answer reports for its call."""
        whole = estimated.total
        predicted = self.tokens(estimated, 1.0)
        if reported <= predicted and self._seen:
            is_ascii_lowest = self._ascii == 1.0 or not estimated.ascii
            is_lowest = is_ascii_lowest and (self._other == 1.0 or not estimated.other)
            if predicted * AS_PREDICTED <= reported or (is_lowest and not self._short):
                return
        if not 0 < whole <= reported * MAX_RATIO <= whole * MAX_RATIO * MAX_RATIO:
            return
        self._seen.append(_Seen(estimated, reported))
        self._fit()
        self._short = [
            (short, ascii_tokens + other_tokens)
            for (ascii_tokens, other_tokens), reported in self._seen
            if (short := reported - self._ascii * ascii_tokens - self._other * other_tokens) > 0
        ]

    def _fit(self) -> None:
        """Solve the normal equations of the two factors."""
        aa, ao, oo = ASCII_PULL, 0.0, OTHER_PULL
        ya = yo = 0.0
        for (ascii_tokens, other_tokens), reported in self._seen:
            whole = ascii_tokens + other_tokens
            weight = whole / (whole + SHORT_TOKENS)
            share, rest = ascii_tokens / whole, other_tokens / whole
            off = reported / whole - self._start[0] * share - self._start[1] * rest
            aa += weight * share * share
            ao += weight * share * rest
            oo += weight * rest * rest
            ya += weight * share * off
            yo += weight * rest * off
        determinant = aa * oo - ao * ao
        self._ascii = max(1.0, self._start[0] + (ya * oo - yo * ao) / determinant)
        self._other = max(1.0, self._start[1] + (yo * aa - ya * ao) / determinant)

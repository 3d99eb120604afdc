"""The conversations that a verdict still takes, and figures as text.

The standard error of a mean falls with the square root of the number of conversations. A verdict
is reached when its bound clears the margin. For that to happen with a stated chance, the distance
from the difference to the margin must be the critical value and that chance's quantile together,
in standard errors. This supposes that the difference stays as it is.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from callwise.tuning.statistics.bootstrap import Interval

__all__ = [
    "CHANCE",
    "NeededConversations",
    "figure_text",
    "interval_text",
    "needed_for",
    "percent",
    "quality_digits",
    "ranged",
]

CHANCE = 0.8
"""Chance that the verdict is reached with as many conversations as are named."""

_MAX_CONVERSATIONS = 100_000
"""Of a verdict that takes more than these, no number is named: no user could collect so many."""


@dataclass(frozen=True, slots=True)
class NeededConversations:
    """The conversations that a verdict still takes.

    Args:
        verdict: the one that would be reached, `not worse` or `worse`; empty when none would.
        more_conversations: besides those of now; None when no number is enough.
        more_turns: the same in turns, at as many turns per conversation; None likewise.
    """

    verdict: str
    more_conversations: int | None
    more_turns: int | None
    chance: float
    why_none: str = ""

    @property
    def count(self) -> float:
        """More conversations as a number; infinity where no number is enough."""
        return math.inf if self.more_conversations is None else self.more_conversations


def needed_for(
    difference: float,
    standard_error: float,
    *,
    margin: float,
    critical: float,
    conversations: int,
    turns: int,
    chance: float = CHANCE,
) -> NeededConversations:
    """Return the conversations that show whether a difference is worse than a margin.

    With `C` conversations now, `d` the difference, `m` the margin and `se` the error, the
    verdict takes `C ((critical + z) se / |d + m|)^2` conversations, where `z` is the normal
    quantile of the chance. It is "not worse" where `d + m` is above 0, and "worse" below.

    Args:
        difference: of a setting less the best; below 0 where it is worse.
        standard_error: of it; at least 0.
        margin: loss that still counts as not worse; at least 0.
        critical: standard errors from the difference to its bound, corrections included.

    Raises:
        ValueError: when the margin is negative, or the chance is not in (0, 1).
    """
    if margin < 0:
        raise ValueError(f"a margin is at least 0, got {margin}")
    if not 0 < chance < 1:
        raise ValueError(f"a chance lies between 0 and 1, got {chance}")
    distance_to_margin = difference + margin
    verdict = "not worse" if distance_to_margin >= 0 else "worse"
    if standard_error == 0:
        return NeededConversations(verdict, 0, 0, chance)
    if distance_to_margin == 0:
        why = "the difference lies on the margin itself, where no number of conversations decides"
        return NeededConversations("", None, None, chance, why)
    errors = max(critical + NormalDist().inv_cdf(chance), 0.0)
    needed = conversations * (errors * standard_error / abs(distance_to_margin)) ** 2
    if not needed <= _MAX_CONVERSATIONS:
        why = f"it would take more than {_MAX_CONVERSATIONS:,} conversations"
        return NeededConversations("", None, None, chance, why)
    more = max(math.ceil(needed) - conversations, 0)
    return NeededConversations(verdict, more, math.ceil(more * turns / conversations), chance)


def ranged(mean: float, low: float | None, high: float | None, digits: int = 2) -> str:
    """Return a mean, and its interval where there is one: `8.10 (7.90 to 8.30)`."""
    text = f"{mean:.{digits}f}"
    if low is None or high is None:
        return text
    return f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def interval_text(found: Interval, unit: str = "") -> str:
    """Return a mean with its interval, `8 calls (7.5 to 8.5)`, or the reason why it has none."""
    if found.mean is None:
        return "not known"
    mean = f"{figure_text(found.mean)} {unit}".rstrip()
    if found.low is None or found.high is None:
        return f"{mean} (no interval: {found.why_none})"
    if found.low == found.high:
        return f"{mean} in every conversation"
    return f"{mean} ({figure_text(found.low)} to {figure_text(found.high)})"


def figure_text(figure: float) -> str:
    """Return a figure of three digits, or more where they are before the point: `11,713`."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def percent(share: float) -> str:
    """Return a share as per cent, of three digits at most: `95 %`."""
    return f"{100 * share:.3g} %"


def quality_digits(scale_width: float) -> int:
    """Return the digits after the point that show a thousandth of a scale of grades."""
    if scale_width <= 0:
        return 3
    return min(max(3 - math.floor(math.log10(scale_width)), 0), 6)

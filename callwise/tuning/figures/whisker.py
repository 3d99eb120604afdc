"""A mean with its interval, the costs that it can be of, and the turns that it is over."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from callwise.text_layout import counted
from callwise.tuning.row import TurnRow
from callwise.tuning.statistics.power import ranged

__all__ = [
    "CostAxis",
    "FigureBasis",
    "Whisker",
    "basis_of",
    "interval_words",
    "whisker_of",
    "whiskers_of",
]


@dataclass(frozen=True, slots=True)
class Whisker:
    """A mean, and its interval where there is one.

    Args:
        low: lower end, at most `mean`; None where no interval is known.
        high: upper end, at least `mean`; None where no interval is known.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def below(self) -> float:
        """Distance from the mean down to the lower end; 0 without an interval."""
        return 0.0 if self.low is None else max(self.mean - self.low, 0.0)

    @property
    def above(self) -> float:
        """Distance from the mean up to the upper end; 0 without an interval."""
        return 0.0 if self.high is None else max(self.high - self.mean, 0.0)

    @property
    def has_interval(self) -> bool:
        """Whether there is one that can be seen: its ends differ."""
        return self.low is not None and self.low != self.high

    def words(self, digits: int = 2) -> str:
        """Return it as text: `8.10 (7.90 to 8.30)`."""
        return ranged(self.mean, self.low, self.high, digits)


def whisker_of(value: Any) -> Whisker:
    """Return a mean and its interval from a result of statistics.

    Args:
        value: `(mean, low, high)`, or a record with these three; `low` and `high` are
            None, or not finite, where there is no interval.

    Raises:
        ValueError: when the mean is not a finite number, or the lower end is above the upper.
    """
    if isinstance(value, Whisker):
        return value
    if not isinstance(value, tuple | list):
        value = tuple(getattr(value, name, None) for name in ("mean", "low", "high"))
    if len(value) != 3 or value[0] is None or not math.isfinite(value[0]):
        raise ValueError(f"expected (mean, low, high) with a finite mean, got {value!r}")
    mean, low, high = value
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Whisker(float(mean))
    if low > high:
        raise ValueError(f"expected low <= high, got {value!r}")
    return Whisker(float(mean), float(low), float(high))


def whiskers_of(
    intervals: Mapping[str, Any] | None, known: Collection[str], *, what: str
) -> dict[str, Whisker]:
    """Return the intervals by setting; those without a mean are left out.

    Raises:
        ValueError: when one is of an unknown setting, or cannot be drawn.
    """
    given = intervals or {}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"an interval of {what} is of {unknown[0]!r}, which has no rows")
    return {
        name: whisker_of(value)
        for name, value in given.items()
        if getattr(value, "mean", value) is not None
    }


def interval_words(*given: Mapping[str, Any] | None) -> str:
    """Return a sentence on the intervals, or why there are none; empty where none are given.

    It names a record's `level` or `why_none`; the level is 95 % where a record has none.
    """
    values = [value for each in given for value in (each or {}).values()]
    known = [value for value in values if getattr(value, "mean", value) is not None]
    drawn = [value for value in known if whisker_of(value).low is not None]
    if drawn:
        levels = sorted({getattr(value, "level", 0.95) for value in drawn})
        shares = " and ".join(f"{100 * level:.4g} %" for level in levels)
        return f"Bars: {shares} intervals over conversations."
    reasons = [why for value in values if (why := getattr(value, "why_none", ""))]
    return f"No intervals: {reasons[0]}." if reasons else ""


@dataclass(frozen=True, slots=True)
class FigureBasis:
    """The turns of a figure: their number, their conversations, whether any is simulated."""

    turns: int
    conversations: int
    is_simulated: bool

    @property
    def words(self) -> str:
        """The basis as a sentence of a caption."""
        words = f"{counted(self.turns, 'turn')} of {counted(self.conversations, 'conversation')}"
        return f"{words}. Simulated: no real model answered" if self.is_simulated else words


def basis_of(rows: Iterable[TurnRow]) -> FigureBasis:
    """Return the basis of a sweep's rows."""
    rows = list(rows)
    turns = {(row.conversation, row.turn) for row in rows}
    conversations = {conversation for conversation, _ in turns}
    return FigureBasis(len(turns), len(conversations), any(row.is_simulated for row in rows))


class CostAxis(StrEnum):
    """A cost of a turn."""

    CALLS = "calls"
    TOKENS = "tokens"
    USD = "usd"
    ROUNDS = "rounds"

    @property
    def field(self) -> str:
        """Its field of `TurnRow`."""
        return {CostAxis.CALLS: "asked", CostAxis.ROUNDS: "rounds_reply"}.get(self, self.value)

    @property
    def noun(self) -> str:
        """Its unit."""
        return "USD" if self is CostAxis.USD else self.value

    @property
    def label(self) -> str:
        """The unit of a mean."""
        return "rounds to the reply" if self is CostAxis.ROUNDS else f"{self.noun} per turn"

    @property
    def axis(self) -> str:
        """The title of its axis, with the better direction."""
        better = "less" if self is CostAxis.USD else "fewer"
        return f"{self.label} ({better} is better)"

    @property
    def digits(self) -> int:
        """Digits after the point that are shown."""
        return {CostAxis.TOKENS: 0, CostAxis.USD: 5}.get(self, 2)

    def of(self, row: TurnRow) -> float | None:
        """Return the cost of a turn; None where it is unknown, which is not 0."""
        cost: float | None = getattr(row, self.field)
        return cost

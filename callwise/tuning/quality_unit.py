"""The unit and the scale of quality, by the source that judged it.

A figure of quality is never shown without its unit: a row of a sweep names its source
(`TurnRow.quality_by`), and the source decides the unit. People's labels have the scale of their
file; the scales of all other sources are fixed here.
"""

from dataclasses import dataclass, replace

__all__ = ["MARK_SCALE", "TRUTH_SCALE", "WIN_SCALE", "QualityUnit", "unit_of"]

TRUTH_SCALE = (-2.0, 2.0)
"""Two SD either way: a scale four wide. Single replies may lie outside of it."""

MARK_SCALE = (1.0, 10.0)
"""The scale of every mark that a referee gives."""

WIN_SCALE = (0.0, 1.0)
"""A comparison that is lost and one that is won; a tie is halfway."""


@dataclass(frozen=True, slots=True)
class QualityUnit:
    """A unit of quality, and its scale where it is known. Higher is better.

    Args:
        name: on axes and below tables, such as `within-prompt SD`.
        short: behind a number, such as `SD`; one word, or empty where no unit is known.
        low: the worst value of the scale; a single value may lie below.
        high: the best value of the scale.
    """

    name: str
    short: str
    low: float | None = None
    high: float | None = None

    @property
    def width(self) -> float | None:
        """The width of the scale; None where the scale is not known."""
        return None if self.low is None or self.high is None else self.high - self.low

    @property
    def scale(self) -> str:
        """The scale as text, `-2 to 2`; empty where it is not known."""
        return "" if self.low is None or self.high is None else f"{self.low:g} to {self.high:g}"

    @property
    def words(self) -> str:
        """The unit and its scale: `within-prompt SD, scale -2 to 2`."""
        return f"{self.name}, scale {self.scale}" if self.scale else self.name

    @property
    def column(self) -> str:
        """The name of a column of such figures: `quality_sd`."""
        return f"quality_{self.short.lower()}" if self.short else "quality"

    @property
    def axis(self) -> str:
        """The title of an axis of such figures."""
        unit = f"{self.name}, {self.scale}" if self.scale else self.name
        return f"quality in {unit} (higher is better)"


def unit_of(by: str, scale: tuple[float, float] | None = None) -> QualityUnit:
    """Return the unit of a source's scores.

    Args:
        by: the source: `truth:simulated`, `referee:<model>`, `referee:<model>:pairwise`,
            `human:<file>`, `truth:<file>`; empty where nothing was judged.
        scale: worst and best value; None takes what is fixed for the source.
    """
    kind = by.partition(":")[0]
    if by == "truth:simulated":
        unit = QualityUnit("within-prompt SD", "SD", *TRUTH_SCALE)
    elif kind == "referee" and by.endswith(":pairwise"):
        unit = QualityUnit("wins", "wins", *WIN_SCALE)
    elif kind == "referee":
        unit = QualityUnit("marks", "marks", *MARK_SCALE)
    elif kind in {"human", "truth"}:
        unit = QualityUnit("points", "points")
    else:
        unit = QualityUnit("a unit that is not named", "")
    return unit if scale is None else replace(unit, low=scale[0], high=scale[1])

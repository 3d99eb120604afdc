"""The figure: share of the gap against requests, one line a policy, mean over pools.

The data only; `drawing` puts them on paper. The colours are Okabe and Ito's, which people
who are colour-blind can tell apart; ours are solid and peers dashed, and every curve has
its own marker. A preset is one point.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from benchmarks.search.comparing import Average
from benchmarks.search.intervals import Interval

__all__ = ["BANDED", "STYLES", "Curve", "CurvePlace", "Style", "curves"]


@dataclass(frozen=True, slots=True)
class Style:
    """Style of a curve.

    Args:
        colour: as `#rrggbb`.
        marker: matplotlib's letter.
        is_peer: whether it is no policy of ours.
    """

    colour: str
    marker: str
    is_peer: bool = False


_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_YELLOW, _BLUE, _RED, _PURPLE = "#B8A900", "#0072B2", "#D55E00", "#CC79A7"

STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "frugal": Style(_RED, "p"),
        "balanced": Style(_RED, "*"),
        "thorough": Style(_RED, "h"),
        "listwise": Style(_BLUE, "o"),
        "auto": Style(_RED, "D"),
        "halving": Style(_PURPLE, "^"),
        "posterior_uct": Style(_GREEN, "P"),
        "best_of_n": Style(_SKY, "v"),
        "classic_uct": Style(_BLACK, "s"),
        "best-of-N, packed": Style(_SKY, "2", is_peer=True),
        "best-of-N, plain": Style(_GREEN, "1", is_peer=True),
        "best-of-N, adaptive": Style(_PURPLE, "3", is_peer=True),
        "treequest StandardMCTS": Style(_ORANGE, "x", is_peer=True),
        "treequest AB-MCTS-A": Style(_YELLOW, "+", is_peer=True),
    }
)
"""By the policy's label; others are not drawn."""

BANDED = ("classic_uct", "listwise", "auto", "best-of-N, packed")
"""Curves whose intervals are drawn; more bands on one another could not be read."""


@dataclass(frozen=True, slots=True)
class CurvePlace:
    """One point, and its interval."""

    x: float
    cap: int
    share: Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """One policy.

    Args:
        label: for the legend.
        places: from left to right.
    """

    label: str
    places: tuple[CurvePlace, ...]

    @property
    def style(self) -> Style:
        """Return how it is drawn."""
        return STYLES[self.label]

    @property
    def has_band(self) -> bool:
        """Whether its intervals are drawn."""
        return self.label in BANDED


def curves(averages: Iterable[Average]) -> list[Curve]:
    """Return a curve a policy of `STYLES`, in that order: share of the gap by mean requests.

    Where a larger cap is not used, its points are one on another, and one is drawn.
    """
    rows = list(averages)
    found = []
    for label in STYLES:
        places: dict[float, CurvePlace] = {}
        for row in rows:
            if row.policy == label:
                place = CurvePlace(row.requests, row.cap, row.share.mean)
                places.setdefault(round(row.requests, 2), place)
        if places:
            found.append(Curve(label, tuple(places[x] for x in sorted(places))))
    return found

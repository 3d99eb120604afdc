"""The figure: share of the gap against requests, one line a policy; means over pools, and pools.

The data only; `drawing` puts them on paper. A policy has one style in all panels: a colour of
Okabe and Ito or of Tol, which people who are colour-blind can tell apart, with its own marker and
dashes. Where two policies make the same requests they have the same line, so one of the two is
broad and pale and the other narrow on top of it. A preset is one point.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from benchmarks.search.comparing import Average, Comparison
from benchmarks.search.intervals import Interval

__all__ = [
    "BANDED",
    "IN_POOLS",
    "STYLES",
    "Curve",
    "CurvePlace",
    "Panel",
    "Style",
    "curves",
    "panels_of",
    "panels_text",
    "read_panels",
]


@dataclass(frozen=True, slots=True)
class Style:
    """Style of a curve.

    Args:
        colour: as `#rrggbb`.
        marker: matplotlib's letter.
        dashes: matplotlib's line style.
        is_peer: whether it is no policy of ours.
        is_broad: whether another line may cover it, so that it is drawn broad and pale.
    """

    colour: str
    marker: str
    dashes: str = "-"
    is_peer: bool = False
    is_broad: bool = False


STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "frugal": Style("#1f2328", "p"),
        "balanced": Style("#1f2328", "*"),
        "thorough": Style("#1f2328", "h"),
        "listwise": Style("#56B4E9", "o", is_broad=True),
        "auto": Style("#D55E00", "D"),
        "halving": Style("#CC79A7", "^", "--"),
        "posterior_uct": Style("#009E73", "P", "-."),
        "best_of_n": Style("#0072B2", "v", ":"),
        "classic_uct": Style("#000000", "s"),
        "best-of-N, packed": Style("#332288", "<", "--", is_peer=True),
        "best-of-N, plain": Style("#882255", "1", ":", is_peer=True),
        "best-of-N, adaptive": Style("#117733", "X", "-.", is_peer=True),
        "treequest StandardMCTS": Style("#E69F00", "x", "--", is_peer=True),
        "treequest AB-MCTS-A": Style("#DDCC77", "d", is_peer=True, is_broad=True),
    }
)
"""By the policy's label; others are not drawn."""

BANDED = ("classic_uct", "auto", "best-of-N, packed")
"""Curves whose intervals are drawn; more bands on one another could not be read."""

IN_POOLS = ("listwise", "auto", "classic_uct", "best-of-N, packed", "treequest AB-MCTS-A")
"""Policies in the panel of one pool."""


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


@dataclass(frozen=True, slots=True)
class Panel:
    """The curves of one pool, or of the mean over pools.

    Args:
        pool: its name; empty for the mean.
    """

    pool: str
    curves: tuple[Curve, ...]


def curves(
    rows: Iterable[Average | Comparison], labels: Iterable[str] = tuple(STYLES)
) -> list[Curve]:
    """Return a curve a policy, in the order of the labels: share of the gap by mean requests.

    Where a larger cap is not used, its points are one on another, and one is drawn.
    """
    rows = list(rows)
    found = []
    for label in labels:
        places: dict[float, CurvePlace] = {}
        for row in rows:
            if row.policy == label:
                share = row.share if isinstance(row, Comparison) else row.share.mean
                place = CurvePlace(row.requests, row.cap, share)
                places.setdefault(round(row.requests, 2), place)
        if places:
            found.append(Curve(label, tuple(places[x] for x in sorted(places))))
    return found


def panels_of(averages: Iterable[Average], pools: Iterable[Comparison]) -> list[Panel]:
    """Return the panel of the means, then one for each pool, without what is not reported."""
    by_pool: dict[str, list[Comparison]] = {}
    for row in pools:
        by_pool.setdefault(row.pool, []).extend([row] if row.is_reported else [])
    means = curves(averages)
    found = [Panel("", tuple(means))] if means else []
    for pool, rows in by_pool.items():
        if own := curves(rows, IN_POOLS):
            found.append(Panel(pool, tuple(own)))
    return found


def panels_text(panels: Iterable[Panel], facts: Mapping[str, str]) -> str:
    """Return panels as JSON, from which the figure can be drawn again without a measurement."""
    document = {"facts": dict(facts), "panels": [asdict(panel) for panel in panels]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_panels(text: str) -> tuple[list[Panel], dict[str, str]]:
    """Return the panels and facts of `panels_text`."""
    document = json.loads(text)
    return [_panel(each) for each in document["panels"]], document["facts"]


def _panel(plain: Mapping[str, Any]) -> Panel:
    found = []
    for curve in plain["curves"]:
        places = tuple(
            CurvePlace(place["x"], place["cap"], Interval(**place["share"]))
            for place in curve["places"]
        )
        found.append(Curve(curve["label"], places))
    return Panel(plain["pool"], tuple(found))

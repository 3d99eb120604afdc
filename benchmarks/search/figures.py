"""The figures: quality against calls, against rounds, a simulator and its pool.

The data only; `drawing` puts them on paper. The colours are Okabe and Ito's, which people
who are colour-blind can tell apart; ours are solid and peers dashed, and every curve has
its own marker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from benchmarks.search.calibrated import TrustRow
from benchmarks.search.comparing import Comparison
from benchmarks.search.intervals import Interval

__all__ = [
    "BANDED",
    "OTHER",
    "SIMULATED",
    "STYLES",
    "Curve",
    "CurvePlace",
    "Panel",
    "Style",
    "panels",
    "trust_panels",
]

Axis = Literal["requests", "rounds"]


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
        "classic_uct": Style(_BLACK, "s"),
        "best_of_n": Style(_SKY, "v"),
        "listwise": Style(_BLUE, "o"),
        "halving": Style(_PURPLE, "^"),
        "posterior_uct": Style(_GREEN, "P"),
        "auto": Style(_RED, "D"),
        "listwise by agreement": Style(_BLUE, "*"),
        "auto by agreement": Style(_RED, "X"),
        "treequest StandardMCTS": Style(_ORANGE, "x", is_peer=True),
        "treequest AB-MCTS-A": Style(_YELLOW, "+", is_peer=True),
        "best-of-N, plain": Style(_GREEN, "1", is_peer=True),
        "best-of-N, packed": Style(_SKY, "2", is_peer=True),
        "best-of-N, adaptive": Style(_PURPLE, "3", is_peer=True),
    }
)
"""By the policy's label. A label that is not here is drawn grey."""

OTHER = Style("#777777", ".")
"""Of a label without its own one."""

SIMULATED = ", simulated"
"""Suffix of a policy's label where the curve is the simulator's."""

BANDED = ("classic_uct", "listwise", "auto")
"""Curves whose intervals are drawn; eleven bands on one another could not be read."""


@dataclass(frozen=True, slots=True)
class CurvePlace:
    """One point, and its interval."""

    x: float
    cap: int
    quality: Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """One policy in one panel.

    Args:
        label: for the legend.
        places: from left to right.
        is_dashed: drawn dashed.
        has_band: whether its intervals are drawn.
    """

    label: str
    places: tuple[CurvePlace, ...]
    is_dashed: bool = False
    has_band: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """One pool.

    Args:
        title: the pool's.
        unit: of the truth.
        random_truth: the lower line.
        oracle_truth: the upper line.
        curves: in the order of `STYLES`, then others by label.
    """

    title: str
    unit: str
    random_truth: float
    oracle_truth: float
    curves: tuple[Curve, ...]


def panels(
    comparisons: Sequence[Comparison],
    axis: Axis,
    *,
    units: Mapping[str, str] = MappingProxyType({}),
) -> list[Panel]:
    """Return what a figure shows, a panel a pool, in the order of the comparisons.

    What the record could not serve (`not reported`) is left out, and so is a pool of nothing
    else.

    Args:
        comparisons: of one or several pools.
        axis: mean requests, or mean rounds, as x.
        units: of the truth, by pool.
    """
    order = {label: place for place, label in enumerate(STYLES)}
    found = []
    for pool in dict.fromkeys(row.pool for row in comparisons):
        rows = [row for row in comparisons if row.pool == pool]
        labels = sorted({row.policy for row in rows}, key=lambda it: (order.get(it, 99), it))
        curves = [_curve(label, rows, axis) for label in labels]
        found.append(
            Panel(
                title=pool,
                unit=units.get(pool, "true quality of the pick"),
                random_truth=rows[0].random_truth,
                oracle_truth=rows[0].oracle_truth,
                curves=tuple(curve for curve in curves if curve.places),
            )
        )
    return [panel for panel in found if panel.curves]


def _curve(label: str, rows: Sequence[Comparison], axis: Axis) -> Curve:
    mine = [row for row in rows if row.policy == label and row.verdict != "not reported"]
    at: Callable[[Comparison], float] = (
        (lambda row: row.requests) if axis == "requests" else (lambda row: row.rounds)
    )
    places = [CurvePlace(at(row), row.cap, row.quality) for row in mine]
    return Curve(
        label,
        tuple(sorted(places, key=lambda place: (place.x, place.cap))),
        is_dashed=STYLES.get(label, OTHER).is_peer,
        has_band=label in BANDED,
    )


def trust_panels(rows: Sequence[TrustRow], policies: Sequence[str]) -> list[Panel]:
    """Return a panel a pool: recorded and simulated curves of some policies by cap.

    Args:
        rows: what both have, as shares of the gap from random (0) to oracle (1).
        policies: those that are drawn.
    """
    found = []
    for pool in dict.fromkeys(row.pool for row in rows):
        curves = []
        for policy in policies:
            mine = sorted(
                (row for row in rows if (row.pool, row.policy) == (pool, policy)),
                key=lambda row: row.cap,
            )
            recorded = [
                CurvePlace(row.cap, row.cap, Interval(row.recorded, row.low, row.high, 0))
                for row in mine
            ]
            simulated = [
                CurvePlace(
                    row.cap, row.cap, Interval(row.simulated, row.simulated, row.simulated, 0)
                )
                for row in mine
            ]
            if mine:
                curves.append(Curve(policy, tuple(recorded)))
                curves.append(
                    Curve(policy + SIMULATED, tuple(simulated), is_dashed=True, has_band=False)
                )
        found.append(Panel(pool, "share of the gap, random to oracle", 0.0, 1.0, tuple(curves)))
    return found

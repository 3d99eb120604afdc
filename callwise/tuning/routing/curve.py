"""Quality against cost of routing tables, between the weakest and the strongest model.

Three measures of each table, all paired by turn: its quality less that of the strongest model
alone; the share of the gap between weakest and strongest that it recovers; and what it gains on a
random mix of these two at the same cost, which needs no table and is the line between them.

Source: performance gap recovered and its curve, Ong et al. (2024), RouteLLM, 2.2. We depart in
the axis: besides the share of calls to the strongest model, which means little between three, the
share of the cost between the two ends.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from callwise.report.table import Table
from callwise.tuning.panel import Panel
from callwise.tuning.quality_unit import QualityUnit
from callwise.tuning.statistics.bootstrap import BootstrapOptions, Interval, mean_intervals
from callwise.tuning.statistics.power import ranged

__all__ = ["CurvePoint", "curve_json", "curve_table", "routing_curve"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One table on the curve. Each interval is valid alone.

    Args:
        quality: mean per turn.
        difference: quality less that of the strongest model alone.
        recovered: share of the gap between the ends that it recovers; None where the ends are not
            shown to differ. Below 0 it is worse than the weakest, above 1 better than the
            strongest.
        gain: quality less that of a random mix of the two ends at the same mean cost.
        cost: mean per turn.
        cost_share: where its cost lies between the ends, 0 to 1; None where they cost the same.
        strong_share: share of the calls to the strongest model, in [0, 1]; None: not known.
    """

    table: str
    quality: Interval
    difference: Interval
    recovered: Interval | None
    gain: Interval | None
    cost: float
    cost_share: float | None
    strong_share: float | None


def routing_curve(
    cost: Panel,
    quality: Panel,
    *,
    strong: str,
    weak: str,
    strong_shares: Mapping[str, float] | None = None,
    **options: Unpack[BootstrapOptions],
) -> list[CurvePoint]:
    """Return all settings of the panels as points, cheapest first; without a known cost none.

    Args:
        strong: setting that asks the strongest model alone.
        weak: setting that asks the weakest model alone.
        strong_shares: share of calls to the strongest model, by setting.

    Raises:
        ValueError: when the panels lack one of the ends, or as `mean_intervals` does.
    """
    place = {name: at for at, name in enumerate(quality.settings)}
    if strong not in place or weak not in place:
        raise ValueError(f"the panels lack {strong!r} or {weak!r}")
    means = np.array([np.nanmean(row) if np.any(~np.isnan(row)) else np.nan for row in cost.values])
    top, bottom = quality.values[place[strong]], quality.values[place[weak]]
    gap = float(np.nanmean(top - bottom))
    span = float(means[place[strong]] - means[place[weak]])

    def intervals(values: Floats) -> dict[str, Interval]:
        return mean_intervals(replace(quality, values=values), **options)

    qualities = intervals(quality.values)
    differences = intervals(quality.values - top)
    gap_interval = intervals(np.broadcast_to(top - bottom, quality.values.shape))[strong]
    is_gap = gap_interval.low is not None and gap_interval.low > 0
    above = quality.values - bottom
    recovered: dict[str, Interval] = {}
    if is_gap:  # the linearised ratio of means (Cochran 1977, 6), studentised like any mean
        ratios = np.nanmean(above, axis=1, keepdims=True) / gap
        recovered = intervals(ratios + (above - ratios * (top - bottom)) / gap)
    gains: dict[str, Interval] = {}
    shares: Mapping[str, float] = {}
    if span > 0:
        shares = {
            name: float((means[at] - means[place[weak]]) / span) for name, at in place.items()
        }
        mixed = np.array(list(shares.values()))[:, None] * (top - bottom)
        gains = intervals(above - mixed)
    found = [
        CurvePoint(
            table=name,
            quality=qualities[name],
            difference=differences[name],
            recovered=recovered.get(name),
            gain=gains.get(name),
            cost=float(means[at]),
            cost_share=shares.get(name),
            strong_share=(strong_shares or {}).get(name),
        )
        for name, at in place.items()
        if not math.isnan(means[at])
    ]
    return sorted(found, key=lambda point: (point.cost, point.table))


def curve_table(points: list[CurvePoint], unit: QualityUnit, *, is_simulated: bool) -> Table:
    """Return the curve as a table, cheapest first."""
    label = " (simulated)" if is_simulated else ""
    return Table(
        "routing_curve",
        f"Quality against cost, paired by turn, 95 % intervals{label}",
        (
            *("table", "cost", unit.column, "less_than_strong", "gap_recovered"),
            *("gain_on_mix", "cost_share", "strong_calls"),
        ),
        tuple(
            (
                point.table,
                f"{point.cost:.6g}",
                _text(point.quality),
                _text(point.difference),
                "no gap shown" if point.recovered is None else _text(point.recovered),
                "" if point.gain is None else _text(point.gain),
                "" if point.cost_share is None else f"{100 * point.cost_share:.0f} %",
                "" if point.strong_share is None else f"{100 * point.strong_share:.0f} %",
            )
            for point in points
        ),
        keeps=("cost", "gap_recovered"),
    )


def _text(found: Interval) -> str:
    return "unknown" if found.mean is None else ranged(found.mean, found.low, found.high, 3)


def curve_json(points: list[CurvePoint]) -> list[dict[str, Any]]:
    """Return the curve as plain JSON."""

    def of(found: Interval | None) -> dict[str, Any] | None:
        if found is None:
            return None
        return {"mean": found.mean, "low": found.low, "high": found.high}

    return [
        {
            "table": point.table,
            "cost": point.cost,
            "quality": of(point.quality),
            "difference": of(point.difference),
            "gap_recovered": of(point.recovered),
            "gain_on_random_mix": of(point.gain),
            "cost_share": point.cost_share,
            "strong_call_share": point.strong_share,
        }
        for point in points
    ]

"""Analysis of a sweep: each setting's figures with intervals, the front, the recommendation.

`analysis_forms` has it as tables, as sentences and as JSON.

The quality of a reply that is not recorded is an estimate (`imputation`), never that of the reply
played in its place. Its spread goes into every interval that contains it, and each interval has
the share of such turns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel, panel_of
from callwise.tuning.quality_unit import QualityUnit, unit_of
from callwise.tuning.row import Coverage, TurnRow, rows_by_setting, sum_known
from callwise.tuning.statistics.bootstrap import BootstrapOptions, Interval, mean_intervals
from callwise.tuning.statistics.front import Front, pareto_front
from callwise.tuning.statistics.imputation import impute, shared_error
from callwise.tuning.statistics.recommendation import MARGIN_SHARE, Recommendation, recommend

__all__ = [
    "Analysis",
    "SettingSummary",
    "ToBuy",
    "analyse",
    "exact_mask",
    "to_buy",
    "with_estimates",
]

COSTS: Mapping[str, str] = {
    "asked": "calls per turn",
    "requests": "requests per turn",
    "usd": "USD per turn",
    "rounds_reply": "rounds to the reply",
    "tokens": "tokens per turn",
}
"""The costs by field of `TurnRow`, and their units."""


MIN_EXACT_SHARE = 0.5
"""Least share of a setting's replies in the recording for the setting to be compared: nothing can
be shown of one that is mostly estimated, and the least known must not win."""


@dataclass(frozen=True, slots=True)
class ToBuy:
    """Calls that a real run of some rows would have to buy, about.

    Fewer, where settings share calls; more, where a bought reply changes the calls after it.

    Args:
        usd: their price, estimated; None when not known, which is not 0.
    """

    calls: int
    tokens: int | None
    usd: float | None
    turns: int


def to_buy(rows: Sequence[TurnRow]) -> ToBuy:
    """Return the calls that rows lack; a call that several settings lack counts for each."""
    lacking = [row for row in rows if row.missing_calls]
    tokens = sum_known(row.missing_tokens for row in lacking)
    return ToBuy(
        calls=sum(row.missing_calls for row in lacking),
        tokens=None if tokens is None else int(tokens),
        usd=sum_known(row.missing_usd for row in lacking),
        turns=len(lacking),
    )


@dataclass(frozen=True, slots=True)
class SettingSummary:
    """One setting over all turns.

    Args:
        exact_replies: those whose every call up to the reply is.
        mean_usd: cost per turn; None when that of any turn is not known.
        front_share: share of draws in which none is.
    """

    setting: str
    turns: int
    exact_turns: int
    exact_replies: int
    asked: Interval
    quality: Interval
    mean_requests: float
    mean_tokens: float
    mean_usd: float | None
    mean_rounds: float
    mean_by_node: Mapping[str, float]
    buy: ToBuy
    is_on_front: bool
    front_share: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """The results of a sweep.

    Args:
        recommendation: None where no quality is known.
        quality: the panel behind it all, estimates included.
        by: source of the quality; empty where none was judged.
        unit: of the quality.
    """

    settings: Mapping[str, SettingSummary]
    front: Front
    recommendation: Recommendation | None
    cost: str
    quality: Panel = field(repr=False)
    costs: Panel = field(repr=False)
    by: str = ""
    unit: QualityUnit = field(default_factory=lambda: unit_of(""))
    turns: int = 0
    conversations: int = 0
    is_simulated: bool = False
    notices: tuple[str, ...] = ()


def exact_mask(rows: Sequence[TurnRow], panel: Panel) -> NDArray[np.bool_]:
    """Return (S, T) whether a reply is what a real run gives, in the order of a panel."""
    mask = np.zeros(panel.values.shape, dtype=bool)
    for row, place in zip(rows, _places(rows, panel), strict=True):
        mask[place] = row.is_reply_exact
    return mask


def with_estimates(rows: Sequence[TurnRow], quality: Panel) -> list[TurnRow]:
    """Return rows whose unknown qualities are the panel's estimates, each with its spread."""
    by = next((row.quality_by for row in rows if row.quality_by), "")
    found = []
    for row, place in zip(rows, _places(rows, quality), strict=True):
        value, spread = float(quality.values[place]), float(quality.spread[place])
        is_known = not np.isnan(value)
        found.append(
            replace(
                row,
                quality=value if is_known else None,
                quality_spread=spread if is_known else 0.0,
                quality_by=by if is_known else "",
            )
        )
    return found


def _places(rows: Sequence[TurnRow], panel: Panel) -> list[tuple[int, int]]:
    """Return each row's cell in a panel that was made of these rows."""
    settings = {name: place for place, name in enumerate(panel.settings)}
    keys = [(row.conversation, row.turn) for row in rows]
    turns = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return [(settings[row.setting], turns[key]) for row, key in zip(rows, keys, strict=True)]


def analyse(
    rows: Sequence[TurnRow],
    *,
    scale_width: float | None = None,
    unit: QualityUnit | None = None,
    margin_share: float = MARGIN_SHARE,
    cost: str = "asked",
    **options: Unpack[BootstrapOptions],
) -> Analysis:
    """Analyse the rows of a sweep.

    Args:
        scale_width: of the quality scale; None takes that of the unit, and where it has none the
            gap between the sweep's best and worst.
        unit: of the quality; None takes what is fixed for the rows' source. People's labels have
            a scale of their own (`JudgedRows.unit`).
        cost: a numeric field of `TurnRow` to spend less of; see `COSTS`.

    Raises:
        ValueError: without a row, or with two rows of one turn under one setting.
    """
    if not rows:
        raise ValueError("a sweep without rows cannot be analysed: no setting could run")
    measured = panel_of(rows, "quality")
    mask = exact_mask(rows, measured)
    quality = impute(measured, mask)
    costs = panel_of(rows, cost)
    options.setdefault("shared", shared_error(quality))
    is_simulated = any(row.is_simulated for row in rows)
    by = next((row.quality_by for row in rows if row.quality_by), "")
    unit = unit_of(by) if unit is None else unit
    is_known = mask.mean(axis=1) >= MIN_EXACT_SHARE
    compared = replace(  # settings that are not known have no values
        quality,
        values=np.where(is_known[:, None], quality.values, np.nan),
        spread=np.where(is_known[:, None], quality.spread, 0.0),
    )
    front = pareto_front(costs, compared, **options)
    recommendation = None
    if front.points:
        recommendation = recommend(
            costs,
            compared,
            margin_share=margin_share,
            scale_width=unit.width if scale_width is None else scale_width,
            unit=unit,
            is_simulated=is_simulated,
            cost_unit=COSTS.get(cost, cost),
            **options,
        )
    asked = mean_intervals(panel_of(rows, "asked"), **options)
    qualities = mean_intervals(quality, **options)
    return Analysis(
        settings={
            name: _summary(name, own, asked[name], qualities[name], front)
            for name, own in rows_by_setting(rows).items()
        },
        front=front,
        recommendation=recommendation,
        cost=cost,
        quality=quality,
        costs=costs,
        by=by,
        unit=unit,
        turns=quality.values.shape[1],
        conversations=len(quality.conversations),
        is_simulated=is_simulated,
        notices=_notices(rows, int((~is_known).sum())),
    )


def _notices(rows: Sequence[TurnRow], unknown_settings: int) -> tuple[str, ...]:
    notices = []
    missing = sum(row.coverage is Coverage.MISSING for row in rows)
    if missing:
        notices.append(
            f"{missing} of {len(rows)} turns ask for calls of a kind that the recording has none "
            "of; their counts are the plan's"
        )
    if unknown_settings:
        notices.append(
            f"{unknown_settings} of {len({row.setting for row in rows})} settings have fewer than "
            f"{MIN_EXACT_SHARE:.0%} of their replies in the recording: they are neither on the "
            "front nor recommended until what they lack is bought (--buy)"
        )
    return tuple(notices)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _summary(
    name: str, rows: Sequence[TurnRow], asked: Interval, quality: Interval, front: Front
) -> SettingSummary:
    usd = sum_known(row.usd for row in rows)
    nodes = dict.fromkeys(node for row in rows for node in row.asked_by_node)
    point = front.points.get(name)
    return SettingSummary(
        setting=name,
        turns=len(rows),
        exact_turns=sum(row.coverage is Coverage.EXACT for row in rows),
        exact_replies=sum(row.is_reply_exact for row in rows),
        asked=asked,
        quality=quality,
        mean_requests=_mean([row.requests for row in rows]),
        mean_tokens=_mean([row.tokens for row in rows]),
        mean_usd=None if usd is None else usd / len(rows),
        mean_rounds=_mean([row.rounds_reply for row in rows]),
        mean_by_node={
            node: _mean([row.asked_by_node.get(node, 0) for row in rows]) for node in nodes
        },
        buy=to_buy(rows),
        is_on_front=point is not None and point.is_on_front,
        front_share=point.front_share if point is not None else 0.0,
    )

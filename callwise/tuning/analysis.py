"""Analysis of a sweep: each setting's figures with intervals, the front, the recommendation.

It is shown as tables and sentences on a terminal, and written as JSON for scripts.

The quality of a reply that is not recorded is an estimate (`imputation`), never that of the reply
played in its place. Its spread goes into every interval that contains it, and each interval has
the share of such turns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from callwise.report.table import Cell, Table, tables_text
from callwise.tuning.panel import Panel, panel_of
from callwise.tuning.row import Coverage, TurnRow, rows_by_setting, sum_known
from callwise.tuning.statistics.bootstrap import BootstrapOptions, Interval, mean_intervals
from callwise.tuning.statistics.front import Front, pareto_front
from callwise.tuning.statistics.imputation import impute, shared_error
from callwise.tuning.statistics.power import interval_text, ranged
from callwise.tuning.statistics.recommendation import MARGIN_SHARE, Recommendation, recommend

__all__ = [
    "Analysis",
    "SettingSummary",
    "ToBuy",
    "analyse",
    "analysis_json",
    "buy_sentence",
    "exact_mask",
    "settings_table",
    "summary_text",
    "to_buy",
    "verdict_table",
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
    """Calls that a real run of some rows would have to buy.

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
    """

    settings: Mapping[str, SettingSummary]
    front: Front
    recommendation: Recommendation | None
    cost: str
    quality: Panel = field(repr=False)
    costs: Panel = field(repr=False)
    by: str = ""
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
    margin_share: float = MARGIN_SHARE,
    cost: str = "asked",
    **options: Unpack[BootstrapOptions],
) -> Analysis:
    """Analyse the rows of a sweep.

    Args:
        scale_width: of the quality scale; None takes the gap between the sweep's best and worst.
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
            scale_width=scale_width,
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
        by=next((row.quality_by for row in rows if row.quality_by), ""),
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


def _row(summary: SettingSummary) -> tuple[Cell, ...]:
    estimated = summary.turns - summary.exact_replies
    front = f"{'front ' if summary.is_on_front else ''}{summary.front_share:.0%}"
    quality = summary.quality
    return (
        summary.setting,
        f"{summary.asked.mean or 0.0:.2f}",
        f"{summary.mean_rounds:.1f}",
        f"{summary.mean_tokens:,.0f}",
        "unknown" if summary.mean_usd is None else f"{summary.mean_usd:.6f}",
        "unknown" if quality.mean is None else ranged(quality.mean, quality.low, quality.high),
        f"{estimated / summary.turns:.0%}",
        f"{summary.exact_turns / summary.turns:.0%}",
        summary.buy.calls,
        "" if quality.mean is None else front,
    )


def settings_table(analysis: Analysis) -> Table:
    """Return one row per setting, cheapest first."""
    ordered = sorted(
        analysis.settings.values(), key=lambda each: (each.asked.mean or 0.0, each.setting)
    )
    label = " (simulated)" if analysis.is_simulated else ""
    by = f", quality by {analysis.by}" if analysis.by else ", quality not judged"
    return Table(
        "settings",
        f"Settings on {analysis.turns} turns of "
        f"{analysis.conversations} conversation{'s' if analysis.conversations != 1 else ''}"
        f"{by}{label}; 95 % intervals over conversations",
        (
            "setting",
            "calls_per_turn",
            "rounds_to_reply",
            "tokens_per_turn",
            "usd_per_turn",
            "quality",
            "estimated",
            "exact",
            "calls_to_buy",
            "on_front",
        ),
        tuple(map(_row, ordered)),
    )


def verdict_table(found: Recommendation) -> Table | None:
    """Return a recommendation as four rows; None where nothing is recommended."""
    if found.chosen is None or found.saving is None or found.difference is None:
        return None
    if found.chosen == found.best:
        saves, quality = "nothing: it is also the best seen", "none"
    else:
        compared = f", compared with {found.best}, the best seen"
        saves = interval_text(found.saving, found.cost_unit) + compared
        quality = interval_text(found.difference) + compared
    shown = "shown" if found.is_shown else "not shown"
    loss = "" if found.low is None else f"at most {abs(found.low):.3g} below the best, "
    return Table(
        "recommendation",
        f"Recommendation{' (simulated)' if found.is_simulated else ''}",
        ("measure", "value"),
        (
            ("recommended", found.chosen),
            ("saves", saves),
            ("quality difference", quality),
            ("verdict", f"{shown}: {loss}margin {found.margin:.3g} ({found.scale})"),
        ),
    )


def buy_sentence(lacking: ToBuy) -> str:
    """Return the price of all calls that are not recorded, as a sentence."""
    if not lacking.calls:
        return "Every call of every setting is recorded: nothing has to be bought."
    tokens = "an unknown number of" if lacking.tokens is None else f"about {lacking.tokens:,}"
    usd = "USD unknown (no price list)" if lacking.usd is None else f"about USD {lacking.usd:.4f}"
    return (
        f"{lacking.calls:,} calls on {lacking.turns:,} turns are not recorded: {tokens} tokens, "
        f"{usd}, at most: settings share calls."
    )


def summary_text(
    analysis: Analysis, *, losses: Sequence[str] = (), notices: Sequence[str] = ()
) -> str:
    """Return a sweep's table, its front and its recommendation.

    Args:
        losses: sentences above the table: what could not be judged or read, and is in no mean.
    """
    lines = [*losses, *([""] if losses else []), tables_text([settings_table(analysis)])]
    if analysis.front.front:
        lines.append(f"Front, cheapest first: {'; '.join(analysis.front.front)}")
        if analysis.front.knee is not None:
            lines.append(f"Knee: {analysis.front.knee}")
    else:
        lines.append(f"No front: {analysis.front.why_empty}")
    if analysis.recommendation is not None:
        verdict = verdict_table(analysis.recommendation)
        lines += ["", *([tables_text([verdict])] if verdict is not None else [])]
        lines.append(analysis.recommendation.sentence())
    lines += ["", *analysis.notices, *notices]
    return "\n".join(lines).rstrip() + "\n"


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """Return an analysis as plain JSON, for scripts."""
    front, recommendation = analysis.front, analysis.recommendation
    return {
        "turns": analysis.turns,
        "conversations": analysis.conversations,
        "simulated": analysis.is_simulated,
        "quality_by": analysis.by,
        "cost": analysis.cost,
        "settings": {name: _setting_json(each) for name, each in analysis.settings.items()},
        "front": list(front.front),
        "knee": front.knee,
        "why_no_front": front.why_empty,
        "recommendation": None if recommendation is None else _recommended(recommendation),
        "notices": list(analysis.notices),
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    names = ("mean", "low", "high", "level", "conversations", "turns", "estimated_share")
    return None if interval is None else {name: getattr(interval, name) for name in names}


def _setting_json(summary: SettingSummary) -> dict[str, Any]:
    counts = ("turns", "exact_turns", "exact_replies")
    return {
        **{name: getattr(summary, name) for name in counts},
        "asked": _interval(summary.asked),
        "quality": _interval(summary.quality),
        "requests": summary.mean_requests,
        "tokens": summary.mean_tokens,
        "usd": summary.mean_usd,
        "rounds_reply": summary.mean_rounds,
        "asked_by_node": dict(summary.mean_by_node),
        "missing": asdict(summary.buy),
        "is_on_front": summary.is_on_front,
        "front_share": summary.front_share,
    }


def _recommended(recommendation: Recommendation) -> dict[str, Any]:
    names = ("chosen", "is_shown", "best", "margin", "low")
    return {
        **{name: getattr(recommendation, name) for name in names},
        "saving": _interval(recommendation.saving),
        "difference": _interval(recommendation.difference),
        "exact_share": recommendation.exact_share,
        "sentence": recommendation.sentence(),
    }

"""An analysis as tables and sentences for a terminal, and as JSON for scripts."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from callwise.report.table import Cell, Table, tables_text
from callwise.tuning.analysis import Analysis, SettingSummary, ToBuy
from callwise.tuning.statistics.bootstrap import Interval
from callwise.tuning.statistics.power import interval_text, ranged
from callwise.tuning.statistics.recommendation import Recommendation

__all__ = ["analysis_json", "buy_sentence", "settings_table", "summary_text", "verdict_table"]


def _ranged(interval: Interval) -> str:
    """Return a mean with its interval, where it has one."""
    if interval.mean is None:
        return "unknown"
    return ranged(interval.mean, interval.low, interval.high)


def _row(summary: SettingSummary) -> tuple[Cell, ...]:
    estimated = summary.turns - summary.exact_replies
    front = f"{'front ' if summary.is_on_front else ''}{summary.front_share:.0%}"
    return (
        summary.setting,
        f"{summary.asked.mean or 0.0:.2f}",
        f"{summary.mean_rounds:.1f}",
        f"{summary.mean_tokens:,.0f}",
        "unknown" if summary.mean_usd is None else f"{summary.mean_usd:.6f}",
        _ranged(summary.quality),
        f"{estimated / summary.turns:.0%}",
        f"{summary.exact_turns / summary.turns:.0%}",
        summary.buy.calls,
        "" if summary.quality.mean is None else front,
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
        f"Settings on {analysis.turns} turns of {analysis.conversations} "
        f"conversation{'s' if analysis.conversations != 1 else ''}"
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
    return {
        "turns": summary.turns,
        "exact_turns": summary.exact_turns,
        "exact_replies": summary.exact_replies,
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

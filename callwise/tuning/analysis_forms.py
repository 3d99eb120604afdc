"""An analysis as tables and sentences for a terminal, and as JSON for scripts.

Columns of a sweep's table are in order of importance: a narrow terminal does without the last.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from callwise.report.table import Cell, Table, tables_text
from callwise.text_layout import counted
from callwise.tuning.analysis import Analysis, SettingSummary, ToBuy
from callwise.tuning.statistics.bootstrap import Interval
from callwise.tuning.statistics.power import (
    NeededConversations,
    interval_text,
    percent,
    quality_digits,
    ranged,
)
from callwise.tuning.statistics.recommendation import Recommendation

__all__ = [
    "analysis_json",
    "buy_sentence",
    "legend_lines",
    "settings_table",
    "summary_text",
    "verdict_table",
]


def settings_table(analysis: Analysis) -> Table:
    """Return one row per setting, cheapest first."""
    ordered = sorted(
        analysis.settings.values(), key=lambda each: (each.asked.mean or 0.0, each.setting)
    )
    label = " (simulated)" if analysis.is_simulated else ""
    turns = counted(analysis.turns, "turn")
    conversations = counted(analysis.conversations, "conversation")
    has_usd = any(each.mean_usd is not None for each in ordered)
    has_estimates = any(each.exact_replies < each.turns for each in ordered)
    return Table(
        "settings",
        f"Settings on {turns} of {conversations}, means per turn{label}",
        (
            "setting",
            "calls",
            analysis.unit.column,
            "on_front",
            "exact",
            "to_buy",
            "estimated",
            "rounds",
            "tokens",
            "usd",
        ),
        tuple(_row(each, has_usd=has_usd, has_estimates=has_estimates) for each in ordered),
        keeps=("calls", analysis.unit.column),
    )


def _row(summary: SettingSummary, *, has_usd: bool, has_estimates: bool) -> tuple[Cell, ...]:
    """Return a row; a column without any figure is blank, so that it is left out."""
    estimated = summary.turns - summary.exact_replies
    quality = summary.quality
    usd = "unknown" if summary.mean_usd is None else f"{summary.mean_usd:.6f}"
    return (
        summary.setting,
        f"{summary.asked.mean or 0.0:.2f}",
        "unknown" if quality.mean is None else ranged(quality.mean, quality.low, quality.high),
        "" if quality.mean is None else _whole(summary.front_share),
        _whole(summary.exact_turns / summary.turns),
        summary.buy.calls,
        _whole(estimated / summary.turns) if has_estimates else "",
        f"{summary.mean_rounds:.1f}",
        f"{summary.mean_tokens:,.0f}",
        usd if has_usd else "",
    )


def _whole(share: float) -> str:
    """Return a share as whole per cent."""
    return f"{100 * share:.0f} %"


def legend_lines(analysis: Analysis) -> list[str]:
    """Return the unit of each column of `settings_table` that its name does not have."""
    if not analysis.by:
        lines = ["quality: not judged; give --quality referee, or people's --labels"]
    else:
        lines = [
            f"quality: {analysis.unit.words}, higher is better, by {analysis.by}",
            "intervals: 95 %, over conversations",
            "on front: chance that no other setting is better at no more cost",
        ]
    if all(each.mean_usd is None for each in analysis.settings.values()):
        lines.append("USD: unknown (no price list)")
    return lines


def verdict_table(found: Recommendation) -> Table:
    """Return a recommendation as a table: its choice, its gain and loss, and what is open."""
    rows: tuple[tuple[str, str], ...] = (
        ("recommended", "none"),
        ("saves", "unknown"),
        ("quality difference", "unknown"),
        ("verdict", f"none: {found.why_none}"),
        ("to settle it", found.way_out),
    )
    if found.chosen is not None and found.saving is not None and found.difference is not None:
        rows = _verdict_rows(found, found.chosen, found.saving, found.difference)
    return Table(
        "recommendation",
        f"Recommendation{' (simulated)' if found.is_simulated else ''}",
        ("measure", "value"),
        rows,
    )


def _verdict_rows(
    found: Recommendation, chosen: str, saving: Interval, difference: Interval
) -> tuple[tuple[str, str], ...]:
    compared: tuple[tuple[str, str], ...]
    if chosen == found.best:
        compared = (("saves", "nothing: it is the best seen"), ("quality difference", "none"))
    else:
        compared = (
            ("saves", interval_text(saving, found.cost_unit)),
            ("quality difference", _difference(found, difference)),
            ("compared with", f"{found.best}, the best seen"),
        )
    is_shown = "shown" if found.is_shown else "not shown"
    low = "" if found.low is None else f": at most {found.in_unit(-found.low)} below the best"
    basis = f"{counted(difference.conversations, 'conversation')}, "
    basis += f"{counted(difference.turns, 'turn')}, at {percent(found.level)} confidence"
    if found.exact_share < 1:
        basis += f"; {_whole(1 - found.exact_share)} of turns estimated"
    return (
        ("recommended", chosen),
        *compared,
        ("verdict", f"{is_shown}{low}"),
        ("margin", f"{found.in_unit(found.margin)}, {found.scale}"),
        ("to settle it", _to_settle(found)),
        ("from", basis),
    )


def _difference(found: Recommendation, difference: Interval) -> str:
    if difference.mean is None:
        return "unknown"
    mean = found.in_unit(difference.mean)
    if difference.low is None or difference.high is None:
        return f"{mean} (no interval: {difference.why_none})"
    digits = quality_digits(found.scale_width)
    return f"{mean} ({difference.low:z.{digits}f} to {difference.high:z.{digits}f})"


def _to_settle(found: Recommendation) -> str:
    """Return the conversations that the first open setting takes, as far as one is open."""
    needed = found.needed
    if needed is None:
        return "nothing: no cheaper setting is open"
    setting = found.open_settings[0]
    if needed.more_conversations is None or needed.more_turns is None:
        return f"{setting}: none is enough, {needed.why_none}"
    if needed.more_conversations == 0:
        return f"{setting}: nearly settled by these conversations"
    more = counted(needed.more_conversations, "more conversation")
    share = found.deciding_share
    if share is not None and not found.is_within_reach:
        margin = found.in_unit(share * found.scale_width)
        return f"{setting}: a margin of {margin} (--margin-share {share:g}), or {more}"
    return f"{setting}: {more} ({counted(needed.more_turns, 'turn')})"


def buy_sentence(lacking: ToBuy) -> str:
    """Return the price of all calls that are not recorded, as sentences.

    It is an estimate, not a limit: only a cap limits what is bought.
    """
    if not lacking.calls:
        return "Every call of every setting is recorded: nothing has to be bought."
    tokens = "an unknown number of" if lacking.tokens is None else f"about {lacking.tokens:,}"
    usd = "USD unknown (no price list)" if lacking.usd is None else f"about USD {lacking.usd:.4f}"
    return (
        f"{counted(lacking.calls, 'call')} on {counted(lacking.turns, 'turn')} "
        f"{'is' if lacking.calls == 1 else 'are'} not recorded: {tokens} tokens, {usd}. "
        "An estimate: settings share calls, and a new reply changes the calls after it."
    )


def summary_text(
    analysis: Analysis, *, losses: Sequence[str] = (), notices: Sequence[str] = ()
) -> str:
    """Return a sweep's table, its front and its recommendation.

    Args:
        losses: sentences above the table: what could not be judged or read, and is in no mean.
    """
    lines = [*losses, *([""] if losses else []), tables_text([settings_table(analysis)]).rstrip()]
    lines += [*legend_lines(analysis), ""]
    if analysis.front.front:
        lines.append(f"Front, cheapest first: {'; '.join(analysis.front.front)}")
        if analysis.front.knee is not None:
            lines.append(f"Knee: {analysis.front.knee}")
    else:
        lines.append(f"No front: {analysis.front.why_empty}")
    if analysis.recommendation is not None:
        lines += ["", tables_text([verdict_table(analysis.recommendation)])]
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
        "quality_unit": asdict(analysis.unit),
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
        "open_settings": list(recommendation.open_settings),
        "needed": _needed(recommendation.needed),
        "why_none": recommendation.why_none,
        "way_out": recommendation.way_out,
        "sentence": recommendation.sentence(),
    }


def _needed(needed: NeededConversations | None) -> dict[str, Any] | None:
    return None if needed is None else asdict(needed)

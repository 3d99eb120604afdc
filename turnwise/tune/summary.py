"""What a sweep says, as tables and sentences for a terminal."""

from collections.abc import Sequence

from turnwise.report.table import Cell, Table, tables_text
from turnwise.tune.analysis import Analysis, SettingSummary, ToBuy
from turnwise.tune.statistics.bootstrap import Interval

__all__ = ["buy_sentence", "settings_table", "summary_text"]


def _ranged(interval: Interval) -> str:
    """Return a mean with its interval; a mean alone says that it has none."""
    if interval.mean is None:
        return "unknown"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _front(summary: SettingSummary) -> str:
    if summary.quality.mean is None:
        return ""
    return f"{'front ' if summary.is_on_front else ''}{summary.front_share:.0%}"


def _usd(usd: float | None) -> str:
    return "unknown" if usd is None else f"{usd:.6f}"


def _row(summary: SettingSummary) -> tuple[Cell, ...]:
    estimated = summary.turns - summary.exact_replies
    return (
        summary.setting,
        f"{summary.asked.mean or 0.0:.2f}",
        f"{summary.mean_rounds:.1f}",
        f"{summary.mean_tokens:,.0f}",
        _usd(summary.mean_usd),
        _ranged(summary.quality),
        f"{estimated / summary.turns:.0%}",
        f"{summary.exact_turns / summary.turns:.0%}",
        summary.buy.calls,
        _front(summary),
    )


def settings_table(analysis: Analysis) -> Table:
    """Return one row a setting, cheapest first."""
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
            "calls_a_turn",
            "rounds_to_reply",
            "tokens_a_turn",
            "usd_a_turn",
            "quality",
            "estimated",
            "exact",
            "calls_to_buy",
            "on_front",
        ),
        tuple(map(_row, ordered)),
    )


def buy_sentence(lacking: ToBuy) -> str:
    """Return what it would cost to know everything exactly."""
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
        analysis: of its rows.
        losses: what could not be judged or read; said above, since means leave it out.
        notices: said below.
    """
    lines = [*losses, *([""] if losses else []), tables_text([settings_table(analysis)])]
    if analysis.front.front:
        lines.append(f"Front, cheapest first: {'; '.join(analysis.front.front)}")
        if analysis.front.knee is not None:
            lines.append(f"Knee: {analysis.front.knee}")
    else:
        lines.append(f"No front: {analysis.front.why_empty}")
    if analysis.recommendation is not None:
        lines.append(f"\n{analysis.recommendation.in_words()}")
    lines += ["", *analysis.notices, *notices]
    return "\n".join(lines).rstrip() + "\n"

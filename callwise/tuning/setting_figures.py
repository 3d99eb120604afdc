"""The figures of each setting of a sweep as numbers, for data frames and experiment trackers."""

from typing import TYPE_CHECKING, TypeAlias

from callwise.report.frames import frame_of_columns
from callwise.tuning.analysis import Analysis, SettingSummary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SETTING_FIGURES", "Figure", "setting_figures", "settings_frame"]

Figure: TypeAlias = int | float | bool | None
"""A figure of a setting; None where it is not known."""

SETTING_FIGURES = {
    "calls_per_turn": "float64",
    "calls_per_turn_low": "float64",
    "calls_per_turn_high": "float64",
    "quality": "float64",
    "quality_low": "float64",
    "quality_high": "float64",
    "requests_per_turn": "float64",
    "tokens_per_turn": "float64",
    "usd_per_turn": "float64",
    "rounds_to_reply": "float64",
    "estimated_share": "float64",
    "exact_share": "float64",
    "calls_to_buy": "Int64",
    "is_on_front": "bool",
    "front_share": "float64",
    "is_recommended": "bool",
    "turns": "Int64",
}
"""Names of the figures and the types of their columns.

`low` and `high` are the ends of the interval over conversations; `estimated_share` the share of
turns whose reply, and so whose quality, is not recorded and estimated; `exact_share` that of turns
all of whose calls are recorded; `front_share` that of draws in which no other setting is both
cheaper and better.
"""


def setting_figures(summary: SettingSummary, analysis: Analysis) -> dict[str, Figure]:
    """Return the figures of one setting, by the names of `SETTING_FIGURES`."""
    found = analysis.recommendation
    figures: tuple[Figure, ...] = (
        summary.asked.mean,
        summary.asked.low,
        summary.asked.high,
        summary.quality.mean,
        summary.quality.low,
        summary.quality.high,
        summary.mean_requests,
        summary.mean_tokens,
        summary.mean_usd,
        summary.mean_rounds,
        1.0 - summary.exact_replies / summary.turns,
        summary.exact_turns / summary.turns,
        summary.buy.calls,
        summary.is_on_front,
        summary.front_share,
        found is not None and found.chosen == summary.setting,
        summary.turns,
    )
    return dict(zip(SETTING_FIGURES, figures, strict=True))


def settings_frame(analysis: Analysis) -> "pd.DataFrame":
    """Return one line per setting of a sweep, in the sweep's order, with every figure as a number.

    Its index is the name of the setting.

    Raises:
        ConfigError: when pandas is not installed.
    """
    rows = [setting_figures(each, analysis) for each in analysis.settings.values()]
    columns = {name: [row[name] for row in rows] for name in SETTING_FIGURES}
    frame = frame_of_columns(
        {"setting": list(analysis.settings), **columns}, {"setting": "str", **SETTING_FIGURES}
    )
    return frame.set_index("setting")

"""Cascades that were tried on a recording as a table, as JSON, and what would decide on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from callwise.report.table import Share, Table
from callwise.text_layout import counted
from callwise.tuning.quality_unit import QualityUnit
from callwise.tuning.routing.cascade_tuning import TriedCascade, TunedCascades
from callwise.tuning.routing.curve import curve_json
from callwise.tuning.statistics.bootstrap import Interval
from callwise.tuning.statistics.power import ranged

__all__ = ["cascade_json", "cascade_table", "undecided"]


def undecided(tuned: TunedCascades, margin: str = "--margin-share") -> str:
    """Return what would lead to a verdict, where there is none.

    Args:
        margin: the name of the option for a larger loss.
    """
    needed = None if tuned.crossed is None else tuned.crossed.needed
    more = None if needed is None else needed.more_conversations
    enough = counted(more, "more conversation") if more else "more conversations"
    return f"record {enough}, or accept a larger loss ({margin})"


def cascade_table(tried: Sequence[TriedCascade], unit: QualityUnit, *, is_simulated: bool) -> Table:
    """Return one line per cascade: its labels, its threshold, what it saves and what it loses.

    Both are by thresholds that were chosen without the turns that they are applied to.
    """
    label = " (simulated)" if is_simulated else ""
    return Table(
        "cascades",
        f"Cascades: thresholds tested on other conversations, 95 % intervals{label}",
        (
            *("cascade", "labels", "as_good", "ece", "confidence", "taken"),
            *("saves", f"{unit.column}_less", "verdict"),
        ),
        tuple(
            (
                each.option.name,
                int((~np.isnan(each.turns.confidence)).sum()),
                None if each.found is None else Share(each.found.good_share),
                None if each.found is None else ranged(*each.found.fitted.mapped.ece, 3),
                None if each.found is None else each.found.confidence,
                None if (taken := each.taken_share) is None else Share(taken),
                _text(each.saving),
                _text(each.difference),
                "good enough" if each.is_shown else each.why_none or "not shown",
            )
            for each in tried
        ),
        folds=("ece", "as_good", "labels"),
        keeps=("verdict",),
    )


def _text(found: Interval | None) -> str:
    if found is None or found.mean is None:
        return "unknown"
    return ranged(found.mean, found.low, found.high, 3)


def cascade_json(tried: TriedCascade) -> dict[str, Any]:
    """Return a cascade as plain JSON."""
    found = tried.found
    return {
        "cascade": tried.option.name,
        "turns": len(tried.keys),
        "labels": int((~np.isnan(tried.turns.confidence)).sum()),
        "as_good": found and found.good_share,
        "ece": found and list(found.fitted.mapped.ece),
        "brier": found and list(found.fitted.mapped.brier),
        "confidence": found and found.confidence,
        "raw_threshold": found and found.threshold,
        "taken_share": tried.taken_share,
        "saving": _ends(tried.saving),
        "difference": _ends(tried.difference),
        "is_shown": tried.is_shown,
        "why_none": tried.why_none,
        "curve": curve_json(tried.curve()),
    }


def _ends(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [found.mean, found.low, found.high]

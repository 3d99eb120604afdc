"""Everything that the page's script reads, as one plain JSON document.

Names that come from a run (nodes, figures, ids) are never keys of an object here, only
values, so the script has nothing to look up by a foreign name.
"""

from typing import Any

from turnwise.report.page.calls import CALL_COLUMNS
from turnwise.report.page.comparing import Pairing, differences
from turnwise.report.page.gathered import GatheredRun
from turnwise.report.page.turns import calls_of, turn_views

__all__ = ["document_of"]

VERSION = 1


def _run_json(run: GatheredRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "preset": run.preset,
        "simulated": run.record.is_simulated,
        "turns": turn_views(run),
    }


def document_of(
    run: GatheredRun, other: GatheredRun | None = None, pairing: Pairing | None = None
) -> dict[str, Any]:
    """Return the page's data.

    Args:
        run: the run that the page is of.
        other: the run beside it, or None.
        pairing: from `pair`, where there is another run.
    """
    document: dict[str, Any] = {
        "version": VERSION,
        "call_columns": CALL_COLUMNS,
        "runs": [_run_json(run)],
        "is_compared": other is not None,
    }
    if other is None or pairing is None:
        return document
    document["runs"].append(_run_json(other))
    of_run, of_other = calls_of(run), calls_of(other)
    for turn, view in zip(run.record.turns, document["runs"][0]["turns"], strict=True):
        place = pairing.other_place.get(turn.key)
        view["other"] = place
        if place is not None:
            view["differences"] = differences(
                turn,
                other.record.turns[place],
                of_run[turn.key],
                of_other[turn.key],
                is_reworded=turn.key in pairing.reworded,
            )
    return document

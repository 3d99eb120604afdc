"""The calls of a turn as rows for the page, and what a turn planned beside what it did."""

from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.report.cells import Cell
from turnwise.report.lines import CallLine, TurnLine
from turnwise.report.page.gathered import GatheredRun
from turnwise.report.page.plain import figure, mapping, text
from turnwise.report.tables import summarise

__all__ = ["CALL_COLUMNS", "above_plan", "call_rows", "plan_rows"]

CALL_COLUMNS = (
    "node",
    "role",
    "purpose",
    "outcome",
    "attempts",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unknown_usage",
    "usd",
    "work_seconds",
    "retry_seconds",
    "path_seconds",
    "end_round",
    "is_unreadable",
    "repair",
    "sample",
    "is_speculative",
    "model",
    "endpoint",
    "error",
    "notes",
    "words",
)
"""What each call's row holds, in this order."""

_RAW_FIGURES = ("path_seconds", "end_round")
_RAW_TEXTS = ("model", "endpoint")


def call_rows(
    calls: Sequence[CallLine], raw_calls: Sequence[Mapping[str, Any]], words: Sequence[str]
) -> list[list[Any]]:
    """Return a row a call, as `CALL_COLUMNS` says.

    Args:
        calls: of one turn, as they were checked.
        raw_calls: the same lines, for what a report does not add up.
        words: what the judge said in each; empty where it is not known.
    """
    rows = []
    for call, raw, said in zip(calls, raw_calls, words, strict=True):
        known: dict[str, Any] = {
            **{name: getattr(call, name, None) for name in CALL_COLUMNS},
            **{name: figure(raw.get(name)) for name in _RAW_FIGURES},
            **{name: text(raw.get(name)) for name in _RAW_TEXTS},
            "node": call.node or "-",
            "sample": figure(raw.get("sample")) or 0,
            "words": said,
        }
        rows.append([known[name] for name in CALL_COLUMNS])
    return rows


def plan_rows(
    run: GatheredRun, turn: TurnLine, calls: Sequence[CallLine]
) -> list[tuple[Cell, Cell, Cell, Cell]]:
    """Return figure, planned, worst and actual of one turn; empty where the run has no plan."""
    table = summarise(calls, [turn], plan=run.record.plan).against_plan
    if table is None:
        return []
    place = {name: table.columns.index(name) for name in table.columns}
    return [
        (
            row[0],
            row[place["planned"]],
            row[place["planned_worst"]],
            row[place["actual_mean"]],
        )
        for row in table.rows
        if not str(row[0]).endswith(" a request")
    ]


def above_plan(run: GatheredRun, asked: int) -> str:
    """Return how far a turn's calls go beyond the plan: empty, `usual` or `worst`."""
    scenarios = mapping(mapping(run.record.plan).get("scenarios"))
    bounds = {
        "worst": figure(mapping(scenarios.get("worst")).get("asked")),
        "usual": figure(mapping(scenarios.get("default")).get("asked")),
    }
    return next((name for name, most in bounds.items() if most is not None and asked > most), "")

"""Planned figures beside those that came out, a turn.

The plan speaks of one turn; a run has many. So the actual is the mean over turns, and
its largest value stands beside the plan's worst case, which no turn may pass.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.report.cells import Cell, Table
from turnwise.report.lines import CallLine
from turnwise.report.sums import Spread
from turnwise.report.totals import Totals

__all__ = ["plan_table"]

_COLUMNS = ("figure", "planned", "actual_mean", "difference", "planned_worst", "actual_max")

Row = tuple[Cell, ...]


def _figure(scenario: Mapping[str, Any] | None, *path: str, default: Cell = None) -> Any:
    """Return a figure of a scenario, or the default where the plan does not have it."""
    found: Any = scenario
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return default if found is None else found


def _row(name: str, planned: Any, mean: float | None, worst: Any, largest: float | None) -> Row:
    is_known = isinstance(planned, int | float) and mean is not None
    difference = mean - planned if is_known and mean is not None else None
    return name, planned, mean, difference, worst, largest


def _spread_row(
    name: str,
    usual: Mapping[str, Any] | None,
    worst: Mapping[str, Any] | None,
    actual: Spread | None,
    *path: str,
) -> Row:
    mean, largest = (None, None) if actual is None else (actual.mean, actual.max)
    return _row(name, _figure(usual, *path), mean, _figure(worst, *path), largest)


def _count_rows(
    kind: str,
    field: str,
    usual: Mapping[str, Any] | None,
    worst: Mapping[str, Any] | None,
    totals: tuple[Mapping[str, int], int],
) -> list[Row]:
    counts, turns = totals
    planned = _figure(usual, field, default=None) or {}
    bounds = _figure(worst, field, default=None) or {}
    names = list(dict.fromkeys((*planned, *counts)))
    return [
        _row(
            f"{kind} {name}",
            planned.get(name, 0),
            counts.get(name, 0) / turns,
            bounds.get(name, 0),
            None,
        )
        for name in names
    ]


def _token_rows(
    usual: Mapping[str, Any] | None, rows: Sequence[CallLine], purposes: Sequence[str]
) -> list[Row]:
    """Return tokens a call by purpose, over the calls whose usage is known."""
    lines: list[Row] = []
    for purpose in purposes:
        known = [
            row
            for row in rows
            if row.purpose.value == purpose and row.requests and not row.unknown_usage
        ]
        planned_calls = _figure(usual, "by_purpose", purpose)
        for side in ("input", "output"):
            planned = _figure(usual, "tokens_by_purpose", purpose, side)
            a_call = planned / planned_calls if planned is not None and planned_calls else None
            spent = sum(getattr(row, f"{side}_tokens") for row in known)
            requests = sum(row.requests for row in known)
            mean = spent / requests if requests else None
            lines.append(_row(f"{purpose} {side} tokens a request", a_call, mean, None, None))
    return lines


def plan_table(plan: Mapping[str, Any], totals: Totals, rows: Sequence[CallLine]) -> Table:
    """Return the table of plan and actual.

    Args:
        plan: as `TurnPlan.as_json` gives it; figures that it lacks stay open.
        totals: of the run; at least one turn.
        rows: the run's calls.
    """
    usual, worst = _figure(plan, "scenarios", "default"), _figure(plan, "scenarios", "worst")
    sums, turns = totals.sums, totals.turns
    def actual(amount: float | None) -> float | None:
        return None if amount is None else amount / turns

    tokens = (sums.input_tokens, sums.output_tokens)
    input_tokens, output_tokens = (None, None) if sums.unknown_usage else tokens
    spent: list[tuple[str, tuple[str, ...], tuple[str, ...], float | None]] = [
        ("requests", ("requests",), ("max_requests",), sums.requests),
        ("input tokens", ("tokens", "input"), ("tokens", "input"), input_tokens),
        ("output tokens", ("tokens", "output"), ("tokens", "output"), output_tokens),
        ("usd", ("usd",), ("usd",), sums.usd),
    ]
    lines = [
        _spread_row("asked", usual, worst, totals.calls_per_turn, "asked"),
        _spread_row("rounds to reply", usual, worst, totals.rounds_to_reply, "rounds", "reply"),
        _spread_row("rounds a turn", usual, worst, totals.rounds_a_turn, "rounds", "turn"),
        *(
            _row(name, _figure(usual, *path), actual(amount), _figure(worst, *bound), None)
            for name, path, bound, amount in spent
        ),
    ]
    by_role = {role.value: count for role, count in totals.by_role.items()}
    lines += _count_rows("role", "by_role", usual, worst, (by_role, turns))
    lines += _count_rows("node", "by_node", usual, worst, (totals.by_node, turns))
    lines += _count_rows("purpose", "by_purpose", usual, worst, (totals.by_purpose, turns))
    lines += _token_rows(usual, rows, list(totals.by_purpose))
    return Table("plan", "Plan against actual, a turn", _COLUMNS, tuple(lines))

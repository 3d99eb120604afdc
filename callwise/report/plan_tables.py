"""Plan and run compared: figures per turn, and which scenario each turn followed.

A plan is of one turn, a run has many: the usual plan is compared with the mean over turns,
and the plan's worst case, which no turn may exceed, with the largest turn. Calls that a limit
refused were not planned: they have their own row.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from callwise.report.run_record import CallLine
from callwise.report.table import Cell, Table
from callwise.report.totals import Spread, Totals, spread

__all__ = ["plan_table", "scenario_table"]

_COLUMNS = ("figure", "planned", "actual_mean", "difference", "planned_worst", "actual_max")

Row = tuple[Cell, ...]

Calls = Sequence[CallLine]

Scenario = Mapping[str, Any]


def _figure(scenario: Scenario, *path: str) -> Any:
    """Return a figure of a scenario, or None where the plan does not have it."""
    found: Any = scenario
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float | Mapping) else None


def _row(name: str, planned: Any, worst: Any, actual: Spread | None) -> Row:
    mean = None if actual is None else actual.mean
    difference = None if mean is None or planned is None else mean - planned
    return name, planned, mean, difference, worst, None if actual is None else actual.max


def _spread_a_turn(turns: Sequence[Calls], measure: Callable[[Calls], float]) -> Spread | None:
    return spread([measure(calls) for calls in turns])


def _count_rows(
    field: str,
    scenarios: tuple[Scenario, Scenario],
    turns: Sequence[Calls],
    name_of: Callable[[CallLine], str],
) -> list[Row]:
    """Return calls per turn by node, role or purpose; a name not planned is planned 0."""
    usual, worst = (_figure(scenario, field) or {} for scenario in scenarios)
    names = [[name_of(row) for row in calls if not row.is_refused] for calls in turns]
    lines: list[Row] = []
    for name in dict.fromkeys((*usual, *chain.from_iterable(names))):
        counted = spread([of_turn.count(name) for of_turn in names])
        title = f"{field.removeprefix('by_')} {name}"
        lines.append(_row(title, usual.get(name, 0), worst.get(name, 0), counted))
    return lines


def _spent_rows(usual: Scenario, worst: Scenario, turns: Sequence[Calls]) -> list[Row]:
    """Return requests, tokens and USD per turn; unknown where a part is not known."""
    every = [row for calls in turns for row in calls]
    lines = [
        _row(
            "requests",
            _figure(usual, "requests"),
            _figure(worst, "max_requests"),
            _spread_a_turn(turns, lambda calls: sum(row.requests for row in calls)),
        )
    ]
    for side in ("input", "output"):
        spent = None
        if not any(row.unknown_usage for row in every):
            field = f"{side}_tokens"
            spent = spread([sum(getattr(row, field) for row in calls) for calls in turns])
        bound = _figure(worst, "tokens", side)
        lines.append(_row(f"{side} tokens", _figure(usual, "tokens", side), bound, spent))
    cost = None
    if all(row.usd is not None for row in every):
        cost = _spread_a_turn(turns, lambda calls: math.fsum(row.usd or 0.0 for row in calls))
    lines.append(_row("usd", _figure(usual, "usd"), _figure(worst, "usd"), cost))
    return lines


def _token_rows(usual: Scenario, turns: Sequence[Calls]) -> list[Row]:
    """Return tokens per request by purpose, over the calls whose usage is known."""
    known = [row for calls in turns for row in calls if row.requests and not row.unknown_usage]
    lines: list[Row] = []
    for purpose in dict.fromkeys(row.purpose.value for row in known):
        mine = [row for row in known if row.purpose.value == purpose]
        planned_calls = _figure(usual, "by_purpose", purpose)
        for side in ("input", "output"):
            planned = _figure(usual, "tokens_by_purpose", purpose, side)
            a_call = planned / planned_calls if planned is not None and planned_calls else None
            field = f"{side}_tokens"
            mean = sum(getattr(row, field) for row in mine) / sum(row.requests for row in mine)
            difference = None if a_call is None else mean - a_call
            name = f"{purpose} {side} tokens per request"
            lines.append((name, a_call, mean, difference, "", ""))
    return lines


def plan_table(plan: Mapping[str, Any], totals: Totals, turns: Sequence[Calls]) -> Table:
    """Return the table of plan and actual.

    Args:
        plan: as `TurnPlan.as_json` gives it; figures that it lacks stay open.
        totals: of the run.
        turns: each finished turn's calls.
    """
    usual = _figure(plan, "scenarios", "default") or {}
    worst = _figure(plan, "scenarios", "worst") or {}
    spreads = (
        ("asked", ("asked",), totals.calls_per_turn),
        ("rounds to reply", ("rounds", "reply"), totals.rounds_to_reply),
        ("rounds per turn", ("rounds", "turn"), totals.rounds_per_turn),
    )
    lines = [
        _row(name, _figure(usual, *path), _figure(worst, *path), actual)
        for name, path, actual in spreads
    ]
    if totals.cut_turns:
        lines.append(_row("refused", 0, 0, totals.refused_per_turn))
    lines += _spent_rows(usual, worst, turns)
    lines += _count_rows("by_role", (usual, worst), turns, lambda row: row.role.value)
    lines += _count_rows("by_node", (usual, worst), turns, lambda row: row.node or "-")
    lines += _count_rows("by_purpose", (usual, worst), turns, lambda row: row.purpose.value)
    lines += _token_rows(usual, turns)
    return Table("plan", "Plan against actual, per turn", _COLUMNS, tuple(lines))


WORST = "worst"

BETWEEN = "another, within the worst"

ABOVE = "above the worst"

CUT = "cut by a limit"


def _asked(scenario: Mapping[str, Any]) -> int | None:
    asked = scenario.get("asked")
    return asked if isinstance(asked, int) else None


def _scenario_of(calls: Sequence[CallLine], scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    if any(row.is_refused for row in calls):
        return CUT
    by_role = Counter(row.role.value for row in calls)
    for name, scenario in scenarios.items():
        if scenario.get("by_role") == by_role:
            return name
    most = _asked(scenarios.get(WORST, {}))
    return ABOVE if most is not None and len(calls) > most else BETWEEN


def scenario_table(plan: Mapping[str, Any], turns: Sequence[Sequence[CallLine]]) -> Table:
    """Return how many turns went as each scenario.

    Args:
        plan: as `TurnPlan.as_json` gives it.
        turns: each finished turn's calls; at least one turn.
    """
    scenarios = {
        str(name): scenario
        for name, scenario in (plan.get("scenarios") or {}).items()
        if isinstance(scenario, Mapping)
    }
    counts = Counter(_scenario_of(calls, scenarios) for calls in turns)
    planned: dict[str, int | None] = {name: _asked(found) for name, found in scenarios.items()}
    names = [*planned, BETWEEN, ABOVE, *([CUT] if counts[CUT] else [])]
    rows: list[tuple[Cell, ...]] = [
        (name, planned.get(name, ""), counts[name], counts[name] / len(turns)) for name in names
    ]
    columns = ("scenario", "planned_asked", "turns", "share")
    return Table(
        "scenarios",
        "Turns that cost what a scenario of the plan costs (calls by role)",
        columns,
        tuple(rows),
    )

"""Plan and run compared: figures per turn, and which scenario each turn followed.

A plan is of one turn, a run has many: the usual plan is compared with the mean over turns,
and the plan's worst case, which no turn may exceed, with the largest turn. Calls that a limit
refused were not planned: they have their own row.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from callwise.report.run_record import CallLine
from callwise.report.table import Cell, Share, Table
from callwise.report.totals import (
    NameOf,
    Spread,
    Totals,
    grouped,
    node_name,
    purpose_name,
    role_name,
    spread,
    sum_calls,
)

__all__ = ["plan_table", "scenario_table"]

_COLUMNS = ("figure", "planned", "actual_mean", "difference", "planned_worst", "actual_max")
_FOLDS = ("actual_max", "planned_worst", "difference")

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
    if actual is None:
        return name, planned, None, None, worst, None
    difference = None if planned is None else actual.mean - planned
    return name, planned, actual.mean, difference, worst, actual.max


def _count_rows(
    field: str, usual: Scenario, worst: Scenario, turns: Sequence[Calls], name_of: NameOf
) -> list[Row]:
    """Return calls per turn by node, role or purpose; a name not planned is planned 0."""
    planned, limits = _figure(usual, field) or {}, _figure(worst, field) or {}
    names = [[name_of(row) for row in calls if not row.is_refused] for calls in turns]
    return [
        _row(
            f"{field.removeprefix('by_')} {name}",
            planned.get(name, 0),
            limits.get(name, 0),
            spread([of_turn.count(name) for of_turn in names]),
        )
        for name in dict.fromkeys((*planned, *chain.from_iterable(names)))
    ]


def _spent_rows(usual: Scenario, worst: Scenario, turns: Sequence[Calls]) -> list[Row]:
    """Return requests, tokens and USD per turn; unknown where a part is not known."""
    sums = [sum_calls(calls) for calls in turns]
    requests = spread([each.usage.requests for each in sums])
    rows = [_row("requests", _figure(usual, "requests"), _figure(worst, "max_requests"), requests)]
    is_known = not any(each.usage.unknown_usage for each in sums)
    for side in ("input", "output"):
        spent = spread([getattr(each.usage, f"{side}_tokens") for each in sums])
        figures = _figure(usual, "tokens", side), _figure(worst, "tokens", side)
        rows.append(_row(f"{side} tokens", *figures, spent if is_known else None))
    known_usd = [each.usd for each in sums if each.usd is not None]
    cost = spread(known_usd) if len(known_usd) == len(sums) else None
    rows.append(_row("usd", _figure(usual, "usd"), _figure(worst, "usd"), cost))
    return rows


def _token_rows(usual: Scenario, turns: Sequence[Calls]) -> list[Row]:
    """Return tokens per request by purpose, over the calls whose usage is known."""
    known = [
        row
        for calls in turns
        for row in calls
        if row.usage.requests and not row.usage.unknown_usage
    ]
    rows: list[Row] = []
    for purpose, calls in grouped(known, purpose_name).items():
        usage = sum_calls(calls).usage
        planned_calls = _figure(usual, "by_purpose", purpose)
        for side in ("input", "output"):
            planned = _figure(usual, "tokens_by_purpose", purpose, side)
            per_call = planned / planned_calls if planned is not None and planned_calls else None
            mean = getattr(usage, f"{side}_tokens") / usage.requests
            difference = None if per_call is None else mean - per_call
            name = f"{purpose} {side} tokens per request"
            rows.append((name, per_call, mean, difference, "", ""))
    return rows


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
    rows = [
        _row(name, _figure(usual, *path), _figure(worst, *path), actual)
        for name, path, actual in spreads
    ]
    if totals.cut_turns:
        rows.append(_row("refused", 0, 0, totals.refused_per_turn))
    rows += _spent_rows(usual, worst, turns)
    rows += _count_rows("by_role", usual, worst, turns, role_name)
    rows += _count_rows("by_node", usual, worst, turns, node_name)
    rows += _count_rows("by_purpose", usual, worst, turns, purpose_name)
    rows += _token_rows(usual, turns)
    return Table("plan", "Plan against actual, per turn", _COLUMNS, tuple(rows), _FOLDS)


BETWEEN, ABOVE, CUT = "another, within the worst", "above the worst", "cut by a limit"


def _asked(scenario: Mapping[str, Any]) -> int | None:
    asked = scenario.get("asked")
    return asked if isinstance(asked, int) else None


def _scenario_of(calls: Calls, scenarios: Mapping[str, Scenario]) -> str:
    if any(row.is_refused for row in calls):
        return CUT
    by_role = Counter(row.role.value for row in calls)
    for name, scenario in scenarios.items():
        if scenario.get("by_role") == by_role:
            return name
    most = _asked(scenarios.get("worst", {}))
    return ABOVE if most is not None and len(calls) > most else BETWEEN


def scenario_table(plan: Mapping[str, Any], turns: Sequence[Calls]) -> Table:
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
    rows: list[Row] = [
        (name, planned.get(name, ""), counts[name], Share(counts[name] / len(turns)))
        for name in [*planned, BETWEEN, ABOVE, *([CUT] if counts[CUT] else [])]
    ]
    return Table(
        "scenarios",
        "Turns that cost what a scenario of the plan costs (calls by role)",
        ("scenario", "planned_asked", "turns", "share"),
        tuple(rows),
        ("planned_asked",),
    )

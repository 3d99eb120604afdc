"""Which scenario of the plan each turn went as.

A turn goes as the first scenario that asks as many calls of each role. What fits none
is between them (an early exit after the second rollout, say), or, if a turn ever asks
more than the worst case, above it: then the plan is wrong. A turn in which a limit refused
a call goes as none of them, whatever it cost: it was cut by the limit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.report.cells import Cell, Table
from turnwise.report.lines import CallLine

__all__ = ["scenario_table"]

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

"""A plan as rows of plain text, for a terminal of any kind."""

from collections.abc import Mapping, Sequence

from callwise.calls.call import Role
from callwise.plans.turn_plan import PlannedScenario, TurnPlan

__all__ = ["plan_rows"]

_GAP = "  "


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with the first column to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = []
    for first, *rest in table:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        rows.append(_GAP.join(cells).rstrip())
    return rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"


def _scenario_table(scenarios: Sequence[PlannedScenario], roles: Sequence[Role]) -> list[str]:
    head = ["scenario", "asked", *(role.value for role in roles), "rounds", "seconds"]
    table = [[*head, "requests", "tokens in", "tokens out", "USD"]]
    for scenario in scenarios:
        counts = scenario.counts
        table.append(
            [
                scenario.name,
                str(counts.asked),
                *(str(counts.by_role.get(role, 0)) for role in roles),
                f"{scenario.rounds.reply:.0f}/{scenario.rounds.turn:.0f}",
                f"{_number(scenario.seconds.reply)}/{_number(scenario.seconds.turn)}",
                f"{counts.asked}-{scenario.max_requests}",
                f"{counts.input_tokens:,}",
                f"{counts.output_tokens:,}",
                _usd(counts.usd),
            ]
        )
    return _aligned(table)


def _count_table(title: str, columns: Sequence[tuple[str, Mapping[str, int]]]) -> list[str]:
    # The order of names is that of the scenario with most of them.
    fullest = sorted(columns, key=lambda column: -len(column[1]))
    names = list(dict.fromkeys(name for _, counts in fullest for name in counts))
    table = [[title, *(head for head, _ in columns)]]
    table += [[name, *(str(counts.get(name, 0)) for _, counts in columns)] for name in names]
    return _aligned(table)


def plan_rows(
    plan: TurnPlan, *, latency_seconds: float = 1.0, rpm: float | None = None
) -> list[str]:
    """Return a plan as rows of text, without colour or markup."""
    scenarios = plan.measured(latency_seconds=latency_seconds, rpm=rpm)
    used = {role for scenario in scenarios for role in scenario.counts.by_role}
    rate = "no rate limit" if rpm is None else f"{rpm:g} requests a minute"
    rows = [
        f"Plan of one turn, preset {plan.preset}: {latency_seconds:g} s a request, {rate}.",
        "Rounds and seconds are to the reply / to the end of the turn. Requests are without",
        f"failures - with {plan.max_attempts} attempts for every call. Tokens are estimated.",
        "",
        *_scenario_table(scenarios, [role for role in Role if role in used]),
        "",
        *_count_table("by node", [(s.name, s.counts.by_node) for s in scenarios]),
        "",
        *_count_table(
            "by purpose",
            [(s.name, {p.value: n for p, n in s.counts.by_purpose.items()}) for s in scenarios],
        ),
        "",
        *(f"{scenario.name}: {scenario.meaning}" for scenario in scenarios),
    ]
    largest = ", ".join(scenario.name for scenario in plan.scenarios if scenario.other_ways)
    if largest:
        rows.append(
            f"{largest}: counts calls, each figure the largest of several ways, so that roles, "
            "nodes and purposes may add up to more than asked; attempts are in the requests."
        )
    unpriced = sorted({role.value for s in scenarios for role in s.counts.unpriced_roles})
    if unpriced:
        rows.append(f"USD is unknown: no price list for {', '.join(unpriced)}.")
    refused = [s for s in scenarios if s.accepted < s.counts.asked]
    if refused:
        names = ", ".join(scenario.name for scenario in refused)
        rows.append(f"budget.turn.max_calls={plan.max_calls} accepts fewer calls in: {names}.")
    return rows

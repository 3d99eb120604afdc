"""A run as tables: by node, role, purpose and turn, against its plan, and in time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from callwise.budget.usage import JSON_NAMES
from callwise.calls.call import Outcome
from callwise.report.judge_table import judge_table
from callwise.report.model_table import model_table
from callwise.report.plan_tables import plan_table, scenario_table
from callwise.report.run_record import CallLine, RunFileLine, TurnLine, calls_by_turn
from callwise.report.table import Cell, Share, Table
from callwise.report.totals import (
    Totals,
    UsageSums,
    grouped,
    node_name,
    purpose_name,
    role_name,
    sum_calls,
    total,
)

__all__ = ["ReportTables", "summarise"]

LineT = TypeVar("LineT", bound=RunFileLine)
Row = tuple[Cell, ...]

_USAGE_COLUMNS = tuple(
    name
    for name in JSON_NAMES
    if name not in {"sent", "usd", "unknown_usd", "charged_tokens", "charged_usd"}
    and not name.endswith("seconds")
)
_TOKEN_COLUMNS = ("input_tokens", "output_tokens")
_TIME_COLUMNS = tuple(name for name in JSON_NAMES if name.endswith("seconds"))

_SUM_COLUMNS = (
    "asked",
    *(outcome.value for outcome in Outcome),
    "unreadable",
    "repairs",
    *_USAGE_COLUMNS,
    "usd",
)

_SUM_FOLDS = (
    *(name for name in _USAGE_COLUMNS if name.startswith("over_")),
    "cached_tokens",
    "attempts",
    "requests",
    "speculative",
    Outcome.SERVED.value,
)
"""Columns of sums that follow from others, or matter for few runs."""

_TURN_CELLS: Mapping[str, Callable[[TurnLine], Cell]] = {
    "rounds_reply": lambda turn: turn.spans[0],
    "rounds_turn": lambda turn: turn.spans[1],
    "path_seconds_reply": lambda turn: turn.spans[2],
    "path_seconds_turn": lambda turn: turn.spans[3],
    "degraded": lambda turn: len(turn.degraded),
    "wound_down": lambda turn: len(turn.wound_down),
    "search_stop": lambda turn: turn.search_stop,
}
_CALL_CELLS: Mapping[str, Callable[[CallLine], Cell]] = {
    "conversation": lambda row: row.conversation or "-",
    "turn": lambda row: "-" if row.turn is None else row.turn,
    "node": node_name,
    "role": role_name,
    "purpose": purpose_name,
    "outcome": lambda row: row.outcome.value,
    "unreadable": lambda row: int(row.is_unreadable),
    "repair": lambda row: row.repair,
    "requests": lambda row: row.usage.requests,
    "input_tokens": lambda row: None if row.usage.unknown_usage else row.usage.input_tokens,
    "output_tokens": lambda row: None if row.usage.unknown_usage else row.usage.output_tokens,
    "usd": lambda row: row.usd,
    "over_tokens": lambda row: row.usage.over_tokens,
    "error": lambda row: row.error,
    "notes": lambda row: row.notes,
}


@dataclass(frozen=True, slots=True)
class ReportTables:
    """A run, added up.

    Args:
        by_node: one row per node, in the order in which nodes first asked, and the total.
        by_call: one row per call with its error, in the ledger's order.
        against_plan: planned and actual figures per turn; None without a plan.
        scenarios: how many turns went as each scenario of the plan; None without one.
        time: the calls' seconds by node, and the total.
        judges: signs of the judges' bias over all searches; None where none is recorded.
        models: calls by model and reason; None where no policy chose.
    """

    totals: Totals
    by_node: Table
    by_role: Table
    by_purpose: Table
    by_turn: Table
    by_call: Table
    against_plan: Table | None
    scenarios: Table | None
    time: Table
    judges: Table | None = None
    models: Table | None = None

    def tables(self) -> tuple[Table, ...]:
        """Return the tables of sums that there are, in reading order."""
        every = (
            self.by_node,
            self.by_role,
            self.by_purpose,
            self.against_plan,
            self.scenarios,
            self.models,
            self.time,
            self.judges,
            self.by_turn,
        )
        return tuple(table for table in every if table is not None)


def _sum_cells(sums: UsageSums) -> Row:
    return (
        sums.asked,
        *sums.outcomes.values(),
        sums.unreadable,
        sums.repairs,
        *(getattr(sums.usage, name) for name in _USAGE_COLUMNS),
        sums.usd,
    )


def _group_table(
    table: Table,
    rows: Mapping[str, Sequence[CallLine]],
    cells: Callable[[UsageSums], Row],
    all_sums: UsageSums,
) -> Table:
    """Return a table with one row per group, and one of the total."""
    lines = [(name, *cells(sum_calls(calls))) for name, calls in rows.items()]
    return replace(table, rows=(*lines, ("total", *cells(all_sums))))


def _sum_table(name: str, groups: Mapping[str, Sequence[CallLine]], all_sums: UsageSums) -> Table:
    empty = Table(f"by_{name}", f"By {name}", (name, *_SUM_COLUMNS), (), _SUM_FOLDS)
    return _group_table(empty, groups, _sum_cells, all_sums)


def _time_table(groups: Mapping[str, Sequence[CallLine]], all_sums: UsageSums) -> Table:
    everything = all_sums.usage.path_seconds

    def cells(sums: UsageSums) -> Row:
        usage = sums.usage
        share = Share(usage.path_seconds / everything) if everything else None
        return *(getattr(usage, name) for name in _TIME_COLUMNS), usage.path_seconds, share

    title = "Where the time went (seconds of all calls, as if one after another)"
    columns = ("node", *_TIME_COLUMNS, "total_seconds", "share")
    folds = tuple(name for name in _TIME_COLUMNS if name != "work_seconds")
    return _group_table(Table("time", title, columns, (), folds), groups, cells, all_sums)


def _turn_table(turns: Sequence[TurnLine], calls_of_turns: Sequence[Sequence[CallLine]]) -> Table:
    rows = [
        (
            turn.conversation_id,
            turn.turn,
            *_sum_cells(sum_calls(calls)),
            *(cell(turn) for cell in _TURN_CELLS.values()),
        )
        for turn, calls in zip(turns, calls_of_turns, strict=True)
    ]
    columns = ("conversation", "turn", *_SUM_COLUMNS, *_TURN_CELLS)
    folds = ("path_seconds_turn", "rounds_turn", *_SUM_FOLDS, "path_seconds_reply", "search_stop")
    return Table("by_turn", "By turn", columns, tuple(rows), folds)


def _call_table(rows: Sequence[CallLine]) -> Table:
    cells = [tuple(cell(row) for cell in _CALL_CELLS.values()) for row in rows]
    folds = ("over_tokens", "role", "requests", "conversation", "usd", "notes", *_TOKEN_COLUMNS)
    return Table("by_call", "By call", tuple(_CALL_CELLS), tuple(cells), folds)


def _time_named(table: Table, totals: Totals) -> Table:
    """Return a table with virtual seconds named in its title."""
    name = totals.seconds_name
    if name == "seconds":
        return table
    if "(seconds" in table.title:
        return replace(table, title=table.title.replace("(seconds", f"({name}"))
    return replace(table, title=f"{table.title} (time in {name})")


def _read(lines: Iterable[LineT | Mapping[str, Any]], kind: type[LineT]) -> list[LineT]:
    return [line if isinstance(line, kind) else kind.model_validate(line) for line in lines]


def summarise(
    rows: Iterable[CallLine | Mapping[str, Any]],
    turns: Iterable[TurnLine | Mapping[str, Any]],
    *,
    plan: Mapping[str, Any] | None = None,
    wall_seconds: float | None = None,
    is_simulated: bool | None = None,
) -> ReportTables:
    """Return a run, added up.

    Args:
        rows: its ledger, one line per call, as JSON objects or as read by `load_run`.
        turns: its finished turns, likewise.
        plan: the plan it started with, as `TurnPlan.as_json` gives it.
        wall_seconds: time that the process took; None when not known.
        is_simulated: whether a simulated model answered any of it; None goes by the turns.

    Raises:
        pydantic.ValidationError: when a line is not one of a run.
    """
    calls, ended = _read(rows, CallLine), _read(turns, TurnLine)
    totals = total(calls, ended, wall_seconds=wall_seconds)
    if is_simulated is not None:
        totals = replace(totals, is_simulated=is_simulated)
    by_turn = calls_by_turn(ended, calls)
    calls_of_turns = [by_turn[turn.key] for turn in ended]
    by_node, by_role = grouped(calls, node_name), grouped(calls, role_name)
    ordered_roles = {role.value: by_role[role.value] for role in totals.by_role}
    against_plan = scenarios = None
    if plan is not None and ended:
        against_plan = plan_table(plan, totals, calls_of_turns)
        scenarios = scenario_table(plan, calls_of_turns)
    return ReportTables(
        totals=totals,
        by_node=_sum_table("node", by_node, totals.sums),
        by_role=_sum_table("role", ordered_roles, totals.sums),
        by_purpose=_sum_table("purpose", grouped(calls, purpose_name), totals.sums),
        by_turn=_time_named(_turn_table(ended, calls_of_turns), totals),
        by_call=_call_table(calls),
        against_plan=against_plan,
        scenarios=scenarios,
        time=_time_named(_time_table(by_node, totals.sums), totals),
        judges=judge_table(turn.search for turn in ended),
        models=model_table(calls),
    )

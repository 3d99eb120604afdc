"""A run in a form and a table of one's choice, for the command line."""

import json
from typing import Literal

from turnwise.report.cells import Table
from turnwise.report.forms import markdown_table, table_json, to_csv, to_json, to_markdown
from turnwise.report.run_record import RunRecord
from turnwise.report.tables import ReportTables, summarise
from turnwise.report.text import tables_text, to_text

__all__ = ["Form", "TableName", "render"]

Form = Literal["text", "markdown", "csv", "json"]
TableName = Literal["all", "node", "role", "purpose", "turn", "call", "plan", "time"]

_NO_PLAN = Table("plan", "The run has no plan, or no turn to hold against it", ("figure",), ())


def _chosen(tables: ReportTables, name: TableName) -> list[Table]:
    """Return the tables that a name asks for; for `all` the one by node."""
    match name:
        case "plan":
            both = (tables.against_plan, tables.scenarios)
            return [table for table in both if table is not None] or [_NO_PLAN]
        case "time":
            return [tables.time]
        case "role":
            return [tables.by_role]
        case "purpose":
            return [tables.by_purpose]
        case "turn":
            return [tables.by_turn]
        case "call":
            return [tables.by_call]
        case "node" | "all":
            return [tables.by_node]


def _everything(tables: ReportTables, form: Form) -> str:
    if form == "json":
        return to_json(tables)
    return to_markdown(tables) if form == "markdown" else to_text(tables)


def render(run: RunRecord, *, form: Form = "text", table: TableName = "all") -> str:
    """Return a run as text that ends with a newline.

    Args:
        run: from `load_run`.
        form: what to write it in. CSV holds one table, and so does JSON unless it
            holds all: of the plan's two the one with its figures.
        table: which table; `all` is the one by node in CSV.
    """
    tables = summarise(run.rows, run.turns, plan=run.plan, is_simulated=run.is_simulated)
    if table == "all" and form != "csv":
        return _everything(tables, form)
    chosen = _chosen(tables, table)
    match form:
        case "csv":
            return to_csv(chosen[0])
        case "json":
            return json.dumps(table_json(chosen[0]), ensure_ascii=False, allow_nan=False) + "\n"
        case "markdown":
            return "\n".join(map(markdown_table, chosen))
        case "text":
            return tables_text(chosen)

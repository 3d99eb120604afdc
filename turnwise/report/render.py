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
TableName = Literal["all", "node", "role", "purpose", "turn", "plan", "time"]


def _table(tables: ReportTables, name: TableName) -> Table | None:
    """Return one table; for `all` the one by node."""
    if name == "plan":
        return tables.against_plan
    if name == "time":
        return tables.time
    by_name = {table.name: table for table in tables.tables()}
    return by_name["by_node" if name == "all" else f"by_{name}"]


def _all(tables: ReportTables, form: Form) -> str:
    if form == "json":
        return to_json(tables)
    return to_markdown(tables) if form == "markdown" else to_text(tables)


def render(run: RunRecord, *, form: Form = "text", table: TableName = "all") -> str:
    """Return a run as text that ends with a newline.

    Args:
        run: from `load_run`.
        form: what to write it in. CSV holds one table.
        table: which table; `all` is the one by node in CSV.
    """
    tables = summarise(run.rows, run.turns, plan=run.plan, is_simulated=run.is_simulated)
    if table == "all" and form != "csv":
        return _all(tables, form)
    chosen = _table(tables, table)
    if chosen is None:
        chosen = Table(
            "plan", "Plan against actual: the run has no plan or no turn", ("figure",), ()
        )
    match form:
        case "csv":
            return to_csv(chosen)
        case "json":
            return json.dumps(table_json(chosen), ensure_ascii=False, allow_nan=False) + "\n"
        case "markdown":
            return markdown_table(chosen)
        case "text":
            return tables_text([chosen])

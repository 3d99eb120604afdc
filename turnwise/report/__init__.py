"""Reports of a run: tables, totals, and their forms. Light to import."""

from turnwise.report.run_forms import (
    brief_text,
    render,
    to_json,
    to_markdown,
    to_text,
    totals_json,
)
from turnwise.report.run_record import RunRecord, load_run
from turnwise.report.run_tables import ReportTables, summarise
from turnwise.report.table import Table, to_csv
from turnwise.report.totals import Totals

__all__ = [
    "ReportTables",
    "RunRecord",
    "Table",
    "Totals",
    "brief_text",
    "load_run",
    "render",
    "summarise",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_text",
    "totals_json",
]

"""Reports of a run: tables, totals, and their forms. Light to import."""

from callwise.report.frames import calls_frame, turns_frame
from callwise.report.run_forms import (
    brief_text,
    render,
    to_json,
    to_markdown,
    to_text,
    totals_json,
)
from callwise.report.run_record import RunRecord, load_run
from callwise.report.run_tables import ReportTables, summarise
from callwise.report.table import Table, to_csv
from callwise.report.totals import Totals

__all__ = [
    "ReportTables",
    "RunRecord",
    "Table",
    "Totals",
    "brief_text",
    "calls_frame",
    "load_run",
    "render",
    "summarise",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_text",
    "totals_json",
    "turns_frame",
]

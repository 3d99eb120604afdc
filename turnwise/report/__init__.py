"""Where each call of a run went: tables, and their forms. Light to import."""

from turnwise.report.forms import to_csv, to_json, to_markdown
from turnwise.report.render import render
from turnwise.report.run_record import RunRecord, load_run
from turnwise.report.tables import ReportTables, Table, summarise
from turnwise.report.text import brief_text, to_text
from turnwise.report.totals import Totals, totals_json

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

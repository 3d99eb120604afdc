"""Tables as CSV, JSON and Markdown. Text in a cell stays text in all of them."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from turnwise.report.cells import Cell, Table, cell_text, guarded, printable
from turnwise.report.headline import headline
from turnwise.report.tables import ReportTables
from turnwise.report.totals import totals_json

__all__ = [
    "left_out",
    "markdown_table",
    "max_rows_of",
    "table_json",
    "to_csv",
    "to_json",
    "to_markdown",
]

MAX_TURN_ROWS = 20
"""How many turns are listed where all tables are shown together."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>&~$-])")
_LINKED = re.compile(
    r"(?i)(?<=[@#!%&~$^*])(?=[\w-])|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bgh)(?=-\d)"
)
"""Where a forge would begin to read a mention, an issue's number or an address."""

_BREAK = "\u2060"
"""A word joiner: has no width, and ends what would be linked."""


def _csv_cell(cell: Cell) -> Cell:
    """Return a cell that no spreadsheet takes for a formula; None is an empty one."""
    return guarded(printable(cell)) if isinstance(cell, str) else cell


def to_csv(table: Table) -> str:
    """Return a table as CSV with a header; what is not known is an empty field."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_csv_cell(cell) for cell in row] for row in table.rows)
    return stream.getvalue()


def table_json(table: Table) -> list[dict[str, Any]]:
    """Return a table as JSON objects, one a row; what is not known is null."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def to_json(tables: ReportTables) -> str:
    """Return the totals and all tables as one JSON object in one line."""
    document = {
        "totals": totals_json(tables),
        "tables": {table.name: table_json(table) for table in tables.tables()},
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def _escaped(text: str) -> str:
    """Return untrusted text as Markdown that shows it and links, mentions and formats nothing."""
    return _MARKUP.sub(r"\\\1", _LINKED.sub(_BREAK, text))


def _markdown_cell(cell: Cell) -> str:
    return _escaped(cell_text(cell)) if isinstance(cell, str) else cell_text(cell)


def markdown_table(table: Table, *, max_rows: int | None = None) -> str:
    """Return one table as Markdown under its title.

    Args:
        table: the table.
        max_rows: most rows shown; what is left out is said. None shows all.
    """
    shown = table.rows if max_rows is None else table.rows[:max_rows]
    sides = [
        "---" if any(isinstance(row[place], str) for row in table.rows) else "---:"
        for place in range(len(table.columns))
    ]
    lines = [
        f"### {table.title}",
        "",
        f"| {' | '.join(name.replace('_', ' ') for name in table.columns)} |",
        f"|{'|'.join(sides)}|",
        *(f"| {' | '.join(map(_markdown_cell, row))} |" for row in shown),
    ]
    if len(shown) < len(table.rows):
        lines += ["", left_out(table, len(shown))]
    return "\n".join(lines) + "\n"


def left_out(table: Table, shown: int) -> str:
    """Return the line that says how much of a table is not shown, and how to see it."""
    option = table.name.removeprefix("by_")
    return f"{len(table.rows) - shown} more rows: ask for the table `{option}` alone to see them."


def max_rows_of(table: Table, tables: Sequence[Table]) -> int | None:
    """Return how many rows to show: only the long table of turns is cut, and never alone."""
    return MAX_TURN_ROWS if table.name == "by_turn" and len(tables) > 1 else None


def to_markdown(tables: ReportTables) -> str:
    """Return the headline and all tables as Markdown."""
    every = tables.tables()
    parts = ["".join(f"- {_escaped(line)}\n" for line in headline(tables))]
    parts += [markdown_table(table, max_rows=max_rows_of(table, every)) for table in every]
    return "\n".join(parts)

"""Tables for a terminal: drawn where it is one, plain and aligned where it is not."""

import io
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from turnwise.report.cells import Cell, Table, cell_text
from turnwise.report.forms import left_out, max_rows_of
from turnwise.report.headline import headline
from turnwise.report.tables import ReportTables

__all__ = ["plain_table", "tables_text", "to_text"]

_GAP = "  "
_MIN_DRAWN_COLUMNS = 60
"""A terminal narrower than this, in characters, gets plain tables."""


def _width(text: str) -> int:
    """Return how many places of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(mark) else 1 + (unicodedata.east_asian_width(mark) in {"W", "F"})
        for mark in text
    )


def _is_empty(column: Sequence[Cell]) -> bool:
    """Return whether a column says nothing: zeros or blanks only, and at least one."""
    return bool(column) and all(cell in {0, ""} for cell in column)


def _shown_places(table: Table) -> list[int]:
    """Return the columns worth the room; the first always is."""
    columns = list(zip(*table.rows, strict=True)) or [() for _ in table.columns]
    return [place for place, column in enumerate(columns) if place == 0 or not _is_empty(column)]


def _padded(text: str, width: int, *, is_text: bool) -> str:
    room = " " * (width - _width(text))
    return text + room if is_text else room + text


def plain_table(table: Table, *, max_rows: int | None = None) -> str:
    """Return a table as aligned text. Columns of zeros only are left out.

    Args:
        table: the table.
        max_rows: most rows shown; what is left out is said. None shows all.
    """
    places = _shown_places(table)
    rows = table.rows if max_rows is None else table.rows[:max_rows]
    is_text = [any(isinstance(row[place], str) for row in table.rows) for place in places]
    cells = [[table.columns[place].replace("_", " ") for place in places]]
    cells += [[cell_text(row[place]) for place in places] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = [table.title]
    for line in cells:
        padded = (
            _padded(text, width, is_text=left)
            for text, width, left in zip(line, widths, is_text, strict=True)
        )
        lines.append(_GAP.join(padded).rstrip())
    if len(rows) < len(table.rows):
        lines.append(left_out(table, len(rows)))
    return "\n".join(lines) + "\n"


def _drawn_tables(tables: Sequence[Table], width: int) -> str:
    """Return tables with lines and colour. Text in them is text, never markup."""
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.table import Table as DrawnTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, highlight=False)
    for table in tables:
        drawn = DrawnTable(title=Text(table.title), title_justify="left", header_style="bold")
        places = _shown_places(table)
        for place in places:
            is_text = any(isinstance(row[place], str) for row in table.rows)
            heading = Text(table.columns[place].replace("_", " "))
            drawn.add_column(heading, justify="left" if is_text else "right")
        max_rows = max_rows_of(table, tables)
        rows = table.rows if max_rows is None else table.rows[:max_rows]
        for row in rows:
            style = "bold" if row[0] == "total" else None
            drawn.add_row(*(Text(cell_text(row[place])) for place in places), style=style)
        console.print(drawn)
        if len(rows) < len(table.rows):
            console.print(Text(left_out(table, len(rows))))
    return stream.getvalue()


def tables_text(tables: Sequence[Table], *, stream: TextIO | None = None) -> str:
    """Return tables for a stream.

    Args:
        tables: what to show.
        stream: where it will go; standard output by default. Only looked at.
    """
    stream = sys.stdout if stream is None else stream
    width = shutil.get_terminal_size().columns
    if stream.isatty() and width >= _MIN_DRAWN_COLUMNS:
        return _drawn_tables(tables, width)
    shown = (plain_table(table, max_rows=max_rows_of(table, tables)) for table in tables)
    return "\n".join(shown)


def to_text(tables: ReportTables, *, stream: TextIO | None = None) -> str:
    """Return the headline and all tables for a stream; see `tables_text`."""
    top = "\n".join(headline(tables))
    return f"{top}\n\n{tables_text(tables.tables(), stream=stream)}"

"""Tables for a terminal: drawn where it is one, plain and aligned where it is not."""

import io
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from turnwise.report.cells import Cell, Table, cell_text
from turnwise.report.forms import left_out, max_rows_of
from turnwise.report.headline import headline
from turnwise.report.tables import ReportTables

__all__ = ["brief_text", "plain_table", "tables_text", "to_text"]

_GAP = "  "
_FRAME = 3
"""Places that a drawn column takes on top of what stands in it."""


def _width(text: str) -> int:
    """Return how many places of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(mark) else 1 + (unicodedata.east_asian_width(mark) in {"W", "F"})
        for mark in text
    )


def _is_empty(column: Sequence[Cell]) -> bool:
    """Return whether a column says nothing: zeros or blanks only, and at least one."""
    return bool(column) and all(cell in {0, ""} for cell in column)


def _is_text(table: Table, place: int) -> bool:
    return any(isinstance(row[place], str) and row[place] for row in table.rows)


def _shown_places(table: Table) -> list[int]:
    """Return the columns worth the room; the first always is."""
    columns = list(zip(*table.rows, strict=True)) or [() for _ in table.columns]
    return [place for place, column in enumerate(columns) if place == 0 or not _is_empty(column)]


def _padded(text: str, width: int, *, is_text: bool) -> str:
    room = " " * (width - _width(text))
    return text + room if is_text else room + text


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown of a table: columns and rows as text."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    is_text: list[bool]
    cell_widths: list[int]
    """The widest cell of each column, its head aside."""
    left_out: str | None
    """The line that says what is not shown."""


def _shown(table: Table, max_rows: int | None) -> _Shown:
    places = _shown_places(table)
    kept = table.rows if max_rows is None else table.rows[:max_rows]
    rows = [[cell_text(row[place]) for place in places] for row in kept]
    widths = [
        max((_width(row[column]) for row in rows), default=0) for column in range(len(places))
    ]
    return _Shown(
        title=table.title,
        heads=[table.columns[place].replace("_", " ") for place in places],
        rows=rows,
        is_text=[_is_text(table, place) for place in places],
        cell_widths=widths,
        left_out=left_out(table, len(kept)) if len(kept) < len(table.rows) else None,
    )


def _plain(shown: _Shown) -> str:
    widths = [
        max(_width(head), cells) for head, cells in zip(shown.heads, shown.cell_widths, strict=True)
    ]
    lines = [shown.title]
    for line in [shown.heads, *shown.rows]:
        padded = (
            _padded(text, width, is_text=left)
            for text, width, left in zip(line, widths, shown.is_text, strict=True)
        )
        lines.append(_GAP.join(padded).rstrip())
    if shown.left_out:
        lines.append(shown.left_out)
    return "\n".join(lines) + "\n"


def _drawn(shown: _Shown, width: int) -> str:
    """Return a table with lines and colour. Text in it is text, never markup."""
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.table import Table as DrawnTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, highlight=False)
    drawn = DrawnTable(title=Text(shown.title), title_justify="left", header_style="bold")
    for head, is_text, cells in zip(shown.heads, shown.is_text, shown.cell_widths, strict=True):
        # Heads may be wrapped; a number that is cut is a wrong number.
        justify: Literal["left", "right"] = "left" if is_text else "right"
        drawn.add_column(Text(head), justify=justify, min_width=cells)
    for row in shown.rows:
        style = "bold" if row[0] == "total" else None
        drawn.add_row(*map(Text, row), style=style)
    console.print(drawn)
    if shown.left_out:
        console.print(Text(shown.left_out))
    return stream.getvalue()


def _least_width(shown: _Shown) -> int:
    """Return the narrowest terminal in which a drawn table shows every cell whole."""
    heads = (max(map(_width, head.split()), default=0) for head in shown.heads)
    columns = zip(heads, shown.cell_widths, strict=True)
    return 1 + sum(_FRAME + max(head, cells) for head, cells in columns)


def plain_table(table: Table, *, max_rows: int | None = None) -> str:
    """Return a table as aligned text. Columns of zeros only are left out.

    Args:
        table: the table.
        max_rows: most rows shown; what is left out is said. None shows all.
    """
    return _plain(_shown(table, max_rows))


def tables_text(tables: Sequence[Table], *, stream: TextIO | None = None) -> str:
    """Return tables for a stream: drawn in a terminal that is wide enough, else plain.

    Args:
        tables: what to show.
        stream: where it will go; standard output by default. Only looked at.
    """
    is_terminal = (sys.stdout if stream is None else stream).isatty()
    width = shutil.get_terminal_size().columns
    parts = []
    for table in tables:
        shown = _shown(table, max_rows_of(table, tables))
        is_drawn = is_terminal and _least_width(shown) <= width
        parts.append(_drawn(shown, width) if is_drawn else _plain(shown))
    return "\n".join(parts)


def brief_text(tables: ReportTables, *, stream: TextIO | None = None) -> str:
    """Return what one wants to know first: the headline, calls by node, the plan's scenarios."""
    top = "\n".join(headline(tables))
    shown = [table for table in (tables.by_node, tables.scenarios) if table is not None]
    return f"{top}\n\n{tables_text(shown, stream=stream)}"


def to_text(tables: ReportTables, *, stream: TextIO | None = None) -> str:
    """Return the headline and all tables for a stream; see `tables_text`."""
    top = "\n".join(headline(tables))
    return f"{top}\n\n{tables_text(tables.tables(), stream=stream)}"

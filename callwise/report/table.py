"""A table as data, and its forms: text, Markdown, CSV, JSON.

Text in a cell is untrusted and stays text in all of them: no terminal obeys it, no spreadsheet
runs it, no forge links or formats it.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callwise.safe_text import printable
from callwise.text_layout import (
    EVERYTHING,
    Grid,
    Screen,
    grid_lines,
    print_screen,
    styled,
    wrapped_lines,
)

__all__ = [
    "Cell",
    "Share",
    "Table",
    "cell_text",
    "escaped_markdown",
    "guarded",
    "is_text_column",
    "left_out",
    "markdown_rows",
    "markdown_table",
    "max_rows_of",
    "percent",
    "plain_table",
    "shown_places",
    "table_json",
    "tables_text",
    "to_csv",
    "unguarded",
]

Cell = str | int | float | None
"""A value in a table. None is not known, or does not apply; never 0."""


class Share(float):
    """A share from 0 to 1: per cent for people, the plain number in CSV and JSON."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        name: for files and options, e.g. `by_node`.
        title: for people.
        columns: names of the columns; units end them.
        rows: the cells, one per column. Text in them is untrusted.
        folds: columns that text leaves out where they do not fit, the first one first; then
            the last of the others, but not the first column. CSV, JSON and Markdown have all.
        keeps: columns that text never leaves out; their cells wrap instead.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folds: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rows that do not have one cell per column."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name!r} has {len(self.columns)} columns and a row of {len(row)}"
                )


_FORMULA = re.compile(
    "[\\s\x00-\x1f\u00ad\u180e\u200b-\u200f\u2060\ufeff]*"
    "(?:[=+@'\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b-]|(?<=[\t\r\n]))"
)
"""The start of a text that a spreadsheet takes for a formula: `=`, `+`, `-` and `@`, also in
full width, after any blanks and invisible characters; a tab or a line break; and the guard."""


def guarded(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet runs; `unguarded` gives it back."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Return the text that `guarded` was given."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell


def cell_text(cell: Cell) -> str:
    """Return a cell for people; None is `unknown`, a fraction has four digits, a share per cent."""
    if cell is None:
        return "unknown"
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, Share):
        return percent(cell)
    if isinstance(cell, int):
        return f"{cell:,}"  # `.0f` would make a float of it, which may be too large for one
    if cell.is_integer():
        return f"{cell:,.0f}"
    return f"{cell:,.2f}" if abs(cell) >= 100 else f"{cell:.4g}"


def percent(share: float) -> str:
    """Return a share from 0 to 1 as per cent, one digit; not quite none, or all, as a limit."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def shown_places(table: Table) -> list[int]:
    """Return the columns to show: the first, and those that are not all 0 or blank."""
    columns = list(zip(*table.rows, strict=True)) or [("-",) for _ in table.columns]
    return [
        place
        for place, column in enumerate(columns)
        if place == 0 or not all(cell in {0, ""} for cell in column)
    ]


def is_text_column(table: Table, place: int) -> bool:
    """Return whether a column has any text, so that it is aligned left."""
    return any(isinstance(row[place], str) and row[place] for row in table.rows)


def plain_table(table: Table, *, max_rows: int | None = None, screen: Screen = EVERYTHING) -> str:
    """Return a table as aligned text. Columns of zeros only are left out.

    Args:
        table: the table.
        max_rows: most rows shown; a line counts the rest. None shows all.
        screen: where it is shown; by default every column has its place.
    """
    places = shown_places(table)
    kept = table.rows if max_rows is None else table.rows[:max_rows]
    names = [table.columns[place] for place in places]
    grid = Grid(
        heads=[printable(name.replace("_", " ")) for name in names],
        rows=[[cell_text(row[place]) for place in places] for row in kept],
        is_text=[is_text_column(table, place) for place in places],
        folds=[names.index(name) for name in table.folds if name in names],
        keeps=[names.index(name) for name in table.keeps if name in names],
    )
    title = wrapped_lines(printable(table.title), screen)
    lines = [styled(line, "title", screen) for line in title.split("\n")]
    lines += grid_lines(grid, screen)
    if len(kept) < len(table.rows):
        lines.append(wrapped_lines(left_out(table, len(kept)), screen))
    return "\n".join(lines) + "\n"


def tables_text(tables: Sequence[Table], *, screen: Screen | None = None) -> str:
    """Return tables as text.

    Args:
        tables: what to show.
        screen: where they are shown; None goes by standard output, without colours.
    """
    screen = print_screen() if screen is None else screen
    return "\n".join(
        plain_table(table, max_rows=max_rows_of(table, tables), screen=screen) for table in tables
    )


MAX_TURN_ROWS = 20
"""Most turns listed where all tables are shown together."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>&~$-])")

_LINKED = re.compile(
    r"(?i)(?<=[@#!%&~$^*])(?=[\w-])|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bgh)(?=-\d)"
)
"""Places where a forge would begin to read a mention, an issue's number or an address."""

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
    """Return a table as JSON objects, one per row; what is not known is null."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def escaped_markdown(text: str) -> str:
    """Return untrusted text as Markdown that shows it and links, mentions and formats nothing."""
    return _MARKUP.sub(r"\\\1", _LINKED.sub(_BREAK, text))


def _markdown_cell(cell: Cell) -> str:
    return escaped_markdown(cell_text(cell)) if isinstance(cell, str) else cell_text(cell)


def markdown_table(table: Table, *, max_rows: int | None = None) -> str:
    """Return one table as Markdown under its title.

    Args:
        table: the table.
        max_rows: most rows shown; a line counts the rest. None shows all.
    """
    shown = table.rows if max_rows is None else table.rows[:max_rows]
    numbers = [
        place
        for place in range(len(table.columns))
        if not any(isinstance(row[place], str) for row in table.rows)
    ]
    heads = [name.replace("_", " ") for name in table.columns]
    cells = [[_markdown_cell(cell) for cell in row] for row in shown]
    text = f"### {table.title}\n\n{markdown_rows(heads, cells, numbers=numbers)}"
    if len(shown) < len(table.rows):
        text += f"\n{left_out(table, len(shown))}\n"
    return text


def markdown_rows(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int]
) -> str:
    """Return rows of escaped cells as a Markdown table.

    Args:
        heads: names of the columns.
        rows: cells that are safe already.
        numbers: places of the columns that are aligned right.
    """
    sides = ["---:" if place in numbers else "---" for place in range(len(heads))]
    lines = [
        f"| {' | '.join(heads)} |",
        f"|{'|'.join(sides)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def left_out(table: Table, shown: int) -> str:
    """Return the line about rows that are not shown, and how to see them."""
    option = table.name.removeprefix("by_")
    return f"{len(table.rows) - shown} more rows: ask for the table `{option}` alone to see them."


def max_rows_of(table: Table, tables: Sequence[Table]) -> int | None:
    """Return how many rows to show: only the long table of turns is cut, and never alone."""
    return MAX_TURN_ROWS if table.name == "by_turn" and len(tables) > 1 else None

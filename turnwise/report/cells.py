"""A table as data, and a cell as text."""

import re
from dataclasses import dataclass

__all__ = ["Cell", "Table", "cell_text", "guarded", "printable", "unguarded"]

Cell = str | int | float | None
"""A value in a table. None is not known, or does not apply; never 0."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        name: for files and options, e.g. `by_node`.
        title: for people.
        columns: names of the columns; units end them.
        rows: the cells, one a column. Text in them is untrusted.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        """Refuse rows that do not have a cell a column."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name!r} has {len(self.columns)} columns and a row of {len(row)}"
                )


def printable(text: str) -> str:
    """Return a text in one line, without characters that a terminal would obey."""
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in text)


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
    """Return a cell for people; None is `unknown`, a fraction has four digits."""
    if cell is None:
        return "unknown"
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, int):
        return f"{cell:,}"  # `.0f` would make a float of it, which may be too large for one
    if cell.is_integer():
        return f"{cell:,.0f}"
    return f"{cell:,.2f}" if abs(cell) >= 100 else f"{cell:.4g}"

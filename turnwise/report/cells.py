"""A table as data: names, columns and cells."""

from dataclasses import dataclass

__all__ = ["Cell", "Table"]

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

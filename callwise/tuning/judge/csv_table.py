"""CSV read as a table of text, with the line of each row; cells are data and never formulas.

Spreadsheets take a cell that starts with `=` for a formula. Written cells of free text that
start so are guarded by an apostrophe, and the guard is taken off when they are read.
"""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from callwise.calls.errors import FormatError
from callwise.report.table import guarded

__all__ = [
    "CsvRow",
    "CsvTable",
    "bytes_of",
    "decoded",
    "number_of",
    "read_csv",
    "text_cell",
    "whole_part",
]

_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row.

    Args:
        line: the line of the file that it starts on. Starts at 1.
    """

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The table in a CSV file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]

    def problem(self, row: CsvRow, message: str) -> FormatError:
        """Return an error that names the file and the row's line."""
        return FormatError(self.path, row.line, message)

    def number(self, row: CsvRow, column: str) -> float:
        """Return a cell as a finite number.

        Raises:
            FormatError: when it is none.
        """
        cell = row.cells[column]
        number = number_of(cell)
        if number is None:
            raise self.problem(row, f"{column}: expected a number such as 4.5, found {cell[:40]!r}")
        return number

    def whole(self, row: CsvRow, column: str) -> int:
        """Return a cell as a whole number from 0.

        Raises:
            FormatError: when it is none.
        """
        cell = row.cells[column]
        number = number_of(cell)
        if number is None or number < 0 or not number.is_integer():
            raise self.problem(
                row, f"{column}: expected a whole number from 0, found {cell[:40]!r}"
            )
        return int(number)


def text_cell(value: str) -> str:
    """Return a text as a cell of CSV; quoted where it has to be.

    A text that a spreadsheet would run is guarded; `unguarded` gives it back.
    """
    text = guarded(value)
    # The csv module leaves a lone carriage return unquoted, and then takes it for a line's end.
    if not any(mark in text for mark in ',"\r\n'):
        return text
    return '"{}"'.format(text.replace('"', '""'))


def number_of(cell: str) -> float | None:
    """Return a cell as a finite number, or None when it is anything else."""
    text = cell.strip()
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def whole_part(text: str) -> str:
    """Return a CSV text up to the end of its last whole row; rows may contain line ends."""
    end = place = 0
    is_quoted = False
    for line in text.split("\n")[:-1]:
        place += len(line) + 1
        is_quoted ^= line.count('"') % 2 == 1
        if not is_quoted:
            end = place
    return text[:end]


def decoded(path: Path, data: bytes) -> str:
    """Return a file's text, its byte order mark taken off.

    Raises:
        FormatError: when it is not UTF-8; names the line.
    """
    try:
        return data.decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(path, line, f"expected UTF-8 text: {error.reason}") from error


def read_csv(path: Path, required: Sequence[str], *, text: str | None = None) -> CsvTable:
    """Return a CSV file as a table. Commas, semicolons or tabs part its columns.

    Raises:
        FormatError: when it cannot be read, lacks a column, or has a row of another length.
    """
    if text is None:
        text = decoded(path, bytes_of(path))
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: tuple[str, ...] = ()
    rows: list[CsvRow] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise FormatError(path, line, f"expected a row of CSV: {error}") from error
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = _columns(path, line, cells, required)
        elif len(cells) == len(columns):
            rows.append(CsvRow(line, dict(zip(columns, cells, strict=True))))
        else:
            raise FormatError(
                path,
                line,
                f"expected {len(columns)} cells as in the first line, found {len(cells)}",
            )
    if not columns:
        raise FormatError(path, None, f"is empty; expected the columns {', '.join(required)}")
    return CsvTable(path, columns, tuple(rows))


def _columns(
    path: Path, line: int, cells: Sequence[str], required: Sequence[str]
) -> tuple[str, ...]:
    columns = tuple(cell.strip().lower() for cell in cells)
    missing = [name for name in required if name not in columns]
    if missing:
        raise FormatError(
            path,
            line,
            f"the column {missing[0]!r} is missing: expected {', '.join(required)}; found "
            f"{', '.join(repr(name[:40]) for name in columns[:12])}",
        )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise FormatError(path, line, f"the column {twice[:40]!r} occurs twice")
    return columns


def bytes_of(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        FormatError: when it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FormatError(path, None, "there is no such file") from None
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error

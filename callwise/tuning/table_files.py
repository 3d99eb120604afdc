"""Rows as tables: CSV for anything, Parquet for a lot, a data frame for a notebook.

One line per row, one column per field of `TurnRow`, and one per name in its maps. The columns are
those of all rows together: a count that a row does not have is 0. Reading gives the same rows
back, to the last digit; only a count of 0 in a map and one that is absent become the same.

Ids are untrusted and kept as they are. One that begins with `=`, `+`, `-` or `@` is text
here, and a spreadsheet may take it for a formula: import columns as text there.
"""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from callwise.calls.errors import ConfigError, FormatError
from callwise.optional_library import install_hint, loaded
from callwise.report.table import unguarded
from callwise.tuning.judge.csv_table import text_cell
from callwise.tuning.row import EARLIER_NAMES, FIELDS, Coverage, TurnRow, row_from_json

__all__ = ["frame", "read_csv", "read_parquet", "write_csv", "write_parquet"]

_ROWS_PER_GROUP = 10_000


@dataclass(frozen=True, slots=True)
class _Column:
    """One column and its field; `part` is a key of a map, None for other fields."""

    name: str
    field: str
    part: str | None
    kind: type

    @property
    def frame_type(self) -> str:
        """Its type in a data frame: whole numbers that may be unknown have their own."""
        if self.part is None and self.kind is int and FIELDS[self.field].may_be_none:
            return "Int64"
        return {int: "int64", float: "float64", bool: "bool", str: "object"}[self.kind]

    def of(self, row: TurnRow) -> Any:
        value = getattr(row, self.field)
        if self.part is not None:
            return value.get(self.part, 0)
        return str(value) if isinstance(value, Coverage) else value


def _columns(rows: Iterable[TurnRow]) -> list[_Column]:
    parts: dict[str, set[str]] = {name: set() for name, each in FIELDS.items() if each.kind is dict}
    for row in rows:
        for name, known in parts.items():
            known.update(getattr(row, name))
    columns: list[_Column] = []
    for name, each in FIELDS.items():
        if each.kind is dict:
            columns += [_Column(f"{name}.{part}", name, part, int) for part in sorted(parts[name])]
        else:
            columns.append(_Column(name, name, None, str if each.kind is Coverage else each.kind))
    return columns


def write_csv(path: Path, rows: Iterable[TurnRow]) -> None:
    """Write rows as CSV: UTF-8, a header, line feeds, an empty cell for what is not known.

    Args:
        rows: iterated twice, so not a generator, such as `SweepStore.rows()`.

    Raises:
        ValueError: for a figure that is not finite.
    """
    columns = _columns(rows)
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(_cell(column.name) for column in columns) + "\n")
        for row in rows:
            file.write(",".join([_cell(column.of(row)) for column in columns]) + "\n")
    partial.replace(path)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return text_cell(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected finite figures, got {value}")
    return repr(value)


def read_csv(path: Path) -> Iterator[TurnRow]:
    """Yield the rows that `write_csv` wrote.

    Raises:
        ConfigError: when the file cannot be opened.
        FormatError: for columns that are missing or unknown, or a cell of another type; with
            the line.
    """
    try:
        file = path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    with file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            for cells in reader:
                if len(cells) != len(header):
                    raise FormatError(
                        path, reader.line_num, f"expected {len(header)} cells, got {len(cells)}"
                    )
                values = map(_parsed, header, cells)
                yield _row_of(dict(zip(header, values, strict=True)))
        except (ValueError, csv.Error) as error:
            raise FormatError(path, reader.line_num, f"expected rows: {error}") from error


_PARSERS: Mapping[type, Callable[[str], Any]] = {
    bool: lambda cell: {"true": True, "false": False}[cell],
    int: int,
    float: float,
}


def _parsed(column: str, cell: str) -> Any:
    name = column.partition(".")[0]
    field = FIELDS.get(EARLIER_NAMES.get(name, name))
    if field is None:
        raise ValueError(f"unknown column {column!r}")
    if not cell and field.may_be_none:
        return None
    kind = int if field.kind is dict else field.kind
    if kind not in _PARSERS:
        return unguarded(cell)
    try:
        return _PARSERS[kind](cell)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{column} is {cell!r}, expected {kind.__name__}") from error


def _row_of(flat: Mapping[str, Any]) -> TurnRow:
    """Return a row from its columns, maps folded."""
    plain: dict[str, Any] = {name: {} for name, each in FIELDS.items() if each.kind is dict}
    for column, value in flat.items():
        name, dot, part = column.partition(".")
        if not dot:
            plain[name] = value
        elif value and isinstance(plain.get(name), dict):
            plain[name][part] = value
    return row_from_json(plain)


_NEED = f"Parquet and data frames need an extra: {install_hint('tune')}"


def write_parquet(path: Path, rows: Iterable[TurnRow]) -> None:
    """Write rows as Parquet, a group of rows at a time.

    Args:
        rows: iterated twice, so not a generator.

    Raises:
        ConfigError: when pyarrow is not installed.
    """
    pa, parquet = loaded("pyarrow", _NEED), loaded("pyarrow.parquet", _NEED)
    columns = _columns(rows)
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    partial = path.with_name(f"{path.name}.part")
    arriving = iter(rows)
    with parquet.ParquetWriter(partial, schema) as writer:
        while group := list(islice(arriving, _ROWS_PER_GROUP)):
            arrays = [
                pa.array([column.of(row) for row in group], type=types[column.kind])
                for column in columns
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    partial.replace(path)


def read_parquet(path: Path) -> Iterator[TurnRow]:
    """Yield the rows that `write_parquet` wrote.

    Raises:
        ConfigError: when pyarrow is not installed, or the file cannot be opened.
        FormatError: when it is not Parquet, or a column is missing or unknown.
    """
    pa, parquet = loaded("pyarrow", _NEED), loaded("pyarrow.parquet", _NEED)
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
                for flat in batch.to_pylist():
                    yield _row_of(flat)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, pa.ArrowException) as error:
        raise FormatError(path, None, f"expected rows: {error}") from error


def frame(rows: Iterable[TurnRow]) -> Any:
    """Return rows as a pandas data frame; what is not known is missing there too.

    Raises:
        ConfigError: when pandas is not installed.
    """
    pd = loaded("pandas", _NEED)
    kept = list(rows)
    return pd.DataFrame(
        {
            column.name: pd.Series([column.of(row) for row in kept], dtype=column.frame_type)
            for column in _columns(kept)
        }
    )

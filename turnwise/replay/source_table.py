"""Tables with a header, as comma- or tab-separated values: one record a row."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from turnwise.calls.errors import FormatError
from turnwise.replay.record import Problems, SourceRecord
from turnwise.replay.source_lines import Line, ReadLimits, decode, too_long

__all__ = ["has_table_header", "read_table"]

_DELIMITERS = ",;\t|"
_HEADER = {"role", "content", "prompt", "response", "user_text", "from", "speaker", "text"}


def has_table_header(line: Line) -> bool:
    """Return whether a line names at least two columns that messages have."""
    if line.is_cut or line.data.lstrip()[:1] in {b"{", b"["}:
        return False
    return len(_HEADER & {name.lower() for name in _cells(line)[1]}) >= 2


def _cells(line: Line) -> tuple[str, list[str]]:
    """Return the delimiter of a table's first line, and the names in it."""
    try:
        text = line.data.decode().strip()
    except UnicodeDecodeError:
        return ",", []
    delimiter = max(_DELIMITERS, key=text.count)
    return delimiter, [name.strip().strip('"').strip() for name in text.split(delimiter)]


class _TableText:
    """The lines of a table as text, for the csv module; knows which was read last."""

    def __init__(
        self, lines: Iterable[Line], path: Path, problems: Problems, limits: ReadLimits
    ) -> None:
        self._lines = iter(lines)
        self._path, self._problems, self._limits = path, problems, limits
        self.last = 1

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.last = line.number
            try:
                if line.is_cut:
                    raise too_long(self._path, line.number, "a line", self._limits)
                yield decode(line.data, self._path, line.number, line.offset)
            except FormatError as error:
                self._problems.meet(error)


def read_table(
    header: Line, lines: Iterable[Line], path: Path, problems: Problems, limits: ReadLimits
) -> Iterator[SourceRecord]:
    """Read a table with a header as one record a row; empty cells are missing fields."""
    decode(header.data, path, header.number, header.offset)  # or the error that it is not UTF-8
    delimiter, columns = _cells(header)
    names = [name.lower().replace(" ", "_") for name in columns]
    texts = _TableText(lines, path, problems, limits)
    # The module's own limit is for all of the process and lower than a long message.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_document_bytes))
    rows = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            problems.meet(FormatError(path, texts.last, f"expected a row of a table: {error}"))
            continue
        if row is None:
            return
        if len(row) > len(names):
            problem = f"expected {len(names)} cells as in the header, got {len(row)}"
            problems.meet(FormatError(path, texts.last, problem))
        elif any(cell.strip() for cell in row):
            fields = _fields_of(names, row)
            yield SourceRecord(path, texts.last, "", fields, str(texts.last))


def _fields_of(names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: cell for name, cell in zip(names, row, strict=False) if cell.strip()
    }
    if str(fields.get("turn", "")).isdecimal():
        fields["turn"] = int(fields["turn"])
    return fields

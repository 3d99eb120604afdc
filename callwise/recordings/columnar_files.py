"""Parquet and Arrow files as JSON records, one per row; also data sets that were saved to disk.

Rows are read in small batches, row group by row group, and a batch never decodes to more than
the limit of one document, as far as the file's own sizes are true. A row is as it would be in JSON:
times are ISO 8601, bytes are text where they are UTF-8 and else left out, and a field of a list's
items that is null is missing, since every item of a column has all the fields. A struct of lists
(`{role: [...], content: [...]}`) is a list of structs: some versions of the Hugging Face library
store lists of messages so.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from io import BufferedReader
from pathlib import Path
from typing import Any

from callwise.calls.errors import FormatError
from callwise.optional_library import install_hint, loaded
from callwise.recordings.source_lines import (
    MEGABYTE,
    Progress,
    ReadLimits,
    check_size,
    open_regular,
)
from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = [
    "COLUMNAR_SUFFIXES",
    "columnar_kind",
    "is_cached",
    "plain_row",
    "read_columnar",
]

COLUMNAR_SUFFIXES = (".parquet", ".arrow")
"""Endings of names by which folders are searched; files are recognised by their first bytes."""

_ENCRYPTED_KIND = "encrypted Parquet"
_ENCRYPTED = "is encrypted Parquet; decrypt it first"
_KINDS = {
    b"PAR1": "Parquet",
    b"PARE": _ENCRYPTED_KIND,
    b"ARROW1": "Arrow",
    b"\xff\xff\xff\xff": "Arrow stream",
}
_NEED = (
    f"Parquet and Arrow files need an extra: {install_hint('parquet')}. "
    "Or write them as JSON Lines, as docs/formats.md shows"
)
_MAX_ROWS = 64
"""Most rows of a batch."""


def columnar_kind(path: Path) -> str | None:
    """Return the kind of a file of columns, by its first bytes; None for any other file.

    Raises:
        FormatError: when it cannot be opened.
    """
    with open_regular(path) as raw:
        try:
            first = raw.peek(8)[:8]
        except OSError as error:
            raise FormatError(path, None, f"cannot be read: {error.strerror}") from error
    return next((kind for mark, kind in _KINDS.items() if first.startswith(mark)), None)


def is_cached(name: str) -> bool:
    """Return whether a file of a data set's folder is what the library computed from it."""
    return name.startswith("cache-") and name.endswith(".arrow")


@dataclass(frozen=True, slots=True)
class _Reading:
    """The reading of one file."""

    kind: str
    path: Path
    raw: BufferedReader
    problems: RecordProblems
    limits: ReadLimits

    def failure(self, row: int | None, error: Exception, what: str) -> FormatError:
        """Return the error for what pyarrow cannot read."""
        reason = " ".join(str(error).split())[:200]
        if "crypt" in reason.lower():
            return FormatError(self.path, row, _ENCRYPTED)
        return FormatError(self.path, row, f"{what}: {reason}")


def read_columnar(
    kind: str,
    path: Path,
    problems: RecordProblems,
    limits: ReadLimits,
    progress: Progress | None = None,
) -> Iterator[SourceRecord]:
    """Read a file of columns as one record per row; a record's line is the number of its row.

    Args:
        kind: as `columnar_kind` gives it.

    Raises:
        ConfigError: when pyarrow is not installed.
        FormatError: when the file cannot be read; for a group of rows that cannot be read, and a
            row that cannot be converted, unless `problems` skips them.
    """
    if kind == _ENCRYPTED_KIND:
        raise FormatError(path, None, _ENCRYPTED)
    pa = loaded("pyarrow", _NEED)
    batches = _parquet_batches if kind == "Parquet" else _arrow_batches
    size, read_bytes = path.stat().st_size, 0
    with open_regular(path) as raw:
        reading = _Reading(kind, path, raw, problems, limits)
        for before, batch in batches(reading, pa):
            read_bytes += batch.nbytes
            check_size(path, read_bytes, limits)
            for row, document in enumerate(_rows(reading, pa, before, batch), start=before + 1):
                if document is not None:
                    yield SourceRecord(path, row, "", document, str(row))
            if progress is not None:
                progress(min(size, raw.tell()), size)


_Batches = Iterator[tuple[int, Any]]
"""Batches of rows, each with the number of rows before it."""


def _parquet_batches(reading: _Reading, pa: Any) -> _Batches:
    parquet = loaded("pyarrow.parquet", _NEED)
    failures = (pa.ArrowException, OSError, ValueError, MemoryError)
    try:
        file = parquet.ParquetFile(reading.raw, buffer_size=MEGABYTE, pre_buffer=False)
        columns = _text_columns(file.schema_arrow, pa)
    except failures as error:
        raise reading.failure(None, error, "expected a whole Parquet file") from error
    before = 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        sizes = [group.column(place).total_uncompressed_size for place in range(group.num_columns)]
        # No value of a column is longer than its part of the group.
        rows = max(1, min(_MAX_ROWS, reading.limits.max_document_bytes // max(1, *sizes)))
        end = before + group.num_rows
        try:
            for batch in file.iter_batches(rows, [number], columns, use_threads=False):
                yield before, _with_plain_times(batch, pa)
                before += batch.num_rows
        except failures as error:
            what = f"rows {before + 1:,} to {end:,} cannot be read"
            reading.problems.meet(reading.failure(before + 1, error, what))
        before = end


def _arrow_batches(reading: _Reading, pa: Any) -> _Batches:
    before = 0
    try:
        if reading.kind == "Arrow":
            file = pa.ipc.open_file(reading.raw)
            found, schema = map(file.get_batch, range(file.num_record_batches)), file.schema
        else:
            stream = pa.ipc.open_stream(reading.raw)
            found, schema = stream, stream.schema
        columns = _text_columns(schema, pa)
        for batch in found:
            batch.validate(full=True)  # what does not fit would end the process
            kept = _with_plain_times(batch.select(columns), pa)
            for start in range(0, kept.num_rows, _MAX_ROWS):
                yield before + start, kept.slice(start, _MAX_ROWS)
            before += kept.num_rows
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        what = f"cannot be read after row {before:,}" if before else "expected a whole Arrow file"
        raise reading.failure(None, error, what) from error


def _text_columns(schema: Any, pa: Any) -> list[str]:
    """Return the columns but nested ones that have only numbers, such as embeddings."""
    return [
        field.name
        for field in schema
        if not pa.types.is_nested(field.type) or _has_text(field.type, pa)
    ]


def _has_text(kind: Any, pa: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _has_text(kind.value_type, pa)
    if types.is_nested(kind):
        return any(_has_text(kind.field(place).type, pa) for place in range(kind.num_fields))
    is_text = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(each(kind) for each in is_text) or str(kind).endswith("_view")


def _plain_type(kind: Any, pa: Any) -> Any:
    """Return a type whose times any Python reads: in microseconds, and in UTC where zoned."""
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "+00:00")
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.int64()
    if types.is_struct(kind):
        return pa.struct([_plain_field(each, pa) for each in kind])
    for is_list, made in (
        (types.is_list, pa.list_),
        (types.is_large_list, pa.large_list),
    ):
        if is_list(kind):
            return made(_plain_field(kind.value_field, pa))
    return kind


def _plain_field(field: Any, pa: Any) -> Any:
    return field.with_type(_plain_type(field.type, pa))


def _with_plain_times(batch: Any, pa: Any) -> Any:
    columns = [
        column
        if (plain := _plain_type(column.type, pa)) == column.type
        else column.cast(plain, safe=False)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _rows(reading: _Reading, pa: Any, before: int, batch: Any) -> Iterator[dict[str, Any] | None]:
    """Yield the rows of a batch as plain JSON; None for one that is set aside."""
    failures = (pa.ArrowException, ValueError, OverflowError)
    most = reading.limits.max_document_bytes
    if batch.nbytes <= most:
        try:
            rows = batch.to_pylist(maps_as_pydicts="lossy")
        except failures:
            rows = None  # which of them it is, is found below
        if rows is not None:
            yield from map(plain_row, rows)
            return
    for place in range(batch.num_rows):
        alone, row = batch.slice(place, 1), before + place + 1
        document = None
        try:
            if alone.nbytes > most:
                raise ValueError(
                    f"it is longer than {most // MEGABYTE:,} MB; raise the limit with "
                    "CALLWISE_MAX_DOCUMENT_MB"
                )
            document = plain_row(alone.to_pylist(maps_as_pydicts="lossy")[0])
        except failures as error:
            reading.problems.meet(reading.failure(row, error, "the row cannot be read"))
        yield document


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row as it would be in JSON; what is null at its top stays."""
    return {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return _plain_struct(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:  # a picture, a sound
            return None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    as_list: Callable[[], Any] | None = getattr(value, "tolist", None)  # of numpy
    return str(value) if as_list is None else _plain(as_list())


def _plain_struct(value: Mapping[Any, Any]) -> Any:
    fields = {
        str(name): plain for name, each in value.items() if (plain := _plain(each)) is not None
    }
    lists = list(fields.values())
    if len(lists) < 2 or not all(isinstance(each, list) and each for each in lists):
        return fields
    if len({len(each) for each in lists}) > 1:
        return fields
    return [
        {name: each for name, each in zip(fields, items, strict=True) if each is not None}
        for items in zip(*lists, strict=True)
    ]

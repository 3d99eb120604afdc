"""Kinds of conversation files: how each is recognised, and read as JSON records.

A table with a header (comma- or tab-separated values) gives one record per row. To add a kind,
such as a text with one message per line, write a module with its `FileKind`, whose records look
like a table's (`{"speaker": "Ana", "text": "Hi."}`), and list it in `FILE_KINDS` of
`source_files`.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from callwise.calls.errors import FormatError
from callwise.recordings.source_lines import Line, ReadLimits, decode, too_long
from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = ["DOCUMENT", "LINES", "TABLE", "FileKind", "OpenFile"]


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is being read.

    Args:
        sample: its first lines that are not blank: all of them when there is one.
        lines: all lines that are not before those of the sample.
        problems: where records that cannot be read go.
    """

    path: Path
    sample: Sequence[Line]
    lines: Iterator[Line]
    problems: RecordProblems
    limits: ReadLimits


class FileKind(NamedTuple):
    """A kind of file.

    Args:
        suffixes: endings of its names, without `.gz`. Folders are searched for them.
        fits: whether a file is of this kind, by its first lines that are not blank.
        read: gives the records of a file. A FormatError that it raises ends the reading.
        is_sure_by_name: whether a file with such a name is of this kind, whatever its content.
    """

    suffixes: tuple[str, ...]
    fits: Callable[[Sequence[Line]], bool]
    read: Callable[[OpenFile], Iterator[SourceRecord]]
    is_sure_by_name: bool = False


_DELIMITERS = ",;\t|"
_HEADER = {"role", "content", "prompt", "response", "user_text", "from", "speaker", "text"}


def _has_table_header(sample: Sequence[Line]) -> bool:
    """Return whether the first line names at least two columns that messages have."""
    line = sample[0]
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
    """The lines of a table as text, for the csv module; keeps the number of the last one."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.last = 1

    def __iter__(self) -> Iterator[str]:
        file = self._file
        for line in file.lines:
            self.last = line.number
            try:
                if line.is_cut:
                    raise too_long(file.path, line.number, "a line", file.limits)
                yield decode(line.data, file.path, line.number, line.offset)
            except FormatError as error:
                file.problems.meet(error)


def _read_table(file: OpenFile) -> Iterator[SourceRecord]:
    """Read a table with a header as one record per row; empty cells are missing fields."""
    path, problems = file.path, file.problems
    header = next(file.lines)
    decode(header.data, path, header.number, header.offset)  # or the error that it is not UTF-8
    delimiter, columns = _cells(header)
    names = [name.lower().replace(" ", "_") for name in columns]
    texts = _TableText(file)
    # The module's own limit is for all of the process and lower than a long message.
    csv.field_size_limit(max(csv.field_size_limit(), file.limits.max_document_bytes))
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


_MAX_DEPTH = 400


def _parse(text: str) -> Any:
    """Return the JSON value of a text.

    A key that is met twice counts as it was met last. Lone surrogates, NaN and numbers of
    any size are read too: other programs write them.

    Raises:
        orjson.JSONDecodeError: when it is not one JSON value.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        with suppress(ValueError, RecursionError):
            return _not_deep(json.loads(text))
        raise


def _not_deep(value: Any) -> Any:
    """Return a value that is nested as deep as every Python's json module reads it.

    Raises:
        RecursionError: when it is deeper.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise RecursionError(f"nested deeper than {_MAX_DEPTH} levels")
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return value


def _parses(line: Line) -> bool:
    """Return whether a line is an object or a list by itself, at its left edge."""
    if line.is_cut or line.data[:1] not in {b"{", b"["}:
        return False
    try:
        _parse(line.data.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _read_line(line: Line, file: OpenFile) -> Any:
    path = file.path
    if line.is_cut:
        raise too_long(path, line.number, "a line", file.limits)
    text = decode(line.data.rstrip(b"\r\n"), path, line.number, line.offset)
    text = text.removeprefix("\ufeff")  # files with marks were joined
    try:
        return _parse(text)
    except orjson.JSONDecodeError as error:
        is_cut = error.pos >= len(text.rstrip())
        what = "the line is cut off" if is_cut else error.msg
        problem = f"expected one whole JSON object: {what} at character {error.pos + 1}"
        if text.lstrip()[:1] not in {"{", "["}:
            problem += (
                f"; the line begins with {text.lstrip()[:20]!r}. docs/formats.md shows what is "
                "read, and how to convert other files"
            )
        raise FormatError(path, line.number, problem) from error


def _read_lines(file: OpenFile) -> Iterator[SourceRecord]:
    is_one = len(file.sample) == 1
    for line in file.lines:
        if not line.data.strip():
            continue
        try:
            document = _read_line(line, file)
        except FormatError as error:
            file.problems.meet(error)
        else:
            number = str(line.number)
            yield SourceRecord(file.path, line.number, "", document, number, is_whole_file=is_one)


def _records_of(document: Any, path: Path) -> Iterator[SourceRecord]:
    if isinstance(document, list):
        for number, item in enumerate(document, start=1):
            yield SourceRecord(path, None, f"record {number}", item, str(number))
    else:
        yield SourceRecord(path, None, "", document, is_whole_file=True)


def _broken(path: Path, error: Exception) -> FormatError:
    if isinstance(error, json.JSONDecodeError):
        problem = f"expected one whole JSON document: {error.msg}, column {error.colno}"
        return FormatError(path, error.lineno, problem)
    return FormatError(path, None, f"expected one whole JSON document: {str(error)[:80]}")


_SPACE = re.compile(r"[ \t\r\n\x1e]*")


def _read_values(text: str, path: Path, problems: RecordProblems) -> Iterator[SourceRecord]:
    """Read JSON values that follow each other, or what is whole of a broken list.

    After a broken value, reading goes on at the next line that starts as this one did.
    """
    decoder = json.JSONDecoder()
    at = _after_space(text, 0)
    is_list = False
    if text.startswith("[", at):
        try:
            decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            problems.meet(_broken(path, error))
            is_list, at = True, at + 1
    number = 0
    is_said = is_list
    while (at := _after_space(text, at)) < len(text) and not (is_list and text[at] == "]"):
        if is_list and text[at] == ",":
            at += 1
            continue
        number += 1
        try:
            value, end = decoder.raw_decode(text, at)
            _not_deep(value)
        except (ValueError, RecursionError) as error:
            if not is_said:
                problems.meet(_broken(path, error))
            is_said = False
            at = _next_like(text, at)
        else:
            what = "record" if is_list else "document"
            yield SourceRecord(path, None, f"{what} {number}", value, str(number))
            at = end


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _next_like(text: str, at: int) -> int:
    """Return the place of the next line that starts as the one at `at`; else the end."""
    indent = text[text.rfind("\n", 0, at) + 1 : at]
    found = -1 if indent.strip(" \t") else text.find(f"\n{indent}{text[at]}", at)
    return found + 1 if found >= 0 else len(text)


def _read_document(file: OpenFile) -> Iterator[SourceRecord]:
    path, limits = file.path, file.limits
    pieces, size = [], 0
    for line in file.lines:
        size += len(line.data)
        if line.is_cut or size > limits.max_document_bytes:
            raise too_long(path, None, "one JSON document", limits)
        pieces.append(line.data)
    text = decode(b"".join(pieces), path, None, 0)
    del pieces
    try:
        document = _parse(text)
    except orjson.JSONDecodeError:
        yield from _read_values(text, path, file.problems)
    else:
        yield from _records_of(document, path)


def _is_one_document(sample: Sequence[Line]) -> bool:
    """Return whether a file is one JSON document, or several over many lines each."""
    first = sample[0]
    if first.data.lstrip()[:1] not in {b"{", b"["}:
        return False
    if len(sample) == 1:
        return first.data.lstrip().startswith(b"[") or not _parses(first)
    if _parses(first):
        return False
    if first.data.strip() in {b"[", b"{"}:
        return True
    before = [line.data.rstrip()[-1:] for line in sample]
    has_lines = any(
        _parses(line) and end not in {b",", b"["}
        for line, end in zip(sample[1:], before, strict=False)
    )
    return not has_lines


TABLE = FileKind((".csv", ".tsv"), _has_table_header, _read_table, is_sure_by_name=True)
DOCUMENT = FileKind((".json",), _is_one_document, _read_document)
LINES = FileKind((".jsonl", ".ndjson"), bool, _read_lines)
"""JSON Lines; fits every file that is not empty."""

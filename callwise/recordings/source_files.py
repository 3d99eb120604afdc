"""Conversation files: found, and read as JSON records with their file and line.

A table with a header (comma- or tab-separated values) gives one record for each row.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from glob import has_magic
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from callwise.calls.errors import FormatError
from callwise.recordings.source_lines import (
    MEGABYTE,
    Line,
    Progress,
    ReadLimits,
    decode,
    open_lines,
    too_long,
)
from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = ["SUFFIXES", "SourceFile", "find_files", "has_table_header", "read_records", "read_table"]

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
    """The lines of a table as text, for the csv module; keeps the number of the last one."""

    def __init__(
        self, lines: Iterable[Line], path: Path, problems: RecordProblems, limits: ReadLimits
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
    header: Line, lines: Iterable[Line], path: Path, problems: RecordProblems, limits: ReadLimits
) -> Iterator[SourceRecord]:
    """Read a table with a header as one record per row; empty cells are missing fields."""
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


_PLAIN_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*_PLAIN_SUFFIXES, *(f"{suffix}.gz" for suffix in _PLAIN_SUFFIXES))
"""Endings of a conversation file's name. A file that is named outright may differ."""

_MAX_DEPTH = 400

_SAMPLE_LINES = 64
"""Lines that are read to distinguish JSON Lines from one document."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may have conversations.

    Args:
        label: its name without suffixes, with the folders below the one that was
            given, joined by dots. Names conversations that have no id of their own.
        was_named: whether it was given by name, not found in a folder or by a pattern.
    """

    path: Path
    label: str
    was_named: bool

    @property
    def is_table(self) -> bool:
        """Whether it is a table by its name."""
        return self.path.name.removesuffix(".gz").endswith((".csv", ".tsv"))


def _without_suffix(name: str) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def _label(path: Path, root: Path) -> str:
    folders = path.relative_to(root).parts[:-1]
    return ".".join((*folders, _without_suffix(path.name)))


def _files_in(folder: Path) -> Iterator[SourceFile]:
    for path in sorted(folder.rglob("*")):  # links to folders are not followed
        is_meant = path.name.endswith(SUFFIXES) and not _is_hidden(path.relative_to(folder))
        if is_meant and path.is_file():
            yield SourceFile(path, _label(path, folder), was_named=False)


def _matches(pattern: Path) -> list[Path]:
    """Return what a pattern names, in order of names; `**` follows no links to folders."""
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if has_magic(part))
    root, rest = Path(*parts[:first]), parts[first:]
    names_hidden = any(part.startswith(".") for part in rest)
    return sorted(
        path
        for path in root.glob("/".join(rest))
        if names_hidden or not _is_hidden(path.relative_to(root))
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _files_of(given: str | Path) -> Iterator[SourceFile]:
    path = Path(given)
    if path.is_dir():
        yield from _files_in(path)
    elif path.exists():
        yield SourceFile(path, _label(path, path.parent), was_named=True)
    elif has_magic(str(given)):
        for found in _matches(path):
            for file in _files_of(found):
                yield replace(file, was_named=False)


def find_files(paths: Sequence[str | Path]) -> list[SourceFile]:
    """Return the files that paths, folders and glob patterns name, each once.

    Folders are read to the bottom in order of names; hidden entries are left out.

    Raises:
        FormatError: when a path does not exist, or leads to no file.
    """
    files: dict[Path, SourceFile] = {}
    for given in paths:
        try:
            found = list(_files_of(given))
        except (OSError, ValueError) as error:
            raise FormatError(str(given)[:200], None, f"is no path: {error}") from error
        if not found:
            expected = f"expected a file, a folder with {', '.join(SUFFIXES)}, or a pattern"
            what = "has no such file" if Path(given).is_dir() else "does not exist"
            raise FormatError(given, None, f"{what}; {expected}")
        for file in found:
            files.setdefault(file.path.resolve(), file)
    return list(files.values())


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


def _read_line(line: Line, path: Path, limits: ReadLimits) -> Any:
    if line.is_cut:
        raise too_long(path, line.number, "a line", limits)
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


def _read_lines(
    lines: Iterable[Line], path: Path, problems: RecordProblems, limits: ReadLimits, *, is_one: bool
) -> Iterator[SourceRecord]:
    for line in lines:
        if not line.data.strip():
            continue
        try:
            document = _read_line(line, path, limits)
        except FormatError as error:
            problems.meet(error)
        else:
            number = str(line.number)
            yield SourceRecord(path, line.number, "", document, number, is_whole_file=is_one)


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


def _read_document(
    lines: Iterable[Line], path: Path, problems: RecordProblems, limits: ReadLimits
) -> Iterator[SourceRecord]:
    pieces, size = [], 0
    for line in lines:
        size += len(line.data)
        if line.is_cut or size > limits.max_document_bytes:
            raise too_long(path, None, "one JSON document", limits)
        pieces.append(line.data)
    text = decode(b"".join(pieces), path, None, 0)
    del pieces
    try:
        document = _parse(text)
    except orjson.JSONDecodeError:
        yield from _read_values(text, path, problems)
    else:
        yield from _records_of(document, path)


def read_records(
    file: SourceFile,
    problems: RecordProblems,
    limits: ReadLimits | None = None,
    progress: Progress | None = None,
) -> Iterator[SourceRecord]:
    """Read a file's JSON records in order: as lines, as one document, or as a table.

    Which of them it is follows from the content, since each occurs under each name; only
    tables are recognised by their name as well. Lines and rows are read one at a time; a
    document is read as a whole.

    Raises:
        FormatError: for the first problem, unless `problems` skips them.
    """
    limits = limits or ReadLimits()
    path = file.path
    try:
        with open_lines(path, limits, progress) as lines:
            sample: list[Line] = []
            for line in lines:
                if line.data.strip():
                    sample.append(line)
                if len(sample) >= _SAMPLE_LINES or (len(sample) > 1 and line.offset > MEGABYTE):
                    break
            if not sample:
                raise FormatError(path, None, "is empty; expected one JSON object a line")  # noqa: TRY301 - met below
            rest = chain(sample, lines)
            if file.is_table or has_table_header(sample[0]):
                yield from read_table(next(rest), rest, path, problems, limits)
            elif _is_one_document(sample):
                yield from _read_document(rest, path, problems, limits)
            else:
                is_one = len(sample) == 1
                yield from _read_lines(rest, path, problems, limits, is_one=is_one)
    except FormatError as error:
        problems.meet(error)


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

"""Conversation files: found, and read as JSON records with their file and line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import has_magic
from itertools import chain
from pathlib import Path
from typing import Any

from callwise.calls.errors import FormatError
from callwise.recordings.columnar_files import (
    COLUMNAR_SUFFIXES,
    columnar_kind,
    is_cached,
    plain_row,
    read_columnar,
)
from callwise.recordings.file_kinds import DOCUMENT, LINES, TABLE, FileKind, OpenFile
from callwise.recordings.source_lines import MEGABYTE, Line, Progress, ReadLimits, open_lines
from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = ["FILE_KINDS", "SUFFIXES", "SourceFile", "find_files", "read_records", "rows_in_memory"]

FILE_KINDS = (TABLE, DOCUMENT, LINES)
"""In the order in which they are tried; the last takes every file that is not empty."""

_PLAIN_SUFFIXES = tuple(suffix for kind in reversed(FILE_KINDS) for suffix in kind.suffixes)
SUFFIXES = (
    *_PLAIN_SUFFIXES,
    *(f"{suffix}.gz" for suffix in _PLAIN_SUFFIXES),
    *COLUMNAR_SUFFIXES,
)
"""Endings of a conversation file's name. A file that is named outright may differ."""

_SAMPLE_LINES = 64
"""Lines that are read to find out which kind of file it is."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may have conversations.

    Args:
        label: its name without suffixes, with the folders below the one that was
            given, joined by dots. Names conversations that have no id of their own.
        was_named: whether it was given by name, not found in a folder or by a pattern.
        rows: its rows where it is no file but in memory; None for a file.
    """

    path: Path
    label: str
    was_named: bool
    rows: Iterable[Mapping[str, Any]] | None = field(default=None, repr=False)


def rows_in_memory(rows: Iterable[Mapping[str, Any]], name: str) -> SourceFile:
    """Return rows in memory as a file of that name."""
    return SourceFile(Path(name), name, was_named=True, rows=rows)


def _memory_records(
    rows: Iterable[Mapping[str, Any]], path: Path, problems: RecordProblems
) -> Iterator[SourceRecord]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            yield SourceRecord(path, number, "", plain_row(row), str(number))
        else:
            problem = (
                f"expected a row as a mapping of its columns, got {type(row).__name__}. Give one "
                'split of a data set, and of a data frame `frame.to_dict("records")`'
            )
            problems.meet(FormatError(path, number, problem))


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
        is_meant = is_meant and not is_cached(path.name)
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


def read_records(
    file: SourceFile,
    problems: RecordProblems,
    limits: ReadLimits | None = None,
    progress: Progress | None = None,
    *,
    kinds: Sequence[FileKind] = FILE_KINDS,
) -> Iterator[SourceRecord]:
    """Read a file's JSON records in order, as the first of the kinds that it is of.

    Which one it is follows from the content, since each occurs under each name; only tables are
    recognised by their name as well. Lines and rows are read one at a time, and those of Parquet
    and Arrow in small batches; a document is read as a whole.

    Raises:
        ConfigError: for Parquet or Arrow, when pyarrow is not installed.
        FormatError: for the first problem, unless `problems` skips them.
    """
    limits = limits or ReadLimits()
    path = file.path
    if file.rows is not None:
        yield from _memory_records(file.rows, path, problems)
        return
    name = path.name.removesuffix(".gz")
    try:
        if (columnar := columnar_kind(path)) is not None:
            yield from read_columnar(columnar, path, problems, limits, progress)
            return
        with open_lines(path, limits, progress) as lines:
            sample: list[Line] = []
            for line in lines:
                if line.data.strip():
                    sample.append(line)
                if len(sample) >= _SAMPLE_LINES or (len(sample) > 1 and line.offset > MEGABYTE):
                    break
            if not sample:
                raise FormatError(path, None, "is empty; expected one JSON object a line")  # noqa: TRY301 - met below
            kind = next(
                each
                for each in kinds
                if (each.is_sure_by_name and name.endswith(each.suffixes)) or each.fits(sample)
            )
            yield from kind.read(OpenFile(path, sample, chain(sample, lines), problems, limits))
    except FormatError as error:
        problems.meet(error)

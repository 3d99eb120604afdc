"""Finding conversation files, and reading them as JSON records that know their place.

A record knows its file and line, so that every reader above can say where a problem
stands. Text is UTF-8 and nothing else: what cannot be decoded is an error that names
the byte, because a replaced character would be a different conversation.
"""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import orjson

from turnwise.calls.errors import FormatError
from turnwise.replay.record import Problems, SourceRecord

__all__ = ["SUFFIXES", "SourceFile", "find_files", "read_records"]

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
"""What a conversation file's name may end with. A file that is named outright may differ."""

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold conversations.

    Args:
        path: where it is.
        label: its name without suffixes, with the folders below the one that was
            given, joined by dots. Names conversations that have no id of their own.
        was_named: whether it was given by name, not found in a folder or by a pattern.
    """

    path: Path
    label: str
    was_named: bool


def _without_suffix(name: str) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def _label(path: Path, root: Path) -> str:
    folders = path.relative_to(root).parts[:-1]
    return ".".join((*folders, _without_suffix(path.name)))


def _files_in(folder: Path) -> Iterator[SourceFile]:
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and path.name.endswith(SUFFIXES) and not is_hidden:
            yield SourceFile(path, _label(path, folder), was_named=False)


def _files_of(given: str | Path) -> Iterator[SourceFile]:
    path = Path(given)
    if path.is_dir():
        yield from _files_in(path)
    elif path.exists():
        yield SourceFile(path, _label(path, path.parent), was_named=True)
    elif has_magic(str(given)):
        for found in sorted(glob(str(given), recursive=True)):  # noqa: PTH207 - may be absolute
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
            what = "holds no such file" if Path(given).is_dir() else "does not exist"
            raise FormatError(given, None, f"{what}; {expected}")
        for file in found:
            files.setdefault(file.path.resolve(), file)
    return list(files.values())


def _read_bytes(path: Path) -> bytes:
    """Return a file's bytes, unpacked when it is gzip whatever its name.

    Raises:
        FormatError: when it cannot be read or unpacked, is empty, or is not UTF-8 at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror}") from error
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(path, None, f"expected a whole gzip file: {error}") from error
    if data.startswith(_UTF16_BOMS):
        raise FormatError(path, None, "is UTF-16; expected UTF-8: convert the file")
    data = data.removeprefix(_UTF8_BOM)
    if not data.strip():
        raise FormatError(path, None, "is empty; expected one JSON object a line")
    return data


def _decode(data: bytes, path: Path, line: int | None, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if line is None:
            line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        raise FormatError(
            path,
            line,
            f"byte 0x{data[error.start]:02x} at position {error.start - start + 1} of the line "
            f"(offset {offset + error.start} of the text) is not UTF-8; "
            "expected the whole file in UTF-8",
        ) from error


def _parse_line(text: str, path: Path, line: int) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        is_cut = error.pos >= len(text.rstrip())
        what = "the line is cut off" if is_cut else error.msg
        raise FormatError(
            path, line, f"expected one whole JSON object: {what} at character {error.pos + 1}"
        ) from error


def _read_lines(data: bytes, path: Path, problems: Problems) -> Iterator[SourceRecord]:
    offset = 0
    for line, raw in enumerate(io.BytesIO(data), start=1):
        if raw.strip():
            try:
                text = _decode(raw.rstrip(b"\r\n"), path, line, offset)
                document = _parse_line(text, path, line)
            except FormatError as error:
                problems.meet(error)
            else:
                yield SourceRecord(path, line, "", document)
        offset += len(raw)


def _records_of(document: Any, path: Path) -> Iterable[SourceRecord]:
    if isinstance(document, list):
        return (
            SourceRecord(path, None, f"record {number}", item)
            for number, item in enumerate(document, start=1)
        )
    return (SourceRecord(path, None, "", document),)


def _parses(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_one_document(data: bytes, name: str) -> bool:
    """Return whether a file is one JSON document, rather than JSON Lines.

    Told from the content, since either is met under either name. The name decides
    only where neither reads, so that the error fits what was meant.
    """
    text = data.lstrip()
    if text.startswith(b"["):
        return True
    if _parses(text.partition(b"\n")[0]):
        return False
    return name.endswith((".json", ".json.gz")) or _parses(text)


def read_records(file: SourceFile, problems: Problems) -> Iterator[SourceRecord]:
    """Read a file's JSON records in order, as lines or as one document.

    Raises:
        FormatError: for the first problem, unless `problems` skips them.
    """
    path = file.path
    try:
        data = _read_bytes(path)
        if not _is_one_document(data, path.name):
            yield from _read_lines(data, path, problems)
            return
        text = _decode(data, path, None, 0)
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            problem = f"expected one whole JSON document: {error.msg}, column {error.colno}"
            raise FormatError(path, error.lineno, problem) from error
    except FormatError as error:
        problems.meet(error)
        return
    yield from _records_of(document, path)

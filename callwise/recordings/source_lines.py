"""The lines of a file, read one at a time: any size, packed or not, and only ever UTF-8.

What cannot be decoded is an error that names the byte, because a replaced character would
be a different conversation. Memory use is limited, whatever a file contains.
"""

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from callwise.calls.errors import ConfigError, FormatError

__all__ = [
    "MEGABYTE",
    "Line",
    "Progress",
    "ReadLimits",
    "check_size",
    "decode",
    "open_lines",
    "open_regular",
    "too_long",
]

MEGABYTE = 1_000_000

Progress = Callable[[int, int], None]
"""Called with the bytes of a file that were read, and its bytes on disk."""

_BOMS = (
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_PACKINGS = (
    (b"PK\x03\x04", "a ZIP file; unpack it and give the file in it"),
    (b"PAR1", "Parquet, packed with gzip; unpack it"),
    (b"ARROW1", "Arrow, packed with gzip; unpack it"),
    (b"SQLite format 3", "an SQLite database; write its rows as JSON Lines"),
    (b"BZh", "packed with bzip2; unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "packed with xz; unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it, or pack it with gzip"),
)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_PROGRESS_STEP = 4 * MEGABYTE


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Limits of reading a file.

    Args:
        max_document_bytes: the longest line, and the largest JSON document that is not
            split into lines. About ten times as much memory is used while it is read.
        max_file_bytes: the largest file, unpacked where it is packed.
    """

    max_document_bytes: int = 256 * MEGABYTE
    max_file_bytes: int = 8_000 * MEGABYTE

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "ReadLimits":
        """Return the limits that CALLWISE_MAX_DOCUMENT_MB and CALLWISE_MAX_FILE_MB set.

        Raises:
            ConfigError: when one is not a whole number of at least 1.
        """
        return cls(
            _megabytes(environ, "CALLWISE_MAX_DOCUMENT_MB", cls().max_document_bytes),
            _megabytes(environ, "CALLWISE_MAX_FILE_MB", cls().max_file_bytes),
        )


def _megabytes(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ConfigError(f"{variable} is {text[:40]!r}; set it to a whole number of megabytes")
    return int(text) * MEGABYTE


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Args:
        number: from 1.
        offset: where it starts in the unpacked file.
        is_cut: whether it was longer than the limit; `data` is then its beginning.
    """

    number: int
    data: bytes
    offset: int
    is_cut: bool = False


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file; what else has a path, such as a pipe, may never end.

    Raises:
        FormatError: when it cannot be opened, or is no regular file.
    """
    try:
        # A pipe without a writer would block, and so would many devices.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        number = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror}") from error
    with os.fdopen(number, "rb") as raw:
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "no file")
            raise FormatError(path, None, f"is {kind}; copy its content to a regular file")
        yield raw


@contextmanager
def open_lines(
    path: Path, limits: ReadLimits, progress: Progress | None = None
) -> Iterator[Iterator[Line]]:
    """Open a regular file and give its lines, unpacked when it is gzip whatever its name.

    Raises:
        FormatError: when it cannot be opened, read or unpacked, is no regular file, is
            larger than the limit, or is in another encoding by its first bytes.
    """
    with open_regular(path) as raw:
        is_packed = raw.peek(2)[:2] == b"\x1f\x8b"
        stream: BinaryIO = gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[assignment]
        size = os.fstat(raw.fileno()).st_size
        yield _lines(path, stream, limits, _reporter(raw, size, progress))


def _reporter(raw: BinaryIO, size: int, progress: Progress | None) -> Callable[[int], None]:
    reported = 0

    def report(offset: int) -> None:
        nonlocal reported
        if progress is not None and offset - reported >= _PROGRESS_STEP:
            reported = offset
            progress(raw.tell(), size)

    return report


def _lines(
    path: Path, stream: BinaryIO, limits: ReadLimits, report: Callable[[int], None]
) -> Iterator[Line]:
    number, offset = 0, 0
    longest = limits.max_document_bytes
    while data := _read_line(path, stream, longest + 1):
        number += 1
        length, is_cut = len(data), len(data) > longest
        while is_cut and not data.endswith(b"\n"):
            rest = _read_line(path, stream, MEGABYTE)
            if not rest:
                break
            length += len(rest)
            data = data[:MEGABYTE] + rest[-1:]
            check_size(path, offset + length, limits)
        check_size(path, offset + length, limits)
        if number == 1:
            data = _without_mark(path, data)
        yield Line(number, data, offset, is_cut)
        offset += length
        report(offset)


def check_size(path: Path, size: int, limits: ReadLimits) -> None:
    """Raise a FormatError when more bytes of a file were read than the limits allow."""
    if size > limits.max_file_bytes:
        raise FormatError(
            path,
            None,
            f"is larger than {limits.max_file_bytes // MEGABYTE:,} MB unpacked; split it, or "
            "raise the limit with CALLWISE_MAX_FILE_MB",
        )


def _read_line(path: Path, stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.readline(size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(path, None, f"expected a whole gzip file: {error}") from error
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror}") from error


def _without_mark(path: Path, data: bytes) -> bytes:
    """Return the first line without its byte order mark.

    Raises:
        FormatError: when mark or bytes are those of UTF-16, UTF-32 or no text at all.
    """
    for signature, what in _PACKINGS:
        if data.startswith(signature):
            raise FormatError(path, None, f"is {what}")
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            if encoding == "UTF-8":
                return data.removeprefix(mark)
            raise _other_encoding(path, encoding)
    if len(data) >= 4:
        zeros = [byte == 0 for byte in data[:4]]
        if zeros in ([False, True, False, True], [True, False, True, False]):
            raise _other_encoding(path, "UTF-16LE" if zeros[1] else "UTF-16BE")
    return data


def _other_encoding(path: Path, encoding: str) -> FormatError:
    return FormatError(
        path,
        None,
        f"is {encoding}; convert it to UTF-8, such as with `iconv -f {encoding} -t UTF-8`",
    )


def _likely_encoding(data: bytes) -> str:
    """Return a guess for a person, to be named as one; nothing is read by it."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return "WINDOWS-1252"
    return "GB18030" if any("\u4e00" <= letter <= "\u9fff" for letter in text) else "WINDOWS-1252"


def decode(data: bytes, path: Path, line: int | None, offset: int) -> str:
    """Return bytes as text.

    Args:
        data: a line, or a whole document.
        line: the line that it is; None for a document, whose lines are then counted.
        offset: where it starts in the file.

    Raises:
        FormatError: when it is not UTF-8, with line and byte, and a guess at what it is.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if line is None:
            line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        end = data.find(b"\n", error.start)
        guess = _likely_encoding(data[start : end if end >= 0 else len(data)][:MEGABYTE])
        raise FormatError(
            path,
            line,
            f"byte 0x{data[error.start]:02x} at position {error.start - start + 1} of the line "
            f"(offset {offset + error.start} of the text) is not UTF-8; expected the whole file in "
            f"UTF-8. It may be {guess}: then convert it with `iconv -f {guess} -t UTF-8`",
        ) from error


def too_long(path: Path, line: int | None, what: str, limits: ReadLimits) -> FormatError:
    """Return the error for more than the limits allow together."""
    return FormatError(
        path,
        line,
        f"{what} is longer than {limits.max_document_bytes // MEGABYTE:,} MB; write one record a "
        "line (`jq -c '.[]'` does), or raise the limit with CALLWISE_MAX_DOCUMENT_MB",
    )

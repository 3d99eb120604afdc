"""The file of a cassette: recorded exchanges, one a line, only ever appended to.

The first line says which version of this format, and of the calls' keys, the rest is
in. Everything after it is appended, one whole line a write, at an offset that is known
because a writer holds the file's lock: killed at any moment, a recording loses at most
the line that was being written, and the next opening drops that line and says so.

Reads and writes are `pread` and `pwrite` of a few kilobytes at known offsets. They
stand in the event loop on purpose: from the page cache they take some ten
microseconds, less than handing them to a thread and back. The file is not mapped into
memory, since mapped pages count as the process's own.

Needs a POSIX system (`flock`, `pread`, `pwrite`).
"""

import contextlib
import errno
import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turnwise.calls.errors import ConfigError, FormatError, TurnwiseError
from turnwise.replay.cassette_exchange import parse_line, split_head
from turnwise.replay.cassette_header import (
    HEADER,
    MAX_HEADER_BYTES,
    check_header,
    check_is_cassette,
    is_unstarted,
)
from turnwise.replay.cassette_index import CassetteIndex
from turnwise.replay.cassette_packed import unpacked

__all__ = ["CassetteFile", "RecordingStopped", "Write"]

Write = Callable[[int, bytes, int], int]
"""Writes bytes to a descriptor at an offset, and returns how many: `os.pwrite`."""

_SCAN_BUFFER_BYTES = 1 << 20


class RecordingStopped(TurnwiseError):
    """The cassette could not be written on. What was recorded before is intact."""


def _open(path: Path, flags: int) -> int:
    """Open a cassette's file.

    Raises:
        FormatError: when it is not there, or not a file.
        ConfigError: when the system refuses for another reason.
    """
    if path.is_dir():
        raise FormatError(path, None, "is a folder; expected a cassette file")
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise ConfigError(f"cannot record to {path}: its folder does not exist") from None
        raise FormatError(
            path, None, "does not exist; record it first (--record, or --mode new-episodes)"
        ) from None
    except FileExistsError:
        raise ConfigError(f"cannot start {path} anew: another process just did") from None
    except OSError as error:
        raise ConfigError(f"cannot open the cassette {path}: {error.strerror}") from error


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise ConfigError(f"cannot lock the cassette {path}: {error.strerror}") from error
        raise ConfigError(
            f"the cassette {path} is being recorded by another process (or another recorder of "
            "this one): wait for it to end, or record to another file"
        ) from None
    # Between opening and locking, a rewrite may have put this file aside.
    if not path.exists() or not os.path.samestat(os.fstat(fd), path.stat()):
        raise ConfigError(f"the cassette {path} was just replaced by another process: try again")


class CassetteFile:
    """An open cassette file. Use `open_reading`, `open_appending` or `start_anew`.

    Args:
        path: the file.
        fd: its descriptor; owned, and closed by `close`.
        is_writable: whether lines may be appended; the file is locked then.
        write: how bytes reach the file.
    """

    def __init__(self, path: Path, fd: int, *, is_writable: bool, write: Write = os.pwrite) -> None:
        self.path = path
        self.index = CassetteIndex()
        """What stood in the file when it was opened. Appended lines do not join it."""
        self.recovered_bytes = 0
        """Length of a last line that was broken off and is not played; 0 when all is whole."""
        self.appended_count = 0
        self._fd = fd
        self._is_writable = is_writable
        self._write = write
        self._end = 0

    @classmethod
    def open_reading(cls, path: Path) -> "CassetteFile":
        """Open a cassette to play it. Takes no lock: a file that only grows can be read.

        One that was packed with gzip, as a recording that is committed may be, is unpacked
        into a nameless file first.

        Raises:
            FormatError: when there is no whole cassette of this version.
        """
        file = cls(path, unpacked(_open(path, os.O_RDONLY), path), is_writable=False)
        return file._started(file._scan)

    @classmethod
    def open_appending(cls, path: Path, *, write: Write = os.pwrite) -> "CassetteFile":
        """Open a cassette to play it and record on; it is made when it is not there.

        Raises:
            FormatError: when the file is something else, or of another version.
            ConfigError: when another process records to it.
        """
        fd = _open(path, os.O_RDWR | os.O_CREAT)
        file = cls(path, fd, is_writable=True, write=write)
        return file._started(file._continue)

    @classmethod
    def start_anew(cls, path: Path, *, backup: Path, write: Write = os.pwrite) -> "CassetteFile":
        """Start an empty cassette; what stands there is renamed to `backup`.

        A backup that is already there stays, and the file is dropped instead: it is
        what an earlier rewrite left when it broke off.

        Raises:
            FormatError: when what stands there is not a cassette. It is left alone.
            ConfigError: when another process records to it.
        """
        old = cls(path, _open(path, os.O_RDWR | os.O_CREAT), is_writable=True)
        try:
            old._started(lambda: old._put_aside(backup))
            fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            fresh = cls(path, fd, is_writable=True, write=write)
            return fresh._started(fresh._continue)
        finally:
            old.close()

    def _started(self, step: Callable[[], None]) -> "CassetteFile":
        """Lock if need be and take the first step; give the file back when it fails."""
        try:
            if self._is_writable:
                _lock(self._fd, self.path)
            step()
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise
        return self

    def _put_aside(self, backup: Path) -> None:
        first = os.pread(self._fd, MAX_HEADER_BYTES, 0)
        if not is_unstarted(first):
            check_is_cassette(self.path, first)
        if backup.exists() or os.fstat(self._fd).st_size <= len(HEADER):
            self.path.unlink()
        else:
            self.path.rename(backup)

    def _continue(self) -> None:
        """Read what is there and make the file ready to be appended to."""
        if is_unstarted(os.pread(self._fd, len(HEADER), 0)):
            os.ftruncate(self._fd, 0)
            self._append_bytes(HEADER)
            self.index.start_at(len(HEADER))
            return
        self._scan()
        if self.recovered_bytes:
            os.ftruncate(self._fd, self._end)

    def _scan(self) -> None:
        """Build the index from the heads of the lines.

        Raises:
            FormatError: when a line, except for a broken last one, is no exchange.
        """
        raw = io.FileIO(self._fd, closefd=False)
        raw.seek(0)
        lines = io.BufferedReader(raw, _SCAN_BUFFER_BYTES)
        first = lines.readline(MAX_HEADER_BYTES)
        if is_unstarted(first):
            raise FormatError(self.path, None, "is empty: nothing was recorded in it")
        check_header(self.path, first)
        add, offset = self.index.add, len(first)
        self.index.start_at(offset)
        line = b""
        for line in lines:
            try:
                key, lane = split_head(line)
            except ValueError:
                if not line.endswith(b"\n"):
                    break
                raise self.damaged(len(self.index), "it does not start as one does") from None
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            add(key, lane, len(line))
        self._end = offset
        if not line.endswith(b"\n"):
            self.recovered_bytes = len(line)

    def damaged(self, entry: int, problem: str) -> FormatError:
        """Return the error that says which line is damaged, and how."""
        offset = self.index.place(entry)[0] if entry < len(self.index) else self.index.end
        return FormatError(
            self.path,
            entry + 2,
            f"expected a whole exchange at byte {offset}: {problem}. The lines before and after "
            "are not affected: restore this one, or take it out",
        )

    def line(self, entry: int) -> bytes:
        """Return an exchange's line as it stands in the file."""
        offset, length = self.index.place(entry)
        return os.pread(self._fd, length, offset)

    def read(self, entry: int) -> dict[str, Any]:
        """Return an exchange's line as a JSON object.

        Raises:
            FormatError: when the line is damaged; names line and offset.
        """
        try:
            return parse_line(self.line(entry))
        except ValueError as error:
            raise self.damaged(entry, str(error)) from error

    def append(self, line: bytes) -> None:
        """Write one whole line, its end included.

        Raises:
            RecordingStopped: when it cannot be written whole. The file then ends with
                the line before.
        """
        self._append_bytes(line)
        self.appended_count += 1

    def _append_bytes(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += self._write(self._fd, data[written:], self._end + written)
        except OSError as error:
            with contextlib.suppress(OSError):  # the next opening would drop the piece as well
                os.ftruncate(self._fd, self._end)
            whole = len(self.index) + self.appended_count
            raise RecordingStopped(
                f"cannot record to {self.path}: {error.strerror}. The {whole} exchanges recorded "
                "so far are intact; this one and what follows is not recorded"
            ) from error
        self._end += len(data)

    def close(self) -> None:
        """Put what was appended on the disk and release the file. Safe to call twice."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if self.appended_count:
                os.fsync(fd)
        finally:
            os.close(fd)

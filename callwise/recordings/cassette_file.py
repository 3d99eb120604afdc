"""File of a cassette: recorded exchanges, one per line, only ever appended to.

The first line has the version of this format and of the calls' keys. Everything after it is
appended, one exchange a write, at an offset that is known because the writer has locked the
file: a recording that is killed loses at most the line that was being written, and the next
opening drops that line and reports it.

A power cut can lose more: what was appended since the file was last put on the disk. That
is done on closing, and while recording with the first line that is appended `SYNC_SECONDS`
or `SYNC_EXCHANGES` after the last time. What was appended before a pause waits for the next
line.

Reads and writes are `pread` and `pwrite` of a few kilobytes at known offsets. They run in
the event loop on purpose: from the page cache they take some ten microseconds, less than
handing them to a thread and back. The file is not mapped into memory, since mapped pages
count as the process's own.

Blank lines, a byte order mark and the line ends of another system are passed over. What a
checksum does not fit is an error; see `cassette_header`.
"""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from callwise.budget.recorder import RecordedExchange
from callwise.calls.errors import CallwiseError, FormatError
from callwise.recordings.cassette_format import (
    asked_of,
    check_needed,
    check_types,
    decode_exchange,
    parse_line,
)
from callwise.recordings.cassette_header import (
    BOM,
    HEADER,
    MAX_HEADER_BYTES,
    LineDamaged,
    Rules,
    check_is_cassette,
    holds_another,
    is_header,
    is_unstarted,
    read_header,
    require_whole,
    seal_line,
    split_sealed_head,
)
from callwise.recordings.cassette_index import CassetteIndex
from callwise.recordings.cassette_sharing import Sharing, named_shared, shared_name
from callwise.recordings.held_files import (
    MAX_UNPACKED_BYTES,
    Write,
    lock_file,
    open_file,
    read_at,
    unpacked,
    write_at,
)
from callwise.recordings.shared_lines import SharedLines, restore, whole_prompt

__all__ = ["MAX_LINE_BYTES", "CassetteFile", "RecordingStopped"]

MAX_LINE_BYTES = 256 << 20
"""Longest line that is written or read."""

SYNC_SECONDS = 5.0
SYNC_EXCHANGES = 1_000
_SCAN_BUFFER_BYTES = 1 << 20


class RecordingStopped(CallwiseError):
    """The cassette could not be written on. What was recorded before is intact."""


class CassetteFile:
    """An open cassette file. Use `open_reading`, `open_appending` or `start_anew`.

    Its descriptor is owned, and closed by `close`; a file that is writable is locked.
    """

    def __init__(
        self,
        path: Path,
        fd: int,
        *,
        is_writable: bool,
        write: Write = write_at,
        sync: Callable[[int], None] = os.fsync,
        clock: Callable[[], float] = time.monotonic,
        new_header: bytes = HEADER,
    ) -> None:
        self.path = path
        self.normalise: Rules = ()
        self.index = CassetteIndex()
        """Exchanges that were in the file when it was opened. Appended lines do not join it."""
        self.recovered_bytes = 0
        """Length of a last line that was broken off and is not played; 0 when all is whole."""
        self.appended_count = 0
        self._shared = SharedLines(lambda length, offset: read_at(self._fd, length, offset))
        self._sharing = Sharing(self._shared.__contains__)
        self._fd, self._is_writable = fd, is_writable
        self._write, self._sync, self._clock = write, sync, clock
        self._synced_at, self._unsynced_count = clock(), 0
        self._new_header = new_header
        self._end = 0
        self._lacks_line_end = False

    @classmethod
    def open_reading(
        cls, path: Path, *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    ) -> "CassetteFile":
        """Open a cassette to play it, packed with gzip or not. Takes no lock.

        Raises:
            FormatError: when there is no whole cassette of this version.
        """
        fd = unpacked(open_file(path, os.O_RDONLY), path, max_bytes=max_unpacked_bytes)
        file = cls(path, fd, is_writable=False)
        return file._started(file._scan)

    @classmethod
    def open_appending(cls, path: Path, **options: Any) -> "CassetteFile":
        """Open a cassette to play it and record on; it is made when it is not there.

        Raises:
            FormatError: when the file is something else, or of another version.
            ConfigError: when another process records to it.
        """
        fd = open_file(path, os.O_RDWR | os.O_CREAT)
        file = cls(path, fd, is_writable=True, **options)
        return file._started(file._continue)

    @classmethod
    def start_anew(cls, path: Path, *, backup: Path, **options: Any) -> "CassetteFile":
        """Start an empty cassette; what is there is renamed to `backup`.

        A backup that is there already, from a rewrite that broke off, stays; the file is
        dropped instead.

        Raises:
            FormatError: when what is there is not a cassette. It is left alone.
            ConfigError: when another process records to it.
        """
        old = cls(path, open_file(path, os.O_RDWR | os.O_CREAT), is_writable=True)
        try:
            old._started(lambda: old._put_aside(backup))
            fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            fresh = cls(path, fd, is_writable=True, **options)
            return fresh._started(fresh._continue)
        finally:
            old.close()

    def _started(self, step: Callable[[], None]) -> "CassetteFile":
        """Lock if need be and take the first step; give the file back when it fails."""
        try:
            if self._is_writable:
                lock_file(self._fd, self.path)
            step()
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise
        return self

    def _put_aside(self, backup: Path) -> None:
        if not is_unstarted(first := read_at(self._fd, MAX_HEADER_BYTES, 0)):
            check_is_cassette(self.path, first)
        if backup.exists() or os.fstat(self._fd).st_size <= len(HEADER):
            self.path.unlink()
        else:
            self.path.rename(backup)

    def _continue(self) -> None:
        if is_unstarted(read_at(self._fd, MAX_HEADER_BYTES, 0)):
            os.ftruncate(self._fd, 0)
            self._append_bytes(self._new_header)
            self.normalise = read_header(self.path, self._new_header)
            self.index.start_at(len(self._new_header))
            return
        self._scan()
        if self.recovered_bytes:
            os.ftruncate(self._fd, self._end)

    def _scan(self) -> None:
        """Build the index from the heads of the lines.

        Raises:
            FormatError: when a line, except for a broken last one, is no exchange.
        """
        lines = io.BufferedReader(io.FileIO(self._fd, closefd=False), _SCAN_BUFFER_BYTES)
        lines.seek(0)
        first = lines.readline(MAX_HEADER_BYTES)
        if is_unstarted(first):
            raise FormatError(self.path, None, "is empty: nothing was recorded in it")
        self.normalise = read_header(self.path, first)
        self.index.start_at(len(first))
        add = self.index.add
        while line := lines.readline(MAX_LINE_BYTES + 1):
            try:
                if name := shared_name(line):
                    self._lacks_line_end = not line.endswith(b"\n")
                    self._shared.add(name, self.index.end, len(line))
                    self.index.extend(len(line))
                    continue
                key, lane, length = split_sealed_head(line)
            except ValueError as error:
                if self._passes_over(line) or self._sets_aside(line, error):
                    continue
                if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                    break
                raise self._misread(line, error) from error
            is_plain = len(line) == length + 1 and line[-1:] == b"\n"
            if not is_plain and not self._is_whole(line, length):
                break
            add(key, lane, len(line))
        self._end = self.index.end
        self.recovered_bytes = len(line)
        # A damaged line is an error here: the order of equal calls is not known then.
        self.index.order(lambda entry: asked_of(self._whole_line(entry)))

    def _passes_over(self, line: bytes) -> bool:
        """Pass over a line that is no exchange and no damage: a blank one, or a joined header.

        Raises:
            FormatError: when another cassette starts here that cannot be read like this one.
        """
        if not line.strip():
            self.index.extend(len(line))
            return True
        if not is_header(line.removeprefix(BOM)) or not line.endswith(b"\n"):
            return False
        number = self._line_number(self.index.end)
        if read_header(self.path, line, line=number) != self.normalise:
            raise FormatError(
                self.path,
                number,
                f"is where another cassette starts, at byte {self.index.end}: it has other "
                "normalisers, so that the two are not one. Cut the file here",
            )
        self.index.extend(len(line))
        return True

    def _sets_aside(self, line: bytes, error: ValueError) -> bool:
        """Set a damaged shared line aside: only the exchanges that refer to it are damaged."""
        name = named_shared(line)
        if name is None or not line.endswith(b"\n") or holds_another(line):
            return False
        self._shared.damaged[name] = f"at byte {self.index.end}: {error}"
        self.index.extend(len(line))
        return True

    def _is_whole(self, line: bytes, length: int) -> bool:
        """Return whether a line is whole although its end has changed; no if it was cut off.

        Raises:
            FormatError: when it is damaged.
        """
        ends = line[length:]
        if ends == b"\r\n":
            return True
        if not ends and len(line) == length:
            self._lacks_line_end = True  # an editor may leave out the last one
            return True
        if len(line) < length and not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
            return False
        if line.endswith(b"\n") and not holds_another(line):
            return True  # changed, as reading it will tell; the others are not affected
        raise self._misread(line, LineDamaged("its length is not the one that it was written with"))

    def _misread(self, line: bytes, error: ValueError) -> FormatError:
        entry = len(self.index)
        if len(line) > MAX_LINE_BYTES:
            return self.damaged(entry, f"it is longer than {MAX_LINE_BYTES:,} bytes")
        if isinstance(error, LineDamaged):
            return self.damaged(entry, str(error))
        return self.damaged(entry, str(error))

    def _line_number(self, offset: int) -> int:
        """Return the 1-based number of the line that starts at an offset."""
        starts, size = range(0, offset, _SCAN_BUFFER_BYTES), _SCAN_BUFFER_BYTES
        pieces = (read_at(self._fd, min(size, offset - start), start) for start in starts)
        return 1 + sum(piece.count(b"\n") for piece in pieces)

    def number(self, entry: int) -> int:
        """Return the 1-based number of an exchange's line. Reads the file up to it."""
        return self._line_number(self.index.place(entry)[0])

    def damaged(self, entry: int, problem: str) -> FormatError:
        """Return the error of a damaged line."""
        offset = self.index.place(entry)[0] if entry < len(self.index) else self.index.end
        return FormatError(
            self.path,
            self._line_number(offset),
            f"the recorded call at byte {offset} is damaged: {problem}. The lines before and after "
            "are not affected: restore this one from a copy, or delete it",
        )

    def line(self, entry: int) -> bytes:
        """Return an exchange's line as it is in the file."""
        offset, length = self.index.place(entry)  # with what was passed over after it
        line, end, _ = read_at(self._fd, length, offset).partition(b"\n")
        return line + end

    def fields(self, entry: int) -> dict[str, Any]:
        """Return an exchange's fields without its prompt, nothing checked.

        Raises:
            ValueError: when it cannot be read.
        """
        return restore(parse_line(self.line(entry)), self._shared.common)

    def _whole_line(self, entry: int) -> bytes:
        line = self.line(entry)
        try:
            require_whole(line)
        except ValueError as error:
            raise self.damaged(entry, str(error)) from error
        return line

    def readable(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each exchange's number and fields, its prompt left out, nothing checked.

        Damaged lines are left out: they are errors when they are played.
        """
        for entry in range(len(self.index)):
            with contextlib.suppress(ValueError):
                yield entry, self.fields(entry)

    def decoded(self, entry: int, document: Mapping[str, Any]) -> RecordedExchange:
        """Return how a call ended, from its line as `read` returns it.

        Raises:
            FormatError: when a field is missing, unknown or of another type.
        """
        try:
            return decode_exchange(document)
        except ValueError as error:
            raise self.damaged(entry, str(error)) from error

    def read(self, entry: int, *, is_prompt_whole: bool = False) -> dict[str, Any]:
        """Return an exchange's line as a JSON object, its checksum and its fields checked.

        Args:
            is_prompt_whole: whether its messages are put together. Else they may be only
                what no other exchange has, and what they refer to is not checked.

        Raises:
            FormatError: when the line is damaged; names line and offset.
        """
        line = self._whole_line(entry)
        try:
            document = parse_line(line)
            check_types(document)
            document = restore(document, self._shared.common)
            if is_prompt_whole:
                document = whole_prompt(document, self._shared.fields)
                check_types(document)
            check_needed(document)
        except ValueError as error:
            raise self.damaged(entry, str(error)) from error
        return document

    def append(self, document: dict[str, Any]) -> None:
        """Write one exchange as a whole line with its checksum, after the lines that it shares.

        Raises:
            TypeError: when a tool call or an error's detail has no form in JSON.
            ValueError: when one contains itself, or the line is longer than any that is read.
            RecordingStopped: when it cannot be written whole. The file then ends with
                the line before.
        """
        shared, line = self._sharing.pack(document)
        lines = [*shared.values(), seal_line(line)]
        longest = max(map(len, lines))
        if longest > MAX_LINE_BYTES:
            raise ValueError(f"its line has {longest:,} bytes, at most {MAX_LINE_BYTES:,} fit")
        if self._lacks_line_end:
            self._append_bytes(b"\n")
            self._lacks_line_end = False
        end = self._end
        self._append_bytes(b"".join(lines))
        for name, each in shared.items():
            self._shared.add(name, end, len(each))
            end += len(each)
        self.appended_count += 1
        self._unsynced_count += 1
        late_by = self._clock() - self._synced_at - SYNC_SECONDS
        if late_by >= 0 or self._unsynced_count >= SYNC_EXCHANGES:
            self._put_on_disk(self._fd)

    def _put_on_disk(self, fd: int) -> None:
        try:
            self._sync(fd)
        except OSError as error:
            raise RecordingStopped(
                f"cannot put {self.path} on the disk: {error.strerror}. The last "
                f"{self._unsynced_count} exchanges may be lost, and what follows is not recorded"
            ) from error
        self._synced_at, self._unsynced_count = self._clock(), 0

    def _append_bytes(self, data: bytes) -> None:
        self._require_there(self._fd)
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

    def _require_there(self, fd: int) -> None:
        if not os.fstat(fd).st_nlink:
            raise RecordingStopped(
                f"the cassette {self.path} was deleted while it was being recorded: what was "
                "recorded is lost with it. Record it again, and leave the file alone"
            )

    def close(self) -> None:
        """Put what was appended on the disk and release the file. Safe to call twice."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if self._unsynced_count:
                self._put_on_disk(fd)
            if self.appended_count:
                self._require_there(fd)
        finally:
            os.close(fd)

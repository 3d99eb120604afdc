"""A file that grows by whole pieces: a piece stands in it entirely, or not at all."""

import errno
import os
from io import FileIO
from pathlib import Path

from turnwise.replay.run_folder import DiskFull

__all__ = ["AppendedFile"]


class AppendedFile:
    """A file that one process appends to.

    Args:
        path: the file; made when absent.
        end_byte: where the last whole piece ends; what stands behind it is cut off.
    """

    def __init__(self, path: Path, end_byte: int) -> None:
        self.path = path
        self.end_byte = end_byte
        # Unbuffered: what was not written is not written later, behind an error's back.
        self._file: FileIO = path.open("ab", buffering=0)
        os.truncate(path, end_byte)

    def append(self, piece: bytes) -> None:
        """Write a piece at the end.

        Raises:
            DiskFull: when there is no room; nothing of the piece stands then.
        """
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            os.truncate(self.path, self.end_byte)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFull(
                    f"no room left to write {self.path}; what was finished stands there. "
                    "Make room and run the same command again to go on"
                ) from error
            raise
        self.end_byte += len(piece)

    def replace_by(self, partial: Path) -> None:
        """Put another file in this one's place, in one step, and go on at its end."""
        self._file.close()
        partial.replace(self.path)
        self.end_byte = self.path.stat().st_size
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        self._file.close()

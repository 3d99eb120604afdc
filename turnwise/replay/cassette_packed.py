"""A cassette that was packed with gzip: small enough to commit, and played as it is."""

import gzip
import os
import tempfile
import zlib
from pathlib import Path

from turnwise.calls.errors import FormatError
from turnwise.replay.held_files import read_at

__all__ = ["MAX_UNPACKED_BYTES", "unpacked"]

MAX_UNPACKED_BYTES = 2 << 30
"""Most bytes that a packed cassette is unpacked to. A few kilobytes can hold far more."""

_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20


def unpacked(fd: int, path: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> int:
    """Return a descriptor of a file's plain content: its own, or that of an unpacked copy.

    Args:
        fd: of the file, open for reading; owned, and closed where a copy is returned.
        path: the file, for errors.
        max_bytes: most bytes that it may be unpacked to.

    Raises:
        FormatError: when it starts as gzip does and cannot be unpacked, or is larger.
    """
    if read_at(fd, len(_MAGIC), 0) != _MAGIC:
        return fd
    with os.fdopen(fd, "rb") as packed, tempfile.TemporaryFile() as plain:
        size = 0
        try:
            with gzip.GzipFile(fileobj=packed) as content:
                while piece := content.read(_PIECE_BYTES):
                    size += len(piece)
                    if size > max_bytes:
                        raise FormatError(
                            path,
                            None,
                            f"unpacks to more than {max_bytes:,} bytes; unpack it yourself "
                            "(gzip -d) if that is right, and name the unpacked file",
                        )
                    plain.write(piece)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(path, None, f"is a broken gzip file: {error}") from error
        plain.flush()
        return os.dup(plain.fileno())

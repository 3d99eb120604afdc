"""A cassette that was packed with gzip: small enough to commit, and played as it is."""

import gzip
import os
import shutil
import tempfile
import zlib
from pathlib import Path

from turnwise.calls.errors import FormatError

__all__ = ["unpacked"]

_MAGIC = b"\x1f\x8b"


def unpacked(fd: int, path: Path) -> int:
    """Return a descriptor of a file's plain content: its own, or that of an unpacked copy.

    Args:
        fd: of the file, open for reading; owned, and closed where a copy is returned.
        path: the file, for errors.

    Raises:
        FormatError: when it starts as gzip does and cannot be unpacked.
    """
    if os.pread(fd, len(_MAGIC), 0) != _MAGIC:
        return fd
    with os.fdopen(fd, "rb") as packed, tempfile.TemporaryFile() as plain:
        try:
            with gzip.GzipFile(fileobj=packed) as content:
                shutil.copyfileobj(content, plain, 1 << 20)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(path, None, f"is a broken gzip file: {error}") from error
        plain.flush()
        return os.dup(plain.fileno())

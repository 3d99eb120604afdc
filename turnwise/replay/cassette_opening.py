"""The file of a cassette opened: plain or packed with gzip, and locked where it is written.

A packed cassette is small enough to commit, and is played as it is.
"""

import gzip
import os
import tempfile
import zlib
from pathlib import Path

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.replay.held_files import open_private, read_at, try_lock

__all__ = ["MAX_UNPACKED_BYTES", "lock_file", "open_file", "unpacked"]

MAX_UNPACKED_BYTES = 2 << 30
"""Most bytes that a packed cassette is unpacked to. A few kilobytes can hold far more."""

_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20


def open_file(path: Path, flags: int) -> int:
    """Return a descriptor of a cassette's file.

    Raises:
        FormatError: when it is not there, or not a file.
        ConfigError: when the system refuses for another reason.
    """
    if path.is_dir():
        raise FormatError(path, None, "is a folder; expected a cassette file")
    try:
        return open_private(path, flags)
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


def lock_file(fd: int, path: Path) -> None:
    """Lock a cassette's file for recording, until its descriptor is closed.

    Raises:
        ConfigError: when another process records to it.
    """
    try:
        is_held = try_lock(fd)
    except OSError as error:
        raise ConfigError(f"cannot lock the cassette {path}: {error.strerror}") from error
    if not is_held:
        raise ConfigError(
            f"the cassette {path} is being recorded by another process (or another recorder of "
            "this one): wait for it to end, or record to another file"
        )
    # Between opening and locking, a rewrite may have put this file aside.
    if not path.exists() or not os.path.samestat(os.fstat(fd), path.stat()):
        raise ConfigError(f"the cassette {path} was just replaced by another process: try again")


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

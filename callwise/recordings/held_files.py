"""Files that one process at a time may write, and that only their owner may read.

Recordings and runs contain what people said, so files are made with mode 0600 and folders
with 0700; what is there already keeps its mode. Reads and writes at an offset are one
system call where the system has one (`pread`, `pwrite`), else a seek and a call.

A cassette may be packed with gzip, so that it is small enough to commit; it is played as it
is, from an unpacked copy.
"""

import gzip
import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from filelock import lock_descriptor

from callwise.calls.errors import ConfigError, FormatError

__all__ = [
    "LOCK",
    "MAX_UNPACKED_BYTES",
    "Write",
    "hold_folder",
    "lock_file",
    "open_file",
    "open_fresh",
    "open_private",
    "private_opener",
    "read_at",
    "refuse_links",
    "replace_file",
    "try_lock",
    "unpacked",
    "write_at",
]

LOCK = ".lock"
"""Name of the lock file."""

FILE_MODE = 0o600
FOLDER_MODE = 0o700

if sys.platform == "win32":

    def read_at(fd: int, length: int, offset: int) -> bytes:
        """Return up to so many bytes from an offset."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)

    def write_at(fd: int, data: bytes, offset: int) -> int:
        """Write bytes at an offset; return how many were written."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

else:
    read_at = os.pread
    write_at = os.pwrite


Write = Callable[[int, bytes, int], int]
"""Writes bytes to a descriptor at an offset, and returns how many: `os.pwrite`."""


def open_private(path: str | Path, flags: int) -> int:
    """Return a descriptor of a file, which only its owner may read where it is made.

    Raises:
        OSError: as `os.open` does.
    """
    extra = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags | extra, FILE_MODE)


def private_opener(path: str, flags: int) -> int:
    """Open a file as `open` does, for its argument `opener`: only its owner may read it."""
    return open_private(path, flags)


def open_fresh(path: Path) -> BinaryIO:
    """Return a new file of a path, to be written; what is there, a link too, is removed first.

    Raises:
        OSError: when it cannot be made.
    """
    path.unlink(missing_ok=True)
    return open(path, "xb", opener=private_opener)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file next to a path, and put it in the path's place once it is whole.

    Raises:
        OSError: when it cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    with open_fresh(partial) as file:
        file.write(data)
    partial.replace(path)


def refuse_links(folder: Path) -> None:
    """Refuse a folder with links in it: what is written by such a name goes somewhere else.

    A folder may come from someone else, and links are kept by archives and repositories.

    Raises:
        ConfigError: naming the first link.
    """
    links = sorted(item.name for item in folder.iterdir() if item.is_symlink())
    if links:
        raise ConfigError(
            f"{folder / links[0]} is a link, and writing it would change another file. Replace "
            "it by a copy, or choose another folder"
        )


def try_lock(fd: int) -> bool:
    """Lock a file for this process until the descriptor is closed; return whether it did.

    Raises:
        OSError: when the file cannot be locked at all.
    """
    return lock_descriptor(fd, blocking=False)


def hold_folder(path: Path) -> BinaryIO:
    """Return the lock on a folder, which is made when absent; closing it lets the folder go.

    Raises:
        ConfigError: when the folder cannot be made, has links in it, or another process is
            writing it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {path}: {error.strerror}; "
            "choose another (--out; in Python out=)"
        ) from error
    lock: BinaryIO | None = None
    try:
        refuse_links(path)
        lock = open(path / LOCK, "ab", opener=private_opener)  # noqa: SIM115 - closed by the holder
        is_held = try_lock(lock.fileno())
    except OSError as error:
        if lock is not None:
            lock.close()
        raise ConfigError(
            f"cannot lock the folder {path}: {error.strerror}; "
            "choose another (--out; in Python out=)"
        ) from error
    if not is_held:
        lock.close()
        raise ConfigError(
            f"{path} is being written by another process; "
            "wait for it, or choose another folder (--out; in Python out=)"
        )
    return lock


MAX_UNPACKED_BYTES = 2 << 30
"""Most bytes that a packed cassette is unpacked to. A few kilobytes can unpack to far more."""

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
        raise ConfigError(f"cannot start {path} again: another process just did") from None
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

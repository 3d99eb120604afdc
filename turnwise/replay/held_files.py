"""Files that one process at a time may write, and that only their owner may read.

Recordings and runs hold what people said, so files are made with mode 0600 and folders
with 0700; what is there already keeps its mode. Reads and writes at an offset are one
system call where the system has one (`pread`, `pwrite`), else a seek and a call.
"""

import os
import sys
from pathlib import Path
from typing import BinaryIO

from filelock import lock_descriptor

from turnwise.calls.errors import ConfigError

__all__ = [
    "LOCK",
    "hold_folder",
    "open_fresh",
    "open_private",
    "private_opener",
    "read_at",
    "refuse_links",
    "try_lock",
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
            f"cannot make the folder {path}: {error.strerror}; choose another with --out"
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
            f"cannot lock the folder {path}: {error.strerror}; choose another with --out"
        ) from error
    if not is_held:
        lock.close()
        raise ConfigError(
            f"{path} is being written by another process; "
            "wait for it, or choose another folder with --out"
        )
    return lock

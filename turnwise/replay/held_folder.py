"""A folder that one process at a time may write: made when absent, held by a lock file."""

import fcntl
from pathlib import Path
from typing import BinaryIO

from turnwise.calls.errors import ConfigError

__all__ = ["LOCK", "hold_folder"]

LOCK = ".lock"
"""Name of the lock file."""


def hold_folder(path: Path) -> BinaryIO:
    """Return the lock on a folder, which is made when absent; closing it lets the folder go.

    Raises:
        ConfigError: when the folder cannot be made, or another process is writing it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {path}: {error.strerror}; choose another with --out"
        ) from error
    lock = (path / LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(
            f"{path} is being written by another process; "
            "wait for it, or choose another folder with --out"
        ) from error
    return lock

"""How a command ends: errors in one line, with the exit code that scripts can rely on.

0    done
1    the run failed: an endpoint, a recording, a full disk
2    the request was wrong: a knob, a file, a missing key; nothing was sent
130  stopped by Ctrl-C; what was finished stands
"""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import typer

from turnwise.calls.errors import CallError, ConfigError, FormatError, TurnwiseError
from turnwise.calls.provider_errors import text_of_error

__all__ = [
    "EXIT_FAILED",
    "EXIT_STOPPED",
    "EXIT_WRONG_REQUEST",
    "clear_errors",
    "escaped_json",
    "os_error_text",
    "print_json",
    "print_text",
    "printable",
    "say",
]

EXIT_FAILED = 1
EXIT_WRONG_REQUEST = 2
EXIT_STOPPED = 130


_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Control characters, lone surrogates, and marks that reverse or break what is read."""


def printable(text: str) -> str:
    """Return a text without the control characters that a terminal would obey."""
    return _CONTROLS.sub("\ufffd", text)


def print_text(text: str, end: str = "\n") -> None:
    """Print a result; texts in it may be anybody's."""
    sys.stdout.write(printable(text) + end)


def escaped_json(text: str) -> str:
    """Return JSON with the control characters that it may hold as they are escaped."""
    return _CONTROLS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def print_json(document: Any) -> None:
    """Print a result as one JSON object in one line."""
    sys.stdout.write(escaped_json(orjson.dumps(document).decode()) + "\n")


def say(text: str) -> None:
    """Print a line for the person at the terminal; standard output stays for results."""
    sys.stderr.write(printable(text) + "\n")


@contextmanager
def clear_errors(stopped: str = "stopped") -> Iterator[None]:
    """Turn the project's errors into one line and an exit code.

    Args:
        stopped: what to say on Ctrl-C.
    """
    try:
        yield
    except (ConfigError, FormatError) as error:
        say(f"turnwise: {error}")
        raise typer.Exit(EXIT_WRONG_REQUEST) from error
    except CallError as error:
        say(f"turnwise: {text_of_error(error)}")
        raise typer.Exit(EXIT_FAILED) from error
    except TurnwiseError as error:
        say(f"turnwise: {type(error).__name__}: {error}")
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        say(f"turnwise: {stopped}")
        raise typer.Exit(EXIT_STOPPED) from error
    except BrokenPipeError as error:
        raise typer.Exit(EXIT_FAILED) from error
    except OSError as error:  # a full disk, a port in use, a file that may not be read
        say(f"turnwise: {os_error_text(error)}")
        raise typer.Exit(EXIT_FAILED) from error


_WAYS_OUT = {
    errno.EACCES: "check who owns it and what they may do there, or choose another path",
    errno.EPERM: "check who owns it and what they may do there, or choose another path",
    errno.EROFS: "choose a path on a disk that can be written to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file: choose another path",
    errno.EISDIR: "it is a folder: give a file",
    errno.EEXIST: "a file is in the way: choose another path, or move it",
    errno.ENOTEMPTY: "choose another path, or empty the folder",
    errno.ELOOP: "its links lead in a circle: choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "free some space and run the same command again; what was finished is kept",
    errno.EDQUOT: "free some space and run the same command again; what was finished is kept",
    errno.EFBIG: "choose a disk that takes larger files",
    errno.EIO: "the disk does not answer well: check it, or choose another path",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`), or lower --concurrency and --jobs",
    errno.EADDRINUSE: "choose another --port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "choose a --host that is an address of this machine",
}


def os_error_text(error: OSError) -> str:
    """Return what the operating system refuses, with the path and a way out."""
    problem = error.strerror or str(error) or type(error).__name__
    paths = [str(each) for each in (error.filename, error.filename2) if each is not None]
    where = f"{' and '.join(paths)}: " if paths else ""
    way_out = _WAYS_OUT.get(error.errno or 0)
    return f"{where}{problem}{f'; {way_out}' if way_out else ''}"

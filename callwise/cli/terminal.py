"""Output of the commands, and their end: an error is one line and an exit code.

0    done
1    the run failed: an endpoint, a recording, a full disk; or SIGTERM ended it: finished work,
     and the answers to calls under way, are kept (see `draining`)
2    the request was wrong: a knob, a file, a missing key; nothing was sent
130  stopped by Ctrl-C; the same is kept

Results go to standard output, everything else to standard error.
"""

import errno
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import orjson
import typer

from callwise.calls.errors import CallError, CallwiseError, ConfigError, FormatError
from callwise.calls.provider_errors import text_of_error
from callwise.safe_text import escaped_json, printable_lines
from callwise.text_layout import Screen, screen_of, wrapped_lines

if TYPE_CHECKING:
    from callwise.report.table import Table

__all__ = [
    "EXIT_FAILED",
    "EXIT_STOPPED",
    "EXIT_WRONG_REQUEST",
    "clear_errors",
    "kept_words",
    "os_error_text",
    "print_json",
    "print_safe",
    "print_tables",
    "print_text",
    "print_wrapped",
    "progress_bar",
    "say",
    "say_skipped",
    "screen",
    "show_notices",
]

EXIT_FAILED = 1
EXIT_WRONG_REQUEST = 2
EXIT_STOPPED = 130


def print_text(text: str, end: str = "\n") -> None:
    """Print a result, which may contain untrusted text."""
    sys.stdout.write(printable_lines(text) + end)


def screen(*, more: str = "") -> Screen:
    """Return the screen behind standard output; see `screen_of`."""
    return screen_of(sys.stdout, more=more)


def print_safe(text: str) -> None:
    """Print a text that was made safe before it got its colours, as `tables_text` does.

    `typer.echo` translates colours for a console that does not know them.
    """
    typer.echo(text, nl=False, color=screen().is_styled)


def print_tables(tables: "Sequence[Table]") -> None:
    """Print tables as wide as the screen."""
    from callwise.report.table import tables_text

    print_safe(tables_text(tables, screen=screen()))


def print_wrapped(text: str, *, indent: str = "  ") -> None:
    """Print a result of long lines, which may contain untrusted text, as wide as the screen.

    Args:
        indent: of the lines that a long one goes on in.
    """
    print_safe(wrapped_lines(printable_lines(text), screen(), indent=indent) + "\n")


def print_json(document: Any) -> None:
    """Print a result as one JSON object in one line."""
    try:
        text = escaped_json(orjson.dumps(document).decode())
    except TypeError:  # half a character of a file's name, or a number of more than 64 bits
        text = json.dumps(document)
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(printable_lines(text) + "\n")


def show_notices(session: object) -> None:
    """Print the notices of a session, or of anything else that has some, as they come."""
    from callwise.recordings.app_protocol import HasNotices

    if isinstance(session, HasNotices):
        session.notices.listener = say


@contextmanager
def clear_errors(stopped: str = "stopped") -> Iterator[None]:
    """Turn the project's errors into one line and an exit code."""
    try:
        yield
    except (ConfigError, FormatError) as error:
        say(f"callwise: {error}")
        raise typer.Exit(EXIT_WRONG_REQUEST) from error
    except CallError as error:
        say(f"callwise: {text_of_error(error)}")
        raise typer.Exit(EXIT_FAILED) from error
    except CallwiseError as error:
        say(f"callwise: {type(error).__name__}: {error}")
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        if isinstance(error.__cause__, CallError):
            say(f"callwise: {text_of_error(error.__cause__)}")
        say(f"callwise: {stopped}")
        raise typer.Exit(EXIT_STOPPED) from error
    except BrokenPipeError as error:
        raise typer.Exit(EXIT_FAILED) from error
    except OSError as error:  # a full disk, a port in use, no permission
        say(f"callwise: {os_error_text(error)}")
        raise typer.Exit(EXIT_FAILED) from error


_WAYS_OUT = {
    errno.EACCES: "check its owner and permissions, or choose another path",
    errno.EPERM: "check its owner and permissions, or choose another path",
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
    errno.EFBIG: "choose a disk that allows larger files",
    errno.EIO: "the disk reports an error: check it, or choose another path",
    errno.EMFILE: (
        "raise the limit on open files (`ulimit -n`), or lower --max-concurrency or --jobs"
    ),
    errno.EADDRINUSE: "choose another --port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "choose a --host that is an address of this machine",
}


def os_error_text(error: OSError) -> str:
    """Return the path, the operating system's message, and a way out."""
    problem = error.strerror or str(error) or type(error).__name__
    paths = [str(each) for each in (error.filename, error.filename2) if each is not None]
    where = f"{' and '.join(paths)}: " if paths else ""
    way_out = _WAYS_OUT.get(error.errno or 0)
    return f"{where}{problem}{f'; {way_out}' if way_out else ''}"


_MAX_SKIPPED = 20
"""Skipped records that are printed; the rest is counted."""


def say_skipped(skipped: Sequence[FormatError], count: int) -> None:
    """Print the first skipped records, and how many more there are."""
    for error in skipped[:_MAX_SKIPPED]:
        say(f"skipped: {error}")
    more = count - min(len(skipped), _MAX_SKIPPED)
    if more > 0:
        say(f"skipped: {more} more")


class Progress(Protocol):
    """Shows how much is done, of how much (None where unknown), and a note."""

    def __call__(self, done: int, of: int | None = None, note: str = "") -> None: ...


@contextmanager
def progress_bar(
    unit: str,
    *,
    is_quiet: bool,
    total: int | None = None,
    kind: Literal["count", "bytes"] = "count",
) -> Iterator[Progress]:
    """Yield a function that updates a bar on standard error; there is none when quiet or piped."""
    if is_quiet or not sys.stderr.isatty():
        yield lambda done, of=None, note="": None  # noqa: ARG005 - there is nothing to update
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    count: ProgressColumn = DownloadColumn() if kind == "bytes" else MofNCompleteColumn()
    columns = (
        TextColumn(unit),
        BarColumn(),
        count,
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=total, note="")

        def show(done: int, of: int | None = None, note: str = "") -> None:
            bar.update(task, completed=done, total=of, note=note[:40])

        yield show


def kept_words(is_kept: bool) -> str:
    """Return what is kept of a chat of awake agents when it ends."""
    if is_kept:
        return "chat, credits and memories are kept"
    return "the chat was in memory and is not kept"

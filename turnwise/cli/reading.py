"""Reading conversation files at the terminal: how far it is, and what was skipped."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from turnwise.calls.errors import FormatError
from turnwise.cli.exits import say
from turnwise.replay.source_lines import Progress

__all__ = ["reading_progress", "say_skipped"]

_MAX_SHOWN = 20


@contextmanager
def reading_progress(*, is_quiet: bool) -> Iterator[Progress | None]:
    """Give what shows how far the reading of a long file is; None where none is to see."""
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("reading"), BarColumn(), DownloadColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(done: int, size: int) -> None:
            bar.update(task, completed=done, total=size)

        yield show


def say_skipped(skipped: Sequence[FormatError], count: int) -> None:
    """Print which bad records were skipped: the first of them, and how many more."""
    for error in skipped[:_MAX_SHOWN]:
        say(f"skipped: {error}")
    more = count - min(len(skipped), _MAX_SHOWN)
    if more > 0:
        say(f"skipped: {more} more")

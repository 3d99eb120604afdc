"""`callwise top`: a run that is under way, seen from outside."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwise.cli.completers import complete_run
from callwise.cli.options import CommandOptions
from callwise.cli.terminal import clear_errors, print_safe, print_text, screen

if TYPE_CHECKING:
    from callwise.report.live_status import LiveStatus
    from callwise.text_layout import Screen

__all__ = ["top", "watch"]


class TopOptions(CommandOptions):
    """Options of `callwise top`."""

    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            autocompletion=complete_run,
            help="Folder of a run that has metrics.status=true. Default: the one below "
            "callwise-runs that was written last.",
        ),
    ] = None
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame and end; so does a pipe or a file.")
    ] = False
    interval_seconds: Annotated[
        float, typer.Option(min=0.2, max=3600.0, help="Seconds between two frames.")
    ] = 1.0
    alerts: Annotated[
        bool, typer.Option("--alerts", help="Print alert rules for Prometheus, and nothing else.")
    ] = False


def top(options: TopOptions) -> None:
    """Watch a run: calls in flight, rates against limits, what is left, the last errors.

    callwise replay talk.jsonl --out my-run --set metrics.status=true

    callwise top my-run

    It reads my-run/status.json, which the run writes each second. Ctrl-C ends it, not the run.
    """
    with clear_errors():
        if options.alerts:
            from callwise.shipped import configs_folder

            rules = configs_folder() / "prometheus" / "alerts.yaml"
            print_text(rules.read_text(encoding="utf-8"), end="")
            return
        from callwise.report.live_status import newest_status, read_status, status_path
        from callwise.shipped import RUNS

        path = newest_status(RUNS) if options.folder is None else status_path(options.folder)
        title = path.resolve().parent.name

        def frame(status: "LiveStatus", shown_on: "Screen") -> str:
            from callwise.report.live_status import status_lines

            return "\n".join(status_lines(status, shown_on, title=title, now=time.time()))

        if options.once or not sys.stdout.isatty():
            print_safe(frame(read_status(path), screen()) + "\n")
            return
        from callwise.report.watching import live_frames

        with live_frames() as show:
            watch(
                lambda: read_status(path),
                lambda status: show(frame(status, screen())),
                pause=lambda: time.sleep(options.interval_seconds),
            )


def watch(
    read: Callable[[], "LiveStatus"],
    show: Callable[["LiveStatus"], None],
    *,
    pause: Callable[[], None],
) -> None:
    """Show a status again and again until its run has ended, or Ctrl-C.

    Args:
        pause: waits for the next frame.
    """
    try:
        while True:
            status = read()
            show(status)
            if status.has_ended:
                return
            pause()
    except KeyboardInterrupt:
        return  # the usual end of a viewer, and no failure

"""A live view of a budgeter of this process, in a terminal or a notebook.

    with watching(budgeter):
        await my_program()

A thread draws it; it reads the budgeter between two steps of its loop. A loop that is busy with
something else for seconds is drawn late, and never waited for by the program.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from callwise.budget.budgeter import Budgeter
from callwise.report.live_status import budgeter_status, status_lines
from callwise.safe_text import shown_html
from callwise.text_layout import Screen, screen_of

__all__ = ["LIVE_SECONDS", "drawn", "live_frames", "watching"]

LIVE_SECONDS = 1.0
"""Time between two frames."""

Show = Callable[[str], None]
"""Shows a frame in place of the one before."""


def drawn(budgeter: Budgeter, screen: Screen | None = None, *, has_ended: bool = False) -> str:
    """Return one frame of a budgeter, for `print`; counted from the first one on.

    Raises:
        TimeoutError: when its loop is busy for too long.
    """
    screen = screen_of(sys.stdout) if screen is None else screen
    return "\n".join(status_lines(budgeter_status(budgeter, has_ended=has_ended), screen))


@contextmanager
def live_frames(*, error_stream: bool = False) -> Iterator[Show]:
    """Yield a function that shows frames in the terminal, each in place of the one before.

    Args:
        error_stream: show them on standard error, and not on standard output.
    """
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=error_stream, highlight=False, soft_wrap=False)
    with Live(Text(""), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda frame: live.update(Text.from_ansi(frame), refresh=True)


@contextmanager
def watching(
    budgeter: Budgeter,
    *,
    seconds: float = LIVE_SECONDS,
    frames: AbstractContextManager[Show] | None = None,
) -> Iterator[None]:
    """Show what a budgeter does while the block runs, and its last state after it.

    Args:
        seconds: time between two frames; above 0.
        frames: yields what shows a frame; None takes the notebook's cell or the terminal.
    """
    budgeter.metrics()
    screen = screen_of(sys.stdout)
    is_over = threading.Event()

    def draw(show: Show) -> None:
        while not is_over.wait(seconds):
            try:
                show(drawn(budgeter, screen))
            except TimeoutError:
                continue  # the next frame has it

    with frames or _notebook_frames() or live_frames() as show:
        thread = threading.Thread(target=draw, args=(show,), name="callwise-live-view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            show(drawn(budgeter, screen, has_ended=True))


def _notebook_frames() -> AbstractContextManager[Show] | None:
    """Return what shows frames in a notebook's cell; None outside of one."""
    display: Any = sys.modules.get("IPython.display")
    interactive: Any = sys.modules.get("IPython")
    shell = None if interactive is None else interactive.get_ipython()
    if display is None or shell is None or not hasattr(shell, "kernel"):
        return None
    return _cell_frames(display)


@contextmanager
def _cell_frames(display: Any) -> Iterator[Show]:
    handle = display.display(display.HTML(""), display_id=True)
    yield lambda frame: handle.update(display.HTML(f"<pre>{shown_html(frame)}</pre>"))

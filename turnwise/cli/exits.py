"""How a command ends: errors in one line, with the exit code that scripts can rely on.

0    done
1    the run failed: an endpoint, a recording, a full disk
2    the request was wrong: a knob, a file, a missing key; nothing was sent
130  stopped by Ctrl-C; what was finished stands
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from turnwise.calls.error_text import text_of_error
from turnwise.calls.errors import CallError, ConfigError, FormatError, TurnwiseError

__all__ = ["EXIT_FAILED", "EXIT_STOPPED", "EXIT_WRONG_REQUEST", "clear_errors", "printable", "say"]

EXIT_FAILED = 1
EXIT_WRONG_REQUEST = 2
EXIT_STOPPED = 130


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters, lone surrogates, and marks that reverse what is read."""


def printable(text: str) -> str:
    """Return a text without the control characters that a terminal would obey."""
    return _CONTROLS.sub("\ufffd", text)


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
        say(f"turnwise: {error}")
        raise typer.Exit(EXIT_FAILED) from error

"""`callwise notebooks`: copies of the shipped notebooks, to edit and run."""

from pathlib import Path
from typing import Annotated

import typer

from callwise.calls.errors import ConfigError
from callwise.cli.options import CommandOptions
from callwise.cli.terminal import clear_errors, print_text, say
from callwise.shipped import example_notebooks

__all__ = ["notebooks"]

PAGES = "https://github.com/callwise/callwise/blob/main/"
"""Address of the pages that the notebooks link to; a copy has no neighbours."""


class NotebooksOptions(CommandOptions):
    """Options of `callwise notebooks`."""

    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to copy to; made when absent.")
    ] = Path("callwise-notebooks")


def notebooks(options: NotebooksOptions) -> None:
    """Copy the example notebooks to a folder, where they are yours to edit and run.

    A notebook that is there already is kept. The copies need the extra `notebooks`, and no file
    but themselves; what they run is kept in `callwise-runs/` next to them:

    callwise notebooks mine

    jupyter lab mine
    """
    with clear_errors():
        shipped = example_notebooks()
        if not shipped:
            raise ConfigError("this installation has no notebooks. Install callwise again")
        try:
            options.folder.mkdir(parents=True, exist_ok=True)
            for path in shipped:
                _copy(path, options.folder / path.name)
        except OSError as error:
            place = error.filename or options.folder
            raise ConfigError(f"cannot write {place}: {error.strerror or error}") from error
        say(f"Open them: jupyter lab {options.folder}")


def _copy(path: Path, copy: Path) -> None:
    """Copy one notebook, with links that do not depend on its place; keep one that is there."""
    if copy.exists():
        print_text(f"kept: {copy}")
        return
    text = path.read_text(encoding="utf-8").replace("](../", f"]({PAGES}")
    copy.write_text(text, encoding="utf-8")
    print_text(f"copied: {copy}")

"""Help pages: as wide as the terminal, down to 40 columns and less, with colours where it has them.

The pages always have colours; `typer.echo` takes them out where the context forbids them or the
output is no terminal, and translates them for an old console of Windows.
"""

import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from callwise.text_layout import Screen, colour_choice, styled

__all__ = ["Command", "CommandGroup"]

_COLOURED = Screen(is_styled=True)
_MOST_COLUMNS, _LEAST_COLUMNS = 80, 20
_MARGIN = 2
_NARROW = 60
"""Columns below which the names of options take less, so that their help has more."""


_Formatter: Any = typer.Context.formatter_class  # click's, or typer's copy of it


class _HelpLayout(_Formatter):  # type: ignore[misc]
    """Lays out a help page in the columns that there are; typer's takes 50 at least."""

    def __init__(
        self,
        indent_increment: int = 2,
        width: int | None = None,
        max_width: int | None = None,
    ) -> None:
        if width is None:
            columns = min(shutil.get_terminal_size().columns, max_width or _MOST_COLUMNS)
            width = max(columns, _LEAST_COLUMNS) - _MARGIN
        super().__init__(indent_increment, width, max_width)

    def write_heading(self, heading: str) -> None:
        """Write the name of a part of the page."""
        super().write_heading(styled(heading, "title", _COLOURED))

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write names with their help, side by side."""
        col_max = col_max if self.width >= _NARROW else min(col_max, 8)
        named = [(styled(name, "option", _COLOURED), text) for name, text in rows]
        super().write_dl(named, col_max, col_spacing)


class _Context(typer.Context):
    """A context whose help pages are laid out so, and whose colours the environment chooses."""

    formatter_class = _HelpLayout

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if self.parent is None and self.color is None:
            self.color = colour_choice(os.environ)


_KNOB = re.compile(r"[A-Za-z_][\w.-]*")
_VALUE = re.compile(r"(?:\d|true|false|null)[\w.,+-]*")
"""A knob without its value, and a value of one: a number, or several words of YAML."""

_MAX_SUMMARY = 200
"""Most characters of a command's summary in the list of commands; it wraps."""


class Command(TyperCommand):
    """A command with such help pages."""

    context_class = _Context

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line; a knob and its value in two words are refused as what they are.

        Raises:
            typer.BadParameter: for such a knob; names the word that is meant.
        """
        own = {name for each in self.params for name in each.opts} & {"--knob", "--set", "-k", "-s"}
        for option, knob, value in zip(args, args[1:], args[2:], strict=False):
            if option in own and _KNOB.fullmatch(knob) and _VALUE.fullmatch(value):
                raise typer.BadParameter(f"{option} takes one word: {option} {knob}={value}")
        return super().parse_args(ctx, args)

    def get_short_help_str(self, limit: int = _MAX_SUMMARY) -> str:
        """Return the whole first sentence of the help, whatever fits in one line."""
        return super().get_short_help_str(max(limit, _MAX_SUMMARY))


class CommandGroup(TyperGroup):
    """A group of commands with such help pages."""

    context_class = _Context

"""`turnwise report`: where each call of a run went."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from turnwise.cli.exits import clear_errors, say

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    form: Annotated[
        Literal["text", "markdown", "csv", "json"], typer.Option("--format", "-f", help="Form.")
    ] = "text",
    table: Annotated[
        Literal["all", "node", "role", "purpose", "turn", "plan", "time"],
        typer.Option("--table", "-t", help="Which table. CSV holds one; `all` gives by node."),
    ] = "all",
) -> None:
    """Show where the calls of a run went: by node, role, purpose and turn, and against its plan."""
    with clear_errors():
        from turnwise.report import load_run, render

        run = load_run(folder)
        for notice in run.notices:
            say(notice)
        typer.echo(render(run, form=form, table=table), nl=False)

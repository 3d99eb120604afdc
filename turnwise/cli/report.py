"""`turnwise report`: where each call of a run went, as tables or as a page."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from turnwise.cli.exits import clear_errors, escaped_json, print_text, say

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    form: Annotated[
        Literal["text", "markdown", "csv", "json"], typer.Option("--format", "-f", help="Form.")
    ] = "text",
    table: Annotated[
        Literal["all", "node", "role", "purpose", "turn", "call", "plan", "time"],
        typer.Option("--table", "-t", help="Which table. CSV holds one; `all` gives by node."),
    ] = "all",
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write one page with every turn, its calls, timeline and search; print no table.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="OTHER_DIR", help="With --html: hold another run beside this one."),
    ] = None,
) -> None:
    """Show where the calls of a run went: by node, role, purpose and turn, and against its plan.

    `--table call` lists every call with its error and what was mended to read its answer.
    """
    with clear_errors():
        if html is not None or against is not None:
            _write_page(folder, html, against, has_table_options=(form, table) != ("text", "all"))
            return
        from turnwise.report import load_run, render

        run = load_run(folder)
        for notice in run.notices:
            say(notice)
        rendered = render(run, form=form, table=table)
        print_text(escaped_json(rendered) if form == "json" else rendered, end="")


def _write_page(
    folder: Path, html: Path | None, against: Path | None, *, has_table_options: bool
) -> None:
    """Write the page and say what was written."""
    from turnwise.calls.errors import ConfigError
    from turnwise.report.page import write_page

    if html is None:
        raise ConfigError("--against holds two runs beside each other on a page: give --html FILE")
    if has_table_options:
        raise ConfigError("--html writes a page of all tables: give no --format or --table with it")
    written = write_page(folder, html, against=against)
    for notice in written.notices:
        say(notice)
    paired = "" if written.paired_turns is None else f", {written.paired_turns:,} of them paired"
    size = f"{written.size_bytes / 1_000_000:.2f} MB"
    say(f"page: {html}   ({written.turns:,} turns{paired}, {size})")

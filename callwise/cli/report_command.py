"""Command `report`: tables of a run, its page, its trace, its arms, and feedback on it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from callwise.calls.errors import ConfigError
from callwise.cli.completers import complete_run
from callwise.cli.options import CommandOptions
from callwise.cli.terminal import clear_errors, print_safe, print_text, say, screen
from callwise.safe_text import escaped_json
from callwise.text_layout import EVERYTHING, counted

if TYPE_CHECKING:
    from callwise.report import RunRecord

__all__ = ["ReportOptions", "report"]


class ReportOptions(CommandOptions):
    """Options of `callwise report`."""

    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", autocompletion=complete_run, help="A run's folder."),
    ]
    form: Annotated[
        Literal["text", "markdown", "csv", "json"], typer.Option("--format", "-f", help="Form.")
    ] = "text"
    table: Annotated[
        Literal[
            "all",
            "node",
            "role",
            "purpose",
            "turn",
            "call",
            "plan",
            "time",
            "judges",
            "models",
            "arms",
        ],
        typer.Option("--table", "-t", help="Which table. CSV has one; `all` gives by node."),
    ] = "all"
    wide: Annotated[
        bool,
        typer.Option("--wide", help="Show every column, a row in one line, in any terminal."),
    ] = False
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write one page with every turn, its calls, timeline and search; print no table.",
        ),
    ] = None
    against: Annotated[
        Path | None,
        typer.Option(metavar="OTHER_DIR", help="With --html: compare with another run."),
    ] = None
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the calls as a file for Perfetto (Trace Event Format); print no table.",
        ),
    ] = None
    scores: Annotated[
        Path | None,
        typer.Option(
            help="With --table arms or models: scores (scores.csv), for quality by arm and model."
        ),
    ] = None
    feedback: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add feedback of people to the run, as JSON Lines."),
    ] = None
    export: Annotated[
        Literal["sft", "dpo", "labels"] | None,
        typer.Option(help="Write the run's feedback as training data, or as labels for tune."),
    ] = None
    output: Annotated[Path | None, typer.Option(help="With --export: the file to write.")] = None
    candidates: Annotated[
        bool,
        typer.Option(
            "--candidates",
            help="With --export dpo: also the search's answer before candidates judged lower.",
        ),
    ] = False


def report(options: ReportOptions) -> None:
    """Show where the calls of a run went: by node, role, purpose and turn, and against its plan.

    `--table call` lists every call with its error and what was repaired to read its answer,
    `--table arms` the arms of an experiment with intervals and differences.

    callwise report run --feedback ratings.jsonl

    callwise report run --export dpo --output pairs.jsonl
    """
    with clear_errors():
        is_file = options.trace is not None or options.html is not None
        if is_file and (options.feedback or options.export or options.output or options.scores):
            raise ConfigError(
                "--html and --trace write a file and do nothing else: give --feedback, --export "
                "and --scores in another call of the command"
            )
        if options.trace is not None:
            _write_trace(options, options.trace)
        if options.html is not None or options.against is not None:
            _write_page(options)
        if options.trace or options.html:
            return
        from callwise.cli.report_experiment import print_arms, take_and_write
        from callwise.report import load_run, render

        if take_and_write(options):
            return
        run = load_run(options.folder)
        for notice in (*run.notices, *_quality_drift(run, options.scores)):
            say(notice)
        shown = EVERYTHING if options.wide else screen(more="--wide, or --format csv,")
        shown = replace(shown, is_styled=screen().is_styled)
        if options.table == "arms":
            print_arms(run, options.form, options.scores, shown)
            return
        rendered = render(run, form=options.form, table=options.table, screen=shown)
        if options.form == "text":
            print_safe(rendered)
        else:
            print_text(escaped_json(rendered) if options.form == "json" else rendered, end="")
        has_arms = any(turn.arm for turn in run.turns)
        if has_arms and (options.form, options.table) == ("text", "all"):
            print_safe("\n")
            print_arms(run, options.form, options.scores, shown)


def _quality_drift(run: "RunRecord", scores: Path | None) -> list[str]:
    if scores is None:
        return []
    from callwise.testing.gate.run_figures import quality_drift

    return quality_drift(run, scores)


def _write_page(options: ReportOptions) -> None:
    from callwise.report.page import write_page

    if options.html is None:
        raise ConfigError("--against compares two runs on a page: give --html FILE")
    if (options.form, options.table) != ("text", "all"):
        raise ConfigError("--html writes a page of all tables: give no --format or --table with it")
    written = write_page(options.folder, options.html, against=options.against)
    for notice in written.notices:
        say(notice)
    paired = "" if written.paired_turns is None else f", {written.paired_turns:,} of them paired"
    size = f"{written.size_bytes / 1_000_000:.2f} MB"
    say(f"page: {options.html}   ({written.turns:,} turns{paired}, {size})")


def _write_trace(options: ReportOptions, file: Path) -> None:
    from callwise.report.traces.trace_file import write_trace_file

    if (options.form, options.table) != ("text", "all"):
        raise ConfigError("--trace writes a file of all calls: give no --format or --table with it")
    written = write_trace_file(options.folder, file)
    for notice in written.notices:
        say(notice)
    counts = f"{counted(written.turns, 'turn')}, {counted(written.calls, 'call')}"
    say(f"trace: {file}   ({counts}, {written.size_bytes / 1_000_000:.2f} MB)")

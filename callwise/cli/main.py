"""The `callwise` command. A subcommand imports heavy modules when it runs, not before."""

from typing import Annotated

import typer

from callwise import __version__
from callwise.cli.check_command import check
from callwise.cli.completion import CompletingGroup, completion
from callwise.cli.demo_command import demo
from callwise.cli.endpoints import endpoints
from callwise.cli.help_pages import Command
from callwise.cli.info_commands import cassette, knobs, plan, presets
from callwise.cli.notebooks_command import notebooks
from callwise.cli.options import command
from callwise.cli.replay_command import conversations, replay
from callwise.cli.report_command import report
from callwise.cli.serve_command import serve
from callwise.cli.sim_command import sim
from callwise.cli.talk_commands import chat, run
from callwise.cli.top_command import top
from callwise.cli.tune_command import tune
from callwise.cli.wake_command import wake

__all__ = ["callwise", "main"]

callwise = typer.Typer(
    name="callwise",
    cls=CompletingGroup,
    help=(
        "Spend LLM calls wisely, turn by turn.\n\n"
        "plan what a turn will cost, before it runs; run it under a cap that is never exceeded; "
        "replay it for free, byte for byte; tune every other setting from the same recording; "
        "check in CI that it has not risen; report where each call went. Without an endpoint "
        "everything runs on an embedded simulated model, labelled so. To use a real one, set "
        "CALLWISE_BASE_URL, CALLWISE_MODEL and CALLWISE_API_KEY, and begin with: callwise "
        "endpoints check."
    ),
    epilog="Start with: callwise demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _run in (
    plan,
    run,
    chat,
    conversations,
    replay,
    cassette,
    tune,
    check,
    report,
    wake,
    serve,
    top,
    knobs,
    presets,
    notebooks,
    demo,
    completion,
):
    callwise.command(cls=Command)(command(_run))
callwise.add_typer(endpoints, name="endpoints")
callwise.add_typer(sim, name="sim")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"callwise {__version__}")
        raise typer.Exit


@callwise.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    callwise(prog_name="callwise")

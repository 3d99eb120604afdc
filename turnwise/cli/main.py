"""The `turnwise` command. A subcommand imports heavy modules when it runs, not before."""

from typing import Annotated

import typer

from turnwise import __version__
from turnwise.cli.check_command import check
from turnwise.cli.endpoints import endpoints
from turnwise.cli.info_commands import cassette, knobs, plan, presets, report, sim
from turnwise.cli.options import command
from turnwise.cli.replay_command import conversations, demo, replay
from turnwise.cli.talk_commands import chat, run
from turnwise.cli.tune_command import tune

__all__ = ["main", "turnwise"]

turnwise = typer.Typer(
    name="turnwise",
    help=(
        "Spend LLM calls wisely, turn by turn.\n\n"
        "plan what a turn will cost, before it runs; run it under a cap that is never exceeded; "
        "replay it for free, byte for byte; tune every other setting from the same recording; "
        "check in CI that it has not risen; report where each call went. Without an endpoint "
        "everything runs on an embedded simulated model, labelled so. To use a real one, set "
        "TURNWISE_BASE_URL, TURNWISE_MODEL and TURNWISE_API_KEY, and begin with: turnwise "
        "endpoints check."
    ),
    epilog="Start with: turnwise demo",
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
    knobs,
    presets,
    demo,
):
    turnwise.command()(command(_run))
turnwise.add_typer(endpoints, name="endpoints")
turnwise.add_typer(sim, name="sim")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"turnwise {__version__}")
        raise typer.Exit


@turnwise.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    turnwise()

"""`callwise sim serve`: the simulated model as an HTTP server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from callwise.cli.help_pages import Command, CommandGroup
from callwise.cli.options import CommandOptions, command
from callwise.cli.terminal import clear_errors, say

__all__ = ["sim"]

sim = typer.Typer(
    help="The simulated model.", no_args_is_help=True, rich_markup_mode=None, cls=CommandGroup
)


@sim.callback()
def _sim() -> None:
    """Group the simulator's commands."""


class ServeOptions(CommandOptions):
    """Options of `callwise sim serve`."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765
    log: Annotated[Path | None, typer.Option(help="Write one line per request to this file.")] = (
        None
    )
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            "-s",
            metavar="NAME=VALUE",
            help="Set one of the simulator's settings, e.g. error_rate_429=0.1 or seed=7.",
        ),
    ] = []


@sim.command(cls=Command)
@command
def serve(options: ServeOptions) -> None:
    """Serve the simulated model over HTTP until Ctrl-C, with a request log and faults.

    callwise sim serve --port 8765 --set error_rate_500=0.05

    CALLWISE_BASE_URL=http://127.0.0.1:8765/v1 CALLWISE_MODEL=simulated callwise run "hello"
    """
    with clear_errors("stopped"):
        from callwise.knobs import apply_overrides, validate
        from callwise.simulator import SimulatedSettings
        from callwise.simulator.server import serve as serve_forever

        data = apply_overrides({}, options.overrides, SimulatedSettings)
        settings = validate(SimulatedSettings, data)
        try:
            asyncio.run(
                serve_forever(
                    options.host, options.port, settings, log_file=options.log, on_ready=say
                )
            )
        except OSError as error:
            if error.filename is None:
                error.filename = f"{options.host}:{options.port}"
            raise

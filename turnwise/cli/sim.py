"""`turnwise sim serve`: the simulated model as an OpenAI-compatible HTTP server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from turnwise.cli.exits import clear_errors, say

__all__ = ["sim"]

sim = typer.Typer(help="The simulated model.", no_args_is_help=True, rich_markup_mode=None)


@sim.callback()
def _sim() -> None:
    """Group the simulator's commands."""


@sim.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    log: Annotated[
        Path | None, typer.Option("--log", help="Write one line a request to this file.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="NAME=VALUE",
            help="Set one of the simulator's settings, e.g. error_rate_429=0.1 or seed=7.",
        ),
    ] = None,
) -> None:
    """Serve the simulated model over HTTP until Ctrl-C, with a request log and faults.

    turnwise sim serve --port 8765 --set error_rate_500=0.05

    TURNWISE_BASE_URL=http://127.0.0.1:8765/v1 TURNWISE_MODEL=simulated turnwise run "hello"
    """
    with clear_errors("stopped"):
        from turnwise.knobs import apply_overrides, validate
        from turnwise.simulator import SimulatedSettings
        from turnwise.simulator.server import serve as serve_forever

        data = apply_overrides({}, overrides or (), SimulatedSettings)
        settings = validate(SimulatedSettings, data)
        try:
            asyncio.run(serve_forever(host, port, settings, log_file=log, on_ready=say))
        except OSError as error:
            if error.filename is None:
                error.filename = f"{host}:{port}"
            raise

"""`turnwise plan`: what a turn will cost, before it runs."""

from typing import Annotated

import typer

from turnwise.cli.exits import clear_errors, print_json, print_text
from turnwise.cli.knobs import say_environment
from turnwise.cli.options import AppOption, JsonOption, PresetOption, SetOption

__all__ = ["plan"]


def plan(
    preset: PresetOption = None,
    overrides: SetOption = None,
    latency_seconds: Annotated[
        float, typer.Option("--latency-seconds", min=0.0, help="Seconds that one request takes.")
    ] = 1.0,
    rpm: Annotated[
        float | None, typer.Option("--rpm", min=0.001, help="Requests a minute that are allowed.")
    ] = None,
    as_json: JsonOption = False,
    app: AppOption = "graph.app:app",
) -> None:
    """Show what one turn will cost, from the knobs alone: no model is asked.

    turnwise plan --preset classic --set search.rollouts=2 --latency-seconds 0.8 --rpm 60
    """
    with clear_errors():
        from turnwise.calls.errors import ConfigError
        from turnwise.plan import plan_rows
        from turnwise.replay.app_protocol import load_app

        loaded = load_app(app)
        settings = loaded.settings(preset, overrides or ())
        say_environment(loaded, overrides or ())
        turn_plan = loaded.plan(settings)
        if turn_plan is None:
            raise ConfigError(
                f"what {app} asks is not known before it runs: record it (turnwise replay "
                f"CONVERSATION --app {app} --record FILE --out DIR), and see turnwise report DIR"
            )
        if as_json:
            document = turn_plan.as_json(latency_seconds=latency_seconds, rpm=rpm)
            print_json(document)
            return
        for row in plan_rows(turn_plan, latency_seconds=latency_seconds, rpm=rpm):
            print_text(row)

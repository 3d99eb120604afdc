"""`turnwise knobs` and `turnwise presets`: what can be set, and what is shipped."""

from typing import Annotated

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import AppOption, PresetOption

__all__ = ["knobs", "presets"]


def knobs(
    contains: Annotated[str, typer.Argument(help="Show only knobs whose name contains this.")] = "",
    preset: PresetOption = "classic",
    app: AppOption = "graph.app:app",
) -> None:
    """List every knob with its value in a preset, its range, and what it does."""
    with clear_errors():
        from turnwise.knobs import knob_paths
        from turnwise.replay.app import load_app

        loaded = load_app(app)
        settings = loaded.settings(preset)
        for knob in knob_paths(loaded.settings_model()):
            if contains not in knob.path:
                continue
            value: object = settings
            for part in knob.path.split("."):
                value = getattr(value, part, None)
            typer.echo(f"{knob.path} = {value}")
            typer.echo(f"    {knob.type}{', ' + knob.range if knob.range else ''}. {knob.doc}")


def presets(app: AppOption = "graph.app:app") -> None:
    """List the presets that are shipped, with the calls that each plans for one turn."""
    with clear_errors():
        from turnwise.replay.app import load_app

        loaded = load_app(app)
        for name in loaded.presets():
            planned = loaded.plan(loaded.settings(name)).as_json()["scenarios"]["default"]
            rounds = planned["rounds"]
            typer.echo(
                f"{name:<18} {planned['asked']} calls a turn, "
                f"{rounds['reply']} rounds to the reply, {rounds['turn']} in all"
            )

"""`turnwise knobs` and `turnwise presets`: what can be set, and what is shipped."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from turnwise.cli.exits import clear_errors, print_text, say
from turnwise.cli.options import AppOption, PresetOption

if TYPE_CHECKING:
    from pydantic import BaseModel

    from turnwise.replay.app_protocol import App

__all__ = ["knobs", "presets", "say_endpoints", "say_environment", "say_what_is_not_used"]


def say_environment(app: "App", overrides: Sequence[str]) -> None:
    """Print the knobs that an app takes from environment variables, if there are any.

    Args:
        app: the app.
        overrides: `knob=value`, which go before the environment.
    """
    from turnwise.knobs.presets import whole_path
    from turnwise.replay.app_protocol import TakesEnvironment

    taken = app.environment_knobs() if isinstance(app, TakesEnvironment) else ()
    if taken:
        model = app.settings_model()
        overridden = {whole_path(each.partition("=")[0].strip(), model) for each in overrides}
        shown = [each.override for each in taken if each.path not in overridden]
        say(f"knobs from the environment: {', '.join(shown) or 'all of them overridden'}")


def say_what_is_not_used(app: "App", settings: "BaseModel") -> None:
    """Print which variables of OpenAI's own tools are set while a simulated model answers.

    Args:
        app: the app.
        settings: its knobs.
    """
    from turnwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
    from turnwise.calls.hosts import openai_url

    names = [name for name in (OPENAI_KEY_VARIABLE, "OPENAI_BASE_URL") if os.environ.get(name)]
    if names and not getattr(settings, "endpoints", None) and app.is_simulated(settings):
        say(
            f"{' and '.join(names)} not used, because no model is named: the simulated model "
            f"answers. Set TURNWISE_MODEL to ask {openai_url(os.environ)}."
        )


def say_endpoints(settings: object) -> None:
    """Print the endpoints that a preset file or a recording had a part in, if there are any."""
    from turnwise.calls.trust import endpoint_lines

    for line in endpoint_lines(settings, os.environ):
        say(line)


def knobs(
    contains: Annotated[str, typer.Argument(help="Show only knobs whose name contains this.")] = "",
    preset: PresetOption = None,
    app: AppOption = "graph.app:app",
) -> None:
    """List every knob with its value in a preset, its range, and what it does."""
    with clear_errors():
        from turnwise.knobs import knob_paths
        from turnwise.replay.app_protocol import load_app

        loaded = load_app(app)
        settings = loaded.settings(preset)
        for knob in knob_paths(loaded.settings_model()):
            if contains not in knob.path:
                continue
            value: object = settings
            for part in knob.path.split("."):
                value = getattr(value, part, None)
            print_text(f"{knob.path} = {value}")
            print_text(f"    {knob.type}{', ' + knob.range if knob.range else ''}. {knob.doc}")


def presets(app: AppOption = "graph.app:app") -> None:
    """List the presets that are shipped, with the calls that each plans for one turn."""
    with clear_errors():
        from turnwise.replay.app_protocol import load_app

        loaded = load_app(app)
        for name in loaded.presets():
            plan = loaded.plan(loaded.settings(name))
            if plan is None:
                typer.echo(f"{name:<18} calls are known once it is recorded")
                continue
            planned = plan.as_json()["scenarios"]["default"]
            rounds = planned["rounds"]
            print_text(
                f"{name:<18} {planned['asked']} calls a turn, "
                f"{rounds['reply']} rounds to the reply, {rounds['turn']} in all"
            )

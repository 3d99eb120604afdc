"""Options that several commands share, and commands made from options models.

A command is a function of one options model: each field of the model is one option, declared
there and nowhere else. A field's name is the option's name; `typer.Option` adds what a name and
a type do not express. Fields that are no options are methods or properties.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import BaseModel, ConfigDict

from callwise.cli.completers import complete_knob, complete_preset

__all__ = [
    "AppOption",
    "AppOptions",
    "CommandOptions",
    "FreshOption",
    "JsonOption",
    "MaxConcurrencyOption",
    "MaxTurnsOption",
    "OutOption",
    "PresetOption",
    "SetOption",
    "TrustCodeOption",
    "TrustEndpointOption",
    "command",
]

OLD_NAMES = {
    "--limit-turns": "--max-turns",
    "--concurrency": "--max-concurrency",
    "--margin": "--margin-share",
}
"""Earlier names of options; each is refused with the name that replaced it."""


class CommandOptions(BaseModel):
    """Base of the options models: frozen, each field an option or an argument."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _refuse_old_name(value: str | None, param: typer.CallbackParam) -> None:
    if value is not None:
        old = param.opts[0]
        raise typer.BadParameter(f"this option is called {OLD_NAMES[old]} now; use that name")


def _option_names(name: str, annotation: Any) -> set[str]:
    """Return the spellings of a field's option."""
    infos = [
        each for each in getattr(annotation, "__metadata__", ()) if hasattr(each, "param_decls")
    ]
    declared = {decl for info in infos for decl in (info.default, *(info.param_decls or ()))}
    return {str(each) for each in declared} | {"--" + name.replace("_", "-")}


def command(run: Callable[[Any], None]) -> Callable[..., None]:
    """Return a function for `typer` whose parameters are the fields of `run`'s options model.

    Args:
        run: takes one argument, `options`, annotated with a `CommandOptions`. Its docstring is
            the command's help.
    """
    model: type[CommandOptions] = get_type_hints(run)["options"]
    hints = get_type_hints(model, include_extras=True)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.get_default(),
            annotation=hints[name],
        )
        for name, field in model.model_fields.items()
    ]
    names = {each for one in parameters for each in _option_names(one.name, one.annotation)}
    olds = {
        f"old_name_{number}": old
        for number, (old, new) in enumerate(OLD_NAMES.items())
        if new in names
    }
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None, typer.Option(old, hidden=True, callback=_refuse_old_name)
            ],
        )
        for name, old in olds.items()
    ]

    def call(**given: Any) -> None:
        run(model(**{name: value for name, value in given.items() if name not in olds}))

    call.__name__, call.__doc__ = run.__name__, run.__doc__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


AppOption = Annotated[
    str,
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        help=(
            "The app, by its import string: an app, or a function `build(model)` that returns a "
            "LangGraph or LangChain program."
        ),
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        autocompletion=complete_preset,
        help="A preset's name, or a YAML file of knobs. Default: the app's own (`classic`).",
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        "-s",
        metavar="KNOB=VALUE",
        autocompletion=complete_knob,
        help="Set one knob, e.g. --set search.rollouts=2. Repeatable; of two values of a knob the "
        "last counts. `callwise knobs` lists them.",
    ),
]
TrustEndpointOption = Annotated[
    list[str],
    typer.Option(
        "--trust-endpoint",
        metavar="[VARIABLE@]HOST",
        help=(
            "Send calls to a host that only a preset file or a recording names, with the key in "
            "VARIABLE. Repeatable; permanently: CALLWISE_TRUST_ENDPOINTS."
        ),
    ),
]
TrustCodeOption = Annotated[
    list[str],
    typer.Option(
        "--trust-code",
        metavar="MODULE:NAME",
        help=(
            "Import a model that only a preset file or a recording names. Repeatable; "
            "permanently: CALLWISE_TRUST_CODE."
        ),
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder to write. Default: one under ./callwise-runs/."),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Start over: delete what the folder contains first.")
]
MaxTurnsOption = Annotated[
    int | None, typer.Option(min=1, help="Only the first N turns, over all conversations.")
]
MaxConcurrencyOption = Annotated[
    int,
    typer.Option("--max-concurrency", "-c", min=1, help="Conversations run side by side."),
]


class AppOptions(CommandOptions):
    """Options of the commands that run an app."""

    preset: PresetOption = None
    overrides: SetOption = []
    app: AppOption = "graph.app:app"
    trust_endpoints: TrustEndpointOption = []
    trust_code: TrustCodeOption = []

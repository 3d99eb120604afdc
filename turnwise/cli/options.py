"""The options that several commands share, worded once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AppOption",
    "ConversationArgument",
    "JsonOption",
    "OutOption",
    "PresetOption",
    "SetOption",
    "TrustCodeOption",
    "TrustEndpointOption",
    "UserOption",
]

PresetOption = Annotated[
    str,
    typer.Option("--preset", "-p", help="A preset's name, or a YAML file of knobs."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KNOB=VALUE",
        help="Set one knob, e.g. --set search.rollouts=2. Repeatable. `turnwise knobs` lists them.",
    ),
]
AppOption = Annotated[
    str,
    typer.Option("--app", metavar="MODULE:NAME", help="The app, by its import string."),
]
TrustEndpointOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-endpoint",
        metavar="[VARIABLE@]HOST",
        help=(
            "Send calls to a host that only a preset file or a recording names, with the key in "
            "VARIABLE. Repeatable; for good: TURNWISE_TRUST_ENDPOINTS."
        ),
    ),
]
TrustCodeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-code",
        metavar="MODULE:NAME",
        help=(
            "Import a model that only a preset file or a recording names. Repeatable; for good: "
            "TURNWISE_TRUST_CODE."
        ),
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
ConversationArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="CONVERSATION...",
        help="Recorded conversations: files, folders or globs. The format is detected.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The run's folder. Default: one under ./turnwise-runs/."),
]
UserOption = Annotated[str, typer.Option("--user", help="Whose memory is used.")]

"""The options that several commands share, worded once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "AgentOption",
    "AppOption",
    "ConversationArgument",
    "JsonOption",
    "OutOption",
    "PresetOption",
    "SetOption",
    "SideOption",
    "SkipBadOption",
    "TrustCodeOption",
    "TrustEndpointOption",
    "UserOption",
]

PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        help="A preset's name, or a YAML file of knobs. Default: the app's own (`classic`).",
    ),
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
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        help=(
            "The app, by its import string: an app, or a function `build(model)` that returns a "
            "LangGraph or LangChain program."
        ),
    ),
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
AgentOption = Annotated[
    str | None,
    typer.Option(
        "--agent",
        metavar="NAME",
        help="Which speaker is the agent, in chats that do not tell; the others are the user.",
    ),
]
SideOption = Annotated[
    Literal["a", "b"] | None,
    typer.Option("--side", help="Which side to read of records that compare two."),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Count bad records and go on with the others.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The run's folder. Default: one under ./turnwise-runs/."),
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", help="Whose memory is used; without it, the conversation's own."),
]

"""`turnwise run`: one message, one reply, and what it cost."""

from pathlib import Path
from typing import Annotated

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import (
    AppOption,
    JsonOption,
    PresetOption,
    SetOption,
    TrustCodeOption,
    TrustEndpointOption,
    UserOption,
)

__all__ = ["run"]


def run(
    text: Annotated[str, typer.Argument(help="What the user says.")],
    preset: PresetOption = None,
    overrides: SetOption = None,
    conversation: Annotated[
        str | None,
        typer.Option("--conversation", help="Go on with a kept conversation. Default: a new one."),
    ] = None,
    user: UserOption = None,
    home: Annotated[
        Path, typer.Option("--home", help="Folder where conversations are kept.")
    ] = Path("turnwise-runs/chat"),
    as_json: JsonOption = False,
    app: AppOption = "graph.app:app",
    trust_endpoints: TrustEndpointOption = None,
    trust_code: TrustCodeOption = None,
) -> None:
    """Answer one message, and show the call ledger of the turn.

    turnwise run "I lost my job today" --set search.rollouts=2
    """
    with clear_errors():
        from turnwise.cli.talking import Talk, say_once

        talk = Talk(
            preset=preset,
            overrides=tuple(overrides or ()),
            conversation=conversation,
            user=user,
            home=home,
            app=app,
            trust_endpoints=tuple(trust_endpoints or ()),
            trust_code=tuple(trust_code or ()),
        )
        say_once(talk, text, as_json=as_json)

"""`turnwise chat`: talk with the pipeline, and see what each turn cost."""

from pathlib import Path
from typing import Annotated

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import (
    AppOption,
    PresetOption,
    SetOption,
    TrustCodeOption,
    TrustEndpointOption,
    UserOption,
)

__all__ = ["chat"]


def chat(
    preset: PresetOption = None,
    overrides: SetOption = None,
    conversation: Annotated[
        str, typer.Option("--conversation", help="Which kept conversation to go on with.")
    ] = "default",
    user: UserOption = None,
    home: Annotated[
        Path, typer.Option("--home", help="Folder where conversations are kept.")
    ] = Path("turnwise-runs/chat"),
    app: AppOption = "graph.app:app",
    trust_endpoints: TrustEndpointOption = None,
    trust_code: TrustCodeOption = None,
) -> None:
    """Talk with the pipeline. An empty line or Ctrl-D ends it; the conversation is kept.

    The same --conversation goes on where it stopped, in this process or the next.
    """
    with clear_errors("stopped; the conversation is kept up to the last whole turn"):
        from turnwise.cli.talking import Talk, keep_talking

        keep_talking(
            Talk(
                preset=preset,
                overrides=tuple(overrides or ()),
                conversation=conversation,
                user=user,
                home=home,
                app=app,
                trust_endpoints=tuple(trust_endpoints or ()),
                trust_code=tuple(trust_code or ()),
            )
        )

"""`turnwise replay`: answer recorded conversations turn by turn, and count every call."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import (
    AgentOption,
    AppOption,
    ConversationArgument,
    JsonOption,
    OutOption,
    PresetOption,
    SetOption,
    SideOption,
    SkipBadOption,
    TrustCodeOption,
    TrustEndpointOption,
)

__all__ = ["replay"]

ModeName = Literal["strict", "new-episodes", "rewrite"]


def replay(
    conversations: ConversationArgument,
    preset: PresetOption = None,
    overrides: SetOption = None,
    limit_turns: Annotated[
        int | None, typer.Option("--limit-turns", min=1, help="Replay the first N turns only.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record", help="Record calls to this cassette; what stands in it is reused."
        ),
    ] = None,
    cassette: Annotated[
        Path | None,
        typer.Option("--cassette", help="Play calls from this cassette, and send none."),
    ] = None,
    mode: Annotated[
        ModeName | None,
        typer.Option(
            "--mode",
            help=(
                "strict: a call that is not recorded is an error (default with --cassette). "
                "new-episodes: it is sent and recorded (default with --record). "
                "rewrite: everything is recorded anew."
            ),
        ),
    ] = None,
    normalise: Annotated[
        list[str] | None,
        typer.Option(
            "--normalise",
            help=(
                "Leave volatile text out of the recording's keys: uuid, iso-time, iso-date, "
                "clock-time, unix-time, hex, call-id, or a regular expression. May be given "
                "several times; a recording's own names are taken from it."
            ),
        ),
    ] = None,
    out: OutOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over: delete the run that the folder holds.")
    ] = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Users replayed side by side.")
    ] = 1,
    skip_bad: SkipBadOption = False,
    agent: AgentOption = None,
    side: SideOption = None,
    as_json: JsonOption = False,
    app: AppOption = "graph.app:app",
    trust_endpoints: TrustEndpointOption = None,
    trust_code: TrustCodeOption = None,
) -> None:
    """Answer recorded conversations turn by turn, and count every call.

    Every finished turn is written at once: after Ctrl-C or a crash, run the same
    command again and it goes on where it stopped, buying nothing twice.

    turnwise replay talk.jsonl --preset classic --record talk.cassette.jsonl

    turnwise replay talk.jsonl --cassette talk.cassette.jsonl

    turnwise replay talk.jsonl --set budget.turn.max_calls=5 --json
    """
    stopped = "stopped; finished turns are kept, run the same command to go on"
    with clear_errors(stopped):
        from turnwise.cli.replaying import ReplayOptions, replay_and_show

        replay_and_show(
            ReplayOptions(
                paths=conversations,
                preset=preset,
                overrides=tuple(overrides or ()),
                limit_turns=limit_turns,
                record=record,
                cassette=cassette,
                mode=mode,
                normalise=tuple(normalise or ()),
                out=out,
                is_fresh=fresh,
                max_concurrency=concurrency,
                skip_bad=skip_bad,
                agent=agent,
                side=side,
                as_json=as_json,
                app=app,
                trust_endpoints=tuple(trust_endpoints or ()),
                trust_code=tuple(trust_code or ()),
            )
        )

"""`turnwise tune`: every other setting from one recording."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import JsonOption, TrustCodeOption, TrustEndpointOption

__all__ = ["tune"]


def tune(
    recording: Annotated[
        Path,
        typer.Argument(metavar="RECORDING", help="A run's folder: the --out of `replay`."),
    ],
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid", "-g", metavar="SWEEP", help="A sweep: a YAML file, or a shipped one's name."
        ),
    ] = None,
    knobs: Annotated[
        list[str] | None,
        typer.Option(
            "--knob",
            "-k",
            metavar="KNOB=A,B,...",
            help="Sweep one knob, e.g. --knob search.max_calls=3,6,11. Repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The sweep's folder. Default: under ./turnwise-runs/."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over: delete the sweep that the folder holds.")
    ] = False,
    limit_turns: Annotated[
        int | None, typer.Option("--limit-turns", min=1, help="The recording's first N turns only.")
    ] = None,
    past: Annotated[
        Literal["recorded", "own"],
        typer.Option(
            "--past",
            help=(
                "What a turn stands on. recorded: what was really said before it, so settings "
                "compare turn by turn. own: what the setting itself said."
            ),
        ),
    ] = "recorded",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Processes; -1 is one a core, 1 stays in this one.")
    ] = -1,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="A dask scheduler whose workers see the recording, instead of --jobs.",
        ),
    ] = None,
    quality: Annotated[
        Literal["auto", "truth", "referee", "pairwise", "none"],
        typer.Option(
            "--quality",
            help=(
                "Who says how good replies are. referee: a model, apart from the search's judge "
                "(TURNWISE_REFEREE_MODEL). pairwise: it compares with the recorded reply. "
                "truth: what a simulated reply hides. auto: --labels, else truth, else nobody."
            ),
        ),
    ] = "auto",
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="People's labels: CSV of conversation, turn, reply, value."),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Looks of a referee at each reply.")
    ] = 1,
    margin: Annotated[
        float,
        typer.Option("--margin", min=0.0, help="Loss that counts as not worse; .01 is 1 %."),
    ] = 0.01,
    cost: Annotated[
        Literal["asked", "requests", "tokens", "usd", "rounds_reply"],
        typer.Option("--cost", help="What is to be spent less of. asked: calls."),
    ] = "asked",
    buy: Annotated[
        bool,
        typer.Option("--buy", help="Show what is not recorded and its price, ask, and buy that."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before buying.")] = False,
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="With --buy: buy conversation by conversation, and drop what is beaten early.",
        ),
    ] = False,
    max_buy_calls: Annotated[
        int | None,
        typer.Option(
            "--max-buy-calls",
            min=0,
            help="Most calls to buy, for all settings and a referee together.",
        ),
    ] = None,
    max_buy_usd: Annotated[
        float | None,
        typer.Option("--max-buy-usd", min=0.0, help="Most USD to spend for all of those calls."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Conversations bought side by side.")
    ] = 1,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw figures into the sweep's folder (SVG).")
    ] = False,
    as_json: JsonOption = False,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="MODULE:NAME",
            help="The recorded run's app, where it is not the shipped one.",
        ),
    ] = None,
    trust_endpoints: TrustEndpointOption = None,
    trust_code: TrustCodeOption = None,
) -> None:
    """Evaluate other settings on a recording, without buying a call that it has.

    Each setting on each turn is exact (every call it makes is recorded), bounded@i (it
    diverges at call i: counts are exact up to there, quality is an estimate with an
    interval), or missing n (it would have to buy n calls of a kind the recording lacks).

    Record with generous knobs first: settings that begin alike find their calls.

    turnwise replay talks.jsonl --preset balanced --set search.max_calls=11 --out run

    turnwise tune run --knob search.max_calls=3,4,6,11

    turnwise tune run --grid presets --buy --max-buy-usd 2

    A sweep that was stopped goes on when the same command is run again.
    """
    with clear_errors("stopped; finished settings are kept, run the same command to go on"):
        from turnwise.calls.trust import NOTHING
        from turnwise.cli.tuning import TuneOptions, tune_and_show
        from turnwise.replay.counterfactual.purchase import Purse

        tune_and_show(
            TuneOptions(
                recording=recording,
                grid=grid,
                knobs=tuple(knobs or ()),
                out=out,
                is_fresh=fresh,
                max_turns=limit_turns,
                past=past,
                jobs=jobs,
                cluster=cluster,
                quality=quality,
                labels=labels,
                repeats=repeats,
                margin_share=margin,
                cost=cost,
                buys=buy,
                is_agreed=yes,
                races=race,
                purse=Purse(max_calls=max_buy_calls, max_usd=max_buy_usd),
                max_concurrency=concurrency,
                draws_figures=figures,
                as_json=as_json,
                app=app,
                trust=NOTHING.confirming(
                    trust_endpoints or (),
                    (*(trust_code or ()), *((app,) if app else ())),
                ),
            )
        )

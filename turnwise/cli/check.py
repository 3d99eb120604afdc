"""`turnwise check`: hold a run's calls per turn to a committed baseline."""

from pathlib import Path
from typing import Annotated

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import JsonOption

__all__ = ["check"]


def check(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder (`replay --out`).")],
    baseline: Annotated[
        Path, typer.Option("--baseline", "-b", help="The baseline, a committed JSON file.")
    ],
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline from this run; say what changed.")
    ] = False,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            "--gate",
            "-g",
            metavar="NAME[=TOLERANCE]",
            help=(
                "Gate more than calls, degraded and unreadable, which always are: requests, "
                "rounds, tokens, usd, quality. The tolerance is what may get worse, such as 5%; "
                "without one nothing may. Repeatable."
            ),
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", help="A table of scores (scores.csv), for --gate quality."),
    ] = None,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            "--quarantine", help="Known flaky cases: YAML with reason, owner and until of each."
        ),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Also write a table for a pull-request comment here."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="The run is live: test for a rise that is more than noise."),
    ] = False,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="With --live: share of false alarms. Default: 0.01."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a run's calls per turn to a committed baseline, and say what rose, where and since what.

    So are held what its turns went on without (a dead judge, say) and its unreadable answers.

    Exits with 0 when nothing got worse, 1 when something did, 2 when the two cannot be
    compared: another app, preset or conversations, missing turns, an unreadable file.

    First make a run and its baseline, and commit the baseline:

    turnwise replay talk.jsonl --cassette talk.cassette.jsonl --out run

    turnwise check run --baseline baselines/talk.json --update

    Then, on every change, the same replay and:

    turnwise check run --baseline baselines/talk.json

    turnwise check run -b baselines/talk.json --gate rounds --gate tokens=5% --markdown gate.md

    A drop does not fail; --update keeps it. A live run, whose model answers otherwise each
    time, is tested with a stated false-alarm rate:

    turnwise check live-run -b baselines/live.json --live --alpha 0.01
    """
    with clear_errors():
        from turnwise.cli.checking import CheckOptions, check_and_show

        has_passed = check_and_show(
            CheckOptions(
                run=run,
                baseline=baseline,
                is_update=update,
                gates=tuple(gate or ()),
                scores=scores,
                quarantine=quarantine,
                markdown=markdown,
                is_live=live,
                alpha=alpha,
                as_json=as_json,
            )
        )
    if not has_passed:
        raise typer.Exit(1)

"""`callwise tune`: other settings evaluated on one recording."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typer

from callwise.calls.errors import ConfigError, RunStopped
from callwise.cli.terminal import (
    EXIT_WRONG_REQUEST,
    clear_errors,
    print_json,
    print_wrapped,
    progress_bar,
    say,
)
from callwise.cli.tune_options import TuneOptions
from callwise.shipped import RUNS

if TYPE_CHECKING:
    from callwise.recordings.recording import Recording
    from callwise.tuning.analysis import Analysis
    from callwise.tuning.judge.judge_sweep import JudgedRows
    from callwise.tuning.setting import Evaluator
    from callwise.tuning.sweep import FinishedSweep, SweepRequest
    from callwise.tuning.sweep_spec import SweepSpec

__all__ = ["judged_rows", "recorded_trouble", "swept", "tune"]


def tune(options: TuneOptions) -> None:
    """Evaluate other settings on a recording, without buying a call that it has.

    Each setting on each turn is exact (every call it makes is recorded), bounded@i (it
    diverges at call i: counts are exact up to there, quality is an estimate with an
    interval), or missing n (it would have to buy n calls of a kind the recording lacks).

    Record with generous knobs first: settings that begin alike find their calls.

    callwise replay talks.jsonl --preset balanced --set search.max_calls=11 --out run

    callwise tune run --knob search.max_calls=3,4,6,11

    callwise tune run --grid presets --buy --max-buy-usd 2

    callwise tune run --route --buy

    callwise tune run --cascade --buy

    A sweep that was stopped goes on when the same command is run again.
    """
    with (
        clear_errors("stopped; finished settings are kept, run the same command to go on"),
        options.drain.ending(),
    ):
        try:
            if options.by != "logprobs" and not options.cascade:
                raise ConfigError(f"--by {options.by} needs --cascade")
            if options.cascade:
                from callwise.cli.tune_cascade import tune_by_cascade

                tune_by_cascade(options)
            elif options.route:
                from callwise.cli.tune_route import tune_by_route

                tune_by_route(options)
            elif options.models is not None:
                raise ConfigError("--models needs --route or --cascade")
            else:
                _tune(options)
        except RunStopped:
            from callwise.cli.tune_buying import spent

            say(spent(options))
            raise


def _spec(options: TuneOptions) -> "SweepSpec":
    from callwise.shipped import configs_folder
    from callwise.tuning.sweep_spec import SweepSpec, find_sweep, read_sweep, with_knobs

    for name, is_given in (("--race", options.race), ("--batch", options.batch)):
        if is_given and not options.buy:
            raise ConfigError(f"{name} needs --buy")
    if options.grid is None and not options.knobs:
        raise ConfigError(
            "nothing to try: give --grid FILE (or a shipped sweep, such as search_size), or "
            "--knob search.max_calls=3,6,11"
        )
    spec = SweepSpec()
    if options.grid is not None:
        spec = read_sweep(find_sweep(options.grid, configs_folder() / "sweeps"))
    return with_knobs(spec, options.knobs) if options.knobs else spec


def _request(options: TuneOptions) -> "SweepRequest":
    from callwise.tuning.sweep import SweepRequest, sweep_name

    unplaced = SweepRequest(
        recording=options.recording,
        spec=_spec(options),
        folder=Path(),
        past=options.past,
        max_turns=options.max_turns,
        jobs=options.jobs,
        trust=options.trust,
    )
    folder = options.out if options.out is not None else RUNS / sweep_name(unplaced)
    return replace(unplaced, folder=folder)


def _sweep(
    options: TuneOptions,
    request: "SweepRequest",
    recording: "Recording",
    evaluator: "Evaluator | None" = None,
) -> "FinishedSweep":
    from callwise.tuning.judge.judge_sweep import quality_values
    from callwise.tuning.sweep import sweep

    values_of = quality_values(recording, request.folder, options.quality_request, request.spec)
    with progress_bar("settings", is_quiet=options.as_json) as show:
        return sweep(
            request,
            values_of=values_of,
            on_result=lambda each: show(each.done, each.total, each.result.setting),
            evaluator=evaluator,
        )


@contextmanager
def _connected(options: TuneOptions, request: "SweepRequest") -> "Iterator[SweepRequest]":
    """Yield the request with the cluster's client in it, where there is one, and close that."""
    if options.cluster is None:
        yield request
        return
    from callwise.tuning.sweep_workers import connect

    client = connect(options.cluster)
    try:
        yield replace(request, client=client)
    finally:
        client.close()


def swept(options: TuneOptions, request: "SweepRequest", recording: "Recording") -> "FinishedSweep":
    """Return the sweep, after buying what was agreed to."""
    from callwise.cli.tune_buying import buy_missing, buyer_as_it_goes, spent

    # What to buy is known only once earlier settings have been judged.
    if options.buy and request.spec.sampler in {"nsga2", "tpe"}:
        evaluator = buyer_as_it_goes(options, request, recording)
        if evaluator is None:
            say("Nothing was bought.")
            return _sweep(options, request, recording)
        finished = _sweep(options, replace(request, jobs=1), recording, evaluator)
        say(spent(options))
        return finished
    finished = _sweep(options, request, recording)
    if options.buy and buy_missing(options, request, finished):
        return _sweep(options, request, recording)
    return finished


def judged_rows(
    options: TuneOptions, recording: "Recording", finished: "FinishedSweep"
) -> "JudgedRows":
    """Return the rows of a sweep with their quality, once its price is agreed to."""
    from callwise.cli.tune_buying import agreed
    from callwise.tuning.judge.judge_sweep import QualityRequest, judge_rows, preview_judging

    request = options.quality_request
    price = preview_judging(recording, finished.folder, finished.rows, request, environ=os.environ)
    if price is not None and price.bought_calls:
        say(price.sentence())
        if not price.is_simulated and not agreed(options, "Have them judged?"):
            request = QualityRequest("none", options.labels)
    with progress_bar("scores", is_quiet=options.as_json) as show:
        return judge_rows(recording, finished.folder, finished.rows, request, on_scores=show)


def _write(folder: Path, analysis: "Analysis", judged: "JudgedRows") -> dict[str, Any]:
    from callwise.tuning.analysis import with_estimates
    from callwise.tuning.analysis_forms import analysis_json
    from callwise.tuning.table_files import write_csv

    write_csv(folder / "rows.csv", with_estimates(judged.rows, analysis.quality))
    document = analysis_json(analysis)
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (folder / "summary.json").write_bytes(data)
    return document


def recorded_trouble(recording: "Recording") -> list[str]:
    """Return what the recorded turns went on without and could not read."""
    from callwise.report import load_run
    from callwise.report.run_forms import trouble_lines
    from callwise.report.totals import total

    record = load_run(recording.folder)
    return [f"recording: {line}" for line in trouble_lines(total(record.rows, record.turns))]


def _tune(options: TuneOptions) -> None:
    """Sweep, buy where asked to, judge, and print the result."""
    from callwise.cli.tune_next import next_lines, notices_of
    from callwise.recordings.recording import open_recording
    from callwise.report.table import tables_text
    from callwise.tuning.analysis import analyse, to_buy
    from callwise.tuning.analysis_forms import buy_sentence, summary_text
    from callwise.tuning.judge.judge_sweep import check_judging
    from callwise.tuning.judge.reliability import reliability_table
    from callwise.tuning.replay_evaluator import opened
    from callwise.tuning.sweep import plan_sweep
    from callwise.tuning.sweep_store import SweepStore
    from callwise.tuning.tracking import log_sweep, loggers_named

    loggers = loggers_named(options.log_to)
    request = _request(options)
    recording = open_recording(request.recording, app=options.app, trust=options.trust)
    plan_sweep(recording, request.spec)
    check_judging(recording, options.quality_request, environ=os.environ)
    if options.fresh:  # only once it is known that the recording can be played
        opened(request.evaluator.folder, request.trust)
        SweepStore.clear(request.folder)
    with _connected(options, request) as placed:
        finished = swept(options, placed, recording)
    for left in finished.left_out:
        say(f"left out: {left.setting}: {left.reason}")
    if not finished.rows:
        say("callwise: no setting could run, so there is nothing to show")
        raise typer.Exit(EXIT_WRONG_REQUEST)
    judged = judged_rows(options, recording, finished)
    analysis = analyse(
        judged.rows,
        unit=judged.unit,
        margin_share=options.margin_share,
        cost=options.cost,
    )
    document = _write(finished.folder, analysis, judged)
    drawn = ""
    if options.figures:
        from callwise.tuning.figures.figure_files import sweep_figures, write_figures

        figures = sweep_figures(judged.rows, unit=judged.unit, margin_share=options.margin_share)
        drawn = f", {len(write_figures(figures, finished.folder / 'figures'))} figures"
    what, *commands = next_lines(options, recording, finished, analysis) or [""]
    for notice in log_sweep(
        loggers, finished.folder.name, finished.settings, analysis, judged.rows
    ):
        say(notice)
    if options.as_json:
        print_json({**document, "folder": str(finished.folder)})
        return
    price = buy_sentence(to_buy(judged.rows))
    trust = [tables_text([reliability_table(each)]) for each in judged.reliability]
    lost = "" if judged.judged is None else judged.judged.lost
    notices = notices_of(judged, finished, lost)
    losses = (*([lost] if lost else []), *recorded_trouble(recording))
    print_wrapped(summary_text(analysis, losses=losses, notices=(*notices, *trust, price))[:-1])
    if analysis.is_simulated:
        say("Simulated: this proves counting and search arithmetic, not language.")
    say(f"sweep: {finished.folder}   (rows.csv, summary.json{drawn})")
    if commands:
        say(f"Next, {what}")
    for command in commands:
        say(f"  {command}")

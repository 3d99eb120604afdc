"""What `turnwise tune` does once its options are read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import typer

from turnwise.calls.errors import ConfigError
from turnwise.cli.exits import EXIT_WRONG_REQUEST, print_json, print_text, say
from turnwise.cli.replaying import RUNS
from turnwise.cli.tune_buying import (
    agreed,
    buy_missing,
    buyer_as_it_goes,
    buys_as_it_goes,
    spent,
)
from turnwise.cli.tune_options import TuneOptions, progress_bar
from turnwise.replay.recording import Recording, open_recording
from turnwise.report import load_run
from turnwise.report.run_forms import trouble_lines
from turnwise.report.totals import total
from turnwise.shipped import configs_folder
from turnwise.tune.analysis import Analysis, analyse, to_buy, with_estimates
from turnwise.tune.analysis_json import analysis_json
from turnwise.tune.judge_report import reliability_in_words
from turnwise.tune.judgement import (
    JudgedRows,
    QualityRequest,
    check_judging,
    judge_rows,
    preview_judging,
    quality_values,
)
from turnwise.tune.summary import buy_sentence, summary_text
from turnwise.tune.sweeping import FinishedSweep, SweepRequest, plan_sweep, sweep, sweep_name
from turnwise.tune.sweeps.evaluating import Evaluator
from turnwise.tune.sweeps.row_files import write_csv
from turnwise.tune.sweeps.running import SweepProgress
from turnwise.tune.sweeps.sweep_file import find_sweep, read_sweep, with_knobs
from turnwise.tune.sweeps.sweep_folder import SweepFolder
from turnwise.tune.sweeps.sweep_spec import SweepSpec

__all__ = ["TuneOptions", "tune_and_show"]


def _spec(options: TuneOptions) -> SweepSpec:
    if options.races and not options.buys:
        raise ConfigError("--race is about what is bought: say --buy as well")
    if options.grid is None and not options.knobs:
        raise ConfigError(
            "say what to try: --grid FILE (or a shipped sweep, such as search_size), or "
            "--knob search.max_calls=3,6,11"
        )
    spec = SweepSpec()
    if options.grid is not None:
        spec = read_sweep(find_sweep(options.grid, configs_folder() / "sweeps"))
    return with_knobs(spec, options.knobs) if options.knobs else spec


def _request(options: TuneOptions) -> SweepRequest:
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
    request: SweepRequest,
    recording: Recording,
    evaluator: Evaluator | None = None,
) -> FinishedSweep:
    values_of = quality_values(recording, request.folder, options.quality_request, request.spec)
    with progress_bar("settings", is_quiet=options.as_json) as show:

        def told(progress: SweepProgress) -> None:
            if show is not None:
                show(progress.done, progress.total, progress.result.setting)

        return sweep(request, values_of=values_of, on_result=told, evaluator=evaluator)


@contextmanager
def _connected(options: TuneOptions, request: SweepRequest) -> Iterator[SweepRequest]:
    """Give the request with the cluster's client in it, where there is one, and close that."""
    if options.cluster is None:
        yield request
        return
    from turnwise.tune.sweeps.cluster import connect

    client = connect(options.cluster)
    try:
        yield replace(request, client=client)
    finally:
        client.close()


def _swept(options: TuneOptions, request: SweepRequest, recording: Recording) -> FinishedSweep:
    """Return the sweep, after buying what was agreed to."""
    if buys_as_it_goes(options, request):
        buyer = buyer_as_it_goes(options, request, recording)
        if buyer is not None:
            request, evaluator = buyer
            finished = _sweep(options, request, recording, evaluator)
            say(spent(evaluator.purse))
            return finished
        say("Nothing was bought.")
        return _sweep(options, request, recording)
    finished = _sweep(options, request, recording)
    if options.buys and buy_missing(options, request, finished):
        return _sweep(options, request, recording)
    return finished


def _judged(options: TuneOptions, recording: Recording, finished: FinishedSweep) -> JudgedRows:
    request = options.quality_request
    price = preview_judging(recording, finished.folder, finished.rows, request, environ=os.environ)
    if price is not None and price.bought_calls:
        say(price.sentence())
        if not price.is_simulated and not agreed(options, "Have them judged?"):
            request = QualityRequest("none", options.labels)
    with progress_bar("scores", is_quiet=options.as_json) as show:

        def told(count: int) -> None:
            if show is not None:
                show(count, None, "")

        return judge_rows(recording, finished.folder, finished.rows, request, on_scores=told)


def _analysed(options: TuneOptions, judged: JudgedRows) -> Analysis:
    return analyse(
        judged.rows,
        scale_width=judged.scale_width,
        margin_share=options.margin_share,
        cost=options.cost,
    )


def _write(folder: Path, analysis: Analysis, judged: JudgedRows) -> dict[str, Any]:
    write_csv(folder / "rows.csv", with_estimates(judged.rows, analysis.quality))
    document = analysis_json(analysis)
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (folder / "summary.json").write_bytes(data)
    return document


def _draw(options: TuneOptions, folder: Path, judged: JudgedRows) -> str:
    """Draw the sweep's figures, and return what to say of them."""
    from turnwise.tune.figure_files import sweep_figures, write_figures

    figures = sweep_figures(
        judged.rows, scale_width=judged.scale_width, margin_share=options.margin_share
    )
    return f", {len(write_figures(figures, folder / 'figures'))} figures"


def _recorded_trouble(recording: Recording) -> list[str]:
    """Return what the recorded turns went on without and could not read."""
    record = load_run(recording.folder)
    return [f"recording: {line}" for line in trouble_lines(total(record.rows, record.turns))]


def tune_and_show(options: TuneOptions) -> None:
    """Sweep, buy where asked to, judge, and print what it says."""
    request = _request(options)
    recording = open_recording(request.recording, app=options.app, trust=options.trust)
    plan_sweep(recording, request.spec)
    check_judging(recording, options.quality_request, environ=os.environ)
    if options.is_fresh:  # only once it is known that the new sweep can begin
        SweepFolder.clear(request.folder)
    with _connected(options, request) as placed:
        finished = _swept(options, placed, recording)
    for notice in finished.notices:
        say(notice)
    for left in finished.left_out:
        say(f"left out: {left.setting}: {left.reason}")
    if not finished.rows:
        say("turnwise: no setting could run, so there is nothing to show")
        raise typer.Exit(EXIT_WRONG_REQUEST)
    judged = _judged(options, recording, finished)
    analysis = _analysed(options, judged)
    document = _write(finished.folder, analysis, judged)
    drawn = _draw(options, finished.folder, judged) if options.draws_figures else ""
    if options.as_json:
        print_json({**document, "folder": str(finished.folder)})
        return
    price = buy_sentence(to_buy(judged.rows))
    trust = [f"Judge: {reliability_in_words(each)}" for each in judged.reliability]
    lost = "" if judged.judged is None else judged.judged.lost
    notices = (each for each in judged.notices if each != lost)
    losses = (*([lost] if lost else []), *_recorded_trouble(recording))
    print_text(summary_text(analysis, losses=losses, notices=(*notices, *trust, price)), end="")
    if analysis.is_simulated:
        say("Simulated: this proves counting and search arithmetic, not language.")
    say(f"sweep: {finished.folder}   (rows.csv, summary.json{drawn})")

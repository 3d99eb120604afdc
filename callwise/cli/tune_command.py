"""`callwise tune`: other settings evaluated on one recording."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from callwise.calls.errors import ConfigError, RunStopped
from callwise.cli.completers import complete_knob, complete_run
from callwise.cli.draining import SignalDrain
from callwise.cli.options import (
    CommandOptions,
    FreshOption,
    JsonOption,
    MaxConcurrencyOption,
    MaxTurnsOption,
    OutOption,
    TrustCodeOption,
    TrustEndpointOption,
)
from callwise.cli.terminal import (
    EXIT_WRONG_REQUEST,
    clear_errors,
    print_json,
    print_wrapped,
    progress_bar,
    say,
    show_notices,
)
from callwise.shipped import RUNS

if TYPE_CHECKING:
    from callwise.calls.trust import Trust
    from callwise.recordings.counterfactual.purchase import SpendingCap
    from callwise.recordings.recording import Recording
    from callwise.tuning.analysis import Analysis
    from callwise.tuning.judge.judge_sweep import JudgedRows, QualityRequest
    from callwise.tuning.setting import Evaluator
    from callwise.tuning.sweep import FinishedSweep, SweepRequest
    from callwise.tuning.sweep_spec import SweepSpec

__all__ = ["TuneOptions", "judged_rows", "recorded_trouble", "swept", "tune"]


class TuneOptions(CommandOptions):
    """Options of `callwise tune`, and values derived from them."""

    recording: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING",
            autocompletion=complete_run,
            help="A run's folder: the --out of `replay`.",
        ),
    ]
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid", "-g", metavar="SWEEP", help="A sweep: a YAML file, or a shipped one's name."
        ),
    ] = None
    knobs: Annotated[
        list[str],
        typer.Option(
            "--knob",
            "-k",
            metavar="KNOB=A,B,...",
            autocompletion=complete_knob,
            help="Sweep one knob, e.g. --knob search.max_calls=3,6,11. Repeatable.",
        ),
    ] = []
    route: Annotated[
        bool,
        typer.Option("--route", help="Tune a routing table: which model answers which purpose."),
    ] = False
    models: Annotated[
        Path | None,
        typer.Option(help="With --route: a YAML file whose `models` are tried. See docs/models.md"),
    ] = None
    out: OutOption = None
    fresh: FreshOption = False
    max_turns: MaxTurnsOption = None
    past: Annotated[
        Literal["recorded", "own"],
        typer.Option(
            help=(
                "History of a turn. recorded: the messages really exchanged before it, so settings "
                "compare turn by turn. own: those of the setting itself."
            ),
        ),
    ] = "recorded"
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", help="Processes; -1 is one per core, 1 stays in this one."),
    ] = -1
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A dask scheduler whose workers see the recording, instead of --jobs.",
        ),
    ] = None
    quality: Annotated[
        Literal["auto", "truth", "referee", "pairwise", "none"],
        typer.Option(
            help=(
                "Source of the quality of replies. referee: a model, apart from the "
                "search's judge (CALLWISE_REFEREE_MODEL). pairwise: it compares with the recorded "
                "reply. truth: the hidden quality of simulated replies. auto: --labels, else "
                "truth, else none."
            ),
        ),
    ] = "auto"
    labels: Annotated[
        Path | None,
        typer.Option(help="People's labels: CSV of conversation, turn, reply, value."),
    ] = None
    rubric: Annotated[
        Path | None,
        typer.Option(help="A file with the referee's marks, in place of the shipped ones."),
    ] = None
    repeats: Annotated[int, typer.Option(min=1, help="Judge passes of a referee per reply.")] = 1
    margin_share: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Largest loss that is not worse; .01 is 1 %."),
    ] = 0.01
    cost: Annotated[
        Literal["asked", "requests", "tokens", "usd", "rounds_reply"],
        typer.Option(help="Which cost to lower. asked: calls."),
    ] = "asked"
    buy: Annotated[
        bool,
        typer.Option("--buy", help="Show what is not recorded and its price, ask, and buy that."),
    ] = False
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help=(
                "With --buy: buy by the providers' batch interfaces, at about half the price and "
                "within a day for each round of calls. A purchase that was stopped goes on."
            ),
        ),
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before buying.")] = False
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="With --buy: buy conversation by conversation, and drop beaten settings early.",
        ),
    ] = False
    max_buy_calls: Annotated[
        int | None,
        typer.Option(min=0, help="Most calls to buy, for all settings and a referee together."),
    ] = None
    max_buy_usd: Annotated[
        float | None, typer.Option(min=0.0, help="Most USD to spend for all of those calls.")
    ] = None
    max_concurrency: MaxConcurrencyOption = 1
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw figures into the sweep's folder (SVG).")
    ] = False
    log_to: Annotated[
        list[str],
        typer.Option(
            "--log",
            metavar="<mlflow|wandb>",
            help="Log settings, figures and the table to MLflow or Weights & Biases. Repeatable.",
        ),
    ] = []
    as_json: JsonOption = False
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="The recorded run's app, where it is not the shipped one."
        ),
    ] = None
    trust_endpoints: TrustEndpointOption = []
    trust_code: TrustCodeOption = []

    @cached_property
    def drain(self) -> SignalDrain:
        """The end of what is bought at a signal."""
        return SignalDrain()

    @cached_property
    def budget(self) -> "SpendingCap":
        """The cap on all paid calls together: bought ones and a referee's."""
        from callwise.recordings.counterfactual.purchase import SpendingCap

        return SpendingCap(self.max_buy_calls, self.max_buy_usd, on_open=self._opened)

    def _opened(self, session: object) -> None:
        """Let a signal end a session that buys, and show its notices."""
        self.drain.watch(session)
        show_notices(session)

    @property
    def trust(self) -> "Trust":
        """The code and endpoints of the recording that the user named."""
        from callwise.calls.trust import NOTHING

        code = (*self.trust_code, *((self.app,) if self.app else ()))
        return NOTHING.confirming(self.trust_endpoints, code)

    @property
    def quality_request(self) -> "QualityRequest":
        """The source of the quality of replies."""
        from callwise.tuning.judge.judge_sweep import QualityRequest

        return QualityRequest(
            self.quality, self.labels, self.repeats, budget=self.budget, rubric=self.rubric
        )


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

    A sweep that was stopped goes on when the same command is run again.
    """
    with (
        clear_errors("stopped; finished settings are kept, run the same command to go on"),
        options.drain.ending(),
    ):
        try:
            if options.route or options.models is not None:
                from callwise.cli.tune_route import tune_route

                tune_route(options)
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

"""What `turnwise tune` does once its options are read."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import typer

from turnwise.calls.errors import ConfigError
from turnwise.cli.exits import EXIT_WRONG_REQUEST, say
from turnwise.cli.replaying import RUNS
from turnwise.replay.counterfactual.evaluation import Past
from turnwise.replay.counterfactual.purchase import Purse
from turnwise.replay.recording import Recording, open_recording
from turnwise.shipped import configs_folder
from turnwise.tune.analysis import Analysis, ToBuy, analyse, to_buy
from turnwise.tune.analysis_json import analysis_json
from turnwise.tune.buying import BuyingEvaluator, PurchaseProgress, buy
from turnwise.tune.evaluating import Evaluator
from turnwise.tune.judge_report import reliability_in_words
from turnwise.tune.judgement import (
    JudgedRows,
    QualityRequest,
    QualitySource,
    judge_rows,
    preview_judging,
    quality_values,
)
from turnwise.tune.row_files import write_csv
from turnwise.tune.running import SweepProgress
from turnwise.tune.summary import buy_sentence, summary_text
from turnwise.tune.sweep_file import find_sweep, read_sweep, with_knobs
from turnwise.tune.sweep_folder import SweepFolder
from turnwise.tune.sweep_spec import SweepSpec
from turnwise.tune.sweeping import FinishedSweep, SweepRequest, plan_sweep, sweep, sweep_name

__all__ = ["TuneOptions", "tune_and_show"]


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of `turnwise tune`, as they came."""

    recording: Path
    grid: str | None = None
    knobs: Sequence[str] = ()
    out: Path | None = None
    is_fresh: bool = False
    max_turns: int | None = None
    past: Past = "recorded"
    jobs: int = -1
    quality: QualitySource = "auto"
    labels: Path | None = None
    repeats: int = 1
    margin_share: float = 0.01
    cost: str = "asked"
    buys: bool = False
    is_agreed: bool = False
    max_buy_calls: int | None = None
    max_buy_usd: float | None = None
    max_concurrency: int = 1
    draws_figures: bool = False
    as_json: bool = False

    @property
    def quality_request(self) -> QualityRequest:
        """Whose word on quality counts."""
        return QualityRequest(self.quality, self.labels, self.repeats)


def _spec(options: TuneOptions) -> SweepSpec:
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
    )
    folder = options.out if options.out is not None else RUNS / sweep_name(unplaced)
    return replace(unplaced, folder=folder)


@contextmanager
def _bar(unit: str, *, is_quiet: bool) -> Iterator[Callable[[int, int | None, str], None] | None]:
    """Give a function that shows how much is done, of how much, and what; None when quiet."""
    if is_quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[at]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None, at="")

        def show(done: int, total: int | None, at: str) -> None:
            bar.update(task, completed=done, total=total, at=at[:40])

        yield show


def _sweep(
    options: TuneOptions,
    request: SweepRequest,
    recording: Recording,
    evaluator: Evaluator | None = None,
) -> FinishedSweep:
    values_of = quality_values(recording, request.folder, options.quality_request, request.spec)
    with _bar("settings", is_quiet=options.as_json) as show:

        def told(progress: SweepProgress) -> None:
            if show is not None:
                show(progress.done, progress.total, progress.result.setting)

        return sweep(request, values_of=values_of, on_result=told, evaluator=evaluator)


def _buys_as_it_goes(options: TuneOptions, request: SweepRequest) -> bool:
    """Return whether what to buy is only known once earlier settings have been judged."""
    return options.buys and request.spec.sampler in {"nsga2", "tpe"}


def _buyer(
    options: TuneOptions, request: SweepRequest, recording: Recording
) -> tuple[SweepRequest, BuyingEvaluator] | None:
    """Return a sweep that buys as it goes, in one process; None without consent.

    Raises:
        ConfigError: when nothing caps what may be spent.
    """
    if options.max_buy_calls is None and options.max_buy_usd is None and not recording.is_simulated:
        raise ConfigError(
            f"`sampler: {request.spec.sampler}` chooses as it goes, so its price is not known "
            "beforehand: cap it with --max-buy-calls or --max-buy-usd"
        )
    turns = min(len(recording.inputs), request.max_turns or len(recording.inputs))
    cap = [f"{options.max_buy_calls:,} calls"] if options.max_buy_calls is not None else []
    cap += [f"USD {options.max_buy_usd:.4f}"] if options.max_buy_usd is not None else []
    say(
        f"Up to {request.spec.trials} settings are chosen one after another and run on {turns} "
        f"turns each; what is not recorded is bought, up to {' and '.join(cap) or 'any number'}."
    )
    if not _agreed(options, "Buy as the sweep goes?"):
        return None
    purse = Purse(max_calls=options.max_buy_calls, max_usd=options.max_buy_usd)
    evaluator = BuyingEvaluator(request.evaluator, purse, options.max_concurrency)
    return replace(request, jobs=1), evaluator


def _agreed(options: TuneOptions, question: str) -> bool:
    """Return whether the person wants to spend that.

    Raises:
        ConfigError: when nobody can be asked.
    """
    if options.is_agreed:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here before money is spent: say --yes")
    return typer.confirm(question, err=True)


def _spent(purse: Purse) -> str:
    """Return what was bought; a cost that is not known is not 0."""
    if purse.unknown_usd:
        usd = f"USD unknown for {purse.unknown_usd} of them, {purse.usd:.6f} for the others"
    else:
        usd = f"USD {purse.usd:.6f}"
    return f"Bought {purse.calls} calls: {usd}."


def _buy(options: TuneOptions, request: SweepRequest, finished: FinishedSweep) -> bool:
    """Show the price, ask, and buy; return whether anything was bought."""
    lacking = to_buy(finished.rows)
    say(buy_sentence(lacking))
    if not lacking.calls:
        return False
    _check_purse(options, lacking)
    if not _agreed(options, f"Buy up to {lacking.calls} calls?"):
        say("Nothing was bought.")
        return False
    purse = Purse(max_calls=options.max_buy_calls, max_usd=options.max_buy_usd)
    with _bar("turns", is_quiet=options.as_json) as show:

        def told(progress: PurchaseProgress) -> None:
            if show is not None:
                show(progress.turns, lacking.turns, f"{progress.calls} calls")

        bought = buy(
            request.recording,
            finished.settings,
            purse,
            past=request.past,
            max_turns=request.max_turns,
            max_concurrency=options.max_concurrency,
            on_turn=told,
        )
    say(_spent(purse))
    if bought.stopped:
        say(f"Stopped early: {bought.stopped}. Run the same command to go on.")
    return True


def _swept(options: TuneOptions, request: SweepRequest, recording: Recording) -> FinishedSweep:
    """Return the sweep, after buying what was agreed to."""
    if _buys_as_it_goes(options, request):
        buyer = _buyer(options, request, recording)
        if buyer is not None:
            request, evaluator = buyer
            finished = _sweep(options, request, recording, evaluator)
            say(_spent(evaluator.purse))
            return finished
        say("Nothing was bought.")
        return _sweep(options, request, recording)
    finished = _sweep(options, request, recording)
    if options.buys and _buy(options, request, finished):
        return _sweep(options, request, recording)
    return finished


def _check_purse(options: TuneOptions, lacking: ToBuy) -> None:
    if options.max_buy_usd is not None and lacking.usd is None:
        raise ConfigError(
            "--max-buy-usd cannot bind: the price of some of these calls is unknown. Set "
            "endpoints.<role>.prices in the recorded run's preset, or cap with --max-buy-calls"
        )


def _judged(options: TuneOptions, recording: Recording, finished: FinishedSweep) -> JudgedRows:
    request = options.quality_request
    price = preview_judging(recording, finished.folder, finished.rows, request, environ=os.environ)
    if price is not None and price.bought_calls:
        say(price.sentence())
        if not price.is_simulated and not _agreed(options, "Have them judged?"):
            request = QualityRequest("none", options.labels)
    with _bar("scores", is_quiet=options.as_json) as show:

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
    write_csv(folder / "rows.csv", judged.rows)
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


def tune_and_show(options: TuneOptions) -> None:
    """Sweep, buy where asked to, judge, and print what it says."""
    request = _request(options)
    if options.is_fresh:
        SweepFolder.clear(request.folder)
    recording = open_recording(request.recording)
    plan_sweep(recording, request.spec)
    finished = _swept(options, request, recording)
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
        sys.stdout.write(orjson.dumps({**document, "folder": str(finished.folder)}).decode() + "\n")
        return
    price = buy_sentence(to_buy(judged.rows))
    trust = [f"Judge: {reliability_in_words(each)}" for each in judged.reliability]
    sys.stdout.write(summary_text(analysis, notices=(*judged.notices, *trust, price)))
    if analysis.is_simulated:
        say("Simulated: this proves counting and search arithmetic, not language.")
    say(f"sweep: {finished.folder}   (rows.csv, summary.json{drawn})")

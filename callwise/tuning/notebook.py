"""The functions for notebooks and scripts: `plan`, `replay`, `tune`, `show`.

Each is one call for what takes several elsewhere. None is awaited: they work in a script, and in
a notebook's cell, where an event loop runs already. A cell that is run again reads what it made
before, or goes on where it stopped.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import JsonValue

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.calls.policies.cascade_policy import ConfidenceSource
from callwise.calls.trust import NOTHING
from callwise.knobs import misspelt_variables
from callwise.optional_library import loaded
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.recording import open_recording
from callwise.report import RunRecord, load_run
from callwise.report.table import Cell, escaped_markdown, markdown_table, plain_table
from callwise.shipped import RUNS
from callwise.tuning.analysis import Analysis, analyse, to_buy, with_estimates
from callwise.tuning.analysis_forms import buy_sentence, settings_table, verdict_table
from callwise.tuning.buying import buy
from callwise.tuning.figures import CostAxis, Tradeoff, tradeoff_of_front
from callwise.tuning.judge.judge_sweep import JudgedRows, QualityRequest, QualitySource, judge_rows
from callwise.tuning.judge.reliability import reliability_in_words
from callwise.tuning.notebook_output import NotebookFigure, show, tables_html
from callwise.tuning.notebook_runs import (
    panel_of_run,
    plan,
    replay,
    shortened,
    warn_of,
)
from callwise.tuning.row import Coverage, TurnRow
from callwise.tuning.setting_figures import settings_frame
from callwise.tuning.statistics.recommendation import MARGIN_SHARE, check_margin
from callwise.tuning.sweep import FinishedSweep, SweepRequest, sweep, sweep_name
from callwise.tuning.sweep_spec import NamedSetting, SweepSpec, check_sweep
from callwise.tuning.table_files import frame
from callwise.tuning.tracking import SweepLogger, log_sweep

if TYPE_CHECKING:
    import pandas as pd

    from callwise.tuning.notebook_models import Models

__all__ = [
    "NotebookFigure",
    "TuneResult",
    "panel_of_run",
    "plan",
    "replay",
    "row_of_trial",
    "show",
    "tune",
]


@dataclass(frozen=True, slots=True)
class TuneResult:
    """A sweep, judged and analysed. Its data frames need pandas, of the extra `tune`.

    Args:
        log_notices: what could not be logged, and why.
        nodes: those of the recorded run, in the order in which they first asked.
    """

    finished: FinishedSweep = field(repr=False)
    judged: JudgedRows = field(repr=False)
    analysis: Analysis
    log_notices: tuple[str, ...] = field(default=(), repr=False)
    nodes: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        """Return settings and recommendation as text."""
        lines = (self.recommendation, *self.log_notices)
        return plain_table(settings_table(self.analysis)) + "\n" + "\n".join(lines)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return every form, for Jupyter to choose from."""
        settings, found = settings_table(self.analysis), self.analysis.recommendation
        verdict = None if found is None else verdict_table(found)
        tables = [table for table in (settings, verdict) if table is not None]
        lines = [f"- {escaped_markdown(line)}" for line in self.log_notices]
        markdown = "\n\n".join([*lines, *(markdown_table(table) for table in tables)])
        html = tables_html(self.log_notices, tables)
        return {"text/html": html, "text/markdown": markdown, "text/plain": repr(self)}

    @property
    def rows(self) -> tuple[TurnRow, ...]:
        """One row per setting and turn, with its quality or the estimate of it."""
        return tuple(with_estimates(self.judged.rows, self.analysis.quality))

    @property
    def frame(self) -> "pd.DataFrame":
        """The rows as a data frame."""
        return frame(self.rows)

    @property
    def settings(self) -> "pd.DataFrame":
        """One line per setting, cheapest first, with intervals."""
        table = settings_table(self.analysis)
        return _indexed(table.rows, table.columns)

    @property
    def settings_frame(self) -> "pd.DataFrame":
        """One line per setting with every figure as a number; see `SETTING_FIGURES`."""
        return settings_frame(self.analysis)

    @property
    def tradeoff(self) -> Tradeoff:
        """Quality against the cost, with the front and the recommendation, as a figure's record."""
        return tradeoff_of_front(
            self.rows,
            self.analysis.front,
            cost=next(cost for cost in CostAxis if cost.field == self.analysis.cost),
            recommendation=self.analysis.recommendation,
            unit=self.analysis.unit,
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences on settings left out, the judge, what was not logged, and calls to buy."""
        left_out = [f"left out: {each.setting}: {each.reason}" for each in self.finished.left_out]
        trust = [f"Judge: {reliability_in_words(each)}" for each in self.judged.reliability]
        price = buy_sentence(to_buy(self.rows))
        found = (*self.analysis.notices, *self.judged.notices)
        return (*left_out, *found, *trust, *self.log_notices, price)

    @property
    def verdict(self) -> "pd.DataFrame":
        """The recommendation as one row per measure; none where the replies were not judged."""
        found = self.analysis.recommendation
        table = None if found is None else verdict_table(found)
        return _indexed(() if table is None else table.rows, ("measure", "value"))

    def with_margin(self, margin_share: float) -> "TuneResult":
        """Return the same rows, analysed with another loss that still counts as not worse.

        Args:
            margin_share: a share of the scale, above 0.
        """
        found = analyse(
            self.judged.rows,
            scale_width=self.judged.scale_width,
            margin_share=margin_share,
            cost=self.analysis.cost,
        )
        return replace(self, analysis=found)

    @property
    def recommendation(self) -> str:
        """The recommendation as one sentence."""
        found = self.analysis.recommendation
        if found is None:
            return "The replies were not judged, so no setting can be recommended."
        return found.sentence()


def _indexed(rows: Sequence[Sequence[Cell]], columns: Sequence[str]) -> "pd.DataFrame":
    """Return rows as a data frame with the first column as its index."""
    return loaded("pandas").DataFrame(rows, columns=columns).set_index(columns[0])


def tune(
    recording: str | Path | RunRecord,
    out: str | Path | None = None,
    *,
    knobs: Mapping[str, Sequence[JsonValue] | JsonValue] | None = None,
    settings: Mapping[str, Mapping[str, JsonValue]] | None = None,
    route: "Models | None" = None,
    cascade: "Models | None" = None,
    by: ConfidenceSource = "logprobs",
    quality: QualityRequest | QualitySource | None = None,
    cost: Literal["asked", "usd", "rounds_reply"] = "asked",
    margin_share: float = MARGIN_SHARE,
    max_turns: int | None = None,
    max_buy_calls: int = 0,
    jobs: int = 1,
    app: str | None = None,
    trust_endpoints: Sequence[str] = (),
    trust_code: Sequence[str] = (),
    loggers: Sequence[SweepLogger] = (),
) -> TuneResult:
    """Evaluate other settings on a recorded run, judge their replies, and analyse the rows.

    Nothing is sent unless `max_buy_calls` allows it: then what the settings lack is asked of
    the endpoints, paid for, and added to the recording.

    Args:
        recording: the run, or its folder.
        out: the sweep's folder; a sweep that was stopped there continues. None is a folder
            of `callwise-runs/` that is the same for the same request, and for no other.
        knobs: values, or the only one, by dotted knob; every combination is a setting.
        settings: knobs by the name of a setting; `preset` chooses its preset. They come first.
        route: tunes a routing table in place of settings, as `--route` does: models to try by
            name, each with its endpoint and prices, or a file with `models`; `{}` takes those of
            the recorded run. The result is a `TunedModels`, with curve and preset.
        cascade: tunes cascades that ask such models first, likewise, as `--cascade` does.
        by: with `cascade`, the source of confidence: `logprobs`, `agreement` or `judge`.
        quality: how replies are judged, as a request or the name of its source: `referee` asks
            a model for marks. None takes the hidden quality of simulated replies, and judges no
            others.
        cost: the cost to compare: `asked`, `usd` or `rounds_reply`.
        margin_share: loss that still counts as not worse, as a share of the scale.
        max_turns: the recording's first turns only, at least 1; None is all of them.
        max_buy_calls: most calls to buy, a referee's among them; 0 buys nothing.
        jobs: worker processes; -1 is one per core, 1 stays in this process.
        app: the run's app by its import string, where it is not the shipped one.
        trust_endpoints: endpoints that the recording may name and be sent calls, as `HOST` or
            `VARIABLE@HOST`.
        trust_code: models that it may name, as `module:name`.
        loggers: where the sweep is logged, such as `MlflowLogger()` or `WandbLogger()`; one that
            fails is a notice.

    Raises:
        ConfigError: for a sweep or a recording that cannot work.
        FormatError: when a file cannot be read.
        TypeError: when `out` is not a path.
        ValueError: when no setting could run.
    """
    if not isinstance(out, str | Path | None):
        raise TypeError(
            f"`out` is the folder of the sweep, got a {type(out).__name__}. Name the knobs: "
            'tune("RUN", "SWEEP", knobs={"search.max_calls": [3, 6]})'
        )
    if max_turns is not None and max_turns < 1:
        raise ConfigError(f"max_turns is at least 1, got {max_turns}")
    _refuse_contradictions(knobs=knobs, settings=settings, route=route, cascade=cascade)
    is_about_models = route is not None or cascade is not None
    if by not in get_args(ConfidenceSource):
        raise ConfigError(f"by={by!r:.60}: expected one of {', '.join(get_args(ConfidenceSource))}")
    unused = {
        f"by={by!r} needs `cascade`": by != "logprobs" and cascade is None,
        f"models are compared by USD, and cost is {cost!r:.60}": (
            is_about_models and cost not in {"asked", "usd"}
        ),
        "`loggers` are of settings, and not of models": is_about_models and bool(loggers),
    }
    for problem, is_given in unused.items():
        if is_given:
            raise ConfigError(f"{problem}; leave it out")
    check_margin(margin_share)
    named = [
        NamedSetting(
            name=name,
            preset=given.get("preset"),
            fixed={knob: value for knob, value in given.items() if knob != "preset"},
        )
        for name, given in (settings or {}).items()
    ]
    swept = {
        knob: list(values)
        if isinstance(values, Iterable) and not isinstance(values, str | Mapping)
        else [values]
        for knob, values in (knobs or {}).items()
    }
    judging = QualityRequest(quality) if isinstance(quality, str) else quality or QualityRequest()
    spec = SweepSpec(knobs=swept, settings=named)
    spec = spec if is_about_models else check_sweep(spec)
    trust = NOTHING.confirming(trust_endpoints, (*trust_code, *((app,) if app else ())))
    run = recording.folder if isinstance(recording, RunRecord) else Path(recording)
    request = SweepRequest(run, spec, Path(out or ""), max_turns=max_turns, jobs=jobs, trust=trust)
    try:
        recorded = open_recording(request.recording, trust=trust)
        warn_of(
            misspelt_variables(os.environ, [recorded.app.settings_model()], str(recorded.given))
        )
        if is_about_models:
            from callwise.tuning.notebook_models import tune_models  # noqa: PLC0415 - reads this

            return tune_models(
                request,
                (route if cascade is None else cascade) or {},
                None if cascade is None else by,
                judging,
                margin_share=margin_share,
                max_buy_calls=max_buy_calls,
            )
        if out is None:
            request = replace(request, folder=RUNS / sweep_name(request))
        finished = sweep(request)
        budget = SpendingCap(max_calls=max_buy_calls)
        if max_buy_calls and to_buy(finished.rows).calls:
            buy(request.evaluator, finished.settings, budget)
            finished = sweep(request)
        judged = judge_rows(
            open_recording(request.recording, trust=trust),
            finished.folder,
            finished.rows,
            replace(judging, budget=budget),
        )
    except (CallwiseError, KeyboardInterrupt) as error:
        raise shortened(error) from None
    analysis = analyse(judged.rows, unit=judged.unit, margin_share=margin_share, cost=cost)
    name = finished.folder.name
    notices = log_sweep(loggers, name, finished.settings, analysis, judged.rows)
    record = recording if isinstance(recording, RunRecord) else load_run(run)
    nodes = tuple(dict.fromkeys(row.node for row in record.rows if row.node))
    warn_of(notices)
    return TuneResult(finished, judged, analysis, tuple(notices), nodes)


def _refuse_contradictions(**given: object) -> None:
    """Refuse settings together with models, and two ways to use models.

    Raises:
        ConfigError: names both.
    """
    names = [name for name, value in given.items() if value is not None]
    of_models = [name for name in names if name in {"route", "cascade"}]
    if of_models and len(names) > 1:
        raise ConfigError(
            f"`{names[0]}` and `{names[1]}` are tuned one at a time; leave one of them out"
        )


def row_of_trial(
    setting: str, prompt: str, *, calls: int, rounds: int, quality: float, quality_by: str
) -> TurnRow:
    """Return one search on one prompt of a simulated pool as a row, each prompt being a turn.

    The statistics and figures of sweeps take such rows. A search without a pipeline writes no
    text: it has no tokens, no price and no reply.

    Args:
        prompt: its id; each prompt is one conversation.
        rounds: of calls that waited for each other.
        quality: true quality of the pick, in the pool's unit.
    """
    return TurnRow(
        setting=setting,
        conversation=prompt,
        turn=0,
        seed=0,
        coverage=Coverage.EXACT,
        diverged_at=None,
        missing_calls=0,
        missing_tokens=0,
        missing_usd=0.0,
        asked=calls,
        requests=calls,
        input_tokens=0,
        output_tokens=0,
        usd=None,
        rounds_reply=rounds,
        rounds_turn=rounds,
        seconds_reply=None,
        seconds_turn=None,
        is_reply_exact=True,
        reply_id="",
        is_simulated=True,
        quality=quality,
        quality_by=quality_by,
    )

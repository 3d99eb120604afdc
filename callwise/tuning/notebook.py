"""The functions for notebooks and scripts: `plan`, `replay`, `tune`, `show`.

Each is one call for what takes several elsewhere. None is awaited: they work in a script, and in
a notebook's cell, where an event loop runs already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from callwise.calls.errors import ConfigError
from callwise.calls.owner_loop import OwnerLoop
from callwise.calls.trust import NOTHING, confirmed
from callwise.plans import TurnPlan
from callwise.recordings.app_protocol import SHIPPED_APP, load_app
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.conversation_files import read_conversations
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.recording import open_recording
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.report import RunRecord, load_run
from callwise.report.table import Cell
from callwise.tuning.analysis import (
    Analysis,
    analyse,
    buy_sentence,
    settings_table,
    to_buy,
    verdict_table,
    with_estimates,
)
from callwise.tuning.buying import buy
from callwise.tuning.figures import CostAxis, Tradeoff, tradeoff_of_front
from callwise.tuning.judge.judge_sweep import JudgedRows, QualityRequest, judge_rows
from callwise.tuning.judge.reliability import reliability_in_words
from callwise.tuning.notebook_output import NotebookFigure, show
from callwise.tuning.optional_library import loaded
from callwise.tuning.panel import Panel, measured_panel
from callwise.tuning.row import Coverage, TurnRow
from callwise.tuning.setting import override_of
from callwise.tuning.statistics.recommendation import MARGIN_SHARE
from callwise.tuning.sweep import FinishedSweep, SweepRequest, sweep
from callwise.tuning.sweep_spec import NamedSetting, SweepSpec, check_sweep
from callwise.tuning.table_files import frame

if TYPE_CHECKING:
    import pandas as pd

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
    """A sweep, judged and analysed. Its data frames need pandas, of the extra `tune`."""

    finished: FinishedSweep = field(repr=False)
    judged: JudgedRows = field(repr=False)
    analysis: Analysis

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
    def tradeoff(self) -> Tradeoff:
        """Quality against the cost, with the front and the recommendation, as a figure's record."""
        return tradeoff_of_front(
            self.rows,
            self.analysis.front,
            cost=next(cost for cost in CostAxis if cost.field == self.analysis.cost),
            recommendation=self.analysis.recommendation,
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences on settings left out, the judge's reliability, and calls not recorded."""
        left_out = [f"left out: {each.setting}: {each.reason}" for each in self.finished.left_out]
        trust = [f"Judge: {reliability_in_words(each)}" for each in self.judged.reliability]
        price = buy_sentence(to_buy(self.rows))
        found = (*self.analysis.notices, *self.judged.notices)
        return (*left_out, *found, *trust, price)

    @property
    def verdict(self) -> "pd.DataFrame":
        """The recommendation as four rows; none where nothing is recommended."""
        found = self.analysis.recommendation
        table = None if found is None else verdict_table(found)
        return _indexed(() if table is None else table.rows, ("measure", "value"))

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
    recording: str | Path,
    out: str | Path,
    *,
    knobs: Mapping[str, Sequence[JsonValue]] | None = None,
    settings: Mapping[str, Mapping[str, JsonValue]] | None = None,
    quality: QualityRequest | None = None,
    cost: Literal["asked", "usd", "rounds_reply"] = "asked",
    margin_share: float = MARGIN_SHARE,
    max_turns: int | None = None,
    max_buy_calls: int = 0,
    jobs: int = 1,
    app: str | None = None,
    trust_endpoints: Sequence[str] = (),
    trust_code: Sequence[str] = (),
) -> TuneResult:
    """Evaluate other settings on a recorded run, judge their replies, and analyse the rows.

    Nothing is sent unless `max_buy_calls` allows it: then what the settings lack is asked of
    the endpoints, paid for, and added to the recording.

    Args:
        recording: the run's folder.
        out: the sweep's folder; a sweep that was stopped there continues.
        knobs: values by dotted knob; every combination is a setting.
        settings: knobs by the name of a setting; `preset` chooses its preset. They come first.
        quality: how replies are judged; None takes the hidden quality of simulated replies,
            and judges no others.
        cost: the cost to compare: `asked`, `usd` or `rounds_reply`.
        margin_share: loss that still counts as not worse, as a share of the scale.
        max_turns: the recording's first turns only; None is all of them.
        max_buy_calls: most calls to buy, a referee's among them; 0 buys nothing.
        jobs: worker processes; -1 is one per core, 1 stays in this process.
        app: the run's app by its import string, where it is not the shipped one.
        trust_endpoints: endpoints that the recording may name and be sent calls, as `HOST` or
            `VARIABLE@HOST`.
        trust_code: models that it may name, as `module:name`.

    Raises:
        ConfigError: for a sweep or a recording that cannot work.
        FormatError: when a file cannot be read.
        TypeError: when `out` is not a path.
        ValueError: when no setting could run.
    """
    if not isinstance(out, str | Path):
        raise TypeError(
            f"`out` is the folder of the sweep, got a {type(out).__name__}. Name the knobs: "
            'tune("RUN", "SWEEP", knobs={"search.max_calls": [3, 6]})'
        )
    named = [
        NamedSetting(
            name=name,
            preset=given.get("preset"),
            fixed={knob: value for knob, value in given.items() if knob != "preset"},
        )
        for name, given in (settings or {}).items()
    ]
    swept = {knob: list(values) for knob, values in (knobs or {}).items()}
    spec = check_sweep(SweepSpec(knobs=swept, settings=named))
    trust = NOTHING.confirming(trust_endpoints, (*trust_code, *((app,) if app else ())))
    request = SweepRequest(
        Path(recording), spec, Path(out), max_turns=max_turns, jobs=jobs, trust=trust
    )
    finished = sweep(request)
    budget = SpendingCap(max_calls=max_buy_calls)
    if max_buy_calls and to_buy(finished.rows).calls:
        buy(request.evaluator, finished.settings, budget)
        finished = sweep(request)
    judged = judge_rows(
        open_recording(request.recording, trust=trust),
        finished.folder,
        finished.rows,
        replace(quality or QualityRequest(), budget=budget),
    )
    analysis = analyse(
        judged.rows, scale_width=judged.scale_width, margin_share=margin_share, cost=cost
    )
    return TuneResult(finished, judged, analysis)


def plan(
    preset: str = "classic",
    knobs: Mapping[str, JsonValue] | None = None,
    *,
    app: str = SHIPPED_APP,
) -> TurnPlan:
    """Return what one turn will ask under these knobs. No model is asked.

    Args:
        preset: name of a preset, or path of a file of knobs.
        knobs: values by dotted knob, laid over the preset.

    Raises:
        ConfigError: for a setting that cannot work, or an app whose calls are not known before
            it runs.
        FormatError: when a preset file cannot be read.
    """
    loaded = load_app(app)
    overrides = [override_of(knob, value) for knob, value in (knobs or {}).items()]
    found: TurnPlan | None = loaded.plan(loaded.settings(preset, overrides))
    if found is None:
        raise ConfigError(
            f"the calls of {app} are not known before it runs. Run it with `replay(..., app="
            f"{app!r})` and show that run"
        )
    return found


def replay(
    conversations: str | Path,
    out: str | Path,
    *,
    preset: str = "balanced",
    knobs: Mapping[str, JsonValue] | None = None,
    cassette: str | Path | None = None,
    app: str = SHIPPED_APP,
    trust_endpoints: Sequence[str] = (),
    trust_code: Sequence[str] = (),
) -> RunRecord:
    """Replay conversations and return the run, read back from its folder.

    With a cassette every call is played from it, nothing is sent, and a call that it lacks
    is an error. Without one the app's endpoints answer, and the folder keeps a recording. It
    returns when the run has ended; in asynchronous code, await `asyncio.to_thread(replay, ...)`.

    Args:
        conversations: a file or folder, in any format that `callwise replay` reads.
        out: the run's folder; a run that was stopped there continues.
        preset: name of a preset, or path of a file of knobs.
        knobs: values by dotted knob, laid over the preset.
        trust_endpoints: endpoints that a preset file may name and be sent calls, as `HOST` or
            `VARIABLE@HOST`.
        trust_code: models that it may name, as `module:name`.

    Raises:
        ConfigError: when a setting cannot work, or the folder has something else in it.
        FormatError: when a file cannot be read.
        CallError: what stopped the run, such as a call that the cassette lacks.
    """
    loaded = load_app(app)
    overrides = [override_of(knob, value) for knob, value in (knobs or {}).items()]
    request = RunRequest(
        app=loaded,
        app_target=app,
        settings=confirmed(loaded.settings(preset, overrides), trust_endpoints, trust_code),
        conversations=read_conversations([Path(conversations)]).conversations,
        folder=Path(out),
        cassette=None if cassette is None else Path(cassette),
        mode=CassetteMode.NEW_EPISODES if cassette is None else CassetteMode.STRICT,
    )
    owner = OwnerLoop(is_private=True)
    try:
        owner.wait(run_replay, request)
    finally:
        owner.close()
    return load_run(request.folder)


def panel_of_run(run: RunRecord, *, is_by_turn: bool = False) -> Panel:
    """Return calls, rounds and seconds of each turn of a run, as a panel for `mean_intervals`.

    Its settings are `calls per turn`, `rounds to the reply` and `seconds to the reply` (path
    seconds); NaN where a turn has no such figure.

    Args:
        is_by_turn: whether each turn counts as one conversation. Turns of a conversation are
            alike, so such intervals are too narrow as a rule; they are for comparison.
    """
    names = [turn.conversation_id for turn in run.turns]
    units = [str(place) for place in range(len(names))] if is_by_turn else names
    figures: dict[str, list[float | None]] = {
        "calls per turn": [turn.asked for turn in run.turns],
        "rounds to the reply": [turn.spans[0] for turn in run.turns],
        "seconds to the reply": [turn.spans[2] for turn in run.turns],
    }
    return measured_panel(figures, units)


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

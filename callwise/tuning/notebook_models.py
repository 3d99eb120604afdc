"""`tune(route=...)` and `tune(cascade=...)` for notebooks: which model answers which call.

The search is that of `callwise tune --route` and `--cascade`; nothing is printed or asked.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from callwise.calls.errors import ConfigError
from callwise.calls.policies.cascade_policy import ConfidenceSource
from callwise.optional_library import loaded
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.recording import open_recording
from callwise.report.table import Table, markdown_table, plain_table
from callwise.shipped import RUNS
from callwise.tuning.analysis import to_buy
from callwise.tuning.buying import buy
from callwise.tuning.figures import CostAxis, Tradeoff, tradeoff_of_front
from callwise.tuning.judge.judge_sweep import QualityRequest, check_judging, judge_rows
from callwise.tuning.notebook import TuneResult
from callwise.tuning.notebook_output import tables_html
from callwise.tuning.replay_evaluator import OpenRecording, opened
from callwise.tuning.routing.cascade_forms import cascade_table, undecided
from callwise.tuning.routing.cascade_tuning import TunedCascades, tune_cascades
from callwise.tuning.routing.curve import CurvePoint, curve_json, curve_table
from callwise.tuning.routing.route_tuning import (
    PRESET_FILE,
    MeasuredSweep,
    TunedRoute,
    analysed,
    models_of_file,
    refuse_dots,
    refuse_idle,
    space_of,
    tune_route,
)
from callwise.tuning.sweep import SweepRequest, sweep, sweep_name
from callwise.tuning.sweep_spec import SweepSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Models", "TunedModels", "tune_models"]

Models = Mapping[str, JsonValue] | str | Path
"""Knobs of models by name, or a file whose `models` are tried; empty: those of the recording."""


@dataclass(frozen=True, slots=True, repr=False)
class TunedModels(TuneResult):
    """A result of `tune` that is about models: its last sweep, its curves, its preset.

    Args:
        tuned: all that was tried.
        curves: quality against USD, by cascade, or of the routing tables alone (`route`).
        preset: the file of what is recommended; None where nothing is shown.
    """

    tuned: TunedRoute | TunedCascades | None = field(default=None, repr=False)
    curves: Mapping[str, list[CurvePoint]] = field(default_factory=dict, repr=False)
    preset: Path | None = None

    def __repr__(self) -> str:
        """Return the tables and the recommendation as text."""
        return "\n".join([*map(plain_table, self._tables), self.recommendation])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return every form, for Jupyter to choose from."""
        lines, tables = [self.recommendation], self._tables
        markdown = "\n\n".join([*map(markdown_table, tables), *lines])
        return {
            "text/html": tables_html(lines, tables),
            "text/markdown": markdown,
            "text/plain": repr(self),
        }

    @property
    def _tables(self) -> list[Table]:
        unit, is_simulated = self.analysis.unit, self.analysis.is_simulated
        own = [_titled(curve_table(each, unit, is_simulated=is_simulated), name)
               for name, each in self.curves.items() if each]  # fmt: skip
        if isinstance(self.tuned, TunedCascades):
            own = [cascade_table(self.tuned.tried, unit, is_simulated=is_simulated), *own]
        return own

    @property
    def tradeoff(self) -> Tradeoff:
        """Quality against USD: of routing tables, or of the thresholds of the first cascade."""
        if isinstance(self.tuned, TunedCascades):
            for each in (*self.tuned.chosen, *self.tuned.tried):
                if (found := each.figure(self.analysis.unit)) is not None:
                    return found
        return tradeoff_of_front(
            self.rows,
            self.analysis.front,
            cost=CostAxis.USD,
            recommendation=self.analysis.recommendation,
            unit=self.analysis.unit,
        )

    @property
    def curve_frame(self) -> "pd.DataFrame":
        """The points of the curves, one a line, with both ends of each interval."""
        lines = [
            {"curve": name, **_flat(point)}
            for name, points in self.curves.items()
            for point in curve_json(points)
        ]
        return loaded("pandas").DataFrame(lines)

    @property
    def recommendation(self) -> str:
        """The recommendation as one sentence."""
        if self.preset is not None:
            return f"Recommended, and written as a preset: {self.preset}."
        lacking = to_buy(self.judged.rows).calls
        if lacking:
            return f"Nothing is recommended: {lacking:,} calls are not recorded (max_buy_calls)."
        if isinstance(self.tuned, TunedCascades):
            way_out = undecided(self.tuned, "margin_share")
            return f"No cascade is shown to be good enough for less: {way_out}."
        found = self.analysis.recommendation
        return "Nothing is recommended: no reply was judged." if found is None else found.sentence()


def _titled(table: Table, name: str) -> Table:
    """Return a curve's table with what it is of in its title."""
    return replace(table, title=f"{name}. {table.title}")


def _flat(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point with the ends of its intervals as fields."""
    found: dict[str, Any] = {}
    for name, value in point.items():
        if isinstance(value, Mapping):
            found |= {name: value["mean"], f"{name}_low": value["low"]}
            found[f"{name}_high"] = value["high"]
        else:
            found[name] = value
    return found


def tune_models(
    request: SweepRequest,
    models: Models,
    by: ConfidenceSource | None,
    judging: QualityRequest,
    *,
    margin_share: float,
    max_buy_calls: int,
) -> TunedModels:
    """Tune a routing table, or cascades, on a recording.

    Args:
        request: its settings are replaced; a folder of no name is chosen by the request.
        by: source of the confidence of cascades; None tunes a routing table.

    Raises:
        ConfigError: when nothing can go to another model, a price is missing, or no quality is
            known.
    """
    kind = "route" if by is None else "cascade"
    recording = open_recording(request.recording, trust=request.trust)
    if judging.is_open(is_simulated=recording.is_simulated):
        raise ConfigError(
            f"`{kind}` compares quality, and none is known: give quality='referee', or a "
            "QualityRequest with labels"
        )
    check_judging(recording, judging, environ=os.environ)
    knobs = models_of_file(Path(models)) if isinstance(models, str | Path) else _knobs(models, kind)

    def known() -> OpenRecording:
        return opened(request.recording.resolve(), request.trust)

    space = space_of(known(), knobs, request.max_turns)
    folder = request.folder
    if not folder.name:
        named = replace(request, spec=space.single_options())
        folder = RUNS / "-".join((sweep_name(named), kind, *(() if by is None else (by,))))
    budget = SpendingCap(max_calls=max_buy_calls)

    def measure(spec: SweepSpec, name: str) -> MeasuredSweep:
        own = replace(request, spec=spec, folder=folder / name)
        finished = sweep(own)
        if max_buy_calls and to_buy(finished.rows).calls:
            buy(own.evaluator, finished.settings, budget)
            finished = sweep(own)
        refuse_idle(finished)
        judged = judge_rows(
            recording, finished.folder, finished.rows, replace(judging, budget=budget)
        )
        return analysed(finished, judged, margin_share=margin_share, cost="usd")

    tuned: TunedRoute | TunedCascades
    if by is None:
        tuned = tune_route(space, measure, _silent)
        last, curves = tuned.whole, {"route": tuned.curve()}
    else:
        tuned = tune_cascades(
            known,
            space,
            by,
            measure,
            _silent,
            margin_share=margin_share,
            max_turns=request.max_turns,
        )
        last = tuned.alone if tuned.whole is None else tuned.whole
        curves = {each.option.name: each.curve() for each in tuned.tried}
    preset = folder / PRESET_FILE
    preset.unlink(missing_ok=True)
    text = tuned.preset(known())
    if text is not None:
        preset.write_text(text, encoding="utf-8")
    return TunedModels(
        last.finished,
        last.judged,
        last.analysis,
        tuned=tuned,
        curves=curves,
        preset=None if text is None else preset,
    )


def _silent(_: str) -> None:
    """Show nothing: a notebook's cell shows its result."""


def _knobs(models: Mapping[str, JsonValue], kind: str) -> dict[str, Any]:
    if not isinstance(models, Mapping):
        raise ConfigError(
            f"`{kind}` is a dict of models by name, or a file with `models`; got {models!r:.80}"
        )
    refuse_dots(models, f"`{kind}`")
    return {"models": dict(models)} if models else {}

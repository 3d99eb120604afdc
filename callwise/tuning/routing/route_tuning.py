"""Routing tables tuned on a recording: options alone, tables as a whole, the verdict.

Two sweeps. The first has each option of each purpose alone, from which tables are proposed; the
second has the proposed tables as a whole, and the verdict rests on it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.policies import RoutePolicy
from callwise.knobs.presets import parse_yaml
from callwise.recordings.app_protocol import SettingsApp
from callwise.recordings.recording import Recording
from callwise.tuning.analysis import Analysis, analyse
from callwise.tuning.judge.judge_sweep import JudgedRows
from callwise.tuning.replay_evaluator import RECORDED, OpenRecording, preset_of, run_apart
from callwise.tuning.routing.curve import CurvePoint, routing_curve
from callwise.tuning.routing.measured_figures import measured_figures
from callwise.tuning.routing.recorded_calls import recorded_calls
from callwise.tuning.routing.route_space import (
    REFERENCE,
    TUNED_COMPLEXITY,
    WEAKEST,
    RouteOption,
    RouteSpace,
    route_space,
)
from callwise.tuning.routing.table_search import OptionPanels, propose_tables
from callwise.tuning.row import TurnRow, rows_by_setting
from callwise.tuning.setting import Setting, override_of
from callwise.tuning.statistics.bootstrap import Interval, paired_difference
from callwise.tuning.sweep import FinishedSweep
from callwise.tuning.sweep_spec import NamedSetting, SweepSpec, flat_knobs

__all__ = [
    "PRESET_FILE",
    "Measure",
    "MeasuredSweep",
    "TunedRoute",
    "analysed",
    "models_of_file",
    "preset_text",
    "refuse_dots",
    "refuse_idle",
    "space_of",
    "tune_route",
]

PRESET_FILE = "recommended.yaml"
"""The preset of what is recommended, in the folder of the sweeps."""

MIN_RECORDED_SHARE = 0.98
"""Least share of a setting's replies in the recording for it to be compared."""

CURVE_SHARES = (0.25, 0.5, 0.75)
"""Costs between weakest and strongest for which the curve has a table."""


class MeasuredSweep(NamedTuple):
    """A sweep that was judged, and the analysis of its settings that are recorded."""

    analysis: Analysis
    judged: JudgedRows
    finished: FinishedSweep


Measure = Callable[[SweepSpec, str], MeasuredSweep]
"""Evaluates settings, buys what was agreed to, judges and analyses; by the name of the sweep."""


def analysed(
    finished: FinishedSweep, judged: JudgedRows, *, margin_share: float, cost: str
) -> MeasuredSweep:
    """Return the analysis of the settings nearly all of whose replies are recorded."""
    by_setting = rows_by_setting(judged.rows)
    known = [row for own in by_setting.values() if _is_recorded(own) for row in own]
    analysis = analyse(known, unit=judged.unit, margin_share=margin_share, cost=cost)
    return MeasuredSweep(analysis, judged, finished)


def refuse_idle(finished: FinishedSweep) -> None:
    """Refuse a sweep of the recorded run alone, before its replies are judged.

    Raises:
        ConfigError: when none of the other settings could run.
    """
    if all(each.name == REFERENCE for each in finished.settings):
        why = f": {finished.left_out[0].reason}" if finished.left_out else ""
        raise ConfigError(f"no setting could run, so there is nothing to compare{why}")


def _is_recorded(rows: Sequence[TurnRow]) -> bool:
    """Return whether nearly all replies of a setting are recorded.

    The turns that a table gives to another model are those whose replies are missing. Estimates
    from other settings, which mostly gave the reference's reply there, would show no difference.
    """
    return sum(row.is_reply_exact for row in rows) >= MIN_RECORDED_SHARE * len(rows)


def models_of_file(path: Path) -> dict[str, Any]:
    """Return the knobs of a file of models.

    Raises:
        ConfigError: when it cannot be read, or has other knobs.
        FormatError: when it is no such file.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise FormatError(path, None, f"expected UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the models {path}: {error.strerror}") from error
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise FormatError(path, 1, "expected `models:`, with the endpoint and prices of each")
    unknown = sorted(set(map(str, document)) - {"models", "endpoints"})
    if unknown:
        raise ConfigError(
            f"{path}: expected `models` and `endpoints` alone, got {unknown[0]!r:.80}"
        )
    refuse_dots(document["models"], str(path))
    return document


def refuse_dots(names: Iterable[object], where: str) -> None:
    """Refuse names of models that would be read as paths of knobs.

    Raises:
        ConfigError: names the first one.
    """
    for name in names:
        if "." in str(name):
            raise ConfigError(
                f"{where}: name the model {name!r:.80} without a dot, and give its own name as "
                "its `model`"
            )


def space_of(known: OpenRecording, knobs: Mapping[str, Any], max_turns: int | None) -> RouteSpace:
    """Return the models of a recording, and which of its calls could go to another one.

    Args:
        knobs: laid over the recorded settings, such as `models`.

    Raises:
        ConfigError: when nothing can go to another model, or a price is missing.
    """
    recording = known.recording
    app = recording.app
    if not isinstance(app, SettingsApp):
        raise ConfigError(
            f"{recording.app_target} does not name its endpoints, so no model of it can be routed"
        )
    overrides = [override_of(name, each) for name, each in flat_knobs(dict(knobs)).items()]
    settings = recording.settings(None, overrides)
    if getattr(settings, "policies", None):
        raise ConfigError(
            "the recorded run has its own `policies`, so its calls are not those of the "
            "strongest models: record a run without them, and tune that"
        )
    models = tuple(getattr(settings, "models", None) or ())
    endpoints = app.endpoints(app.checked(settings), is_offline=True)
    prices = {str(name): endpoint.prices for name, endpoint in endpoints.items()}
    calls = run_apart(recorded_calls(known, TUNED_COMPLEXITY, max_turns))
    return route_space(calls, prices, models, knobs)


def preset_text(
    recording: Recording, named: NamedSetting, policies: Mapping[str, Any], measured: Analysis
) -> str:
    """Return a setting with its policies as a preset file."""
    document = preset_of(recording, Setting(named.name, RECORDED, flat_knobs(named.fixed)))
    document["policies"] = dict(policies)
    label = ", simulated" if measured.is_simulated else ""
    heading = (
        f"# Measured on {measured.turns} turns of {measured.conversations} conversations{label}.\n"
    )
    return heading + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True, slots=True)
class TunedRoute:
    """The tables that were measured, by name, and both sweeps: of options alone, of tables.

    Args:
        tables: None where too little is known to propose any.
        whole: the sweep of tables; that of options alone where there are none.
    """

    space: RouteSpace
    tables: dict[str, tuple[RouteOption, ...]] | None
    alone: MeasuredSweep
    whole: MeasuredSweep

    @property
    def chosen(self) -> tuple[RouteOption, ...] | None:
        """The recommended table; None where none is shown, or the strongest models are."""
        found = self.whole.analysis.recommendation
        if self.tables is None or found is None or found.chosen is None or not found.is_shown:
            return None
        return self.tables.get(found.chosen)

    def curve(self) -> list[CurvePoint]:
        """Return the tables on the curve; none where an end of it is not known."""
        whole = self.whole.analysis
        if self.tables is None or not whole.by or WEAKEST not in whole.settings:
            return []
        if np.all(np.isnan(whole.costs.values)):
            return []
        shares = {name: self.space.strong_share(own) for name, own in self.tables.items()}
        return routing_curve(
            whole.costs,
            whole.quality,
            strong=REFERENCE,
            weak=WEAKEST,
            strong_shares=shares | {REFERENCE: 1.0},
        )

    def interaction(self) -> Interval | None:
        """Return the measured quality of the recommended table less the predicted, per turn."""
        found = self.whole.analysis.recommendation
        chosen = None if found is None else found.chosen
        first, second = self.alone.analysis.quality, self.whole.analysis.quality
        if self.tables is None or chosen is None or chosen not in self.tables:
            return None
        if first.values.shape[1] != second.values.shape[1]:
            return None
        options = self.tables[chosen]
        place = {name: at for at, name in enumerate(first.settings)}
        reference = first.values[place[REFERENCE]]
        predicted = reference + sum(first.values[place[each.name]] - reference for each in options)
        measured = second.values[second.settings.index(chosen)]
        values = np.array([measured, predicted])
        both = replace(
            second, settings=("measured", "predicted"), values=values, spread=np.zeros_like(values)
        )
        return paired_difference(both, "measured", "predicted")

    def preset(self, known: OpenRecording) -> str | None:
        """Return the recommended table as a preset file; None where there is none."""
        own = self.chosen
        if own is None:
            return None
        figures = measured_figures(known.cassette, self.space, self.alone.analysis)
        policies = {
            each.purpose: _checked(self.space.policy(each, figures.of(each.purpose)))
            for each in own
        }
        named = self.space.setting("recommended", own)
        return preset_text(known.recording, named, policies, self.whole.analysis)


def _checked(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as a file has it, once its model takes it."""
    return RoutePolicy.model_validate(policy).model_dump(mode="json", exclude_unset=True)


def tune_route(space: RouteSpace, measure: Measure, say: Callable[[str], None]) -> TunedRoute:
    """Measure the options of a space alone, and the tables that they propose as a whole.

    Args:
        say: is given what is measured next.
    """
    singles = space.single_options()
    say(f"Options of one purpose each: {len(singles.settings) - 1}.")
    alone = measure(singles, "options")
    tables = _proposed(space, alone.analysis)
    if tables is None:
        return TunedRoute(space, None, alone, alone)
    say(f"Tables that are worth measuring as a whole: {len(tables)}.")
    named = [space.setting(name, own) for name, own in tables.items()]
    whole = measure(SweepSpec(settings=[singles.settings[0], *named]), "tables")
    return TunedRoute(space, tables, alone, whole)


def _proposed(space: RouteSpace, alone: Analysis) -> dict[str, tuple[RouteOption, ...]] | None:
    """Return the tables to measure by name; None where too little is known to propose any."""
    recommended = alone.recommendation
    if not alone.by or recommended is None:
        return None
    by_name = {option.name: option for own in space.options.values() for option in own}
    known = {
        purpose: [each.name for each in own if each.name in alone.settings]
        for purpose, own in space.options.items()
    }
    known = {purpose: own for purpose, own in known.items() if own}
    if not known:
        return None
    panels = OptionPanels(REFERENCE, known, alone.costs, alone.quality)
    lowest = _cost_of(
        panels, [option.name for option in space.weakest if option.name in alone.settings]
    )
    proposed = propose_tables(
        panels,
        margin=recommended.margin,
        budgets=[lowest * (1 - share) for share in CURVE_SHARES],
    )
    tables = [
        tuple(by_name[name] for name in each.options.values() if name in by_name)
        for each in proposed
    ]
    others = [own for own in tables if set(own) != set(space.weakest)]
    return {WEAKEST: space.weakest} | {f"table {at}": own for at, own in enumerate(others, 1)}


def _cost_of(panels: OptionPanels, names: Sequence[str]) -> float:
    """Return the predicted cost of options together, less that of the reference."""
    place = {name: at for at, name in enumerate(panels.cost.settings)}
    values = panels.cost.values
    reference = values[place[panels.reference]]
    return math.fsum(float(np.nanmean(values[place[name]] - reference)) for name in names)

"""`callwise tune --route`: the routing table that costs least for nearly the best quality.

Two sweeps of the recording. The first has each option of each purpose alone, from which tables are
proposed; the second has the proposed tables as a whole, and the verdict rests on it.
"""

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import yaml

from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.policies import RoutePolicy
from callwise.cli.terminal import print_json, print_wrapped, say
from callwise.cli.tune_command import judged_rows, recorded_trouble, swept
from callwise.cli.tune_next import preset_of
from callwise.knobs.presets import parse_yaml
from callwise.recordings.app_protocol import SettingsApp
from callwise.recordings.recording import Recording, open_recording
from callwise.report.table import tables_text
from callwise.shipped import RUNS
from callwise.tuning.analysis import Analysis, analyse, to_buy
from callwise.tuning.analysis_forms import (
    analysis_json,
    buy_sentence,
    legend_lines,
    settings_table,
    verdict_table,
)
from callwise.tuning.judge.judge_sweep import JudgedRows, check_judging
from callwise.tuning.replay_evaluator import RECORDED, opened, run_apart
from callwise.tuning.routing.curve import CurvePoint, curve_json, curve_table, routing_curve
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
from callwise.tuning.statistics.power import interval_text
from callwise.tuning.sweep import FinishedSweep, SweepRequest, sweep_name
from callwise.tuning.sweep_spec import NamedSetting, SweepSpec, flat_knobs
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.table_files import write_csv

if TYPE_CHECKING:
    from callwise.cli.tune_command import TuneOptions

__all__ = ["tune_route"]

PRESET_FILE = "recommended.yaml"
MIN_RECORDED_SHARE = 0.98
"""Least share of a table's replies in the recording for it to be compared."""

CURVE_SHARES = (0.25, 0.5, 0.75)
"""Costs between weakest and strongest for which the curve has a table."""


@dataclass(frozen=True, slots=True)
class _Tuned:
    """The tables that were measured, by name, and both analyses: of options alone, of tables."""

    recording: Recording
    folder: Path
    space: RouteSpace
    tables: dict[str, tuple[RouteOption, ...]]
    alone: Analysis
    whole: Analysis
    judged: JudgedRows


def tune_route(options: "TuneOptions") -> None:
    """Evaluate routing tables on a recording, print the curve and write the recommended one.

    Raises:
        ConfigError: when nothing can be routed, a price is missing, or options do not fit.
    """
    _check_options(options)
    options = options.model_copy(
        update={"cost": "usd" if options.cost == "asked" else options.cost}
    )
    recording = open_recording(options.recording, app=options.app, trust=options.trust)
    _check_quality(options, is_simulated=recording.is_simulated)
    check_judging(recording, options.quality_request, environ=os.environ)
    space = _space(options, recording)
    singles = space.single_options()
    request = SweepRequest(
        recording=options.recording,
        spec=singles,
        folder=Path(),
        past=options.past,
        max_turns=options.max_turns,
        jobs=options.jobs,
        trust=options.trust,
    )
    folder = options.out if options.out is not None else RUNS / f"{sweep_name(request)}-route"
    if options.fresh:
        for part in ("options", "tables"):
            SweepStore.clear(folder / part)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PRESET_FILE).unlink(missing_ok=True)
    say(f"Options of one purpose each: {len(singles.settings) - 1}.")
    alone, judged_alone = _analysed(options, replace(request, folder=folder / "options"), recording)
    tables = _proposed(space, alone)
    if tables is None:
        _stop(options, alone, judged_alone, folder)
        return
    say(f"Tables that are worth measuring as a whole: {len(tables)}.")
    spec = _tables_spec(space, tables)
    request = replace(request, spec=spec, folder=folder / "tables")
    whole, judged = _analysed(options, request, recording)
    tuned = _Tuned(recording, folder, space, tables, alone, whole, judged)
    curve = _curve(tuned)
    interaction = _interaction(tuned)
    commands = _next(options, tuned)
    document = {
        **analysis_json(whole),
        "curve": curve_json(curve),
        "interaction": interaction and [interaction.mean, interaction.low, interaction.high],
        "tables": {name: [each.name for each in own] for name, own in tables.items()},
        "options": analysis_json(alone)["settings"],
    }
    write_csv(folder / "rows.csv", judged.rows)
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (folder / "summary.json").write_bytes(data)
    drawn = _figures(options, judged, folder)
    if options.as_json:
        print_json({**document, "folder": str(folder)})
        return
    _print(tuned, curve, interaction)
    say(f"sweep: {folder}   (rows.csv, summary.json{drawn})")
    for line in commands:
        say(line)


def _check_options(options: "TuneOptions") -> None:
    if not options.route:
        raise ConfigError("--models needs --route")
    wrong = {
        "--grid": options.grid is not None,
        "--knob": bool(options.knobs),
        "--race": options.race,
        "--log": bool(options.log_to),
        "--cluster": options.cluster is not None,
    }
    for name, is_given in wrong.items():
        if is_given:
            raise ConfigError(
                f"{name} does not go with --route, which makes its own settings; leave one out"
            )
    if options.batch and not options.buy:
        raise ConfigError("--batch needs --buy")


def _check_quality(options: "TuneOptions", *, is_simulated: bool) -> None:
    """Refuse a request without quality before anything is bought for it."""
    is_open = options.quality == "none" or (options.quality == "auto" and not is_simulated)
    if is_open and options.labels is None:
        raise ConfigError(
            "--route compares quality, and none is known: give --quality referee or --labels"
        )


def _space(options: "TuneOptions", recording: Recording) -> RouteSpace:
    app = recording.app
    if not isinstance(app, SettingsApp):
        raise ConfigError(
            f"{recording.app_target} does not name its endpoints, so no model of it can be routed"
        )
    knobs = {} if options.models is None else _models_of(options.models)
    flat = flat_knobs(knobs)
    settings = recording.settings(None, [override_of(name, each) for name, each in flat.items()])
    if getattr(settings, "policies", None):
        raise ConfigError(
            "the recorded run has its own `policies`, so its calls are not those of the "
            "strongest models: record a run without them, and tune that"
        )
    models = tuple(getattr(settings, "models", None) or ())
    endpoints = app.endpoints(app.checked(settings), is_offline=True)
    prices = {str(name): endpoint.prices for name, endpoint in endpoints.items()}
    known = opened(options.recording.resolve(), options.trust)
    calls = run_apart(recorded_calls(known, TUNED_COMPLEXITY, options.max_turns))
    return route_space(calls, prices, models, knobs)


def _models_of(path: Path) -> dict[str, Any]:
    """Return the knobs of a file of models."""
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
    for name in document["models"]:
        if "." in str(name):
            raise ConfigError(
                f"{path}: name the model {name!r:.80} without a dot, and give its own name as "
                "its `model`"
            )
    return document


def _analysed(
    options: "TuneOptions", request: SweepRequest, recording: Recording
) -> tuple[Analysis, JudgedRows]:
    """Evaluate, buy where asked to, judge, analyse."""
    finished: FinishedSweep = swept(options, request, recording)
    for left in finished.left_out:
        say(f"left out: {left.setting}: {left.reason}")
    if not finished.rows:
        raise ConfigError("no setting could run, so there is nothing to compare")
    judged = judged_rows(options, recording, finished)
    by_setting = rows_by_setting(judged.rows)
    known = [row for own in by_setting.values() if _is_recorded(own) for row in own]
    analysis = analyse(
        known, unit=judged.unit, margin_share=options.margin_share, cost=options.cost
    )
    return analysis, judged


def _is_recorded(rows: Sequence[TurnRow]) -> bool:
    """Return whether nearly all replies of a setting are recorded.

    The turns that a table gives to another model are those whose replies are missing. Estimates
    from other settings, which mostly gave the reference's reply there, would show no difference.
    """
    return sum(row.is_reply_exact for row in rows) >= MIN_RECORDED_SHARE * len(rows)


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


def _tables_spec(space: RouteSpace, tables: dict[str, tuple[RouteOption, ...]]) -> SweepSpec:
    alone = SweepSpec(settings=space.single_options().settings[:1])
    settings = [space.setting(name, own) for name, own in tables.items()]
    return SweepSpec(settings=[*alone.settings, *settings])


def _curve(tuned: _Tuned) -> list[CurvePoint]:
    """Return the tables on the curve; none where an end of it is not known."""
    whole = tuned.whole
    if not whole.by or WEAKEST not in whole.settings or np.all(np.isnan(whole.costs.values)):
        return []
    shares = {name: tuned.space.strong_share(own) for name, own in tuned.tables.items()}
    return routing_curve(
        whole.costs,
        whole.quality,
        strong=REFERENCE,
        weak=WEAKEST,
        strong_shares=shares | {REFERENCE: 1.0},
    )


def _interaction(tuned: _Tuned) -> Interval | None:
    """Return the measured quality of the recommended table less the predicted, per turn."""
    recommended = tuned.whole.recommendation
    chosen = None if recommended is None else recommended.chosen
    first, second = tuned.alone.quality, tuned.whole.quality
    if chosen not in tuned.tables or first.values.shape[1] != second.values.shape[1]:
        return None
    options = tuned.tables[chosen]
    place = {name: at for at, name in enumerate(first.settings)}
    reference = first.values[place[REFERENCE]]
    predicted = reference + sum(first.values[place[each.name]] - reference for each in options)
    measured = second.values[second.settings.index(chosen)]
    values = np.array([measured, predicted])
    both = replace(
        second, settings=("measured", "predicted"), values=values, spread=np.zeros_like(values)
    )
    return paired_difference(both, "measured", "predicted")


def _stop(options: "TuneOptions", alone: Analysis, judged: JudgedRows, folder: Path) -> None:
    """Print why no table can be proposed, and what leads to one."""
    if options.as_json:
        print_json({**analysis_json(alone), "curve": [], "tables": {}, "folder": str(folder)})
        return
    print_wrapped(tables_text([settings_table(alone)]).rstrip())
    for line in legend_lines(alone):
        say(line)
    say(buy_sentence(to_buy(judged.rows)))
    if not alone.by:
        say("No table can be proposed: no reply was judged.")
        return
    say("No table can be proposed: the replies of the other models are not recorded.")
    if options.buy:
        return
    say("Next, buy them; the price is shown first:")
    say(f"  {_again(options, folder, '--buy')}")


def _again(options: "TuneOptions", folder: Path, *more: str) -> str:
    words = ["callwise", "tune", str(options.recording), "--route", "--out", str(folder)]
    if options.models is not None:
        words += ["--models", str(options.models)]
    kept = ("max_turns", "quality", "labels", "rubric", "repeats", "margin_share", "app", "buy")
    usual = type(options).model_fields
    for name in kept:
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value != usual[name].default and option not in more:
            words += [option] if value is True else [option, str(value)]
    for host in options.trust_endpoints:
        words += ["--trust-endpoint", host]
    for code in options.trust_code:
        words += ["--trust-code", code]
    return shlex.join([*words, *more])


def _next(options: "TuneOptions", tuned: _Tuned) -> list[str]:
    """Return what to do next; a table that is shown to be good enough is written as a preset."""
    recording, folder, space = tuned.recording, tuned.folder, tuned.space
    whole, tables = tuned.whole, tuned.tables
    lacking = to_buy(tuned.judged.rows)
    recommended = whole.recommendation
    if recommended is None or recommended.chosen is None or not recommended.is_shown:
        if lacking.calls and not options.buy:
            return ["Next, buy the tables' replies:", f"  {_again(options, folder, '--buy')}"]
        more = recommended and recommended.needed and recommended.needed.more_conversations
        enough = f"{more:,} more conversations" if more else "more conversations"
        return [f"Next, record {enough}, or accept a larger loss (--margin-share)."]
    if recommended.chosen not in tables:
        return ["Next, keep the strongest models: no table is shown to be good enough for less."]
    own = tables[recommended.chosen]
    known = opened(options.recording.resolve(), options.trust)
    figures = measured_figures(known.cassette, space, tuned.alone)
    setting = space.setting(recommended.chosen, own)
    document = preset_of(recording, _setting(setting))
    document["policies"] = {
        option.purpose: _checked(space.policy(option, figures.of(option.purpose))) for option in own
    }
    path = folder / PRESET_FILE
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    label = ", simulated" if whole.is_simulated else ""
    heading = f"# Measured on {whole.turns} turns of {whole.conversations} conversations{label}.\n"
    path.write_text(heading + text, encoding="utf-8")
    turns = shlex.quote(str(options.recording / "turns.jsonl"))
    command = (
        f"callwise replay {turns} --preset {shlex.quote(str(path))} "
        f"--record {shlex.quote(str(recording.cassette))} --out routed"
    )
    return [
        "Next, run the recommended table; what is recorded is not bought again:",
        f"  {command}",
        "  callwise check routed --baseline calls.json --update",
    ]


def _setting(named: NamedSetting) -> Setting:
    return Setting(named.name, RECORDED, flat_knobs(named.fixed))


def _checked(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as a file has it, once its model takes it."""
    return RoutePolicy.model_validate(policy).model_dump(mode="json", exclude_unset=True)


def _figures(options: "TuneOptions", judged: JudgedRows, folder: Path) -> str:
    """Draw the tables' figures where asked to, and return how many there are."""
    if not options.figures:
        return ""
    from callwise.tuning.figures.figure_files import sweep_figures, write_figures

    figures = sweep_figures(judged.rows, unit=judged.unit, margin_share=options.margin_share)
    return f", {len(write_figures(figures, folder / 'figures'))} figures"


def _print(tuned: _Tuned, curve: list[CurvePoint], interaction: Interval | None) -> None:
    whole, judged = tuned.whole, tuned.judged
    for line in recorded_trouble(tuned.recording):
        say(line)
    if curve:
        print_wrapped(
            tables_text([curve_table(curve, whole.unit, is_simulated=whole.is_simulated)])
        )
    else:
        print_wrapped(tables_text([settings_table(whole)]))
    for line in legend_lines(whole):
        say(line)
    for name, own in tuned.tables.items():
        say(f"{name}: {'; '.join(each.name for each in own)}")
    if whole.recommendation is not None:
        print_wrapped(tables_text([verdict_table(whole.recommendation)]))
        say(whole.recommendation.sentence())
    if interaction is not None:
        say(
            "Purposes were assumed not to interact. Measured less predicted quality of the "
            f"recommended table: {interval_text(interaction)}."
        )
    for notice in (*whole.notices, *judged.notices):
        say(notice)
    say(buy_sentence(to_buy(judged.rows)))
    if whole.is_simulated:
        say("Simulated: this proves counting and search arithmetic, not language.")

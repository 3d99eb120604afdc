"""`callwise tune --cascade`: small models first, with thresholds calibrated on a recording."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from callwise.cli.terminal import print_wrapped, say
from callwise.cli.tune_command import recorded_trouble
from callwise.cli.tune_models import ModelSweeps, open_models
from callwise.report.table import tables_text
from callwise.text_layout import counted
from callwise.tuning.analysis import to_buy
from callwise.tuning.analysis_forms import (
    analysis_json,
    buy_sentence,
    legend_lines,
    settings_table,
    verdict_table,
)
from callwise.tuning.routing.cascade_forms import cascade_json, cascade_table, undecided
from callwise.tuning.routing.cascade_tuning import TriedCascade, TunedCascades, tune_cascades
from callwise.tuning.routing.curve import curve_table
from callwise.tuning.routing.route_tuning import MeasuredSweep

if TYPE_CHECKING:
    from callwise.cli.tune_options import TuneOptions

__all__ = ["tune_by_cascade"]


def tune_by_cascade(options: "TuneOptions") -> None:
    """Calibrate cascades on a recording, print their curves and write the recommended ones.

    Raises:
        ConfigError: when no model is cheaper, a price is missing, or options do not fit.
    """
    sweeps = open_models(options, "--cascade")
    tuned = tune_cascades(
        sweeps.known,
        sweeps.space,
        options.by,
        sweeps.measure,
        say,
        margin_share=options.margin_share,
        max_turns=options.max_turns,
    )
    if not tuned.tried:
        sweeps.stop(tuned.alone, "cascade", {"cascades": []})
        return
    commands = _next(sweeps, tuned)
    last = tuned.alone if tuned.whole is None else tuned.whole
    document: dict[str, Any] = {
        **analysis_json(last.analysis),
        "cascades": [cascade_json(each) for each in tuned.tried],
        "chosen": [each.option.name for each in tuned.chosen],
        "alone": analysis_json(tuned.alone.analysis)["settings"],
    }
    unit = tuned.alone.analysis.unit
    curves = {f"cascade_{at}": each.figure(unit) for at, each in enumerate(tuned.tried, start=1)}
    files = sweeps.finish(last.judged, document, curves)
    if files is None:
        return
    for line in recorded_trouble(sweeps.recording):
        say(line)
    _print(tuned, last)
    for line in (files, *commands):
        say(line)


def _print(tuned: TunedCascades, last: MeasuredSweep) -> None:
    unit, is_simulated = tuned.alone.analysis.unit, tuned.alone.analysis.is_simulated
    print_wrapped(tables_text([cascade_table(tuned.tried, unit, is_simulated=is_simulated)]))
    for each in tuned.chosen or tuned.tried[:1]:
        if curve := each.curve():
            say(f"{each.option.name}, by its raw threshold:")
            print_wrapped(tables_text([curve_table(curve, unit, is_simulated=is_simulated)]))
    if tuned.crossed is not None:
        say("Verdict, each threshold chosen without the turns that it is tested on:")
        print_wrapped(tables_text([verdict_table(tuned.crossed)]))
    if tuned.whole is not None:
        say("The cascades as they would be run:")
        print_wrapped(tables_text([settings_table(tuned.whole.analysis)]))
    for line in (*legend_lines(last.analysis), *(n for each in tuned.tried for n in _notes(each))):
        say(line)
    for notice in (*last.analysis.notices, *last.judged.notices):
        say(notice)
    say(buy_sentence(to_buy(last.judged.rows)))
    if is_simulated:
        say("Simulated: this proves counting and search arithmetic, not language.")


def _notes(tried: TriedCascade) -> Iterator[str]:
    """Yield what is to be known of a cascade next to its figures."""
    name = tried.option.name
    if tried.several:
        yield (
            f"{name}: {counted(tried.several, 'turn')} of {len(tried.keys)} ask several such "
            "questions; its curve escalates all of them where one is unsure, a run only that one"
        )
    if tried.is_shown and tried.taken_share == 1.0:
        yield f"{name}: takes every answer; --route gives it these calls without a check"


def _next(sweeps: ModelSweeps, tuned: TunedCascades) -> list[str]:
    """Return what to do next; cascades that are shown to be good enough are written as a preset."""
    text = tuned.preset(sweeps.known())
    if text is not None:
        return sweeps.write_preset(text, "cascaded")
    whole = tuned.whole
    if whole is not None and to_buy(whole.judged.rows).calls and not sweeps.is_buying:
        return ["Next, buy the cascades' replies:", f"  {sweeps.again('--buy')}"]
    return [f"No cascade is shown to be good enough for less. Next, {undecided(tuned)}."]

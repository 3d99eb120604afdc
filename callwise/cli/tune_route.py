"""`callwise tune --route`: the routing table that costs least for nearly the best quality."""

from typing import TYPE_CHECKING

from callwise.cli.terminal import print_wrapped, say
from callwise.cli.tune_command import recorded_trouble
from callwise.cli.tune_models import ModelSweeps, open_models
from callwise.report.table import tables_text
from callwise.tuning.analysis import to_buy
from callwise.tuning.analysis_forms import (
    analysis_json,
    buy_sentence,
    legend_lines,
    settings_table,
    verdict_table,
)
from callwise.tuning.routing.curve import CurvePoint, curve_json, curve_table
from callwise.tuning.routing.route_tuning import TunedRoute, tune_route
from callwise.tuning.statistics.bootstrap import Interval
from callwise.tuning.statistics.power import interval_text

if TYPE_CHECKING:
    from callwise.cli.tune_options import TuneOptions

__all__ = ["tune_by_route"]


def tune_by_route(options: "TuneOptions") -> None:
    """Evaluate routing tables on a recording, print the curve and write the recommended one.

    Raises:
        ConfigError: when nothing can be routed, a price is missing, or options do not fit.
    """
    sweeps = open_models(options, "--route")
    tuned = tune_route(sweeps.space, sweeps.measure, say)
    if tuned.tables is None:
        sweeps.stop(tuned.alone, "table", {"curve": [], "tables": {}})
        return
    curve = tuned.curve()
    interaction = tuned.interaction()
    commands = _next(sweeps, tuned)
    document = {
        **analysis_json(tuned.whole.analysis),
        "curve": curve_json(curve),
        "interaction": interaction and [interaction.mean, interaction.low, interaction.high],
        "tables": {name: [each.name for each in own] for name, own in tuned.tables.items()},
        "options": analysis_json(tuned.alone.analysis)["settings"],
    }
    files = sweeps.finish(tuned.whole.judged, document)
    if files is None:
        return
    for line in recorded_trouble(sweeps.recording):
        say(line)
    _print(tuned, curve, interaction)
    for line in (files, *commands):
        say(line)


def _print(tuned: TunedRoute, curve: list[CurvePoint], interaction: Interval | None) -> None:
    whole, judged = tuned.whole.analysis, tuned.whole.judged
    label = whole.is_simulated
    table = curve_table(curve, whole.unit, is_simulated=label) if curve else settings_table(whole)
    print_wrapped(tables_text([table]))
    for line in legend_lines(whole):
        say(line)
    for name, own in (tuned.tables or {}).items():
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


def _next(sweeps: ModelSweeps, tuned: TunedRoute) -> list[str]:
    """Return what to do next; a table that is shown to be good enough is written as a preset."""
    text = tuned.preset(sweeps.known())
    if text is not None:
        return sweeps.write_preset(text, "routed")
    recommended = tuned.whole.analysis.recommendation
    if recommended is None or recommended.chosen is None or not recommended.is_shown:
        if to_buy(tuned.whole.judged.rows).calls and not sweeps.is_buying:
            return ["Next, buy the tables' replies:", f"  {sweeps.again('--buy')}"]
        more = recommended and recommended.needed and recommended.needed.more_conversations
        enough = f"{more:,} more conversations" if more else "more conversations"
        return [f"Next, record {enough}, or accept a larger loss (--margin-share)."]
    return ["Next, keep the strongest models: no table is shown to be good enough for less."]

"""Quality, price and time of each model for each purpose, as a recording has measured them."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from callwise.calls.call import Outcome
from callwise.recordings.counterfactual.reusable_cassette import ReusableCassette
from callwise.tuning.analysis import Analysis
from callwise.tuning.panel import measured_panel
from callwise.tuning.routing.route_space import REFERENCE, RouteSpace
from callwise.tuning.statistics.bootstrap import Interval, mean_intervals

__all__ = ["ModelFigures", "measured_figures"]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """Fields of a `RouteEntry` by purpose and model. What was not measured is left out."""

    entries: Mapping[tuple[str, str], Mapping[str, float]]

    def of(self, purpose: str) -> dict[str, Mapping[str, float]]:
        """Return the fields of one purpose, by model."""
        return {model: own for (each, model), own in self.entries.items() if each == purpose}


def measured_figures(
    cassette: ReusableCassette, space: RouteSpace, alone: Analysis
) -> ModelFigures:
    """Return what was measured of each model for each purpose.

    Quality is that of whole replies while this model alone answers this purpose, on the scale of
    the quality, from 0 to 1; without a known scale it is left out. Price and seconds are means per
    recorded call that was sent.

    Args:
        alone: the analysis of each option alone.
    """
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for purpose, options in space.options.items():
        found[purpose, space.roles[purpose]] |= _quality(alone, REFERENCE)
        for option in options:
            used = [model for model, limit in option.limits if limit is not None]
            if len(used) == 1 and dict(option.limits)[used[0]] == 1.0:
                found[purpose, used[0]] |= _quality(alone, option.name)
    usd: dict[tuple[str, str], list[float]] = defaultdict(list)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    conversations: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in range(len(cassette)):
        place, exchange = cassette.place(entry), cassette.exchange(entry)
        purpose = place.kind[1]
        if exchange.outcome is not Outcome.SERVED or purpose not in space.options:
            continue
        model = space.roles[purpose] if exchange.choice is None else exchange.choice.model
        if exchange.usd is not None:
            usd[purpose, model].append(exchange.usd)
        seconds[purpose, model].append(exchange.latency_seconds)
        conversations[purpose, model].append(place.conversation or "")
    for key, values in usd.items():
        found[key]["usd_per_call"] = math.fsum(values) / len(values)
    for key, values in seconds.items():
        panel = measured_panel({"seconds": values}, conversations[key])
        found[key] |= _fields("seconds", mean_intervals(panel)["seconds"], 0.0, 1.0, 1e6)
    return ModelFigures(found)


def _quality(alone: Analysis, setting: str) -> dict[str, float]:
    unit = alone.unit
    summary = alone.settings.get(setting)
    if unit.low is None or unit.width is None or summary is None:
        return {}
    return _fields("quality", summary.quality, unit.low, unit.width, 1.0)


def _fields(name: str, found: Interval, low: float, width: float, most: float) -> dict[str, float]:
    """Return a mean and its interval, where known, as fields from 0 to `most`."""
    if found.mean is None:
        return {}

    def on_scale(value: float) -> float:
        return round(min(max((value - low) / width, 0.0), most), 4)

    fields = {name: on_scale(found.mean)}
    if found.low is not None and found.high is not None:
        fields |= {f"{name}_low": on_scale(found.low), f"{name}_high": on_scale(found.high)}
    return fields

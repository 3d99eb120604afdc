"""Any figure's record as a Vega-Lite specification."""

from typing import TypeAlias

from turnwise.tune.figures.bar_charts import (
    calls_by_node_chart,
    calls_over_turns_chart,
    timeline_chart,
    waterfall_chart,
)
from turnwise.tune.figures.calls_by_node import CallsByNode
from turnwise.tune.figures.calls_over_turns import CallsOverTurns
from turnwise.tune.figures.chart import Chart
from turnwise.tune.figures.timeline import Timeline
from turnwise.tune.figures.tradeoff import Tradeoff
from turnwise.tune.figures.tradeoff_chart import tradeoff_chart
from turnwise.tune.figures.tree import SearchTree
from turnwise.tune.figures.tree_chart import tree_chart
from turnwise.tune.figures.waterfall import Waterfall

__all__ = ["FigureData", "to_vega"]

FigureData: TypeAlias = Tradeoff | CallsByNode | CallsOverTurns | Waterfall | SearchTree | Timeline
"""The records that can be drawn."""


def to_vega(found: FigureData) -> Chart:
    """Return a record as a Vega-Lite specification: plain JSON, which Vega and altair read."""
    match found:
        case Tradeoff():
            return tradeoff_chart(found)
        case CallsByNode():
            return calls_by_node_chart(found)
        case CallsOverTurns():
            return calls_over_turns_chart(found)
        case Waterfall():
            return waterfall_chart(found)
        case SearchTree():
            return tree_chart(found)
        case Timeline():
            return timeline_chart(found)

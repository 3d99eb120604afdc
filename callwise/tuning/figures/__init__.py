"""Figures as plain records, and the drawing of each as Vega-Lite. Light to import."""

from callwise.tuning.figures.calls_by_node import (
    CallsByNode,
    CallsOverTurns,
    calls_by_node_of,
    calls_over_turns_of,
)
from callwise.tuning.figures.figure_files import FigureData, figure_bytes, to_vega, write_figure
from callwise.tuning.figures.timeline import Timeline, TimeScale, timeline_of
from callwise.tuning.figures.tradeoff import Tradeoff, tradeoff_of, tradeoff_of_front
from callwise.tuning.figures.waterfall import ChainStep, Waterfall, steps_between, waterfall_of
from callwise.tuning.figures.whisker import CostAxis, FigureBasis, basis_of

__all__ = [
    "CallsByNode",
    "CallsOverTurns",
    "ChainStep",
    "CostAxis",
    "FigureBasis",
    "FigureData",
    "TimeScale",
    "Timeline",
    "Tradeoff",
    "Waterfall",
    "basis_of",
    "calls_by_node_of",
    "calls_over_turns_of",
    "figure_bytes",
    "steps_between",
    "timeline_of",
    "to_vega",
    "tradeoff_of",
    "tradeoff_of_front",
    "waterfall_of",
    "write_figure",
]

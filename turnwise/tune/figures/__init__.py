"""Figures: what they show as plain records, and two ways to draw a record. Light to import."""

from turnwise.tune.figures.basis import Basis, basis_of
from turnwise.tune.figures.calls_by_node import CallsByNode, calls_by_node_of
from turnwise.tune.figures.calls_over_turns import CallsOverTurns, calls_over_turns_of
from turnwise.tune.figures.cost import Cost
from turnwise.tune.figures.draw import FigureData, to_matplotlib, to_plotly
from turnwise.tune.figures.file import write_figure
from turnwise.tune.figures.timeline import Scale, Timeline, timeline_of
from turnwise.tune.figures.tradeoff import Tradeoff
from turnwise.tune.figures.tradeoff_rows import tradeoff_of, tradeoff_of_front
from turnwise.tune.figures.waterfall import ChainStep, Waterfall, steps_between, waterfall_of

__all__ = [
    "Basis",
    "CallsByNode",
    "CallsOverTurns",
    "ChainStep",
    "Cost",
    "FigureData",
    "Scale",
    "Timeline",
    "Tradeoff",
    "Waterfall",
    "basis_of",
    "calls_by_node_of",
    "calls_over_turns_of",
    "steps_between",
    "timeline_of",
    "to_matplotlib",
    "to_plotly",
    "tradeoff_of",
    "tradeoff_of_front",
    "waterfall_of",
    "write_figure",
]

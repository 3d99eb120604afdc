"""Any figure's record, drawn: by plotly for a notebook, by matplotlib for a file."""

from typing import TYPE_CHECKING, TypeAlias

from turnwise.tune.figures.calls_by_node import CallsByNode
from turnwise.tune.figures.calls_over_turns import CallsOverTurns
from turnwise.tune.figures.draw_matplotlib import stacks as paper_stacks
from turnwise.tune.figures.draw_matplotlib import timeline as paper_timeline
from turnwise.tune.figures.draw_matplotlib import tradeoff as paper_tradeoff
from turnwise.tune.figures.draw_matplotlib import waterfall as paper_waterfall
from turnwise.tune.figures.draw_plotly import stacks as screen_stacks
from turnwise.tune.figures.draw_plotly import timeline as screen_timeline
from turnwise.tune.figures.draw_plotly import tradeoff as screen_tradeoff
from turnwise.tune.figures.draw_plotly import waterfall as screen_waterfall
from turnwise.tune.figures.timeline import Timeline
from turnwise.tune.figures.tradeoff import Tradeoff
from turnwise.tune.figures.waterfall import Waterfall

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

__all__ = ["FigureData", "to_matplotlib", "to_plotly"]

FigureData: TypeAlias = Tradeoff | CallsByNode | CallsOverTurns | Waterfall | Timeline
"""The records that can be drawn."""


def to_plotly(found: FigureData) -> "go.Figure":
    """Return a record as a plotly figure, for notebooks and pages.

    Raises:
        ConfigError: when plotly is not installed.
    """
    match found:
        case Tradeoff():
            return screen_tradeoff.draw_tradeoff(found)
        case CallsByNode():
            return screen_stacks.draw_calls_by_node(found)
        case CallsOverTurns():
            return screen_stacks.draw_calls_over_turns(found)
        case Waterfall():
            return screen_waterfall.draw_waterfall(found)
        case Timeline():
            return screen_timeline.draw_timeline(found)


def to_matplotlib(found: FigureData) -> "Figure":
    """Return a record as a matplotlib figure, for files; `write_figure` writes it.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    match found:
        case Tradeoff():
            return paper_tradeoff.draw_tradeoff(found)
        case CallsByNode():
            return paper_stacks.draw_calls_by_node(found)
        case CallsOverTurns():
            return paper_stacks.draw_calls_over_turns(found)
        case Waterfall():
            return paper_waterfall.draw_waterfall(found)
        case Timeline():
            return paper_timeline.draw_timeline(found)

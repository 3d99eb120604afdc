"""Calls by node on paper: a bar a setting, or a bar a turn."""

from typing import TYPE_CHECKING

from turnwise.tune.figures.calls_by_node import CallsByNode
from turnwise.tune.figures.calls_over_turns import CallsOverTurns
from turnwise.tune.figures.draw_matplotlib.canvas import (
    blank,
    finished,
    house_style,
    legend_beside,
    said_instead,
)
from turnwise.tune.figures.palette import FAINT, INK, PAPER, SOFT, node_colours
from turnwise.tune.figures.shown_text import for_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_calls_by_node", "draw_calls_over_turns"]

_INCHES_A_BAR = 0.42
MAX_HEIGHT_INCHES = 60.0
"""A figure of more settings than that has room for gets thinner bars."""


def draw_calls_by_node(found: CallsByNode) -> "Figure":
    """Return calls by node as a matplotlib figure, the first setting on top.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    with house_style():
        height = min(1.9 + _INCHES_A_BAR * max(len(found.bars), 2), MAX_HEIGHT_INCHES)
        figure, axes = blank(7.4, height)
        axes.set_xlabel("calls a turn")
        if not found.bars:
            said_instead(axes, "There are no rows to draw.")
        else:
            _bars(axes, found)
            legend_beside(figure, axes, title="node")
        return finished(figure, found.title, found.caption, is_simulated=found.basis.is_simulated)


def _bars(axes: "Axes", found: CallsByNode) -> None:
    places = range(len(found.bars))
    colours = node_colours(found.nodes)
    left = [0.0] * len(found.bars)
    for number, node in enumerate(found.nodes):
        widths = [bar.mean_by_node[number] for bar in found.bars]
        axes.barh(places, widths, left=left, height=0.58, color=colours[node], edgecolor=PAPER,
                  linewidth=0.8, label=for_matplotlib(node))  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    if found.has_missing:
        missing = [bar.missing for bar in found.bars]
        starts = [bar.total.mean - part for bar, part in zip(found.bars, missing, strict=True)]
        axes.barh([place + 0.38 for place in places], missing, left=starts, height=0.14,
                  color=PAPER, edgecolor=SOFT, hatch="//////", linewidth=0.7,
                  label="not recorded")  # fmt: skip
    for place, bar in zip(places, found.bars, strict=True):
        total = bar.total
        if total.has_interval:
            axes.errorbar([total.mean], [place], xerr=[[total.below], [total.above]], fmt="none",
                          ecolor=INK, elinewidth=1.2, capsize=3, zorder=5)  # fmt: skip
        axes.annotate(f"{total.mean:.1f}", (total.mean + total.above, place), xytext=(5, 0),
                      textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    axes.set_yticks(places, [for_matplotlib(bar.setting, 32) for bar in found.bars])
    axes.set_ylim(len(found.bars) - 0.45, -0.55)
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", linewidth=0.7)


def draw_calls_over_turns(found: CallsOverTurns) -> "Figure":
    """Return a conversation's calls as a matplotlib figure, a bar a turn.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    with house_style():
        figure, axes = blank(7.4, 3.4)
        places = range(len(found.turns))
        colours = node_colours(found.nodes)
        bottom = [0] * len(found.turns)
        edge = PAPER if len(found.turns) <= 80 else "none"
        for number, node in enumerate(found.nodes):
            heights = [of_turn[number] for of_turn in found.asked]
            axes.bar(places, heights, bottom=bottom, width=0.8, color=colours[node],
                     edgecolor=edge, linewidth=0.6, label=for_matplotlib(node))  # fmt: skip
            bottom = [start + part for start, part in zip(bottom, heights, strict=True)]
        step = -(-len(found.turns) // 20)
        axes.set_xticks(places[::step], [str(turn) for turn in found.turns[::step]])
        axes.set_xlabel("turn")
        axes.set_ylabel("calls")
        axes.locator_params(axis="y", integer=True)
        axes.grid(visible=True, axis="y", linewidth=0.7, color=FAINT, alpha=0.4)
        legend_beside(figure, axes, title="node")
        return finished(figure, found.title, found.caption, is_simulated=found.basis.is_simulated)

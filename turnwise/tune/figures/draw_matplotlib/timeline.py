"""A turn's timeline on paper."""

from typing import TYPE_CHECKING

from turnwise.tune.figures.draw_matplotlib.canvas import (
    blank,
    finished,
    house_style,
    said_instead,
)
from turnwise.tune.figures.palette import GRID, INK, PAPER, PICK, SOFT, node_colours, tint
from turnwise.tune.figures.shown_text import for_matplotlib
from turnwise.tune.figures.timeline import CallBar, Lane, Scale, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_timeline"]

_CHARS_A_FIGURE = 105
"""Letters of a bar's text that fit beside each other over the whole width."""

MAX_HEIGHT_INCHES = 60.0


def draw_timeline(found: Timeline) -> "Figure":
    """Return a turn's timeline as a matplotlib figure, the first node on top.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    with house_style():
        rows = sum(lane.rows for lane in found.lanes)
        figure, axes = blank(7.4, min(1.5 + 0.36 * max(rows, 2), MAX_HEIGHT_INCHES))
        axes.set_xlabel(for_matplotlib(found.scale.label))
        if not found.lanes:
            said_instead(axes, "This turn asked nothing.")
        else:
            _lanes(axes, found, rows)
        return finished(figure, found.title, found.caption, is_simulated=found.is_simulated)


def _lanes(axes: "Axes", found: Timeline, rows: int) -> None:
    colours = node_colours(lane.node for lane in found.lanes)
    top, middles = 0, []
    for lane in found.lanes:
        _lane(axes, lane, top, colours[lane.node], found.end)
        middles.append(top + (lane.rows - 1) / 2)
        top += lane.rows
        if top < rows:
            axes.axhline(top - 0.5, color=GRID, linewidth=0.8, zorder=0)
    if found.reply_at is not None:
        axes.axvline(found.reply_at, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), zorder=4)
        axes.annotate("reply out", (found.reply_at, -0.5), xytext=(3, -2), fontsize=7,
                      textcoords="offset points", va="top", color=INK)  # fmt: skip
    axes.set_yticks(middles, [for_matplotlib(lane.node, 28) for lane in found.lanes])
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(0, found.end * 1.01 or 1.0)
    if found.scale is Scale.ROUNDS:
        axes.locator_params(axis="x", integer=True)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", linewidth=0.7)


def _lane(axes: "Axes", lane: Lane, top: int, colour: str, end: float) -> None:
    for bar in lane.bars:
        place = top + bar.row
        if bar.is_refused:
            axes.plot([bar.start], [place], "x", color=PICK, markersize=7, markeredgewidth=2,
                      clip_on=False, zorder=5)  # fmt: skip
            continue
        if bar.start == bar.end:
            axes.plot([bar.start], [place], "|", color=colour, markersize=13, markeredgewidth=2)
            continue
        # What failed gave no answer: its bar is nearly empty.
        is_failed = bar.outcome in {"failed", "cancelled"}
        axes.barh(
            [place],
            [bar.end - bar.start],
            left=[bar.start],
            height=0.72,
            color=tint(colour, 0.8 if is_failed else 0.45),
            edgecolor=PICK if bar.repair else (colour if bar.is_speculative else PAPER),
            linewidth=2.0 if bar.repair else 0.8,
            hatch="////" if bar.is_speculative else None,
            zorder=2,
        )
        _words(axes, bar, place, end)


def _words(axes: "Axes", bar: CallBar, place: int, end: float) -> None:
    """Write what the call was for, where its bar has room for some of it."""
    room = int(_CHARS_A_FIGURE * (bar.end - bar.start) / end) - 1
    if room >= 3:
        words = for_matplotlib(bar.purpose.removeprefix("judge_"), room)
        box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        axes.text((bar.start + bar.end) / 2, place, words, ha="center", va="center", fontsize=6.8,
                  color=INK if not bar.is_speculative else SOFT, zorder=3,
                  bbox=box if bar.is_speculative else None)  # fmt: skip

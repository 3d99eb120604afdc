"""A waterfall on paper."""

from typing import TYPE_CHECKING

from turnwise.tune.figures.draw_matplotlib.canvas import blank, finished, house_style
from turnwise.tune.figures.palette import FAINT, FALL, INK, RISE, SOFT
from turnwise.tune.figures.shown_text import for_matplotlib
from turnwise.tune.figures.waterfall import Waterfall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_waterfall"]


def draw_waterfall(found: Waterfall) -> "Figure":
    """Return a waterfall as a matplotlib figure, the first setting on top.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    with house_style():
        figure, axes = blank(7.4, 1.9 + 0.46 * (len(found.bars) + 2))
        last = len(found.bars) + 1
        ends = (found.start[1], found.end[1])
        axes.barh([0, last], ends, height=0.56, color=SOFT)
        for place, value in zip((0, last), ends, strict=True):
            _number(axes, value, place, f"{value:.2f}")
        _steps(axes, found)
        names = [for_matplotlib(found.start[0])]
        for bar in found.bars:
            detail = f"\n{for_matplotlib(bar.detail, 44)}" if bar.detail else ""
            names.append(for_matplotlib(bar.label) + detail)
        axes.set_yticks(range(last + 1), [*names, for_matplotlib(found.end[0])])
        axes.set_ylim(last + 0.55, -0.55)
        axes.set_xlim(0, 1.1 * _reach(found) or 1.0)
        axes.set_xlabel(for_matplotlib(found.unit))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="x", linewidth=0.7)
        return finished(figure, found.title, found.caption, is_simulated=found.basis.is_simulated)


def _reach(found: Waterfall) -> float:
    """Return how far to the right anything is drawn."""
    levels = [found.start[1], found.end[1]]
    for bar in found.bars:
        levels += [bar.before, bar.ends_at.mean + bar.ends_at.above]
    return max(levels)


def _steps(axes: "Axes", found: Waterfall) -> None:
    for place, bar in enumerate(found.bars, start=1):
        colour = FALL if bar.saved > 0 else RISE
        is_rest = not bar.detail
        axes.barh([place], [-bar.saved], left=[bar.before], height=0.56,
                  color=FAINT if is_rest else colour, hatch="////" if is_rest else None,
                  edgecolor=SOFT if is_rest else colour, linewidth=0.8)  # fmt: skip
        axes.plot([bar.before, bar.before], [place - 0.72, place - 0.28], color=SOFT, linewidth=0.8)
        end = bar.ends_at
        if end.has_interval:
            axes.errorbar([end.mean], [place], xerr=[[end.below], [end.above]], fmt="none",
                          ecolor=INK, elinewidth=1.2, capsize=3, zorder=5)  # fmt: skip
        reach = max(bar.before, end.mean + end.above)
        _number(axes, reach, place, f"{-bar.saved:+.2f}")
    level = found.bars[-1].after if found.bars else found.start[1]
    last = len(found.bars) + 1
    axes.plot([level, level], [last - 0.72, last - 0.28], color=SOFT, linewidth=0.8)


def _number(axes: "Axes", at: float, place: int, words: str) -> None:
    axes.annotate(words.replace("-", "−"), (at, place), xytext=(5, 0),
                  textcoords="offset points", va="center", fontsize=8)  # fmt: skip

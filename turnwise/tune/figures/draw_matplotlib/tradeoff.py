"""The trade-off on paper."""

from itertools import pairwise
from typing import TYPE_CHECKING

from turnwise.tune.figures.draw_matplotlib.canvas import (
    blank,
    finished,
    house_style,
    legend_beside,
    said_instead,
)
from turnwise.tune.figures.labelling import Box, free_places
from turnwise.tune.figures.palette import INK, KNEE, PAPER, PICK, SOFT, group_colours, opacity_of
from turnwise.tune.figures.shown_text import for_matplotlib
from turnwise.tune.figures.tradeoff import Tradeoff, TradeoffPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_tradeoff"]

MAX_ALL_LABELLED = 12
"""With more settings only those that matter get a label."""

MAX_LEGEND_GROUPS = 8
_LABEL_SIZE = 7.5


def draw_tradeoff(found: Tradeoff) -> "Figure":
    """Return a trade-off as a matplotlib figure.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    with house_style():
        figure, axes = blank(7.4, 4.6)
        axes.set_xlabel(for_matplotlib(found.cost.label))
        axes.set_ylabel(for_matplotlib(found.quality_label, 62))
        if found.problem:
            said_instead(axes, found.problem)
        else:
            axes.grid(visible=True, linewidth=0.7)
            axes.margins(x=0.12, y=0.14)
            _points(axes, found)
            _front(axes, found)
            _marks(axes, found)
            legend_beside(figure, axes, title=for_matplotlib(found.knob))
        finished(figure, found.title, found.caption, is_simulated=found.basis.is_simulated)
        if not found.problem:
            _labels(figure, axes, found)
        return figure


def _points(axes: "Axes", found: Tradeoff) -> None:
    colours = dict(zip(found.groups, group_colours(found.groups), strict=True))
    for group in _in_legend(found):
        axes.plot([], [], "o", color=colours[group], label=for_matplotlib(group))
    for point in found.points:
        colour = colours[point.group]
        axes.errorbar(
            [point.cost.mean],
            [point.quality.mean],
            xerr=[[point.cost.below], [point.cost.above]] if point.cost.has_interval else None,
            yerr=[[point.quality.below], [point.quality.above]]
            if point.quality.has_interval
            else None,
            fmt="o",
            markersize=6.5,
            markeredgewidth=1.4,
            markerfacecolor=colour if point.is_exact else PAPER,
            color=colour,
            elinewidth=1.1,
            capsize=2.5,
            alpha=opacity_of(point.chance_on_front),
            zorder=4 if point.is_on_front else 3,
        )


def _in_legend(found: Tradeoff) -> tuple[str, ...]:
    """Return the knob's values that the legend names; of many, some with even steps."""
    if not found.knob:
        return ()
    step = -(-len(found.groups) // MAX_LEGEND_GROUPS)
    return found.groups[::step]


def _front(axes: "Axes", found: Tradeoff) -> None:
    across, up = zip(*found.steps, strict=True)
    axes.plot(across, up, color=INK, linewidth=1.2, label="Pareto front", zorder=2)
    if any(not point.is_exact for point in found.points):
        axes.plot([], [], "o", markerfacecolor=PAPER, color=SOFT, markeredgewidth=1.4,
                  label="not all recorded")  # fmt: skip


def _marks(axes: "Axes", found: Tradeoff) -> None:
    """Ring the knee and the recommended setting."""
    places = {point.setting: (point.cost.mean, point.quality.mean) for point in found.points}
    for setting, marker, size, colour, label in (
        (found.knee, "D", 11, KNEE, "knee"),
        (found.recommended, "o", 15, PICK, for_matplotlib(found.recommended_as)),
    ):
        if setting in places:
            x, y = places[setting]
            axes.plot([x], [y], marker, markersize=size, markerfacecolor="none",
                      markeredgecolor=colour, markeredgewidth=1.8, linestyle="none",
                      label=label, zorder=5)  # fmt: skip


def _labels(figure: "Figure", axes: "Axes", found: Tradeoff) -> None:
    """Write names beside points, the most important first, where they find room."""
    points = sorted(found.points, key=lambda point: _importance(point, found))
    if len(points) > MAX_ALL_LABELLED:
        points = [point for point in points if _importance(point, found) < 2]
    names = [for_matplotlib(point.setting, 28) for point in points]
    letter = _LABEL_SIZE * figure.dpi / 72
    marks = [_box(axes, (point.cost.mean,) * 2, (point.quality.mean,) * 2, letter / 2)
             for point in found.points]  # fmt: skip
    bars = [_bar(axes, point, is_upright=is_upright)
            for point in found.points for is_upright in (False, True)]  # fmt: skip
    inside = axes.get_window_extent()
    places = free_places(
        [_spot(axes, point.cost.mean, point.quality.mean) for point in points],
        [(0.62 * letter * len(name), 1.25 * letter) for name in names],
        marks,
        [*bars, *_front_boxes(axes, found)],
        Box(inside.x0, inside.y0, inside.width, inside.height),
        gap=0.7 * letter,
    )
    for name, place in zip(names, places, strict=True):
        if place is not None:
            middle = (place.left + place.width / 2, place.bottom + place.height / 2)
            x, y = axes.transData.inverted().transform(middle)
            axes.text(x, y, name, fontsize=_LABEL_SIZE, ha="center", va="center", zorder=6)


def _spot(axes: "Axes", x: float, y: float) -> tuple[float, float]:
    """Return where a point stands on the figure, in pixels."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _box(axes: "Axes", across: tuple[float, float], up: tuple[float, float], room: float) -> Box:
    """Return what a line between two points takes, with room around it, in pixels."""
    left, bottom = _spot(axes, min(across), min(up))
    right, top = _spot(axes, max(across), max(up))
    return Box(left - room, bottom - room, right - left + 2 * room, top - bottom + 2 * room)


def _bar(axes: "Axes", point: TradeoffPoint, *, is_upright: bool) -> Box:
    x, y = point.cost, point.quality
    if is_upright:
        return _box(axes, (x.mean, x.mean), (y.mean - y.below, y.mean + y.above), 1.0)
    return _box(axes, (x.mean - x.below, x.mean + x.above), (y.mean, y.mean), 1.0)


def _front_boxes(axes: "Axes", found: Tradeoff) -> list[Box]:
    return [_box(axes, (x, next_x), (y, next_y), 1.0)
            for (x, y), (next_x, next_y) in pairwise(found.steps)]  # fmt: skip


def _importance(point: TradeoffPoint, found: Tradeoff) -> int:
    if point.setting in {found.knee, found.recommended}:
        return 0
    return 1 if point.is_on_front else 2

"""The trade-off as a chart, its labels placed so that none covers another or a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Any

from callwise.tuning.figures import chart, palette
from callwise.tuning.figures.chart import Chart, LegendEntry, plain_line
from callwise.tuning.figures.tradeoff import Tradeoff, TradeoffPoint
from callwise.tuning.figures.whisker import Whisker

__all__ = ["LabelBox", "free_places", "tradeoff_chart"]

MAX_ALL_LABELLED = 12
"""With more settings only those of the front and the marked ones get a label."""

MAX_LEGEND_GROUPS = 8
_HEIGHT = 340
_LABEL_PIXELS = 10
_SIDE_STEP = 9
"""Pixels between settings of one cost."""

_MARKS = (("knee", "diamond", 260, palette.KNEE), ("recommended", "circle", 420, palette.PICK))


def tradeoff_chart(found: Tradeoff) -> Chart:
    """Return a trade-off as a Vega-Lite specification."""
    is_simulated = found.basis.is_simulated
    if found.problem:
        return chart.message_chart(
            found.title, found.caption, found.problem, is_simulated=is_simulated
        )
    across = _domain([point.cost for point in found.points])
    up = _domain([point.quality for point in found.points])
    x = chart.number_axis("x", across, title=found.cost.axis)
    y = chart.number_axis("y", up, title=found.quality_label)
    return chart.chart_of(
        found.title,
        found.caption,
        [
            _front(found, x, y),
            *_intervals(found, x, y),
            _points(found, x, y),
            _rings(found, x, y),
            chart.texts(_labels(found, across, up), x, y, fontSize=_LABEL_PIXELS),
        ],
        height=_HEIGHT,
        is_simulated=is_simulated,
        legend=_legend(found),
        legend_title=found.knob,
    )


def _domain(whiskers: Sequence[Whisker]) -> tuple[float, float]:
    """Return the ends of an axis: every interval is inside, with a margin for labels."""
    low = min(whisker.mean - whisker.below for whisker in whiskers)
    high = max(whisker.mean + whisker.above for whisker in whiskers)
    margin = 0.14 * (high - low) or 0.5 * abs(high) or 0.5
    return low - margin, high + margin


def _front(found: Tradeoff, x: Chart, y: Chart) -> Chart:
    return chart.layer(
        ({"x": cost, "y": quality, "at": at} for at, (cost, quality) in enumerate(found.steps)),
        {"type": "line", "stroke": palette.INK, "strokeWidth": 1.3},
        x=x,
        y=y,
        order={"field": "at", "type": "quantitative"},
    )


def _places(found: Tradeoff) -> dict[str, float]:
    """Return the x of each setting: settings of one cost are side by side, the front's in place."""
    across = _domain([point.cost for point in found.points])
    step = _SIDE_STEP * (across[1] - across[0]) / chart.CHART_WIDTH
    columns: dict[int, int] = {}
    places = {}
    for point in sorted(found.points, key=lambda point: not point.is_on_front):
        column = round((point.cost.mean - across[0]) / step)
        at = columns.get(column, 0)
        columns[column] = at + 1
        side = (at + 1) // 2 * (1 if at % 2 else -1)
        places[point.setting] = point.cost.mean + side * step
    return places


def _place(found: Tradeoff, point: TradeoffPoint) -> dict[str, float]:
    return {"x": _places(found)[point.setting], "y": point.quality.mean}


def _colours(found: Tradeoff) -> dict[str, str]:
    return dict(zip(found.groups, palette.group_colours(found.groups), strict=True))


def _shapes(found: Tradeoff) -> dict[str, str]:
    return dict(zip(found.groups, cycle(palette.GROUP_SHAPES), strict=False))


def _intervals(found: Tradeoff, x: Chart, y: Chart) -> list[Chart]:
    colours = _colours(found)
    layers = []
    for side, is_upright in (("cost", False), ("quality", True)):
        values = [
            {**_place(found, point), **chart.ends_of(own), "color": colours[point.group]}
            for point in found.points
            if (own := getattr(point, side)).has_interval
        ]
        if values:
            layers.append(chart.whisker_layer(values, x, y, is_upright=is_upright))
    return layers


def _points(found: Tradeoff, x: Chart, y: Chart) -> Chart:
    colours, shapes = _colours(found), _shapes(found)
    values = [
        _point(found, each, colours[each.group]) | {"shape": shapes[each.group]}
        for each in found.points
    ]
    tooltip = ["setting", "cost", "quality", "knob", "turns", "judged turns", "exact turns"]
    if any(point.chance_on_front is not None for point in found.points):
        tooltip.append("chance on the front")
    return chart.points(
        values, x, y, "fill", "stroke", "shape", tooltip=tooltip, size=60, strokeWidth=1.6
    )


def _point(found: Tradeoff, point: TradeoffPoint, colour: str) -> dict[str, Any]:
    chance = point.chance_on_front
    knob = f"{found.knob}: {point.group}" if found.knob else ""
    return {
        **_place(found, point),
        "fill": colour if point.is_exact else palette.PAPER,
        "stroke": colour,
        "setting": plain_line(point.setting),
        "cost": f"{point.cost.words(found.cost.digits)} {found.cost.label}",
        "quality": point.quality.words(),
        "knob": plain_line(knob, 80),
        "turns": point.turns,
        "judged turns": point.judged_turns,
        "exact turns": point.exact_turns,
        "chance on the front": "" if chance is None else f"{100 * chance:.0f} %",
    }


def _marked(found: Tradeoff) -> Iterator[tuple[TradeoffPoint, str, str, float, str]]:
    """Yield the marked points, each with the mark's name, shape, size and colour."""
    by_name = {point.setting: point for point in found.points}
    for setting, (name, shape, size, colour) in zip(
        (found.knee, found.recommended), _MARKS, strict=True
    ):
        if setting in by_name:
            label = found.recommended_as if name == "recommended" else name
            yield by_name[setting], label, shape, size, colour


def _rings(found: Tradeoff, x: Chart, y: Chart) -> Chart:
    values = [
        {
            **_place(found, point),
            "name": plain_line(name),
            "shape": shape,
            "size": size,
            "stroke": colour,
        }
        for point, name, shape, size, colour in _marked(found)
    ]
    return chart.points(values, x, y, "shape", "stroke", "size", strokeWidth=2, fill=None)


def _legend(found: Tradeoff) -> list[LegendEntry]:
    colours, shapes = _colours(found) if found.knob else {}, _shapes(found)
    # Of many values of a knob, some with even steps.
    step = -(-len(colours) // MAX_LEGEND_GROUPS) or 1
    entries = [
        LegendEntry(group, colour, colour, shapes[group]) for group, colour in colours.items()
    ][::step]
    entries.append(LegendEntry("Pareto front", palette.INK, palette.INK, shape="stroke", size=260))
    if any(not point.is_exact for point in found.points):
        entries.append(LegendEntry("not all recorded", palette.PAPER, palette.SOFT))
    entries += [
        LegendEntry(name, "transparent", colour, shape, size / 2)
        for _, name, shape, size, colour in _marked(found)
    ]
    return entries


@dataclass(frozen=True, slots=True)
class LabelBox:
    """A rectangle in pixels; y grows upwards."""

    left: float
    bottom: float
    width: float
    height: float

    def overlaps(self, other: "LabelBox") -> bool:
        """Whether some of its inside is inside the other."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.bottom < other.bottom + other.height
            and other.bottom < self.bottom + self.height
        )

    def lies_in(self, frame: "LabelBox") -> bool:
        """Whether no part of it is outside a frame."""
        return (
            self.left >= frame.left
            and self.bottom >= frame.bottom
            and self.left + self.width <= frame.left + frame.width
            and self.bottom + self.height <= frame.bottom + frame.height
        )


def free_places(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[LabelBox],
    avoided: Sequence[LabelBox],
    frame: LabelBox,
    *,
    gap: float,
) -> list[LabelBox | None]:
    """Return a place for each label, None where none is free; the first label has first choice.

    Above and to the left is tried first: nothing is above and left of a Pareto front.

    Args:
        taken: no label covers these.
        avoided: covered only where there is no better place.
    """
    occupied = list(taken)
    placed: list[LabelBox | None] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        tries = _tries(x, y, width, height, gap)
        free = [box for box in tries if box.lies_in(frame)]
        free = [box for box in free if not any(map(box.overlaps, occupied))]
        box = min(free, key=lambda box: sum(map(box.overlaps, avoided)), default=None)
        if box is not None:
            occupied.append(box)
        placed.append(box)
    return placed


def _tries(x: float, y: float, width: float, height: float, gap: float) -> Iterator[LabelBox]:
    for far in (gap, 2.5 * gap):
        for across, up in (
            (-far - width, far),
            (far, -far - height),
            (far, far),
            (-far - width, -far - height),
            (-width / 2, 2 * far),
            (-width / 2, -2 * far - height),
        ):
            yield LabelBox(x + across, y + up, width, height)


def _labels(
    found: Tradeoff, across: tuple[float, float], up: tuple[float, float]
) -> list[dict[str, Any]]:
    """Return the names of settings, each with the middle of its place on the axes."""
    x_pixels, y_pixels = chart.CHART_WIDTH / (across[1] - across[0]), _HEIGHT / (up[1] - up[0])

    def box(x: float, x2: float, y: float, y2: float, margin: float) -> LabelBox:
        left, bottom = (min(x, x2) - across[0]) * x_pixels, (min(y, y2) - up[0]) * y_pixels
        width, height = abs(x2 - x) * x_pixels, abs(y2 - y) * y_pixels
        return LabelBox(left - margin, bottom - margin, width + 2 * margin, height + 2 * margin)

    named = sorted(found.points, key=lambda point: _importance(point, found))
    if len(named) > MAX_ALL_LABELLED:
        named = [point for point in named if _importance(point, found) < 2]
    names = [_name(point) for point in named]
    at = _places(found)
    spots = [(at[point.setting], point.cost, point.quality) for point in found.points]
    places = free_places(
        [((at[point.setting] - across[0]) * x_pixels, (point.quality.mean - up[0]) * y_pixels)
         for point in named],
        [(0.64 * _LABEL_PIXELS * chart.text_columns(name), 1.25 * _LABEL_PIXELS) for name in names],
        [box(x, x, y.mean, y.mean, _LABEL_PIXELS / 2) for x, _, y in spots],
        [box(cost.mean - cost.below, cost.mean + cost.above, y.mean, y.mean, 1.0)
         for _, cost, y in spots]
        + [box(x, x, y.mean - y.below, y.mean + y.above, 1.0) for x, _, y in spots]
        + [box(x, x2, y, y2, 1.0) for (x, y), (x2, y2) in pairwise(found.steps)],
        LabelBox(0, 0, chart.CHART_WIDTH, _HEIGHT),
        gap=0.7 * _LABEL_PIXELS,
    )  # fmt: skip
    return [
        {
            "x": across[0] + (place.left + place.width / 2) / x_pixels,
            "y": up[0] + (place.bottom + place.height / 2) / y_pixels,
            "text": name,
        }
        for name, place in zip(names, places, strict=True)
        if place is not None
    ]


def _name(point: TradeoffPoint) -> str:
    """Return a point's label, with its chance on the front where it is known."""
    name = plain_line(point.setting, 28)
    return name if point.chance_on_front is None else f"{name}, {100 * point.chance_on_front:.0f} %"


def _importance(point: TradeoffPoint, found: Tradeoff) -> int:
    if point.setting in {found.knee, found.recommended}:
        return 0
    return 1 if point.is_on_front else 2

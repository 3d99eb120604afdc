"""The common parts of every chart: a Vega-Lite specification as plain JSON.

Invariant: texts of files and models (ids, node names, knob values, replies) are values of a data
set, a title or a parameter, which Vega draws letter by letter. No field name and no expression is
made from one, and each passes `plain_line` once, because SVG cannot contain control characters
and a mark that changes the direction of text would reorder what is around it.

All positions are numbers that the record gives; no drawer guesses a layout.
"""

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from callwise.tuning.figures.palette import GRID, INK, PAPER, SOFT
from callwise.tuning.figures.whisker import Whisker

__all__ = [
    "CHART_WIDTH",
    "Chart",
    "LegendEntry",
    "bars",
    "chart_of",
    "layer",
    "lines",
    "message_chart",
    "number_axis",
    "plain_line",
    "points",
    "row_axis",
    "text_columns",
    "texts",
    "whisker_layer",
]

Chart: TypeAlias = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

CHART_WIDTH = 560
"""Pixels between the axes."""

_MAX_TITLE_CHARS, _MAX_CAPTION_CHARS = 60, 700
_CHAR_PIXELS = 6.3
_LEGEND_ROW = 19
_CONFIG: Chart = {
    "aria": False,
    "font": "DejaVu Sans, Verdana, sans-serif",
    "text": {"color": INK, "fontSize": 10},
    "view": {"stroke": None},
    "axis": {
        "gridColor": GRID,
        "domainColor": SOFT,
        "tickColor": SOFT,
        "labelColor": INK,
        "labelFontSize": 11,
        "labelFlush": False,
        "labelLimit": 400,
        "titleColor": INK,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titleLimit": CHART_WIDTH,
        "titlePadding": 8,
    },
    "title": {
        "anchor": "start",
        "color": INK,
        "fontSize": 15,
        # A second font would make the bytes of a PDF depend on chance.
        "fontWeight": "normal",
        "subtitleColor": SOFT,
        "subtitleFontSize": 10.5,
        "subtitleLineHeight": 14,
        "subtitlePadding": 6,
        "offset": 14,
    },
    "concat": {"spacing": 14},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of a legend."""

    label: str
    fill: str
    stroke: str
    shape: str = "circle"
    size: float = 70.0
    dash: tuple[int, ...] = ()


_NO_BREAK = "\N{NO-BREAK SPACE}"


def chart_of(
    title: str,
    caption: str,
    layers: Sequence[Chart],
    *,
    height: float,
    is_simulated: bool,
    width: float = CHART_WIDTH,
    legend: Sequence[LegendEntry] = (),
    legend_title: str = "",
    params: Sequence[Chart] = (),
) -> Chart:
    """Return a whole chart: title, caption, layers from back to front, and a legend."""
    plot = {"width": width, "height": height, "layer": list(layers)}
    views = [plot, _legend(legend, legend_title)] if legend else [plot]
    # The caption is about as wide as the plot with its axis.
    columns = int((max(width, CHART_WIDTH) + 90) / 5.6)
    caption = caption[:_MAX_CAPTION_CHARS].replace(" %", f"{_NO_BREAK}%")
    return {
        # JupyterLab 4 draws version 5 without an extension.
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": PAPER,
        "padding": 10,
        "title": {
            "text": plain_line(title, _MAX_TITLE_CHARS) + ("  (simulated)" if is_simulated else ""),
            "subtitle": [plain_line(line, 2 * columns) for line in textwrap.wrap(caption, columns)],
        },
        "params": list(params),
        "hconcat": views,
        "config": _CONFIG,
    }


def layer(values: Iterable[dict[str, Any]], mark: Chart, **encoding: Any) -> Chart:
    """Return marks of one kind, one for each value."""
    return {"data": {"values": list(values)}, "mark": mark, "encoding": encoding}


def message_chart(title: str, caption: str, message: str, *, is_simulated: bool) -> Chart:
    """Return a chart with a sentence in the place of marks."""
    wrapped = [plain_line(line, 200) for line in textwrap.wrap(message, 60)]
    sentence = layer(
        ({"line": line, "y": at} for at, line in enumerate(wrapped)),
        {"type": "text", "fontSize": 13, "color": SOFT},
        x={"value": CHART_WIDTH / 2},
        y={**number_axis("y", (len(wrapped), -1)), "axis": None},
        text={"field": "line"},
    )
    return chart_of(title, caption, [sentence], height=120, is_simulated=is_simulated)


def _legend(entries: Sequence[LegendEntry], title: str) -> Chart:
    """Return the legend as a separate view: a legend of Vega has one kind of mark."""
    rows: list[dict[str, Any]] = [{"label": plain_line(title), "y": 0}] if title else []
    rows += [
        asdict(entry) | {"label": plain_line(entry.label), "y": at}
        for at, entry in enumerate(entries, start=len(rows))
    ]
    down = {**number_axis("y", (len(rows) - 0.5, -0.5)), "axis": None}
    marks = rows[1:] if title else rows
    heading = rows[: len(rows) - len(marks)]
    label: Chart = {"type": "text", "align": "left"}
    symbol: Chart = {"type": "point", "strokeWidth": 1.6, "opacity": 1}
    text = {"field": "label"}
    given = as_given("fill", "stroke", "shape", "dash", "size")
    return {
        "width": 24 + _CHAR_PIXELS * max(text_columns(row["label"]) for row in rows),
        "height": _LEGEND_ROW * len(rows),
        "layer": [
            layer(heading, label, y=down, text=text, x={"value": 0}),
            layer(marks, label, y=down, text=text, x={"value": 24}),
            layer(marks, symbol, x={"value": 10}, y=down, **given),
        ],
    }


def as_given(*channels: str) -> Chart:
    """Return encodings that take a channel's value from the field of that name, without a scale.

    `dash` is the pattern and `width` the width of the stroke, in pixels.
    """
    names = {"dash": "strokeDash", "width": "strokeWidth"}
    numbers = {"size", "width"}
    return {
        names.get(channel, channel): {
            "field": channel,
            "type": "quantitative" if channel in numbers else "nominal",
            "scale": None,
        }
        for channel in channels
    }


def number_axis(
    field: str, domain: tuple[float, float], *, title: str = "", are_whole: bool = False
) -> Chart:
    """Return the encoding of a position that is a number.

    Args:
        title: of the axis; may be another person's text.
    """
    axis: Chart = {"grid": True, "tickCount": 8, "title": plain_line(title, 62) or None}
    if are_whole:
        axis |= {"format": "d", "tickMinStep": 1}
    scale = {"domain": list(domain), "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}


def row_axis(
    field: str, places: Sequence[float], names: Sequence[Any], end: float
) -> tuple[Chart, list[Chart]]:
    """Return the encoding of rows from top to bottom, and the parameters that name them.

    Args:
        places: where the named rows are. The first row of all is at 0.
        names: a name each, or a list of lines; may be another person's text.
    """
    name = "row_names[indexof(row_places, datum.value)]"
    axis = {
        "values": list(places),
        "labelExpr": name,
        # Vega centres the first of two lines on the row.
        "labelOffset": {
            "condition": {"test": f"isArray({name}) && length({name}) > 1", "value": -6},
            "value": 0,
        },
        "zindex": 1,
        "grid": False,
        "ticks": False,
        "labelPadding": 6,
        "title": None,
    }
    scale = {"domain": [end - 0.5, -0.5], "nice": False, "zero": False}
    encoding = {"field": field, "type": "quantitative", "scale": scale, "axis": axis}
    params = [{"name": "row_places", "value": list(places)},
              {"name": "row_names", "value": list(names)}]  # fmt: skip
    return encoding, params


def bars(
    values: Iterable[dict[str, Any]], x: Chart, y: Chart, tooltip: Sequence[str] = ()
) -> Chart:
    """Return rectangles of `x` to `x2`, `y` to `y2`, in their own `fill`, `stroke` and `dash`.

    Args:
        values: one mapping for each bar. `width` is of its stroke, in pixels.
    """
    given = as_given("fill", "stroke", "width", "dash")
    ends = {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}}
    return layer(values, {"type": "bar"}, **ends, **given, tooltip=tooltip_of(tooltip))


def texts(values: Iterable[dict[str, Any]], x: Chart, y: Chart, **mark: Any) -> Chart:
    """Return the field `text` of each value at its `x` and `y`."""
    return layer(values, {"type": "text", **mark}, x=x, y=y, text={"field": "text"})


def lines(values: Iterable[dict[str, Any]], x: Chart, y: Chart, **mark: Any) -> Chart:
    """Return straight lines of `x` to `x2`, `y` to `y2`."""
    ends = {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}}
    return layer(values, {"type": "rule", **mark}, **ends)


def points(
    values: Iterable[dict[str, Any]],
    x: Chart,
    y: Chart,
    *channels: str,
    tooltip: Sequence[str] | None = None,
    **mark: Any,
) -> Chart:
    """Return a symbol at each `x` and `y`; `channels` are taken from fields of their names."""
    shown = {} if tooltip is None else {"tooltip": tooltip_of(tooltip)}
    mark = {"type": "point", "opacity": 1, **mark}
    return layer(values, mark, x=x, y=y, **as_given(*channels), **shown)


def whisker_layer(
    values: Iterable[dict[str, Any]], x: Chart, y: Chart, *, is_upright: bool = False
) -> Chart:
    """Return intervals of `low` to `high` with caps, along `x` or, upright, along `y`.

    Args:
        values: `low`, `high` and `color` of each, and its place on the other axis.
    """
    mark = {"type": "errorbar", "opacity": 1, "ticks": {"size": 6}}
    end = {"field": "high"}
    places: Chart = {"x": {**x, "field": "low"}, "x2": end, "y": y}
    if is_upright:
        places = {"y": {**y, "field": "low"}, "y2": end, "x": x}
    return layer(values, mark, **places, **as_given("color"))


def ends_of(whisker: Whisker) -> dict[str, float]:
    """Return the fields of an interval that is drawn; it has one."""
    return {"low": whisker.mean - whisker.below, "high": whisker.mean + whisker.above}


def tooltip_of(fields: Sequence[str]) -> list[Chart] | None:
    """Return the encoding of a tooltip with these fields."""
    return [{"field": field, "type": "nominal"} for field in fields] or None


MAX_NAME_CHARS = 40
"""The longest name that is drawn whole."""

_JOINERS = "\u200c\u200d"


def plain_line(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a text as one line, cut with an ellipsis where it is too wide.

    Control characters count as spaces, marks that change the direction of text are removed, and
    characters that a file cannot contain become the replacement character.

    Args:
        max_chars: at least 1. A wide character, such as a Chinese one, counts as two.
    """
    # A text may be a megabyte long.
    read = text[: 8 * max_chars]
    line = " ".join("".join(map(_shown, read)).split())
    if len(read) == len(text) and text_columns(line) <= max_chars:
        return line
    kept = line[: max_chars - 1]
    while text_columns(kept) > max_chars - 1:
        kept = kept[:-1]
    return kept + "…"


def text_columns(line: str) -> int:
    """Return how many columns a line takes; a wide character, such as a Chinese one, takes two."""
    if line.isascii():
        return len(line)
    return sum(1 + (unicodedata.east_asian_width(char) in {"W", "F"}) for char in line)


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    category = unicodedata.category(char)
    if category == "Cf":
        return char if char in _JOINERS else ""
    return "\ufffd" if category in {"Cs", "Co", "Cn"} else " "

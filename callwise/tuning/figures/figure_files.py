"""Figures as Vega-Lite specifications and as files: SVG, PNG, PDF, or a page of HTML.

Equal records give equal bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TypeAlias

from callwise.calls.errors import ConfigError
from callwise.optional_library import loaded
from callwise.tuning.analysis import analyse
from callwise.tuning.figures.bar_charts import (
    calls_by_node_chart,
    calls_over_turns_chart,
    timeline_chart,
    waterfall_chart,
)
from callwise.tuning.figures.calls_by_node import CallsByNode, CallsOverTurns, calls_by_node_of
from callwise.tuning.figures.chart import Chart, plain_line
from callwise.tuning.figures.timeline import Timeline
from callwise.tuning.figures.tradeoff import Tradeoff, tradeoff_of_front
from callwise.tuning.figures.tradeoff_chart import tradeoff_chart
from callwise.tuning.figures.waterfall import Waterfall
from callwise.tuning.figures.whisker import CostAxis
from callwise.tuning.quality_unit import QualityUnit
from callwise.tuning.row import TurnRow, rows_by_setting

__all__ = [
    "FigureData",
    "figure_bytes",
    "sweep_figures",
    "to_vega",
    "write_figure",
    "write_figures",
]

FigureData: TypeAlias = Tradeoff | CallsByNode | CallsOverTurns | Waterfall | Timeline
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
        case Timeline():
            return timeline_chart(found)


FIGURE_FORMS = ("svg", "png", "pdf", "html")
VEGA_LITE_VERSION = "6.4"
"""Fixed, so that a newer vl-convert gives the same bytes."""

PNG_SCALE = 2.0
"""Dots per pixel of the specification."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<body>
<div id="figure"></div>
<script>{library}</script>
<script>vegaEmbed("#figure", {specification}, {{"actions": false, "renderer": "svg"}})</script>
</body>
</html>
"""


def figure_bytes(found: FigureData, form: str, *, png_scale: float = PNG_SCALE) -> bytes:
    """Return a figure as a file's bytes, without date, version or random ids.

    Two fonts of one PDF, for example for Latin and Chinese letters, are in random order; SVG, PNG
    and HTML always have equal bytes for equal records.

    Args:
        form: `svg`, `png`, `pdf`, or `html`: an interactive page that needs no network
            and contains Vega (900 KB).

    Raises:
        ConfigError: when the form is another, or vl-convert is not installed.
    """
    if form not in FIGURE_FORMS:
        raise ConfigError(f"figures are written as {', '.join(FIGURE_FORMS)}; got {form!r}")
    convert = loaded("vl_convert")
    # Versions 5 and 6 of Vega-Lite read the same charts; each warns of the other's schema.
    chart = {**to_vega(found), "$schema": "https://vega.github.io/schema/vega-lite/v6.json"}
    if form == "html":
        # A name in the data must not end the script that contains it.
        specification = json.dumps(chart).replace("<", "\\u003c")
        title = escape(plain_line(found.title, 80))
        return _PAGE.format(title=title, library=_library(), specification=specification).encode()
    # No base URL is allowed, so a specification cannot load anything.
    svg = convert.vegalite_to_svg(chart, vl_version=VEGA_LITE_VERSION, allowed_base_urls=[])
    if form == "svg":
        return str(svg).encode()
    if form == "png":
        return bytes(convert.svg_to_png(svg, scale=png_scale))
    return bytes(convert.svg_to_pdf(svg))


def write_figure(found: FigureData, path: Path) -> None:
    """Write a figure to a file; the file is opened after all its bytes are made.

    Raises:
        ConfigError: when it ends in something else, cannot be written, or vl-convert is
            not installed.
    """
    path = Path(path)
    data = figure_bytes(found, path.suffix.lower().removeprefix("."))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error


@lru_cache(maxsize=1)
def _library() -> str:
    return str(loaded("vl_convert").javascript_bundle(vl_version=VEGA_LITE_VERSION))


def sweep_figures(
    rows: Sequence[TurnRow], *, unit: QualityUnit | None = None, margin_share: float
) -> dict[str, FigureData]:
    """Return a sweep's figures by file name, without suffix.

    Those of quality are left out without judged replies, that of USD without known prices, and
    that of any cost whose mean is the same for every setting: it orders none.

    Args:
        unit: of the quality; None takes what is fixed for the rows' source.
    """
    figures: dict[str, FigureData] = {"calls_by_node": calls_by_node_of(rows)}
    for cost in CostAxis:
        if all(cost.of(row) is None for row in rows) or _is_equal(rows, cost):
            continue
        found = analyse(rows, unit=unit, margin_share=margin_share, cost=cost.field)
        if found.front.points:
            figures[f"quality_by_{cost.value}"] = tradeoff_of_front(
                rows,
                found.front,
                cost=cost,
                recommendation=found.recommendation,
                unit=found.unit,
            )
    return figures


def _is_equal(rows: Sequence[TurnRow], cost: CostAxis) -> bool:
    """Return whether settings, at least two, all have the same mean of a cost."""
    known = ([cost.of(row) for row in own] for own in rows_by_setting(rows).values())
    values = [[each for each in own if each is not None] for own in known]
    means = [math.fsum(own) / len(own) for own in values if own]
    return len(means) > 1 and math.isclose(min(means), max(means), rel_tol=1e-9)


def write_figures(figures: Mapping[str, FigureData], folder: Path) -> list[Path]:
    """Write figures as SVG, and return their paths.

    Raises:
        ConfigError: when vl-convert is not installed; names the extra.
    """
    folder.mkdir(exist_ok=True)
    paths = {folder / f"{name}.svg": record for name, record in figures.items()}
    for path, record in paths.items():
        write_figure(record, path)
    return list(paths)

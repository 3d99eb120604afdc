"""Figures as files: SVG, PNG, PDF or a page of HTML; equal figures give equal bytes."""

import json
from functools import lru_cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from turnwise.calls.errors import ConfigError
from turnwise.tune.figures.draw import FigureData, to_vega
from turnwise.tune.figures.shown_text import plain_line

__all__ = ["FIGURE_FORMS", "figure_bytes", "loaded", "write_figure"]

FIGURE_FORMS = ("svg", "png", "pdf", "html")
VEGA_LITE_VERSION = "6.4"
"""The drawing of a version does not change when vl-convert learns a newer one."""

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

    A PDF has equal bytes as long as one font has all letters: two fonts are written in an
    order of chance.

    Args:
        found: the figure's record.
        form: `svg`, `png`, `pdf`, or `html`: an interactive page that needs no network
            and contains Vega (900 KB).
        png_scale: dots per pixel of the specification.

    Raises:
        ConfigError: when the form is another, or vl-convert is not installed.
    """
    if form not in FIGURE_FORMS:
        raise ConfigError(f"figures are written as {', '.join(FIGURE_FORMS)}; got {form!r}")
    convert = loaded("vl_convert")
    # Versions 5 and 6 read the same charts, and each warns of the other's address.
    chart = {**to_vega(found), "$schema": "https://vega.github.io/schema/vega-lite/v6.json"}
    if form == "html":
        return _page(chart, plain_line(found.title, 80)).encode()
    # No base URL is allowed, so a specification cannot load anything.
    svg = convert.vegalite_to_svg(chart, vl_version=VEGA_LITE_VERSION, allowed_base_urls=[])
    if form == "svg":
        return str(svg).encode()
    if form == "png":
        return bytes(convert.svg_to_png(svg, scale=png_scale))
    return bytes(convert.svg_to_pdf(svg))


def write_figure(found: FigureData, path: Path) -> None:
    """Write a figure to a file; the file is opened after all its bytes are made.

    Args:
        found: the figure's record.
        path: ends in `.svg`, `.png`, `.pdf` or `.html`.

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


def loaded(module: str) -> Any:
    """Return a library of the extra `tune`, imported when it is first needed.

    Raises:
        ConfigError: when it is not installed; names the extra.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise ConfigError(
            f"figures need {library}, which is not installed: pip install 'turnwise[tune]'"
        ) from error


def _page(chart: dict[str, Any], title: str) -> str:
    # A name in the data must not end the script that contains it.
    specification = json.dumps(chart).replace("<", "\\u003c")
    return _PAGE.format(title=escape(title), library=_library(), specification=specification)


@lru_cache(maxsize=1)
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return str(loaded("vl_convert").javascript_bundle(vl_version=VEGA_LITE_VERSION))

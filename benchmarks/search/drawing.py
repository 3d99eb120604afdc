"""Panels on paper: one SVG, without a date and random ids, so that equal data give equal bytes."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

from benchmarks.search.figures import STYLES, Curve, Panel

__all__ = ["draw"]

_COLUMNS = 4
_RANDOM_PICK = "#777777"
_LARGE = ("policies", "peers, with auto and classic_uct")
_WITH_PEERS = ("balanced", "auto", "classic_uct")
"""Our policies that are shown with the peers as well."""


def draw(panels: Sequence[Panel], *, title: str, caption: str) -> bytes:
    """Return panels as one SVG: share of the gap against mean requests, with one legend.

    The mean over pools has two panels, ours and the peers; each pool has a small one.

    Args:
        panels: the mean first; each with at least one curve.
        title: above them.
        caption: below them.

    Raises:
        ValueError: when there is no panel.
    """
    if not panels:
        raise ValueError("there is no curve to draw")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mean, *pools = panels
    rows = -(-len(pools) // _COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "callwise", "font.size": 9}):
        figure = Figure(figsize=(10.5, 5.4 + 2.1 * rows), layout="constrained")
        heights = [3.6, *[2.1] * rows, 0.6]
        grid = figure.add_gridspec(2 + rows, _COLUMNS, height_ratios=heights)
        half = _COLUMNS // 2
        ours = figure.add_subplot(grid[0, :half])
        peers = figure.add_subplot(grid[0, half:], sharex=ours, sharey=ours)
        shown = [curve for curve in mean.curves if curve.style.is_peer]
        shown += [curve for curve in mean.curves if curve.label in _WITH_PEERS]
        _plot(ours, [curve for curve in mean.curves if not curve.style.is_peer], is_large=True)
        _plot(peers, shown, is_large=True)
        for axes, name in zip((ours, peers), _LARGE, strict=True):
            axes.set_title(f"mean over pools: {name}", fontsize=9)
        first = None
        for place, pool in enumerate(pools):
            cell = grid[1 + place // _COLUMNS, place % _COLUMNS]
            axes = figure.add_subplot(cell, sharex=first, sharey=first)
            first = first or axes
            _plot(axes, pool.curves, is_large=False)
            axes.set_title(pool.pool, fontsize=7.5)
            if place % _COLUMNS:
                axes.tick_params(labelleft=False)
            if place + _COLUMNS < len(pools):
                axes.tick_params(labelbottom=False)
        peers.tick_params(labelleft=False)
        _legend(figure.add_subplot(grid[-1, :]), panels)
        figure.suptitle(title, fontsize=11)
        figure.supxlabel(f"requests per prompt (fewer is better)\n{caption}", fontsize=8.5)
        figure.supylabel("share of the gap from a random to the best pick, % (more is better)",
                         fontsize=8.5)  # fmt: skip
        written = BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def _line(label: str, *, is_large: bool) -> Mapping[str, Any]:
    """Return matplotlib's arguments for a policy's line."""
    style = STYLES[label]
    size = 5.5 if is_large else 3.5
    return {
        "color": style.colour,
        "marker": style.marker,
        "linestyle": style.dashes,
        "linewidth": (4.5 if style.is_broad else 1.3) * (1 if is_large else 0.7),
        "markersize": size * (1.7 if style.is_broad else 1),
        "markeredgewidth": 1.3 if style.marker in "x1" else 0.5,
        "zorder": 2 if style.is_broad else 3,
    }


def _plot(axes: Any, curves: Iterable[Curve], *, is_large: bool) -> None:
    """Draw curves, with the names of those that are one point next to it."""
    for curve in curves:
        x = [place.x for place in curve.places]
        y = [100 * place.share.mean for place in curve.places]
        if len(x) == 1 and is_large:
            axes.annotate(
                curve.label, (x[0], y[0]), xytext=(0, 14), textcoords="offset points", ha="center",
                fontsize=8, arrowprops={"arrowstyle": "-", "linewidth": 0.6}, zorder=5,
            )  # fmt: skip
            axes.plot(x, y, "o", markersize=11, fillstyle="none", color=curve.style.colour,
                      markeredgewidth=1, zorder=4)  # fmt: skip
            continue
        axes.plot(x, y, **_line(curve.label, is_large=is_large))
        if curve.has_band and is_large:
            lows = [100 * place.share.low for place in curve.places]
            highs = [100 * place.share.high for place in curve.places]
            axes.fill_between(x, lows, highs, color=curve.style.colour, alpha=0.10, linewidth=0)
    axes.axhline(0, color=_RANDOM_PICK, linewidth=0.8, linestyle=":")
    axes.annotate(
        "a random pick", (0.99, 0), xycoords=("axes fraction", "data"), xytext=(0, 1.5),
        textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=_RANDOM_PICK,
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)


def _legend(axes: Any, panels: Iterable[Panel]) -> None:
    """Draw one legend for all panels."""
    from matplotlib.lines import Line2D

    counts = {}
    for panel in panels:
        for curve in panel.curves:
            counts[curve.label] = max(counts.get(curve.label, 0), len(curve.places))
    lines = [
        Line2D([], [], label=label, **_line(label, is_large=True))
        for label in STYLES
        if counts.get(label, 0) > 1
    ]
    axes.set_axis_off()
    axes.legend(handles=lines, loc="center", ncols=4, frameon=False, fontsize=8.5, handlelength=4)

"""Panels on paper: one SVG, without a date and random ids, so that equal data give equal bytes."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from benchmarks.search.figures import OTHER, SIMULATED, STYLES, Panel

__all__ = ["draw", "reach"]


def reach(panel: Panel) -> tuple[float, float]:
    """Return the lowest and the highest truth that a panel shows.

    All curves, the bands that are drawn, and the pick by lot; the oracle where it is not so
    far above them that the curves would lie flat.
    """
    marks = [panel.random_truth]
    for curve in panel.curves:
        for place in curve.places:
            quality = place.quality
            marks += [quality.low, quality.high] if curve.has_band else [quality.mean]
    low, high = min(marks), max(marks)
    if panel.oracle_truth <= high + (high - low):
        high = max(high, panel.oracle_truth)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def draw(found: Sequence[Panel], *, x_label: str, caption: str) -> bytes:
    """Return panels as one SVG.

    Args:
        found: at least one.
        x_label: of all panels.
        caption: below them.

    Raises:
        ValueError: when there is no panel.
    """
    if not found:
        raise ValueError("there is no panel to draw")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(len(found), 2)
    lines = -(-len(found) // columns)
    with mpl.rc_context({"svg.hashsalt": "callwise", "font.size": 9}):
        figure = Figure(figsize=(6.0 * columns, 3.7 * lines + 1.5), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False)
        handles: dict[str, Any] = {}
        for place, axes in enumerate(grid.flat):
            if place < len(found):
                handles |= _draw_panel(axes, found[place], x_label)
            else:
                axes.axis("off")
        labels = [label for label in STYLES if label in handles]
        labels += [label for label in handles if label not in STYLES]
        figure.legend(
            [handles[label] for label in labels],
            labels,
            loc="outside upper center",
            ncols=4,
            frameon=False,
        )
        figure.supxlabel(caption, fontsize=8, color="#444444")
        written = BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def _draw_panel(axes: Any, panel: Panel, x_label: str) -> dict[str, Any]:
    handles = {}
    for curve in panel.curves:
        style = STYLES.get(curve.label.removesuffix(SIMULATED), OTHER)
        x = [place.x for place in curve.places]
        (line,) = axes.plot(
            x,
            [place.quality.mean for place in curve.places],
            color=style.colour,
            marker=style.marker,
            linestyle="--" if curve.is_dashed else "-",
            linewidth=1.2,
            markersize=5,
        )
        if curve.has_band:
            lows = [place.quality.low for place in curve.places]
            highs = [place.quality.high for place in curve.places]
            axes.fill_between(x, lows, highs, color=style.colour, alpha=0.10, linewidth=0)
        handles[curve.label] = line
    low, high = reach(panel)
    axes.set_ylim(low, high)
    for value, words in ((panel.random_truth, "random"), (panel.oracle_truth, "oracle")):
        is_inside = low <= value <= high
        if is_inside:
            axes.axhline(value, color="#777777", linewidth=0.8, linestyle=":")
        axes.annotate(
            words if is_inside else f"{words} {value:.2f}, above",
            (1, value if is_inside else high),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom" if is_inside else "top",
            fontsize=7,
            color="#777777",
        )
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(panel.unit)
    return handles

"""Curves on paper: one SVG, without a date and random ids, so that equal data give equal bytes."""

from collections.abc import Sequence
from io import BytesIO

from benchmarks.search.figures import Curve

__all__ = ["draw"]


def draw(found: Sequence[Curve], *, title: str, caption: str) -> bytes:
    """Return curves as one SVG: share of the gap against mean requests.

    Args:
        found: at least one.
        title: above them.
        caption: below them.

    Raises:
        ValueError: when there is no curve.
    """
    if not found:
        raise ValueError("there is no curve to draw")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "callwise", "font.size": 9}):
        figure = Figure(figsize=(9.0, 5.6), layout="constrained")
        axes = figure.subplots()
        for curve in found:
            style = curve.style
            x = [place.x for place in curve.places]
            is_point = len(x) == 1
            axes.plot(
                x,
                [100 * place.share.mean for place in curve.places],
                color=style.colour,
                marker=style.marker,
                linestyle="--" if style.is_peer else "-",
                linewidth=1.2,
                markersize=11 if is_point else 5,
                zorder=3 if is_point else 2,
                label=curve.label,
            )
            if curve.has_band:
                lows = [100 * place.share.low for place in curve.places]
                highs = [100 * place.share.high for place in curve.places]
                axes.fill_between(x, lows, highs, color=style.colour, alpha=0.10, linewidth=0)
        axes.axhline(0, color="#777777", linewidth=0.8, linestyle=":")
        axes.annotate(
            "a pick by lot",
            (1, 0),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=7,
            color="#777777",
        )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("requests made, mean over prompts and pools")
        axes.set_ylabel("share of the gap from a random to the best pick, %")
        figure.legend(loc="outside right center", frameon=False)
        figure.supxlabel(caption, fontsize=8, color="#444444")
        written = BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()

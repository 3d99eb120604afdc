"""A waterfall on a screen."""

from typing import TYPE_CHECKING

from turnwise.tune.figures.draw_plotly.canvas import blank, hover, whisker_bars
from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import FAINT, FALL, INK, RISE, SOFT
from turnwise.tune.figures.shown_text import for_plotly
from turnwise.tune.figures.waterfall import Waterfall, WaterfallBar
from turnwise.tune.figures.whisker import Whisker

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw_waterfall"]


def draw_waterfall(found: Waterfall) -> "go.Figure":
    """Return a waterfall as a plotly figure, the first setting on top.

    Raises:
        ConfigError: when plotly is not installed.
    """
    last = len(found.bars) + 1
    figure = blank(
        found.title,
        found.caption,
        height=60 + 46 * (last + 1),
        is_simulated=found.basis.is_simulated,
    )
    graph = loaded("plotly.graph_objects")
    figure.add_trace(
        graph.Bar(
            y=[0, last],
            x=[found.start[1], found.end[1]],
            orientation="h",
            width=0.56,
            marker={"color": SOFT},
            hovertext=[
                hover(f"<b>{for_plotly(name)}</b>", f"{calls:.2f} {for_plotly(found.unit)}")
                for name, calls in (found.start, found.end)
            ],
            hoverinfo="text",
            name="setting",
        )
    )
    if found.bars:
        _add_steps(figure, found)
    _add_numbers(figure, found)
    names = [for_plotly(found.start[0]), *map(_name, found.bars), for_plotly(found.end[0])]
    figure.update_yaxes(tickvals=list(range(last + 1)), ticktext=names, range=[last + 0.55, -0.55],
                        showgrid=False, ticks="")  # fmt: skip
    figure.update_xaxes(title_text=for_plotly(found.unit), rangemode="tozero")
    figure.update_layout(barmode="overlay", showlegend=False)
    return figure


def _name(bar: WaterfallBar) -> str:
    detail = f"<br>{for_plotly(bar.detail, 44)}" if bar.detail else ""
    return for_plotly(bar.label) + detail


def _colour(bar: WaterfallBar) -> str:
    if not bar.detail:
        return FAINT
    return FALL if bar.saved > 0 else RISE


def _add_steps(figure: "go.Figure", found: Waterfall) -> None:
    graph = loaded("plotly.graph_objects")
    places = list(range(1, len(found.bars) + 1))
    figure.add_trace(
        graph.Bar(
            y=places,
            x=[-bar.saved for bar in found.bars],
            base=[bar.before for bar in found.bars],
            orientation="h",
            width=0.56,
            marker={
                "color": [_colour(bar) for bar in found.bars],
                "pattern": {"shape": ["" if bar.detail else "/" for bar in found.bars]},
            },
            hovertext=[_words(bar, found) for bar in found.bars],
            hoverinfo="text",
            name="step",
        )
    )
    figure.add_trace(
        graph.Scatter(
            x=[bar.after for bar in found.bars],
            y=places,
            mode="markers",
            marker={"size": 1, "color": INK},
            error_x=whisker_bars([bar.ends_at for bar in found.bars]) | {"color": INK},
            hoverinfo="skip",
            name="interval",
        )
    )


def _words(bar: WaterfallBar, found: Waterfall) -> str:
    saved = Whisker(bar.saved, bar.saved_low, bar.saved_high)
    return hover(
        f"<b>{for_plotly(bar.label)}</b>",
        for_plotly(bar.detail),
        f"saved: {saved.words()} {for_plotly(found.unit)}",
        f"{bar.before:.2f} to {bar.after:.2f}",
        f"n = {found.basis.turns} turns",
    )


def _add_numbers(figure: "go.Figure", found: Waterfall) -> None:
    """Write every figure at the right of its bar and interval."""
    starts, ends = found.start[1], found.end[1]
    reach = [max(bar.before, bar.ends_at.mean + bar.ends_at.above) for bar in found.bars]
    words = [f"{starts:.2f}", *(f"{-bar.saved:+.2f}" for bar in found.bars), f"{ends:.2f}"]
    figure.add_trace(
        loaded("plotly.graph_objects").Scatter(
            x=[starts, *reach, ends],
            y=list(range(len(found.bars) + 2)),
            mode="text",
            text=[f" {each}".replace("-", "−") for each in words],
            textposition="middle right",
            cliponaxis=False,
            hoverinfo="skip",
            name="numbers",
        )
    )

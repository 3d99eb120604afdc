"""A turn's timeline on a screen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from turnwise.tune.figures.draw_plotly.canvas import blank, hover, said_instead
from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import GRID, INK, PAPER, PICK, node_colours, tint
from turnwise.tune.figures.shown_text import for_plotly
from turnwise.tune.figures.timeline import CallBar, Lane, Scale, Timeline

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw_timeline"]


def draw_timeline(found: Timeline) -> "go.Figure":
    """Return a turn's timeline as a plotly figure: a trace a node, the first on top.

    Raises:
        ConfigError: when plotly is not installed.
    """
    rows = sum(lane.rows for lane in found.lanes)
    figure = blank(
        found.title, found.caption, height=60 + 36 * max(rows, 2), is_simulated=found.is_simulated
    )
    figure.update_xaxes(title_text=for_plotly(found.scale.label), range=[0, found.end or 1])
    if not found.lanes:
        said_instead(figure, "This turn asked nothing.")
        return figure
    colours = node_colours(lane.node for lane in found.lanes)
    top, middles = 0, []
    for lane in found.lanes:
        _add_lane(figure, lane, top, colours[lane.node])
        middles.append(top + (lane.rows - 1) / 2)
        top += lane.rows
        if top < rows:
            figure.add_hline(y=top - 0.5, line={"color": GRID, "width": 1}, layer="below")
    if found.reply_at is not None:
        figure.add_vline(x=found.reply_at, line={"color": INK, "dash": "dash", "width": 1.2},
                         annotation={"text": "reply out", "yanchor": "bottom"})  # fmt: skip
    names = [for_plotly(lane.node, 28) for lane in found.lanes]
    figure.update_yaxes(tickvals=middles, ticktext=names, range=[rows - 0.5, -0.5],
                        showgrid=False, ticks="")  # fmt: skip
    if found.scale is Scale.ROUNDS:
        figure.update_xaxes(tickformat="d")
    figure.update_layout(barmode="overlay", showlegend=False)
    return figure


def _add_lane(figure: "go.Figure", lane: Lane, top: int, colour: str) -> None:
    graph = loaded("plotly.graph_objects")
    waited = [bar for bar in lane.bars if not bar.is_refused]
    refused = [bar for bar in lane.bars if bar.is_refused]
    figure.add_trace(
        graph.Bar(
            y=[top + bar.row for bar in waited],
            x=[bar.end - bar.start for bar in waited],
            base=[bar.start for bar in waited],
            orientation="h",
            width=0.72,
            text=[for_plotly(bar.purpose.removeprefix("judge_"), 16) for bar in waited],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": INK, "size": 11},
            marker=_look(waited, colour),
            hovertext=[_words(bar, lane) for bar in waited],
            hoverinfo="text",
            name=for_plotly(lane.node),
        )
    )
    if refused:
        figure.add_trace(
            graph.Scatter(
                x=[bar.start for bar in refused],
                y=[top + bar.row for bar in refused],
                mode="markers",
                marker={"symbol": "x", "size": 11, "color": PICK},
                cliponaxis=False,
                hovertext=[_words(bar, lane) for bar in refused],
                hoverinfo="text",
                name=for_plotly(lane.node),
            )
        )


def _look(bars: Sequence[CallBar], colour: str) -> dict[str, Any]:
    return {
        "color": [tint(colour, 0.8 if _is_lost(bar) else 0.45) for bar in bars],
        "line": {
            "color": [PICK if bar.repair else PAPER for bar in bars],
            "width": [3 if bar.repair else 1 for bar in bars],
        },
        "pattern": {
            "shape": ["/" if bar.is_speculative else "" for bar in bars],
            "fgcolor": colour,
            "fillmode": "overlay",
        },
    }


def _is_lost(bar: CallBar) -> bool:
    return bar.outcome in {"failed", "cancelled"}


def _words(bar: CallBar, lane: Lane) -> str:
    return hover(
        f"<b>{for_plotly(lane.node)}: {for_plotly(bar.purpose)}</b>",
        f"call {bar.sequence}, {for_plotly(bar.role)}, {for_plotly(bar.outcome)}",
        f"{bar.seconds:.2f} s on the path",
        "asked before it was known to be needed" if bar.is_speculative else "",
        f"repair {bar.repair}: the answer before did not fit" if bar.repair else "",
    )

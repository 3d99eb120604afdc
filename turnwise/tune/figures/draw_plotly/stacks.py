"""Calls by node on a screen: a bar a setting, or a bar a turn."""

from typing import TYPE_CHECKING

from turnwise.tune.figures.calls_by_node import CallsByNode, SettingCalls
from turnwise.tune.figures.calls_over_turns import CallsOverTurns
from turnwise.tune.figures.draw_plotly.canvas import blank, hover, said_instead, whisker_bars
from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import INK, PAPER, SOFT, node_colours
from turnwise.tune.figures.shown_text import for_plotly

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw_calls_by_node", "draw_calls_over_turns"]


def draw_calls_by_node(found: CallsByNode) -> "go.Figure":
    """Return calls by node as a plotly figure: a trace a node, the first setting on top.

    Raises:
        ConfigError: when plotly is not installed.
    """
    figure = blank(
        found.title,
        found.caption,
        height=80 + 42 * max(len(found.bars), 2),
        is_simulated=found.basis.is_simulated,
    )
    figure.update_xaxes(title_text="calls a turn", rangemode="tozero")
    if not found.bars:
        said_instead(figure, "There are no rows to draw.")
        return figure
    places = list(range(len(found.bars)))
    _add_nodes(figure, found, places)
    _add_totals(figure, found, places)
    if found.has_missing:
        _add_missing(figure, found, places)
    names = [for_plotly(bar.setting, 32) for bar in found.bars]
    figure.update_yaxes(tickvals=places, ticktext=names, range=[len(places) - 0.45, -0.55],
                        showgrid=False, ticks="")  # fmt: skip
    figure.update_layout(barmode="overlay", legend={"title": {"text": "node"}})
    return figure


def _add_nodes(figure: "go.Figure", found: CallsByNode, places: list[int]) -> None:
    graph = loaded("plotly.graph_objects")
    colours = node_colours(found.nodes)
    left = [0.0] * len(found.bars)
    for number, node in enumerate(found.nodes):
        means = [bar.mean_by_node[number] for bar in found.bars]
        figure.add_trace(
            graph.Bar(
                y=places,
                x=means,
                base=left,
                orientation="h",
                width=0.58,
                name=for_plotly(node),
                marker={"color": colours[node], "line": {"color": PAPER, "width": 1}},
                hovertext=[
                    _words(bar, node, mean) for bar, mean in zip(found.bars, means, strict=True)
                ],
                hoverinfo="text",
            )
        )
        left = [start + mean for start, mean in zip(left, means, strict=True)]


def _words(bar: SettingCalls, node: str, mean: float) -> str:
    return hover(
        f"<b>{for_plotly(bar.setting)}</b>",
        f"{for_plotly(node)}: {mean:.2f} calls a turn",
        f"in all: {bar.total.words()}",
        f"n = {bar.turns} turns",
    )


def _add_totals(figure: "go.Figure", found: CallsByNode, places: list[int]) -> None:
    """Add the whole of each setting as a number, with its interval."""
    totals = [bar.total for bar in found.bars]
    shown = {"y": places, "hoverinfo": "skip", "showlegend": False}
    graph = loaded("plotly.graph_objects")
    figure.add_trace(
        graph.Scatter(
            x=[total.mean + total.above for total in totals],
            mode="text",
            text=[f" {total.mean:.1f}" for total in totals],
            name="in all",
            textposition="middle right",
            cliponaxis=False,
            **shown,
        )
    )
    if any(total.has_interval for total in totals):
        figure.add_trace(
            graph.Scatter(
                x=[total.mean for total in totals],
                mode="markers",
                marker={"size": 1, "color": INK},
                name="interval",
                error_x=whisker_bars(totals) | {"color": INK},
                **shown,
            )
        )


def _add_missing(figure: "go.Figure", found: CallsByNode, places: list[int]) -> None:
    """Add what the recording does not hold, as a slim bar below each."""
    figure.add_trace(
        loaded("plotly.graph_objects").Bar(
            y=[place + 0.38 for place in places],
            x=[bar.missing for bar in found.bars],
            base=[bar.total.mean - bar.missing for bar in found.bars],
            orientation="h",
            width=0.16,
            name="not recorded",
            marker={
                "color": PAPER,
                "line": {"color": SOFT, "width": 1},
                "pattern": {"shape": "/", "fgcolor": SOFT},
            },
            hovertext=[
                hover(
                    f"<b>{for_plotly(bar.setting)}</b>",
                    f"not recorded: {bar.missing:.2f} calls a turn",
                )
                for bar in found.bars
            ],
            hoverinfo="text",
        )
    )


def draw_calls_over_turns(found: CallsOverTurns) -> "go.Figure":
    """Return a conversation's calls as a plotly figure: a trace a node, a bar a turn.

    Raises:
        ConfigError: when plotly is not installed.
    """
    figure = blank(found.title, found.caption, height=300, is_simulated=found.basis.is_simulated)
    graph = loaded("plotly.graph_objects")
    colours = node_colours(found.nodes)
    for number, node in enumerate(found.nodes):
        asked = [of_turn[number] for of_turn in found.asked]
        figure.add_trace(
            graph.Bar(
                x=list(found.turns),
                y=asked,
                name=for_plotly(node),
                marker={"color": colours[node], "line": {"color": PAPER, "width": 1}},
                hovertext=[
                    hover(
                        f"<b>turn {turn}</b>",
                        f"{for_plotly(node)}: {calls} calls",
                        f"in all: {sum(of_turn)}",
                    )
                    for turn, calls, of_turn in zip(found.turns, asked, found.asked, strict=True)
                ],
                hoverinfo="text",
            )
        )
    figure.update_layout(barmode="stack", legend={"title": {"text": "node"}})
    figure.update_xaxes(title_text="turn", showgrid=False, tickformat="d")
    figure.update_yaxes(title_text="calls", rangemode="tozero")
    return figure

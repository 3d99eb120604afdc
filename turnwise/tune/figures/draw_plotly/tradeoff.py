"""The trade-off on a screen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from turnwise.tune.figures.draw_plotly.canvas import blank, hover, said_instead, whisker_bars
from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import INK, KNEE, PAPER, PICK, group_colours, opacity_of
from turnwise.tune.figures.shown_text import for_plotly
from turnwise.tune.figures.tradeoff import Tradeoff, TradeoffPoint
from turnwise.tune.figures.whisker import Whisker

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw_tradeoff"]


def draw_tradeoff(found: Tradeoff) -> "go.Figure":
    """Return a trade-off as a plotly figure: a trace a value of the swept knob.

    Raises:
        ConfigError: when plotly is not installed.
    """
    figure = blank(found.title, found.caption, height=420, is_simulated=found.basis.is_simulated)
    figure.update_xaxes(title_text=for_plotly(found.cost.label))
    figure.update_yaxes(title_text=for_plotly(found.quality_label, 62))
    if found.problem:
        said_instead(figure, found.problem)
        return figure
    graph = loaded("plotly.graph_objects")
    across, up = zip(*found.steps, strict=True)
    figure.add_trace(
        graph.Scatter(
            x=across,
            y=up,
            mode="lines",
            line={"color": INK, "width": 1.4},
            name="Pareto front",
            hoverinfo="skip",
        )
    )
    for group, colour in zip(found.groups, group_colours(found.groups), strict=True):
        own = [point for point in found.points if point.group == group]
        _add_points(figure, found, own, for_plotly(group), colour)
    _add_marks(figure, found)
    _add_names(figure, found)
    figure.update_xaxes(range=_range([point.cost for point in found.points]))
    figure.update_yaxes(range=_range([point.quality for point in found.points]))
    figure.update_layout(legend={"title": {"text": for_plotly(found.knob)}})
    return figure


def _range(whiskers: Sequence[Whisker]) -> list[float]:
    """Return what an axis shows: every bar, and room for labels."""
    low = min(whisker.mean - whisker.below for whisker in whiskers)
    high = max(whisker.mean + whisker.above for whisker in whiskers)
    room = 0.14 * (high - low) or 0.5 * abs(high) or 0.5
    return [low - room, high + room]


def _add_points(
    figure: "go.Figure", found: Tradeoff, points: Sequence[TradeoffPoint], name: str, colour: str
) -> None:
    """Add points of one colour: one trace a strength, as error bars have one a trace."""
    graph = loaded("plotly.graph_objects")
    strengths = {_strength(point) for point in points}
    for number, strength in enumerate(sorted(strengths, reverse=True)):
        own = [point for point in points if _strength(point) == strength]
        bars = [whisker_bars([getattr(point, side) for point in own])
                for side in ("cost", "quality")]  # fmt: skip
        figure.add_trace(
            graph.Scatter(
                x=[point.cost.mean for point in own],
                y=[point.quality.mean for point in own],
                error_x=bars[0],
                error_y=bars[1],
                mode="markers",
                hovertext=[_words(point, found) for point in own],
                hoverinfo="text",
                opacity=strength,
                marker={
                    "size": 10,
                    "color": [colour if point.is_exact else PAPER for point in own],
                    "line": {"color": colour, "width": 2},
                },
                line={"color": colour},
                name=name,
                legendgroup=name,
                showlegend=bool(found.knob) and number == 0,
            )
        )
        figure.data[-1].update(error_x_color=colour, error_y_color=colour)


def _strength(point: TradeoffPoint) -> float:
    chance = point.chance_on_front
    # Steps of a tenth keep the number of traces small.
    return round(opacity_of(None if chance is None else round(chance, 1)), 3)


def _words(point: TradeoffPoint, found: Tradeoff) -> str:
    chance = point.chance_on_front
    unknown = point.turns - point.judged_turns
    estimated = point.turns - point.exact_turns
    return hover(
        f"<b>{for_plotly(point.setting)}</b>",
        f"{found.cost.label}: {point.cost.words(found.cost.digits)}",
        f"quality: {point.quality.words()}",
        f"{for_plotly(found.knob)}: {for_plotly(point.group)}" if found.knob else "",
        f"n = {point.turns} turns",
        f"quality not known on {unknown} of them" if unknown else "",
        f"estimated on {estimated} of them" if estimated else "",
        "" if chance is None else f"chance to be on the front: {chance:.2f}",
    )


def _add_names(figure: "go.Figure", found: Tradeoff) -> None:
    """Write the names of the front's settings where nothing lies, above and to the left."""
    figure.add_trace(
        loaded("plotly.graph_objects").Scatter(
            x=[point.cost.mean for point in found.front],
            y=[point.quality.mean for point in found.front],
            mode="text",
            text=[for_plotly(point.setting, 28) for point in found.front],
            textposition="top left",
            textfont={"size": 10},
            hoverinfo="skip",
            showlegend=False,
            name="names",
        )
    )


def _add_marks(figure: "go.Figure", found: Tradeoff) -> None:
    graph = loaded("plotly.graph_objects")
    points = {point.setting: point for point in found.points}
    for setting, symbol, size, colour, name in (
        (found.knee, "diamond-open", 18, KNEE, "knee"),
        (found.recommended, "circle-open", 24, PICK, for_plotly(found.recommended_as)),
    ):
        if setting in points:
            point = points[setting]
            figure.add_trace(
                graph.Scatter(
                    x=[point.cost.mean],
                    y=[point.quality.mean],
                    mode="markers",
                    marker={
                        "symbol": symbol,
                        "size": size,
                        "color": colour,
                        "line": {"width": 2.5},
                    },
                    name=name,
                    hoverinfo="skip",
                )
            )

"""What all figures on a screen share: the look, the title, the caption.

Text of outside passes `for_plotly` and stands in `hovertext`, never in a template: a
template would read `%{...}` out of it.
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import GRID, INK, PAPER, SOFT
from turnwise.tune.figures.shown_text import for_plotly
from turnwise.tune.figures.whisker import Whisker

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["blank", "hover", "said_instead", "whisker_bars"]

_CAPTION_CHARS = 110
_MAX_CAPTION_CHARS = 700
_AXIS: dict[str, Any] = {
    "gridcolor": GRID,
    "zeroline": False,
    "linecolor": SOFT,
    "ticks": "outside",
    "tickcolor": GRID,
    "automargin": True,
}
_MARGIN_TOP, _LINE = 70, 17


def blank(title: str, caption: str, *, height: int, is_simulated: bool) -> "go.Figure":
    """Return an empty figure with its title, caption and, where it is due, `simulated`.

    Args:
        title: may hold text of outside.
        caption: may hold text of outside.
        height: of the drawing alone, in pixels.
        is_simulated: whether a simulated model answered.

    Raises:
        ConfigError: when plotly is not installed.
    """
    graph = loaded("plotly.graph_objects")
    lines = textwrap.wrap(caption[:_MAX_CAPTION_CHARS], _CAPTION_CHARS)
    words = "<br>".join(for_plotly(line, 2 * _CAPTION_CHARS) for line in lines)
    mark = f' <span style="color:{SOFT};font-size:13px"><i>simulated</i></span>'
    above = _MARGIN_TOP + _LINE * len(lines)
    return graph.Figure(
        layout={
            "template": "none",
            "title": {
                "text": f"<b>{for_plotly(title, 60)}</b>{mark if is_simulated else ''}",
                "subtitle": {"text": words, "font": {"size": 12, "color": SOFT}},
                "x": 0.01,
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 16},
                "font": {"size": 16},
            },
            "font": {"color": INK, "size": 12},
            "paper_bgcolor": PAPER,
            "plot_bgcolor": PAPER,
            "hoverlabel": {"align": "left", "namelength": -1},
            "margin": {"t": above, "l": 70, "r": 30, "b": 60},
            "height": height + above + 60,
            "xaxis": dict(_AXIS),
            "yaxis": dict(_AXIS),
        }
    )


def hover(*lines: str) -> str:
    """Return harmless lines, empty ones left out, as one hover text."""
    return "<br>".join(line for line in lines if line)


def whisker_bars(whiskers: Sequence[Whisker]) -> dict[str, Any]:
    """Return plotly's error bars; none where no whisker has an interval."""
    return {
        "type": "data",
        "array": [whisker.above for whisker in whiskers],
        "arrayminus": [whisker.below for whisker in whiskers],
        "visible": any(whisker.has_interval for whisker in whiskers),
        "thickness": 1.2,
        "width": 4,
    }


def said_instead(figure: "go.Figure", words: str) -> None:
    """Say in the middle of the figure why nothing is drawn."""
    text = "<br>".join(for_plotly(line, 200) for line in textwrap.wrap(words, 60))
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False,
                          font={"size": 15, "color": SOFT})  # fmt: skip
    figure.update_xaxes(showticklabels=False, ticks="", range=[0, 1])
    figure.update_yaxes(showticklabels=False, ticks="", range=[0, 1])

"""A search tree on a screen: from left to right, a mark a reply, its words on hover."""

import textwrap
from typing import TYPE_CHECKING, Any

from turnwise.tune.figures.draw_plotly.canvas import blank, hover
from turnwise.tune.figures.heavy import loaded
from turnwise.tune.figures.palette import FAINT, PAPER, PICK, SOFT, tint
from turnwise.tune.figures.shown_text import for_plotly
from turnwise.tune.figures.tree import SearchTree, TreeNode

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw_tree"]

_BLUE = "#0072B2"
_MAX_REPLY_CHARS = 600
_HOVER_CHARS = 70


def draw_tree(found: SearchTree) -> "go.Figure":
    """Return a search tree as a plotly figure; marks grow with visits, bluer is better.

    Raises:
        ConfigError: when plotly is not installed.
    """
    figure = blank(
        found.title,
        found.caption,
        height=60 + 40 * max(found.leaves, 3),
        is_simulated=found.is_simulated,
    )
    graph = loaded("plotly.graph_objects")
    across, up = _edges(found)
    figure.add_trace(
        graph.Scatter(
            x=across,
            y=up,
            mode="lines",
            line={"color": FAINT, "width": 1.3},
            hoverinfo="skip",
            showlegend=False,
            name="edges",
        )
    )
    figure.add_trace(_replies(found))
    deepest = max(node.depth for node in found.nodes)
    figure.update_xaxes(visible=False, range=[-0.2, deepest + 1])
    figure.update_yaxes(visible=False, range=[found.leaves - 0.4, -0.6])
    return figure


def _replies(found: SearchTree) -> Any:
    """Return the marks of all replies as one trace."""
    nodes = found.nodes
    return loaded("plotly.graph_objects").Scatter(
        x=[node.depth for node in nodes],
        y=[node.slot for node in nodes],
        mode="markers+text",
        text=[_label(node) for node in nodes],
        textposition=_positions(found),
        textfont={"size": 10.5},
        hovertext=[_words(node) for node in nodes],
        hoverinfo="text",
        showlegend=False,
        name="replies",
        cliponaxis=False,
        marker={
            "size": [11 + 3 * min(node.visits, 6) for node in nodes],
            "color": [_fill(node) for node in nodes],
            "symbol": ["circle-dot" if node.is_dropped else "circle" for node in nodes],
            "opacity": 1,
            "line": {
                "color": [PICK if node.is_pick else SOFT for node in nodes],
                "width": [3 if node.is_pick else 1 for node in nodes],
            },
        },
    )


def _fill(node: TreeNode) -> str:
    if node.score is None:
        return PAPER
    return tint(_BLUE, 0.9 * (1 - min(max(node.score, 0.0), 1.0)))


def _positions(found: SearchTree) -> list[str]:
    """Return where labels stand: not on the line that leads on from a parent."""
    parents = {node.parent_id for node in found.nodes}
    return ["top right" if node.node_id in parents else "middle right" for node in found.nodes]


def _edges(found: SearchTree) -> tuple[list[float | None], list[float | None]]:
    """Return all edges as one broken line: along, across, along."""
    by_id = {node.node_id: node for node in found.nodes}
    across: list[float | None] = []
    up: list[float | None] = []
    for node in found.nodes:
        if node.parent_id is not None:
            parent = by_id[node.parent_id]
            bend = node.depth - 0.12
            across += [parent.depth, bend, bend, node.depth, None]
            up += [parent.slot, parent.slot, node.slot, node.slot, None]
    return across, up


def _label(node: TreeNode) -> str:
    if node.is_start:
        return ""
    score = "not judged" if node.score is None else f"{node.score:.2f}"
    words = f" {for_plotly(node.label or 'reply', 24)}  {score}"
    return f"<b>{words}</b>" if node.is_pick else words


def _words(node: TreeNode) -> str:
    if node.is_start:
        return "start"
    spread = "" if node.spread is None else f" ± {node.spread:.3f}"
    text = node.text[:_MAX_REPLY_CHARS] + ("…" if len(node.text) > _MAX_REPLY_CHARS else "")
    return hover(
        f"<b>{for_plotly(node.label or 'reply')}</b>{' (pick)' if node.is_pick else ''}"
        f"{' (dropped)' if node.is_dropped else ''}",
        "not judged" if node.score is None else f"score {node.score:.3f}{spread}",
        f"{node.visits} visits",
        *(for_plotly(line, 2 * _HOVER_CHARS) for line in textwrap.wrap(text, _HOVER_CHARS)),
    )

"""A search tree as a chart, from left to right, a box a reply."""

from turnwise.tune.figures.chart import Chart, bars, chart_of, lines, number_axis, plain_line, texts
from turnwise.tune.figures.palette import FAINT, PAPER, PICK, SOFT, tint
from turnwise.tune.figures.tree import SearchTree, TreeNode

__all__ = ["figures_of", "tree_chart"]

_BLUE = "#0072B2"
_BOX_WIDTH, _HALF_BOX = 0.82, 0.38
_LEVEL_PIXELS = 270


def figures_of(node: TreeNode) -> str:
    """Return what is known of a node: its score, how sure that is, and its visits."""
    if node.is_start:
        return ""
    score = "not judged" if node.score is None else f"{node.score:.2f}"
    spread = "" if node.spread is None else f" ±{node.spread:.2f}"
    return f"{score}{spread}  ·  {node.visits} visit{'' if node.visits == 1 else 's'}"


def tree_chart(found: SearchTree) -> Chart:
    """Return a search tree as a Vega-Lite specification."""
    levels = 1 + max(node.depth for node in found.nodes)
    x = {**number_axis("x", (0.6 if found.nodes[0].is_start else 0, levels)), "axis": None}
    y = {**number_axis("y", (found.leaves - 0.4, -0.6)), "axis": None}
    by_id = {node.node_id: node for node in found.nodes}
    edges: list[dict[str, float]] = []
    for node in found.nodes:
        if node.parent_id is not None:
            parent, bend = by_id[node.parent_id], node.depth - 0.07
            edges += [
                {"x": parent.depth + _BOX_WIDTH, "x2": bend, "y": parent.slot, "y2": parent.slot},
                {"x": bend, "x2": bend, "y": parent.slot, "y2": node.slot},
                {"x": bend, "x2": node.depth, "y": node.slot, "y2": node.slot},
            ]
    replies = [node for node in found.nodes if not node.is_start]
    heads = [
        {"x": node.depth, "y": node.slot,
         "text": ("pick: " if node.is_pick else "") + plain_line(node.label or "reply", 18)}
        for node in replies
    ]  # fmt: skip
    figures = [{"x": node.depth + _BOX_WIDTH, "y": node.slot, "text": figures_of(node)}
               for node in replies]  # fmt: skip
    words = [{"x": node.depth, "y": node.slot, "text": plain_line(node.text, 34)}
             for node in replies]  # fmt: skip
    starts = [{"x": node.depth + 0.6, "y": node.slot, "text": "start"}
              for node in found.nodes if node.is_start]  # fmt: skip
    return chart_of(
        found.title,
        found.caption,
        [
            lines(edges, x, y, stroke=FAINT, strokeWidth=1.1),
            bars(map(_box, found.nodes), x, y, ("tries", "score", "reply")),
            texts(heads, x, y, align="left", dx=5, dy=-8),
            texts(figures, x, y, align="right", dx=-5, dy=-8, fontSize=9),
            texts(words, x, y, align="left", dx=5, dy=8, fill=SOFT, fontSize=9),
            texts(starts, x, y, align="left", dx=5, fill=SOFT),
        ],
        width=_LEVEL_PIXELS * (levels - x["scale"]["domain"][0]),
        height=44 * max(found.leaves, 3),
        is_simulated=found.is_simulated,
    )


def _box(node: TreeNode) -> dict[str, object]:
    share = 0.0 if node.score is None else min(max(node.score, 0.0), 1.0)
    half = 0.25 if node.is_start else _HALF_BOX
    return {
        "x": node.depth + 0.6 * node.is_start,
        "x2": node.depth + _BOX_WIDTH,
        "y": node.slot - half,
        "y2": node.slot + half,
        "fill": PAPER if node.score is None else tint(_BLUE, 0.96 - 0.5 * share),
        "stroke": PICK if node.is_pick else SOFT,
        "width": 2.2 if node.is_pick else 0.8,
        "dash": [4, 2] if node.is_dropped else [],
        "tries": plain_line(node.label or "reply"),
        "score": figures_of(node),
        "reply": plain_line(node.text, 300),
    }

"""A search tree on paper: from left to right, a box a reply."""

from typing import TYPE_CHECKING

from turnwise.tune.figures.draw_matplotlib.canvas import blank, finished, house_style
from turnwise.tune.figures.palette import FAINT, INK, PAPER, PICK, SOFT, tint
from turnwise.tune.figures.shown_text import for_matplotlib
from turnwise.tune.figures.tree import SearchTree, TreeNode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_tree", "figures_of"]

_BLUE = "#0072B2"
_BOX_WIDTH, _BOX_HEIGHT = 0.78, 0.76
_INCHES_A_LEVEL, _INCHES_A_LEAF = 2.5, 0.5
_START_WIDTH = 0.3
MAX_SIDE_INCHES = 100.0
"""Of a very large tree the boxes get smaller."""


def figures_of(node: TreeNode) -> str:
    """Return what is known of a node: its score, how sure that is, and its visits."""
    if node.is_start:
        return ""
    score = "not judged" if node.score is None else f"{node.score:.2f}"
    spread = "" if node.spread is None else f" ±{node.spread:.2f}"
    return f"{score}{spread}  ·  {node.visits} visit{'' if node.visits == 1 else 's'}"


def draw_tree(found: SearchTree) -> "Figure":
    """Return a search tree as a matplotlib figure.

    Raises:
        ConfigError: when matplotlib is not installed.
    """
    with house_style():
        levels = 1 + max(node.depth for node in found.nodes)
        begins = 1 - _START_WIDTH if found.nodes[0].is_start else 0.0
        figure, axes = blank(
            min(max(7.4, _INCHES_A_LEVEL * (levels - begins)), MAX_SIDE_INCHES),
            min(1.3 + _INCHES_A_LEAF * max(found.leaves, 3), MAX_SIDE_INCHES),
        )
        by_id = {node.node_id: node for node in found.nodes}
        for node in found.nodes:
            if node.parent_id is not None:
                _edge(axes, by_id[node.parent_id], node)
            _box(axes, node)
        axes.set_xlim(begins - 0.02, levels - 1 + _BOX_WIDTH + 0.04)
        room = max(3 - found.leaves, 0) / 2
        axes.set_ylim(found.leaves - 0.45 + room, -0.55 - room)
        axes.set_axis_off()
        return finished(figure, found.title, found.caption, is_simulated=found.is_simulated)


def _left(node: TreeNode) -> float:
    return node.depth + (1 - _START_WIDTH if node.is_start else 0.0)


def _width(node: TreeNode) -> float:
    return _START_WIDTH - 0.14 if node.is_start else _BOX_WIDTH


def _edge(axes: "Axes", parent: TreeNode, node: TreeNode) -> None:
    start, end = _left(parent) + _width(parent), _left(node)
    middle = end - 0.09
    axes.plot([start, middle, middle, end], [parent.slot, parent.slot, node.slot, node.slot],
              color=FAINT, linewidth=1.1, solid_joinstyle="round", zorder=1)  # fmt: skip


def _box(axes: "Axes", node: TreeNode) -> None:
    """Draw a box, the bluer the better its score; dashed where the search gave it up."""
    share = 0.0 if node.score is None else min(max(node.score, 0.0), 1.0)
    axes.barh(
        [node.slot],
        [_width(node)],
        left=[_left(node)],
        height=0.5 if node.is_start else _BOX_HEIGHT,
        color=PAPER if node.score is None else tint(_BLUE, 0.96 - 0.5 * share),
        edgecolor=PICK if node.is_pick else SOFT,
        linewidth=2.2 if node.is_pick else 0.8,
        linestyle="--" if node.is_dropped else "-",
        zorder=2,
    )
    if node.is_start:
        axes.text(_left(node) + _width(node) / 2, node.slot, "start", ha="center", va="center",
                  fontsize=7.5, color=SOFT, zorder=3)  # fmt: skip
        return
    left = _left(node) + 0.02
    name = f"{'pick: ' if node.is_pick else ''}{for_matplotlib(node.label or 'reply', 18)}"
    axes.text(left, node.slot - 0.17, name, va="center", fontsize=7.5, fontweight="bold", zorder=3)
    axes.text(_left(node) + _BOX_WIDTH - 0.02, node.slot - 0.17, figures_of(node), va="center",
              ha="right", fontsize=6.5, color=INK, zorder=3)  # fmt: skip
    axes.text(left, node.slot + 0.17, for_matplotlib(node.text, 37), va="center", fontsize=6.5,
              color=SOFT, zorder=3)  # fmt: skip

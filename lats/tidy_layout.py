"""Where the boxes of a drawn tree stand: leaves in a row, a parent beside their middle.

Leaves take one slot after another, in the order of a walk; a parent stands halfway between
its first and its last child. Boxes of one depth never overlap: those of different parents
lie within the leaves of either, and these share no slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Box", "boxes_of"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; x grows to the right, y downwards. All in pixels.

    Args:
        x: of its left edge.
        y: of its upper edge.
        width: above 0.
        height: above 0.
    """

    x: float
    y: float
    width: float
    height: float


def boxes_of(
    edges: Sequence[tuple[str, str | None]],
    *,
    size: tuple[float, float],
    gaps: tuple[float, float],
    origin: tuple[float, float],
    is_top_down: bool,
) -> dict[str, Box]:
    """Return a box for each node of a tree, none of which overlap.

    Args:
        edges: each node's id and its parent's; a parent comes before its children.
        size: width and height of every box, in pixels.
        gaps: between a parent and its children, and between neighbours, in pixels.
        origin: left upper corner of the drawing, in pixels.
        is_top_down: whether depth grows downwards; to the right otherwise.
    """
    depths: dict[str, int] = {}
    children: dict[str, list[str]] = {}
    for node_id, parent_id in edges:
        depths[node_id] = 0 if parent_id is None else depths[parent_id] + 1
        children[node_id] = []
        if parent_id is not None:
            children[parent_id].append(node_id)
    slots = _slots([node_id for node_id, parent_id in edges if parent_id is None], children)
    width, height = size
    along, across = (height, width) if is_top_down else (width, height)
    boxes = {}
    for node_id, depth in depths.items():
        far, aside = depth * (along + gaps[0]), slots[node_id] * (across + gaps[1])
        x, y = (aside, far) if is_top_down else (far, aside)
        boxes[node_id] = Box(origin[0] + x, origin[1] + y, width, height)
    return boxes


def _slots(tops: list[str], children: dict[str, list[str]]) -> dict[str, float]:
    """Return each node's place across, in slots. Its depth may be any, so it does not recurse."""
    order: list[str] = []
    waiting = tops[::-1]
    while waiting:
        node_id = waiting.pop()
        order.append(node_id)
        waiting += reversed(children[node_id])
    slots: dict[str, float] = {}
    leaves = 0
    for node_id in order:
        if not children[node_id]:
            slots[node_id] = float(leaves)
            leaves += 1
    for node_id in reversed(order):
        below = children[node_id]
        if below:
            slots[node_id] = (slots[below[0]] + slots[below[-1]]) / 2
    return slots

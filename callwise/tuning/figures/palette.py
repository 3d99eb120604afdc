"""Colours of all figures: distinct for the colour-blind, and the same for a node everywhere.

The hues of nodes are in `callwise.report.node_hues`. Figures
have an opaque light background, so they look the same on a dark page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from callwise.report.node_hues import NODE_HUES, SLATE, hue_places

__all__ = [
    "FAINT",
    "FALL",
    "GRID",
    "GROUP_SHAPES",
    "INK",
    "KNEE",
    "NO_NODE",
    "PAPER",
    "PICK",
    "RISE",
    "SOFT",
    "NodeMark",
    "group_colours",
    "node_colours",
    "node_marks",
    "tint",
]

PAPER, INK, SOFT, GRID, FAINT = "#ffffff", "#1f2328", "#59636e", "#e3e7eb", "#aab2bb"
"""Background, text, secondary text, grid lines, and inactive parts."""

FALL, RISE = "#009E73", "#D55E00"
"""A saving of calls, and an increase."""

PICK, KNEE = "#D55E00", "#CC79A7"
"""The recommended setting or picked reply, and the knee of a front."""

NO_NODE = "(no node)"
"""The name of calls without a node."""

_GROUPS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", SLATE, "#F0E442",
)  # fmt: skip
GROUP_SHAPES = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right",
    "triangle-left",
)  # fmt: skip
"""Marks of the values of a knob, besides their colours; the ninth value begins again."""

_LADDER = ("#00204d", "#31446b", "#666970", "#958f78", "#cbba69", "#ffe945")
"""From dark to light with the same step for every eye; for values that have an order."""


@dataclass(frozen=True, slots=True)
class NodeMark:
    """The colours of a node's bars.

    Args:
        edge: colour of the outline.
        dash: of the outline; empty for a whole line.
    """

    fill: str
    edge: str = PAPER
    dash: tuple[int, ...] = ()

    @property
    def is_outlined(self) -> bool:
        """Whether it has an outline, apart from another node of its hue."""
        return self.edge != PAPER


def node_colours(nodes: Iterable[str]) -> dict[str, str]:
    """Return a colour for each node, that of its name wherever it is free."""
    return {node: mark.fill for node, mark in node_marks(nodes).items()}


def node_marks(nodes: Iterable[str]) -> dict[str, NodeMark]:
    """Return a mark for each node, with the colour of its name wherever that is free.

    A node keeps its colour from figure to figure, whatever other nodes there are, unless two
    names hash to one colour: then the later in the alphabet takes a free one. The ninth node and
    those after it are lighter and have an outline of the whole colour; from the seventeenth it is
    dashed. From the twenty-fifth, marks begin to repeat.
    """
    found = {NO_NODE: NodeMark(FAINT)}
    left, variants = sorted(set(nodes) - {NO_NODE}), list(_VARIANTS)
    while left:
        shade, is_outlined, dash = variants.pop(0) if len(variants) > 1 else variants[0]
        places = hue_places(left)
        for name, place in places.items():
            hue = NODE_HUES[place]
            found[name] = NodeMark(tint(hue, shade), hue if is_outlined else PAPER, dash)
        left = [name for name in left if name not in places]
    return found


_VARIANTS: tuple[tuple[float, bool, tuple[int, ...]], ...] = (
    (0.0, False, ()),
    (0.55, True, ()),
    (0.85, True, (2, 1)),
)
"""Lightness, outline and dashes of the first eight nodes, the next eight, and the rest."""


def group_colours(groups: Sequence[str]) -> tuple[str, ...]:
    """Return a colour for each value of a knob, in their order.

    Numbers get a ladder from dark to light, names a hue each; more than eight names get
    the ladder, too.
    """
    are_numbers = len(groups) > 1 and all(map(_is_number, groups))
    if are_numbers or len(groups) > len(_GROUPS):
        # The ladder's light end is too faint on paper, also for thin intervals.
        last = max(len(groups) - 1, 1)
        steps = len(_LADDER) - 1
        found = []
        for place in range(len(groups)):
            at = 0.72 * steps * place / last
            low = min(int(at), steps - 1)
            found.append(_mixed(_LADDER[low], _LADDER[low + 1], at - low))
        return tuple(found)
    return _GROUPS[: len(groups)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tint(colour: str, share_of_paper: float) -> str:
    """Return a colour mixed with the ground; 0 leaves it as it is, 1 gives the ground."""
    return _mixed(colour, PAPER, share_of_paper)


def _mixed(first: str, second: str, share_of_second: float) -> str:
    parts = (
        round((1 - share_of_second) * int(first[at : at + 2], 16)
              + share_of_second * int(second[at : at + 2], 16))
        for at in (1, 3, 5)
    )  # fmt: skip
    return "#" + "".join(f"{part:02x}" for part in parts)

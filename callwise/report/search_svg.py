"""A search drawn as one self-contained SVG: no script, no font, no dependency.

Built as an element tree, so every text is escaped where it is written. Colours follow the
reader's light or dark setting. Texts are measured in columns of a monospaced font and cut where
they do not fit; the whole text is in the box's tooltip.

Layout: leaves take one slot after another, in the order of a walk; a parent is halfway between
its first and its last child. Boxes of one depth never overlap: those of different parents lie
within the leaves of either, and these share no slot.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from callwise.report.search_view import SearchView, SearchViewNode
from callwise.safe_text import cut_to_width, text_width

__all__ = ["TreeBox", "boxes_of", "plain_line", "search_svg"]

BOX_WIDTH, BOX_HEIGHT = 268, 98
"""Size of a box, in pixels; it is higher by a line where replies have checks or two scores."""

_LINE = 15

_GAP_ALONG, _GAP_ACROSS = 46, 16
_MARGIN, _HEAD_HEIGHT = 16, 30
_PAD = 10
_COLUMN_WIDTH = 6.65
_COLUMNS = int((BOX_WIDTH - 2 * _PAD) / _COLUMN_WIDTH)
_BAR_WIDTH = 128
MAX_TOOLTIP_CHARS = 2000

_LAYOUT_STYLE = """
.tw text { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre }
.tw .tw-tag { font-weight: bold } .tw .tw-said { font-style: italic }
.tw .tw-edge { fill: none; stroke-width: 1.5px } .tw .tw-dropped { opacity: .5 }
.tw .tw-best .tw-box { stroke-width: 2.5px }"""

_COLOURS = """
.tw text {{ fill: {ink} }} .tw text.tw-soft, .tw text.tw-said {{ fill: {soft} }}
.tw .tw-paper {{ fill: {paper} }} .tw .tw-box {{ fill: {box}; stroke: {line} }}
.tw .tw-edge {{ stroke: {line} }} .tw .tw-bar {{ fill: {line} }}
.tw .tw-band {{ fill: {band} }} .tw .tw-mean {{ fill: {mark} }}
.tw .tw-best .tw-box {{ fill: {best_box}; stroke: {best} }}
.tw .tw-best .tw-tag, .tw .tw-best .tw-mean {{ fill: {best} }}"""

_LIGHT = {
    "ink": "#1f2328",
    "soft": "#59636e",
    "paper": "#ffffff",
    "box": "#f6f8fa",
    "line": "#c4ccd4",
    "band": "#b6d7fb",
    "mark": "#0969da",
    "best": "#1a7f37",
    "best_box": "#e6f6ea",
}
_DARK = {
    "ink": "#e6edf3",
    "soft": "#9da7b3",
    "paper": "#0d1117",
    "box": "#161b22",
    "line": "#454c56",
    "band": "#1f4a7a",
    "mark": "#58a6ff",
    "best": "#3fb950",
    "best_box": "#12261a",
}
_STYLE = (
    f"{_LAYOUT_STYLE}{_COLOURS.format(**_LIGHT)}\n"
    f"@media (prefers-color-scheme: dark) {{{_COLOURS.format(**_DARK)} }}\n"
)

_JOINERS = frozenset("\u200c\u200d")
"""Invisible, and needed: they make one sign of several."""


def plain_line(text: str, max_chars: int | None = None) -> str:
    """Return a text as one line that can be shown, cut with an ellipsis where it is too long.

    Spaces and line ends become one space. Control characters and marks that turn the direction
    of text are left out; characters that cannot be written become the replacement character.
    """
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_shown_char, text))
    line = " ".join(text.split())
    if max_chars is None or len(line) <= max_chars:
        return line
    return line[: max_chars - 1] + "…"


def _shown_char(char: str) -> str:
    category = unicodedata.category(char)
    if category in {"Cs", "Cn"}:
        return "\N{REPLACEMENT CHARACTER}"
    if category == "Cc":
        return " " if char.isspace() else ""
    return "" if category == "Cf" and char not in _JOINERS else char


@dataclass(frozen=True, slots=True)
class TreeBox:
    """A rectangle by its left upper corner; x grows to the right, y downwards. All in pixels."""

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
) -> dict[str, TreeBox]:
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
        boxes[node_id] = TreeBox(origin[0] + x, origin[1] + y, width, height)
    return boxes


def _slots(tops: list[str], children: dict[str, list[str]]) -> dict[str, float]:
    """Return each node's place across, in slots. Depth is not limited, so it does not recurse."""
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


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _figure(number: float | None) -> str:
    return "--" if number is None else f"{number:.2f}"


def _text(parent: ET.Element, x: float, y: float, words: str, style: str = "") -> None:
    attributes = {"x": _number(x), "y": _number(y)} | ({"class": style} if style else {})
    ET.SubElement(parent, "text", attributes).text = words


def _rect(parent: ET.Element, box: TreeBox, style: str, *, radius: int = 0) -> None:
    names = ("x", "y", "width", "height")
    place = {name: _number(getattr(box, name)) for name in names}
    ET.SubElement(parent, "rect", {"class": style, **place, "rx": str(radius)})


def _draw_value(parent: ET.Element, node: SearchViewNode) -> None:
    """Draw a bar from 0 to 1 with the mean as a mark and its standard deviation as a band."""
    y = 32.0
    _rect(parent, TreeBox(_PAD, y + 4, _BAR_WIDTH, 2), "tw-bar")
    words = _figure(node.value)
    if node.value is not None:
        mean = min(max(node.value, 0.0), 1.0)
        if node.posterior_sd is not None:
            low, high = (
                max(node.value - node.posterior_sd, 0.0),
                min(node.value + node.posterior_sd, 1.0),
            )
            width = max(high - low, 0.0) * _BAR_WIDTH
            _rect(parent, TreeBox(_PAD + min(low, 1.0) * _BAR_WIDTH, y, width, 10), "tw-band")
            words += f" ± {_figure(node.posterior_sd)}"
        _rect(parent, TreeBox(_PAD + mean * _BAR_WIDTH - 1.5, y - 1, 3, 12), "tw-mean")
    _text(parent, _PAD + _BAR_WIDTH + 10, y + 9, words)


def _counts(node: SearchViewNode) -> str:
    return f"judged {node.judge_passes}  visits {node.visits}  cost {_figure(node.calls)}"


def _scores(node: SearchViewNode, policy: str) -> str:
    """Return the checks that a reply passed and the judge's mean score, where they say more."""
    if node.is_start:
        return ""
    passed = f"{sum(node.checks.values())}/{len(node.checks)} ok" if node.checks else ""
    judged = f"judge {_figure(node.mean_score)}" if policy == "classic_uct" else ""
    return "  ".join(filter(None, [passed, judged]))


def _tooltip(node: SearchViewNode) -> str:
    said = ", ".join(
        f"{plain_line(name, 40)} {_figure(score)}" for name, score in node.judge_scores.items()
    )
    lines = [plain_line(node.strategy_tag), plain_line(node.reply, MAX_TOOLTIP_CHARS)]
    lines += [f"judge: {said}" if said else "", plain_line(node.reason, MAX_TOOLTIP_CHARS)]
    return "\n".join(filter(None, lines))


def _draw_node(parent: ET.Element, node: SearchViewNode, box: TreeBox, policy: str) -> None:
    marks = [name for name in ("best", "dropped", "start") if getattr(node, f"is_{name}")]
    style = " ".join(["tw-node", *(f"tw-{name}" for name in marks)])
    place = f"translate({_number(box.x)} {_number(box.y)})"
    group = ET.SubElement(parent, "g", {"class": style, "transform": place})
    tooltip = _tooltip(node)
    if tooltip:
        ET.SubElement(group, "title").text = tooltip
    _rect(group, TreeBox(0, 0, box.width, box.height), "tw-box", radius=6)
    reply = cut_to_width(plain_line(node.reply), _COLUMNS)
    if node.is_start:
        _text(group, _PAD, 20, "start", "tw-tag")
        _text(group, _PAD, 40, reply)
        _text(group, _PAD, 60, f"visits {node.visits}  cost {_figure(node.calls)}", "tw-soft")
        return
    mark = "★ " if node.is_best else ""
    tag = cut_to_width(plain_line(node.strategy_tag), _COLUMNS - 3)
    _text(group, _PAD, 20, f"{mark}{tag}", "tw-tag")
    _draw_value(group, node)
    _text(group, _PAD, 58, _counts(node), "tw-soft")
    if scores := _scores(node, policy):
        _text(group, _PAD, 73, scores, "tw-soft")
    shift = box.height - BOX_HEIGHT
    _text(group, _PAD, 74 + shift, reply)
    _text(group, _PAD, 89 + shift, cut_to_width(plain_line(node.reason), _COLUMNS), "tw-said")


def _draw_edge(parent: ET.Element, above: TreeBox, below: TreeBox, *, is_top_down: bool) -> None:
    if is_top_down:
        x1, y1 = above.x + above.width / 2, above.y + above.height
        x2, y2 = below.x + below.width / 2, below.y
        middle = (y1 + y2) / 2
        points = [x1, middle, x2, middle, x2, y2]
    else:
        x1, y1 = above.x + above.width, above.y + above.height / 2
        x2, y2 = below.x, below.y + below.height / 2
        middle = (x1 + x2) / 2
        points = [middle, y1, middle, y2, x2, y2]
    path = f"M{_number(x1)} {_number(y1)}C{' '.join(map(_number, points))}"
    ET.SubElement(parent, "path", {"class": "tw-edge", "d": path})


def _head(view: SearchView) -> str:
    """Return the stop reason and the size of the search, in one line."""
    noun = "replies" if view.policy == "classic_uct" else "candidates"
    head = (
        f"{plain_line(view.stop_reason or 'under way', 40)}: {view.calls} calls, "
        f"{view.rounds} rounds, {len(view.candidates)} {noun}"
    )
    if view.chance_best is not None:
        head += f"; chance that the answer is the best of these: {_figure(view.chance_best)}"
    if view.chance_right is not None:
        head += f"; that it is right: {_figure(view.chance_right)}"
    return head


def search_svg(
    view: SearchView, *, title: str = "", is_simulated: bool = False, is_top_down: bool = False
) -> str:
    """Return a search as SVG: one box per candidate, the answer marked, dropped ones dimmed.

    A box shows strategy, mean value (a bar from 0 to 1: mean, and one standard deviation to
    each side), judge calls that were to read it, visits, its share of the calls, the start
    of the reply and of the judge's reason. The same search gives the same bytes.

    The head line begins with `title` and names a simulated model. Children are right of their
    parent, or below it with `is_top_down`.
    """
    shown = view.nodes if view.candidates else ()
    has_scores = any(_scores(node, view.policy) for node in shown)
    boxes = boxes_of(
        [(node.id, node.parent_id) for node in shown],
        size=(BOX_WIDTH, BOX_HEIGHT + _LINE * has_scores),
        gaps=(_GAP_ALONG, _GAP_ACROSS),
        origin=(_MARGIN, _MARGIN + _HEAD_HEIGHT),
        is_top_down=is_top_down,
    )
    simulated = "simulated: no real model answered" if is_simulated else ""
    head = "  ".join(filter(None, [plain_line(title, 120), _head(view), simulated]))
    right = max((box.x + box.width for box in boxes.values()), default=0.0)
    width = max(right, _MARGIN + text_width(head) * _COLUMN_WIDTH) + _MARGIN
    bottom = max((box.y + box.height for box in boxes.values()), default=_MARGIN + 16.0)
    paper = TreeBox(0, 0, width, bottom + _MARGIN)
    size = {"width": _number(paper.width), "height": _number(paper.height)}
    box = f"0 0 {size['width']} {size['height']}"
    names = {"xmlns": "http://www.w3.org/2000/svg", "class": "tw", "role": "img"}
    svg = ET.Element("svg", {**names, **size, "viewBox": box})
    ET.SubElement(svg, "title").text = head
    ET.SubElement(svg, "style").text = _STYLE
    _rect(svg, paper, "tw-paper")
    _text(svg, _MARGIN, _MARGIN + 12, head, "tw-tag")
    for node in shown:
        if node.parent_id is not None:
            above, below = boxes[node.parent_id], boxes[node.id]
            _draw_edge(svg, above, below, is_top_down=is_top_down)
    for node in shown:
        _draw_node(svg, node, boxes[node.id], view.policy)
    return ET.tostring(svg, encoding="unicode") + "\n"

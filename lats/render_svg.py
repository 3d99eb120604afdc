"""A search's tree as a picture: one self-contained SVG, no script, no font, no dependency.

Built as an element tree, so every text is escaped where it is written. Colours follow the
reader's light or dark setting. Texts are measured in columns of a monospaced font, wide
characters (Chinese, Japanese, Korean, most emoji) as two, and what does not fit is cut;
the whole text is in the box's tooltip.
"""

from xml.etree import ElementTree as ET

from lats.result import SearchResult
from lats.shown import ShownNode, ShownTree, plain_line, shown_tree
from lats.text_width import cut_to_columns
from lats.tidy_layout import Box, boxes_of

__all__ = ["render_svg"]

BOX_WIDTH, BOX_HEIGHT = 268, 98
"""Size of a box, in pixels."""

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


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _figure(number: float | None) -> str:
    return "--" if number is None else f"{number:.2f}"


def _text(parent: ET.Element, x: float, y: float, words: str, style: str = "") -> None:
    attributes = {"x": _number(x), "y": _number(y)} | ({"class": style} if style else {})
    ET.SubElement(parent, "text", attributes).text = words


def _rect(parent: ET.Element, box: Box, style: str, *, radius: int = 0) -> None:
    names = ("x", "y", "width", "height")
    place = {name: _number(getattr(box, name)) for name in names}
    ET.SubElement(parent, "rect", {"class": style, **place, "rx": str(radius)})


def _draw_value(parent: ET.Element, node: ShownNode) -> None:
    """Draw a bar from 0 to 1 with the mean as a mark and its standard deviation as a band."""
    y = 32.0
    _rect(parent, Box(_PAD, y + 4, _BAR_WIDTH, 2), "tw-bar")
    words = _figure(node.mean_value)
    if node.mean_value is not None:
        mean = min(max(node.mean_value, 0.0), 1.0)
        if node.sd is not None:
            low, high = max(node.mean_value - node.sd, 0.0), min(node.mean_value + node.sd, 1.0)
            width = max(high - low, 0.0) * _BAR_WIDTH
            _rect(parent, Box(_PAD + min(low, 1.0) * _BAR_WIDTH, y, width, 10), "tw-band")
            words += f" ± {_figure(node.sd)}"
        _rect(parent, Box(_PAD + mean * _BAR_WIDTH - 1.5, y - 1, 3, 12), "tw-mean")
    _text(parent, _PAD + _BAR_WIDTH + 10, y + 9, words)


def _counts(node: ShownNode, kind: str) -> str:
    counts = f"looks {node.looks}  visits {node.visits}  cost {_figure(node.calls)}"
    if node.checks_known:
        counts += f"  {node.checks_passed}/{node.checks_known} ok"
    if kind == "classic":
        counts += f"  judge {_figure(node.judge_score)}"
    return counts


def _tooltip(node: ShownNode) -> str:
    scores = {"score": node.judge_score, **node.attributes}
    said = ", ".join(
        f"{plain_line(name, 40)} {_figure(score)}"
        for name, score in scores.items()
        if score is not None
    )
    lines = [plain_line(node.strategy_tag), plain_line(node.reply, MAX_TOOLTIP_CHARS)]
    lines += [f"judge: {said}" if said else "", plain_line(node.reason, MAX_TOOLTIP_CHARS)]
    return "\n".join(filter(None, lines))


def _draw_node(parent: ET.Element, node: ShownNode, box: Box, kind: str) -> None:
    marks = [name for name in ("best", "dropped", "start") if getattr(node, f"is_{name}")]
    style = " ".join(["tw-node", *(f"tw-{name}" for name in marks)])
    place = f"translate({_number(box.x)} {_number(box.y)})"
    group = ET.SubElement(parent, "g", {"class": style, "transform": place})
    tooltip = _tooltip(node)
    if tooltip:
        ET.SubElement(group, "title").text = tooltip
    _rect(group, Box(0, 0, box.width, box.height), "tw-box", radius=6)
    reply = cut_to_columns(plain_line(node.reply), _COLUMNS)
    if node.is_start:
        _text(group, _PAD, 20, "start", "tw-tag")
        _text(group, _PAD, 40, reply)
        _text(group, _PAD, 60, f"visits {node.visits}  cost {_figure(node.calls)}", "tw-soft")
        return
    mark = "★ " if node.is_best else ""
    tag = cut_to_columns(plain_line(node.strategy_tag), _COLUMNS - 3)
    _text(group, _PAD, 20, f"{mark}{tag}", "tw-tag")
    _draw_value(group, node)
    _text(group, _PAD, 58, _counts(node, kind), "tw-soft")
    _text(group, _PAD, 74, reply)
    _text(group, _PAD, 89, cut_to_columns(plain_line(node.reason), _COLUMNS), "tw-said")


def _draw_edge(parent: ET.Element, above: Box, below: Box, *, is_top_down: bool) -> None:
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


def render_svg(result: SearchResult | ShownTree, *, is_top_down: bool = False) -> str:
    """Return the tree as SVG: a box a candidate, the answer marked, what was dropped dimmed.

    A box shows strategy, posterior (a bar from 0 to 1: mean, and one standard deviation to
    each side), judge calls that were to read it, visits, its share of the calls, the start
    of the reply and of the judge's words. The same tree gives the same bytes.

    Args:
        result: of a search, at its end or before, or the records of one.
        is_top_down: whether children stand below their parent rather than right of it.
    """
    tree = shown_tree(result)
    shown = tree.nodes if tree.candidates else ()
    boxes = boxes_of(
        [(node.node_id, node.parent_id) for node in shown],
        size=(BOX_WIDTH, BOX_HEIGHT),
        gaps=(_GAP_ALONG, _GAP_ACROSS),
        origin=(_MARGIN, _MARGIN + _HEAD_HEIGHT),
        is_top_down=is_top_down,
    )
    head = tree.head
    if tree.chance_best is not None:
        head += f"; chance that the answer is the best of these: {_figure(tree.chance_best)}"
    right = max((box.x + box.width for box in boxes.values()), default=0.0)
    width = max(right, _MARGIN + len(head) * _COLUMN_WIDTH) + _MARGIN
    bottom = max((box.y + box.height for box in boxes.values()), default=_MARGIN + 16.0)
    paper = Box(0, 0, width, bottom + _MARGIN)
    size = {"width": _number(paper.width), "height": _number(paper.height)}
    view = f"0 0 {size['width']} {size['height']}"
    names = {"xmlns": "http://www.w3.org/2000/svg", "class": "tw", "role": "img"}
    svg = ET.Element("svg", {**names, **size, "viewBox": view})
    ET.SubElement(svg, "title").text = head
    ET.SubElement(svg, "style").text = _STYLE
    _rect(svg, paper, "tw-paper")
    _text(svg, _MARGIN, _MARGIN + 12, head, "tw-tag")
    for node in shown:
        if node.parent_id is not None:
            above, below = boxes[node.parent_id], boxes[node.node_id]
            _draw_edge(svg, above, below, is_top_down=is_top_down)
    for node in shown:
        _draw_node(svg, node, boxes[node.node_id], tree.kind)
    return ET.tostring(svg, encoding="unicode") + "\n"

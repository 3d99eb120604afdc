"""A search's tree as a Mermaid flowchart, for pages that draw one from text.

Every character of a reply, a tag or a judge's words that is neither a letter, a digit nor
one of a few marks is written as a numeric Mermaid entity (`#60;`). So none of it can
close a label, open a tag, start a directive, a link or a comment, or end a code fence
around the chart. Ids of nodes are ours: `n` and the place of birth.
"""

from lats.result import SearchResult
from lats.shown import ShownNode, ShownTree, plain_line, shown_tree

__all__ = ["render_mermaid"]

_HARMLESS = frozenset(" ,.?!'…。，？！、；：（）“”‘’")
"""Marks that mean nothing to Mermaid, HTML and Markdown inside a quoted label."""

_BREAK = "<br/>"
"""Ends a line of a label; the only tag in the chart."""

_CLASSES = (
    "  classDef best fill:#d7f0dd,stroke:#1a7f37,stroke-width:3px,color:#10331b",
    "  classDef dropped fill:#eeeeee,stroke:#999999,stroke-dasharray:4 3,color:#666666",
    "  classDef start fill:#ffffff,stroke:#999999,color:#444444",
)


def _escaped(text: str, max_chars: int) -> str:
    escaped, before = [], ""
    for char in plain_line(text, max_chars):
        # A number with a full stop would begin a list.
        is_harmless = char.isalnum() or (
            char in _HARMLESS and not (char == "." and before.isdigit())
        )
        escaped.append(char if is_harmless else f"#{ord(char)};")
        before = char
    return "".join(escaped)


def _figure(number: float | None) -> str:
    return "none" if number is None else f"{number:.2f}"


def _label(node: ShownNode, kind: str, max_chars: int) -> str:
    if node.is_start:
        lines = ["start", _escaped(node.reply, max_chars)]
    else:
        value = _figure(node.mean_value)
        value += "" if node.sd is None else f" ± {_figure(node.sd)}"
        reads = f"visits {node.visits}" if kind == "classic" else f"looks {node.looks}"
        lines = [
            _escaped(node.strategy_tag, max_chars),
            f"{value}, {reads}, cost {_figure(node.calls)}",
            _escaped(node.reply, max_chars),
        ]
        reason = _escaped(node.reason, max_chars)
        lines.append(f"judge: {reason}" if reason else "")
    return _BREAK.join(filter(None, lines))


def _class_of(node: ShownNode) -> str:
    if node.is_best:
        return ":::best"
    if node.is_dropped:
        return ":::dropped"
    return ":::start" if node.is_start else ""


def render_mermaid(
    result: SearchResult | ShownTree, *, max_chars: int = 40, is_top_down: bool = False
) -> str:
    """Return a flowchart of the tree: a box a candidate, the answer in green.

    Args:
        result: of a search, at its end or before, or the records of one.
        max_chars: most characters of a tag, a reply and the judge's words, at least 1.
        is_top_down: whether children stand below their parent rather than right of it.

    Raises:
        ValueError: when `max_chars` is less than 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is at least 1, got {max_chars}")
    tree = shown_tree(result)
    lines = [f"flowchart {'TD' if is_top_down else 'LR'}", f"  %% {tree.head}"]
    if not tree.candidates:
        return "\n".join([*lines, f'  none["{tree.head}"]']) + "\n"
    names = {node.node_id: f"n{place}" for place, node in enumerate(tree.nodes)}
    for node in tree.nodes:
        name = names[node.node_id]
        lines.append(f'  {name}["{_label(node, tree.kind, max_chars)}"]{_class_of(node)}')
    lines += [
        f"  {names[node.parent_id]} --> {names[node.node_id]}"
        for node in tree.nodes
        if node.parent_id is not None
    ]
    return "\n".join([*lines, *_CLASSES]) + "\n"

"""A search's tree as text, for people."""

from lats.result import SearchResult
from lats.shown import ShownNode, ShownTree, plain_line, shown_tree

__all__ = ["render_tree"]

MAX_TAG_CHARS = 24
"""Most characters of a strategy tag that are drawn."""


def _figure(number: float | None) -> str:
    return "--" if number is None else f"{number:.2f}"


def _classic_label(node: ShownNode, max_chars: int) -> str:
    figures = (
        f"visits {node.visits}  mean {_figure(node.mean_value)}  "
        f"judge {_figure(node.judge_score)}  rule {_figure(node.rule_score)}"
    )
    if node.assistantness is not None:
        figures += f"  assistant {_figure(node.assistantness)}"
    tag = plain_line(node.strategy_tag, MAX_TAG_CHARS) or "no strategy"
    return f"{tag}  {figures}  {plain_line(node.reply, max_chars)}"


def _posterior_label(node: ShownNode, max_chars: int) -> str:
    figures = _figure(node.mean_value)
    if node.sd is not None:
        figures += f" ±{_figure(node.sd)}"
    figures += f"  looks {node.looks}  cost {_figure(node.calls)}"
    if node.checks_known:
        figures += f"  checks {node.checks_passed}/{node.checks_known}"
    parts = [figures, plain_line(node.strategy_tag, MAX_TAG_CHARS)]
    parts.append(plain_line(node.reply, max_chars))
    reason = plain_line(node.reason, max_chars)
    parts.append(f"[judge: {reason}]" if reason else "")
    return "  ".join(filter(None, parts))


def _label(node: ShownNode, kind: str, max_chars: int) -> str:
    if node.is_start:
        return f"start  {plain_line(node.reply, max_chars)}".rstrip()
    mark = "* " if node.is_best else ""
    mark += "(dropped) " if node.is_dropped else ""
    draw = _classic_label if kind == "classic" else _posterior_label
    return mark + draw(node, max_chars)


def _lines(tree: ShownTree, max_chars: int) -> list[str]:
    """Return a line a node, the top first. Its depth may be any, so it does not recurse."""
    children = tree.children()
    lines: list[str] = []
    waiting = [(tree.nodes[0], "", "")]
    while waiting:
        node, stem, branch = waiting.pop()
        lines.append(f"{stem}{branch}{_label(node, tree.kind, max_chars)}")
        below = stem + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for place, child in enumerate(reversed(children[node.node_id])):
            waiting.append((child, below, "├─ " if place else "└─ "))
    return lines


def render_tree(result: SearchResult | ShownTree, *, max_chars: int = 48) -> str:
    """Return the tree as lines of text, a line a candidate.

    Of a classic search: strategy, figures, and the start of each reply. Of any other: the
    posterior mean of its score and its standard deviation, how many judge calls were to
    read it, its share of the calls, its strategy, the start of the reply, and of what the
    judge said last. `*` marks the answer; `--` is a figure that is missing.

    Args:
        result: of a search, at its end or before, or the records of one.
        max_chars: most characters of a reply and of the judge's words, at least 1.

    Raises:
        ValueError: when `max_chars` is less than 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is at least 1, got {max_chars}")
    tree = shown_tree(result)
    if not tree.candidates:
        return tree.head
    lines = [tree.head, *_lines(tree, max_chars)]
    if tree.was_judged_again:
        lines.append(f"the pick, judged again: {_figure(tree.final_score)}")
    if tree.chance_best is not None:
        lines.append(f"chance that * is the best of these: {_figure(tree.chance_best)}")
    return "\n".join(lines)

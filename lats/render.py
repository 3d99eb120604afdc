"""A search's tree as text, for people."""

from lats.result import SearchResult
from lats.tree import Node, Tree

__all__ = ["render_tree"]


def _figure(number: float | None) -> str:
    return "--" if number is None else f"{number:.2f}"


def _shortened(text: str, max_chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def _label(node: Node, *, is_best: bool, max_chars: int) -> str:
    mean = node.mean_value if node.visits else None
    figures = (
        f"visits {node.visits}  mean {_figure(mean)}  "
        f"judge {_figure(node.judged_score)}  rule {_figure(node.fast_score)}"
    )
    if node.checked_assistantness is not None:
        figures += f"  assistant {_figure(node.checked_assistantness)}"
    tag = _shortened(node.draft.strategy_tag, 24) or "no strategy"
    mark = "* " if is_best else ""
    return f"{mark}{tag}  {figures}  {_shortened(node.draft.reply, max_chars)}"


def _branches(tree: Tree, node: Node, stem: str, best_id: str | None, max_chars: int) -> list[str]:
    lines = []
    children = tree.children(node)
    for place, child in enumerate(children, start=1):
        is_last = place == len(children)
        label = _label(child, is_best=child.node_id == best_id, max_chars=max_chars)
        lines.append(f"{stem}{'└─ ' if is_last else '├─ '}{label}")
        lines += _branches(tree, child, stem + ("   " if is_last else "│  "), best_id, max_chars)
    return lines


def render_tree(result: SearchResult, *, max_chars: int = 48) -> str:
    """Return the tree as lines of text: strategy, figures, and the start of each reply.

    `*` marks the reply that the search answers with; `--` is a figure that is missing.

    Args:
        result: of a search, at its end or before.
        max_chars: most characters of a reply, at least 1.
    """
    reason = result.stop_reason or "under way"
    head = f"{reason}: {result.calls} calls, {result.rounds} rounds, {len(result.tree)} replies"
    if not len(result.tree):
        return head
    best_id = None if result.best is None else result.best.node_id
    root = result.tree.root
    label = _label(root, is_best=root.node_id == best_id, max_chars=max_chars)
    lines = [head, label, *_branches(result.tree, root, "", best_id, max_chars)]
    if result.final_judgement is not None:
        lines.append(f"the pick, judged again: {_figure(result.final_judgement.score)}")
    return "\n".join(lines)

"""Ranking: which reply the search would answer with, and which after it."""

from lats.tree import Node, Tree

__all__ = ["ranked_nodes"]


def _own_value(node: Node, is_judged: bool) -> float:
    return (node.judged_score or 0.0) if is_judged else node.fast_score


def ranked_nodes(tree: Tree, *, is_judged: bool) -> list[Node]:
    """Return the replies that may be answered, the best first.

    Best is the highest mean value; equal means are told apart by the reply's own
    value, then by birth.

    Args:
        tree: the search's tree.
        is_judged: whether values are the judge's. Then only replies that the judge
            scored are ranked, or, when it scored none, all by rule score.
            Otherwise values are rule scores and every reply has one.
    """
    nodes = list(tree.nodes.values())
    if is_judged:
        judged = [node for node in nodes if node.judged_score is not None]
        if not judged:
            return sorted(nodes, key=lambda node: -node.fast_score)
        nodes = judged
    return sorted(nodes, key=lambda node: (-node.mean_value, -_own_value(node, is_judged)))

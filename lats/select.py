"""Selection: from the root to the leaf that the next rollout expands."""

import hashlib

from lats.tree import Node, Tree
from lats.uct import uct_score

__all__ = ["select_leaf"]


def _lot(seed: int, step: int, node: Node) -> bytes:
    """Return a node's lot in a draw: the same for the same seed and step."""
    return hashlib.sha256(f"{seed}/{step}/{node.node_id}".encode()).digest()


def select_leaf(tree: Tree, *, exploration: float, seed: int, step: int) -> Node | None:
    """Return the open leaf that UCT leads to, or None when every leaf is closed.

    Siblings that deserve the visit equally are told apart by their rule score, then
    by lot.

    Args:
        tree: not empty.
        exploration: weight of UCT's second term.
        seed: of the lots.
        step: which selection this is; another step draws other lots. Starts at 0.
    """
    node = tree.root
    if node.is_closed:
        return None
    while node.children_ids:
        parent_visits = node.visits
        node = max(
            (child for child in tree.children(node) if not child.is_closed),
            key=lambda child: (
                uct_score(child.mean_value, child.visits, parent_visits, exploration=exploration),
                child.fast_score,
                _lot(seed, step, child),
            ),
        )
    return node

"""Backup: a node's value counts for the node and for everything above it."""

from lats.tree import NodeId, Tree

__all__ = ["backup"]


def backup(tree: Tree, node_id: NodeId, value: float) -> None:
    """Add a node's own value to it and to its ancestors, one visit each.

    Every valued candidate is backed up by itself, so that the mean value of an
    ancestor is a mean over candidates. (Backing up only the best of a rollout would
    reward rollouts that judge more candidates.)

    Args:
        tree: changed in place.
        node_id: the node whose reply has the value. Once a node only.
        value: in [0, 1].
    """
    for node in tree.path_to_root(node_id):
        node.visits += 1
        node.value_sum += value

"""The tree, its ids, and backup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lats.answers import Draft, path_id
from lats.classic_state import backup
from lats.tree import Tree


def _tree(parents, values):
    """Grow a tree: `parents[i]` is the place of node i + 1's parent, modulo what stands."""
    tree = Tree()
    nodes = [tree.add(None, Draft(reply="root"), fast_score=0.5)]
    for place, parent in enumerate(parents):
        above = nodes[parent % len(nodes)]
        nodes.append(tree.add(above, Draft(reply=f"reply {place}"), fast_score=0.5))
    for node, value in zip(nodes, values, strict=False):
        backup(tree, node.node_id, value)
    return tree, nodes


@given(st.lists(st.integers(0, 20), max_size=12), st.lists(st.sampled_from([0.25, 0.5, 1.0])))
def test_visits_and_sums_add_up(parents, values):
    """A node's visits are its own and its children's, and so is its value sum."""
    tree, nodes = _tree(parents, values)
    own = {n.node_id: v for n, v in zip(nodes, values, strict=False)}
    for node in nodes:
        below = tree.children(node)
        assert node.visits == (node.node_id in own) + sum(child.visits for child in below)
        assert node.value_sum == own.get(node.node_id, 0) + sum(c.value_sum for c in below)
        assert 0 <= node.mean_value <= 1


@given(st.lists(st.integers(0, 20), max_size=12), st.lists(st.floats(0, 1)))
def test_a_tree_survives_json(parents, values):
    """Every figure to the last bit, and the knowledge of its replies."""
    tree, _ = _tree(parents, values)
    again = Tree.model_validate_json(tree.model_dump_json())
    assert again.nodes == tree.nodes
    assert all(again.knows(key) for key in ("root", *(f"reply{i}" for i in range(len(parents)))))


def test_ids_are_digests_of_the_path():
    """The same reply under another parent is another node."""
    tree, (root, one, two) = _tree([0, 0], [])
    below_one = tree.add(one, Draft(reply="same"), fast_score=0)
    below_two = tree.add(two, Draft(reply="same"), fast_score=0)
    assert below_one.node_id == path_id(one.node_id, "same") != below_two.node_id
    assert root.node_id == path_id(None, "root")


def test_a_second_root_and_a_second_equal_child_are_refused():
    """A tree has one root, and a parent one child of each reply."""
    tree, (root, _) = _tree([0], [])
    with pytest.raises(ValueError, match="has a root"):
        tree.add(None, Draft(reply="other"), fast_score=0)
    with pytest.raises(ValueError, match="is in the tree"):
        tree.add(root, Draft(reply="reply 0"), fast_score=0)


def test_closing_every_child_closes_the_parent():
    """And nothing is closed while a child is open."""
    tree, (root, one, two, below) = _tree([0, 0, 1], [])
    tree.close(two)
    assert (two.is_closed, root.is_closed) == (True, False)
    tree.close(below)
    assert (one.is_closed, root.is_closed) == (True, True)


@pytest.mark.parametrize("fault", ["id", "orphan", "cycle", "twice", "stranger"])
def test_a_broken_tree_is_refused(fault):
    """A state that somebody edited does not become a search."""
    tree, (root, one, two) = _tree([0, 1], [])
    data = tree.model_dump()
    nodes = data["nodes"]
    if fault == "id":
        nodes["x"] = nodes.pop(two.node_id)
    elif fault == "orphan":
        nodes[one.node_id]["children_ids"] = []
    elif fault == "cycle":
        nodes[one.node_id]["parent_id"] = two.node_id
        nodes[two.node_id]["children_ids"] = [one.node_id]
    elif fault == "twice":
        nodes[root.node_id]["children_ids"] *= 2
    else:
        nodes[two.node_id]["children_ids"] = ["nobody"]
    with pytest.raises(ValidationError):
        Tree.model_validate(data)


def test_an_empty_tree_has_no_root():
    """And says so."""
    with pytest.raises(LookupError, match="empty"):
        _ = Tree().root

"""The tree of candidates: its ids, its start, backup, and what is no tree."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.answers import Draft, path_id
from lats.classic_state import backup
from lats.search_tree import SearchTree
from lats.similarity import identity_key, text_key


def _tree(parents, values):
    """Grow a tree: `parents[i]` is the place of node i + 1's parent, modulo the nodes so far."""
    tree = SearchTree(None, text_key)
    nodes = [tree.add(None, Draft(reply="root"), rule_score=0.5)]
    for place, parent in enumerate(parents):
        above = nodes[parent % len(nodes)]
        nodes.append(tree.add(above, Draft(reply=f"reply {place}"), rule_score=0.5))
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
def test_a_restored_tree_without_a_start_is_the_same(parents, values):
    """Every figure to the last bit, and the knowledge of its replies."""
    tree, _ = _tree(parents, values)
    again = SearchTree.restored(list(tree.nodes.values()), text_key, has_start=False)
    assert again.nodes == tree.nodes
    assert all(again.has_key(key) for key in ("root", *(f"reply{i}" for i in range(len(parents)))))


def test_ids_are_digests_of_the_path():
    """The same reply under another parent is another node."""
    tree, (root, one, two) = _tree([0, 0], [])
    below_one = tree.add(one, Draft(reply="same"), rule_score=0)
    below_two = tree.add(two, Draft(reply="same"), rule_score=0)
    assert below_one.node_id == path_id(one.node_id, "same") != below_two.node_id
    assert root.node_id == path_id(None, "root")


def test_a_second_root_and_a_second_equal_child_are_refused():
    """A tree has one root, and a parent one child of each reply."""
    tree, (root, _) = _tree([0], [])
    with pytest.raises(ValueError, match="has a top"):
        tree.add(None, Draft(reply="other"), rule_score=0)
    assert tree.add(root, Draft(reply="reply 0"), rule_score=0) is None


def test_closing_every_child_closes_the_parent():
    """And nothing is closed while a child is open."""
    tree, (root, one, two, below) = _tree([0, 0, 1], [])
    tree.close(two)
    assert (two.is_closed, root.is_closed) == (True, False)
    tree.close(below)
    assert (one.is_closed, root.is_closed) == (True, True)


@pytest.fixture
def tree():
    """Two candidates from scratch, and one below the first."""
    made = SearchTree(Draft(reply=""), identity_key)
    first = made.add(made.top, Draft(reply="First."), prior_mean=None)
    made.add(made.top, Draft(reply="Second."), prior_mean=None)
    made.add(first, Draft(reply="Third."), prior_mean=0.6)
    return made


def test_the_start_is_no_candidate(tree):
    """It counts for births and depths alone."""
    assert len(tree) == 3
    assert [node.birth for node in tree.candidates] == [1, 2, 3]
    assert [node.depth for node in tree.candidates] == [1, 1, 2]
    assert tree.top not in list(tree.candidates)


def test_ids_are_path_hashes(tree):
    """The same reply below another parent is another candidate."""
    first, second, third = tree.candidates
    assert third.node_id == path_id(first.node_id, "Third.")
    assert third.node_id != path_id(second.node_id, "Third.")


def test_paths_lead_to_the_start_and_children_stand_by_birth(tree):
    """Through parents."""
    first, second, third = tree.candidates
    assert list(tree.path_to_top(third.node_id)) == [third, first, tree.top]
    assert tree.children(tree.top) == [first, second]


def test_replies_are_known_however_they_are_written(tree):
    """Without case and marks; the start is not known."""
    assert tree.has_key(text_key("FIRST"))
    assert not tree.has_key(text_key("fourth"))
    assert not tree.has_key("")


def test_means_of_nothing_are_missing_or_0(tree):
    """And else sums over counts."""
    node = next(tree.candidates)
    assert node.mean_score is None
    node.score_sum, node.score_count = 1.2, 2
    assert node.mean_score == pytest.approx(0.6)


def test_closing_the_last_open_child_closes_the_parent(tree):
    """Up to the start."""
    first, second, third = tree.candidates
    tree.close(first)
    assert not first.is_closed
    tree.close(third)
    assert third.is_closed
    assert first.is_closed
    assert not tree.top.is_closed
    tree.close(second)
    assert tree.top.is_closed


def test_a_restored_forest_is_the_same(tree):
    """It knows its replies again."""
    again = SearchTree.restored(list(tree.nodes.values()), identity_key, has_start=True)
    assert again.nodes == tree.nodes
    assert again.has_key(text_key("third"))
    assert again.top == tree.top


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda nodes: nodes.clear(), "start"),
        (lambda nodes: nodes.pop(0), "start"),
        (lambda nodes: nodes.reverse(), "start"),
        (lambda nodes: nodes.pop(1), "out of place"),
        (lambda nodes: nodes.pop(), "listed that is not there"),
        (lambda nodes: setattr(nodes[3], "parent_id", "f" * 16), "no child of an earlier"),
        (lambda nodes: setattr(nodes[2], "parent_id", None), "no child of an earlier"),
        (lambda nodes: nodes[1].children_ids.append("f"), "listed that is not there"),
        (lambda nodes: setattr(nodes[3], "depth", 1), "depth 1"),
        (lambda nodes: setattr(nodes[0], "depth", 1), "depth"),
        (lambda nodes: setattr(nodes[2], "draft", Draft(reply="x")), "does not match its id"),
    ],
)
def test_what_is_no_tree_is_not_restored(tree, spoil, problem):
    """With the candidate at fault."""
    nodes = list(tree.nodes.values())
    spoil(nodes)
    with pytest.raises(ValueError, match=problem):
        SearchTree.restored(nodes, identity_key, has_start=True)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda nodes: setattr(nodes[1], "node_id", "x"), "no child of an earlier"),
        (lambda nodes: nodes[0].children_ids.clear(), "no child of an earlier"),
        (lambda nodes: setattr(nodes[1], "parent_id", nodes[2].node_id), "no child of an earlier"),
        (lambda nodes: nodes[0].children_ids.extend(nodes[0].children_ids), "not there"),
        (lambda nodes: nodes[2].children_ids.append("nobody"), "not there"),
    ],
    ids=["id", "orphan", "cycle", "twice", "stranger"],
)
def test_a_broken_tree_without_a_start_is_refused(spoil, problem):
    """An edited state does not become a search."""
    nodes = copy.deepcopy(list(_tree([0, 1], [])[0].nodes.values()))
    spoil(nodes)
    with pytest.raises(ValueError, match=problem):
        SearchTree.restored(nodes, text_key, has_start=False)


def test_an_empty_tree_has_no_top():
    """And an error names it."""
    with pytest.raises(LookupError, match="empty"):
        _ = SearchTree(None, text_key).top

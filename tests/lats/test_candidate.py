"""The forest of candidates."""

import pytest

from lats.answers import Draft, path_id
from lats.search_tree import Forest
from lats.similarity import text_key


@pytest.fixture
def forest():
    """Two candidates from scratch, and one below the first."""
    made = Forest(Draft(reply=""))
    first = made.add(made.start, Draft(reply="First."), prior_mean=None)
    made.add(made.start, Draft(reply="Second."), prior_mean=None)
    made.add(first, Draft(reply="Third."), prior_mean=0.6)
    return made


def test_the_start_is_no_candidate(forest):
    """It counts for births and depths alone."""
    assert len(forest) == 3
    assert [node.birth for node in forest.candidates] == [1, 2, 3]
    assert [node.depth for node in forest.candidates] == [1, 1, 2]
    assert forest.start not in list(forest.candidates)


def test_ids_are_path_hashes(forest):
    """The same reply below another parent is another candidate."""
    first, second, third = forest.candidates
    assert third.node_id == path_id(first.node_id, "Third.")
    assert third.node_id != path_id(second.node_id, "Third.")


def test_paths_lead_to_the_start_and_children_stand_by_birth(forest):
    """Through parents."""
    first, second, third = forest.candidates
    assert list(forest.path_to_start(third.node_id)) == [third, first, forest.start]
    assert forest.children(forest.start) == [first, second]


def test_replies_are_known_however_they_are_written(forest):
    """Without case and marks; the start is not known."""
    assert forest.knows(text_key("FIRST"))
    assert not forest.knows(text_key("fourth"))
    assert not forest.knows("")


def test_means_of_nothing_are_missing_or_0(forest):
    """And else sums over counts."""
    node = next(forest.candidates)
    assert node.mean_score is None
    node.score_sum, node.score_count = 1.2, 2
    assert node.mean_score == pytest.approx(0.6)


def test_closing_the_last_open_child_closes_the_parent(forest):
    """Up to the start."""
    first, second, third = forest.candidates
    forest.close(first)
    assert not first.is_closed
    forest.close(third)
    assert third.is_closed
    assert first.is_closed
    assert not forest.start.is_closed
    forest.close(second)
    assert forest.start.is_closed


def test_a_restored_forest_is_the_same(forest):
    """It knows its replies again."""
    again = Forest.restored(list(forest.nodes.values()))
    assert again.nodes == forest.nodes
    assert again.knows(text_key("third"))
    assert again.start_id == forest.start_id


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
        (lambda nodes: setattr(nodes[2], "draft", Draft(reply="x")), "its id says"),
    ],
)
def test_what_is_no_tree_is_not_restored(forest, spoil, problem):
    """With the candidate at fault."""
    nodes = list(forest.nodes.values())
    spoil(nodes)
    with pytest.raises(ValueError, match=problem):
        Forest.restored(nodes)

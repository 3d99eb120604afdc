"""UCT scores, selection and ranking."""

import math

from hypothesis import given
from hypothesis import strategies as st

from lats.answers import Draft, Verdict
from lats.classic_state import backup, ranked_nodes, select_leaf, uct_score
from lats.search_tree import SearchTree
from lats.similarity import text_key


def _family(*children):
    """A root with children of (value or None, rule score)."""
    tree = SearchTree(None, text_key)
    root = tree.add(None, Draft(reply="root"), rule_score=0.5)
    nodes = [root]
    for place, (value, fast_score) in enumerate(children):
        node = tree.add(root, Draft(reply=f"reply {place}"), rule_score=fast_score)
        if value is not None:
            node.verdict = Verdict(score=value)
            node.score_sum, node.score_count = value, 1
            backup(tree, node.node_id, value)
        nodes.append(node)
    return tree, nodes


def _leaf(tree, *, exploration=0.0, seed=0, step=0):
    return select_leaf(tree, exploration=exploration, seed=seed, step=step)


def test_the_root_is_the_first_leaf():
    """There is nothing else yet."""
    tree, (root,) = _family()
    assert _leaf(tree) is root


def test_an_unvisited_child_is_taken_first_and_the_better_of_two():
    """The higher rule score decides between them."""
    tree, nodes = _family((0.9, 0.5), (None, 0.2), (None, 0.7))
    assert _leaf(tree) is nodes[3]


def test_greedy_selection_takes_the_higher_mean():
    """With no weight on exploration."""
    tree, nodes = _family((0.4, 0.9), (0.6, 0.1))
    assert _leaf(tree) is nodes[2]


def test_closed_leaves_are_passed_over_until_none_is_left():
    """Then there is nothing to select."""
    tree, nodes = _family((0.4, 0.9), (0.6, 0.1))
    tree.close(nodes[2])
    assert _leaf(tree) is nodes[1]
    tree.close(nodes[1])
    assert _leaf(tree) is None


def test_full_ties_are_drawn_by_lot_from_the_seed():
    """The same seed draws the same leaf; not every seed draws the same one."""
    tree, _ = _family((0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
    drawn = [_leaf(tree, seed=seed) for seed in range(20)]
    assert drawn == [_leaf(tree, seed=seed) for seed in range(20)]
    assert len({node.node_id for node in drawn}) == 3


def test_only_judged_replies_are_ranked_where_a_judge_speaks():
    """A high rule score does not outrank a judgement, and a mean over variants is no own one."""
    tree, nodes = _family((0.4, 0.1), (None, 0.99), (0.6, 0.1))
    assert ranked_nodes(tree, is_judged=True) == [nodes[3], nodes[1]]


def test_without_any_judgement_rule_scores_rank():
    """The first draft does not win by accident."""
    tree, nodes = _family((None, 0.7), (None, 0.4))
    assert ranked_nodes(tree, is_judged=True) == [nodes[1], nodes[0], nodes[2]]


def test_it_is_the_papers_formula():
    """Mean plus weight times the root of log parent visits over visits."""
    expected = 0.5 + 2 * math.sqrt(math.log(8) / 3)
    assert uct_score(0.5, 3, 8, exploration=2) == expected


def test_an_unvisited_child_comes_first():
    """With any values of its siblings."""
    assert uct_score(0, 0, 5, exploration=0) == math.inf


@given(st.floats(0, 1), st.integers(1, 50), st.integers(0, 50), st.floats(0, 10))
def test_fewer_visits_deserve_more(mean, visits, more, exploration):
    """At equal means, the bonus never grows with visits."""
    parent = visits + more + 1
    fewer = uct_score(mean, visits, parent, exploration=exploration)
    assert fewer >= uct_score(mean, visits + 1, parent, exploration=exploration)
    assert uct_score(mean, visits, parent, exploration=0) == mean

"""The recorded tree: steps, votes, misses, and answers."""

import random

import numpy as np
import pytest

from benchmarks.search.game24 import load_game24
from benchmarks.search.game24_tree import RecordedTree
from benchmarks.search.pools import read_columns


def test_steps_have_their_parent_and_answers_are_no_steps(game24):
    """Items of a tree say what they go on from; after three steps they are answers."""
    prompt = game24.prompt("900", 0)
    first = next(item for item in prompt.generate(9) if item.item_id == "900.0")
    second = next(item for item in prompt.expand(first, 9) if item.item_id == "900.0.0")
    third = next(item for item in prompt.expand(second, 9) if item.item_id == "900.0.0.0")
    assert [first.parent, second.parent, third.parent] == ["900", "900.0", "900.0.0"]
    assert [first.is_step, second.is_step, third.is_step] == [True, True, False]
    assert prompt.expand(third, 9) == []
    assert (prompt.expansions, prompt.misses) == (3, 0)
    assert prompt.truth(third) == 1.0


def test_going_on_from_a_state_that_never_was_is_a_miss(game24):
    """It is counted, and brings nothing."""
    prompt = game24.prompt("900", 0)
    last = next(item for item in prompt.generate(9) if item.item_id == "900.2")
    assert prompt.expand(last, 4) == []
    assert (prompt.expansions, prompt.misses) == (1, 1)


def test_steps_are_handed_out_a_few_at_a_time(game24):
    """Going on from a state twice brings the rest of its steps."""
    prompt = game24.prompt("900", 0)
    first = next(item for item in prompt.generate(9) if item.item_id == "900.0")
    found = [item.item_id for _ in range(3) for item in prompt.expand(first, 2)]
    assert sorted(found) == ["900.0.0", "900.0.1", "900.0.2"]


def test_an_unfinished_pick_is_worth_nothing(game24):
    """A step that could still end well is no answer."""
    prompt = game24.prompt("900", 0)
    good = next(item for item in prompt.generate(9) if item.item_id == "900.0")
    assert prompt.truth(good) == 0.0


def test_votes_come_one_a_request_and_end_after_three(game24):
    """Two votes and one that was not parsed; then the record is used up."""
    prompt = game24.prompt("900", 0)
    items = prompt.generate(1)
    said = [prompt.judge(items)[0] for _ in range(4)]
    assert sum(verdict is not None for verdict in said[:3]) == 2
    assert said[3] is None
    assert prompt.exhausted == 1
    assert prompt.judge([prompt.start]) == [None]


def test_a_pick_by_lot_walks_the_tree(game24):
    """One step in three is right at each of three depths; a dead end counts as wrong."""
    prompt = game24.prompt("900", 0)
    assert prompt.random_truth() == pytest.approx(1 / 27)
    assert prompt.oracle_truth() == 1.0


def pick_rates(tree, pool, depth, votes):
    """Return how often a solvable next step is picked by some votes, ties by lot."""
    rates = []
    lot = random.Random(0)
    for puzzle in pool.prompt_ids:
        states = pool._states[puzzle]
        for parent in (each for each in states.values() if each.depth == depth - 1):
            children = parent.children
            if not any(tree.rows[child]["solvable"] == 1 for child in children):
                continue
            for _ in range(5):
                worth = {
                    child: sum(lot.sample(states[child].votes, min(votes, 3)))
                    if states[child].votes and not np.isnan(sum(states[child].votes))
                    else 0.0
                    for child in children
                }
                best = max(worth.values())
                picked = lot.choice([child for child in children if worth[child] == best])
                rates.append(tree.rows[picked]["solvable"] == 1)
    return float(np.mean(rates))


@pytest.mark.data
def test_the_record_shows_its_known_figures(recorded):
    """Picking a solvable step by 0, 1 and 3 votes works as the data's own page states."""
    pool = recorded(load_game24, is_borrowing=False)
    table = read_columns("tot_game24_tree", "nodes.parquet")
    rows = [dict(zip(table, each, strict=True)) for each in zip(*table.values(), strict=True)]
    tree = RecordedTree(rows)
    for votes, known in ((0, 0.26), (1, 0.60), (3, 0.66)):
        assert pick_rates(tree, pool, 1, votes) == pytest.approx(known, abs=0.04)
    for votes, known in ((0, 0.22), (1, 0.989), (3, 0.996)):
        assert pick_rates(tree, pool, 2, votes) == pytest.approx(known, abs=0.04)


@pytest.mark.data
def test_borrowing_only_adds(recorded):
    """Recorded answers stay, and no prompt loses a right answer."""
    plain = recorded(load_game24, is_borrowing=False)
    lent = recorded(load_game24)
    for prompt_id in plain.prompt_ids:
        assert plain._states[prompt_id].keys() <= lent._states[prompt_id].keys()
        low, high = (each.prompt(prompt_id, 0).oracle_truth() for each in (plain, lent))
        assert low <= high

"""Promises of every recorded pool, whatever the policy asks and in which order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search.pools import Item, PoolAbsent, PromptClosed, lots, read_columns
from benchmarks.tests.search.conftest import (
    make_game24,
    make_humaneval,
    make_summeval,
    make_topical,
)

POOLS = {
    "topical": make_topical(),
    "rotating": make_topical("rotating"),
    "humaneval": make_humaneval(),
    "summeval": make_summeval(),
    "game24": make_game24(),
}


@pytest.fixture(params=sorted(POOLS))
def pool(request):
    """Return each pool in turn."""
    return POOLS[request.param]


def drained(prompt, step):
    """Return the ids of all candidates from scratch, asked for `step` at a time."""
    found = []
    while items := prompt.generate(step):
        found += [item.item_id for item in items]
    return found


@settings(deadline=None, max_examples=30)
@given(name=st.sampled_from(sorted(POOLS)), seed=st.integers(0, 99), step=st.integers(1, 7))
def test_nothing_is_handed_out_twice_and_the_order_is_the_seeds(name, seed, step):
    """However many are asked for at a time, the same candidates come in the same order."""
    pool = POOLS[name]
    first = drained(pool.prompt(pool.prompt_ids[0], seed), step)
    assert first == drained(pool.prompt(pool.prompt_ids[0], seed), 1)
    assert len(set(first)) == len(first)


def test_another_seed_shuffles_otherwise(pool):
    """Orders differ between seeds, and between prompts."""
    ids = pool.prompt_ids
    orders = {tuple(drained(pool.prompt(ids[0], seed), 1)) for seed in range(12)}
    assert len(orders) > 1


def test_samples_of_a_candidate_do_not_depend_on_what_else_is_asked(topical):
    """A reply's judge samples come in the same order, read alone or with others."""
    alone, packed = topical.prompt("tc00", 3), topical.prompt("tc00", 3)
    first = alone.generate(6)
    assert [each.item_id for each in packed.generate(6)] == [each.item_id for each in first]
    packed.judge(first[1:], "coherence")
    packed.judge(first[2:])
    for _ in range(4):
        (own,) = alone.judge([first[0]])
        assert own == packed.judge(first[:3])[0]


def test_the_truth_is_told_once_and_ends_it(pool):
    """After the final pick nothing can be asked, and no second truth be had."""
    prompt = pool.prompt(pool.prompt_ids[0], 0)
    item = prompt.generate(1)[0]
    prompt.truth(item)
    with pytest.raises(PromptClosed, match=pool.prompt_ids[0]):
        prompt.generate(1)
    with pytest.raises(PromptClosed):
        prompt.judge([item])
    with pytest.raises(PromptClosed):
        prompt.truth(item)


def test_what_was_not_handed_out_is_refused(pool):
    """A made-up item has no truth and no verdict."""
    prompt = pool.prompt(pool.prompt_ids[0], 0)
    with pytest.raises(ValueError, match="'made up'"):
        prompt.truth(Item("made up", ""))
    with pytest.raises(ValueError, match="'made up'"):
        prompt.judge([Item("made up", "")])


def test_asking_for_nothing_is_refused(pool):
    """A request for no candidate, or fewer, is an error rather than a free look."""
    with pytest.raises(ValueError, match="got 0"):
        pool.prompt(pool.prompt_ids[0], 0).generate(0)


def test_a_rubric_that_was_not_recorded_is_refused(pool):
    """An unknown rubric is an error that names it."""
    prompt = pool.prompt(pool.prompt_ids[0], 0)
    with pytest.raises(ValueError, match="'charm'"):
        prompt.judge(prompt.generate(1), "charm")


def test_halves_share_no_prompt(pool):
    """Tuning and reporting are disjoint, complete, and in sorted order."""
    tuning, reporting = pool.half("tuning"), pool.half("reporting")
    both = tuple(sorted((*tuning, *reporting))) if pool.is_interleaved else (*tuning, *reporting)
    assert both == pool.prompt_ids
    assert list(tuning) == sorted(tuning)
    assert tuning
    assert reporting
    with pytest.raises(ValueError, match="'both'"):
        pool.half("both")


def test_a_pick_by_lot_is_no_better_than_the_best(pool):
    """The random line is at or below the oracle line on every prompt."""
    for prompt_id in pool.prompt_ids:
        prompt = pool.prompt(prompt_id, 0)
        assert prompt.random_truth() <= prompt.oracle_truth()
    low, high = pool.score_range("tuning")
    assert low <= high


def test_lots_are_named():
    """Equal names draw equally, another purpose draws otherwise."""
    assert lots("a", 1, "x").random() == lots("a", 1, "x").random()
    assert lots("a", 1, "x").random() != lots("a", 1, "y").random()


def test_an_absent_record_says_what_to_do(monkeypatch, tmp_path):
    """Without the data the error names the file and the variable."""
    monkeypatch.setenv("CALLWISE_DATA", str(tmp_path))
    with pytest.raises(PoolAbsent, match="CALLWISE_DATA"):
        read_columns("nowhere", "pool.parquet")

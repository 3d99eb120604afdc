"""Bias of a judge: what remains when all its calls are averaged."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.bias import best_of, measure_bias
from benchmarks.search.humaneval import HumanEval
from benchmarks.tests.search.conftest import make_humaneval, make_summeval, make_topical

SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 0.3, 0.7, 1.0, math.nan]), st.integers(0, 5)),
    min_size=1,
    max_size=6,
)


@given(SCORES, st.data())
def test_the_best_of_some_is_the_mean_over_all_choices(pairs, data):
    """Compared with going through every choice; ties share, a missing score loses."""
    scores = np.array([score for score, _ in pairs])
    truths = np.array([float(truth) for _, truth in pairs])
    count = data.draw(st.integers(1, len(pairs)))
    ranked = np.where(np.isnan(scores), -1.0, scores)
    wanted = []
    for chosen in combinations(range(len(pairs)), count):
        own = ranked[list(chosen)]
        wanted.append(truths[list(chosen)][own == own.max()].mean())
    assert best_of(scores, truths, count) == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize("count", [0, 3])
def test_more_than_there_are_cannot_be_chosen(count):
    """And fewer than one neither."""
    with pytest.raises(ValueError, match=f"{count} of 2 candidates"):
        best_of(np.array([0.1, 0.2]), np.array([1.0, 2.0]), count)


@pytest.mark.parametrize(
    "pool", [make_topical("rubric"), make_topical("rotating"), make_summeval()]
)
def test_a_judge_with_noise_alone_gains_by_reading_more(pool):
    """Its calls average out; it has no checks."""
    found = measure_bias(pool, "tuning")
    gains = list(found.best_of.values())
    assert gains == sorted(gains)
    assert not found.falls
    assert found.pairs_all > found.pairs_one
    assert (found.peak, math.isnan(found.wrong_checks)) == (found.last, True)


def faulty():
    """Return tasks of 12 programs: 4 are right, 1 fits two of three tests, which are wrong."""
    truths = np.zeros((2, 12))
    truths[:, :4] = 1
    passes = np.zeros((3, 12), dtype=np.bool_)
    passes[0, :4] = True
    passes[1:, 11] = True
    return HumanEval(
        texts=[[f"return {number}" for number in range(12)]] * 2,
        truths=truths,
        calls=[[[0], [1], [2], []]] * 2,
        passes=[passes] * 2,
    )


def test_a_judge_with_a_favourite_fault_misleads_who_reads_more():
    """Most pairs are in order, and the best of all is wrong all the same."""
    found = measure_bias(faulty(), "tuning")
    assert found.pairs_all == pytest.approx(28 / 32)
    assert found.wrong_checks == pytest.approx(2 / 3)
    assert found.best_of[12] == pytest.approx(-0.5)
    assert found.falls
    assert found.peak < found.last == 12


def test_a_call_without_a_score_puts_no_pair_in_order():
    """It counts half, as equal scores do; so do candidates next to it."""
    found = measure_bias(make_humaneval(), "reporting")
    # Of 27 pairs of a right and a wrong program the first call (two tests, one of which all
    # pass) orders 18, the third none and the second, which gave nothing, none.
    right = (18 + 9 / 2, 27 / 2, 9 / 2)
    assert found.pairs_one == pytest.approx(sum(right) / 3 / 27)
    assert found.prompts == 1


def test_candidates_that_are_all_equal_show_nothing():
    """A pool of such prompts alone is refused."""
    pool = HumanEval(
        texts=[["a", "b"]] * 2,
        truths=np.ones((2, 2)),
        calls=[[]] * 2,
        passes=[np.zeros((0, 2), dtype=np.bool_)] * 2,
    )
    with pytest.raises(ValueError, match="no prompt has candidates that differ"):
        measure_bias(pool, "tuning")

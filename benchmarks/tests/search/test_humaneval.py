"""Programs and the recorded calls that wrote tests for them."""

import numpy as np
import pytest

from benchmarks.search.humaneval import FOLDER, load_humaneval
from benchmarks.search.pools import data_folder
from benchmarks.tests.search.conftest import make_humaneval


def judged(pool, count, items=12, seed=0):
    """Return what that many judge requests say of the first programs, and the prompt."""
    prompt = pool.prompt(pool.prompt_ids[0], seed)
    found = prompt.generate(items)
    return prompt, found, [prompt.judge(found) for _ in range(count)]


def test_one_call_is_shared_by_all_that_a_request_reads(humaneval):
    """Checks have one name for all programs of a request, and scores are shares passed."""
    _, _, said = judged(humaneval, 3)
    for verdicts in said:
        if verdicts[0] is None:
            assert set(verdicts) == {None}
            continue
        assert len({frozenset(verdict.checks) for verdict in verdicts}) == 1
        for verdict in verdicts:
            assert verdict.score == np.mean(list(verdict.checks.values()))


def test_checks_of_two_calls_have_two_names(humaneval):
    """No check of one call is taken for one of another."""
    _, _, said = judged(humaneval, 3)
    names = [set(verdicts[0].checks) for verdicts in said if verdicts[0] is not None]
    assert sum(map(len, names)) == len(set().union(*names)) == 3


def test_each_call_is_used_once(humaneval):
    """Reading one program a request uses one call for each, and calls run out."""
    prompt = humaneval.prompt("000", 0)
    items = prompt.generate(4)
    said = [prompt.judge([item])[0] for item in items]
    assert said[3] is None
    assert prompt.exhausted == 1


def test_calls_without_a_usable_test_can_be_left_out():
    """The pool of usable calls never wastes a request, and is shorter."""
    prompt, items, said = judged(make_humaneval(is_usable_only=True), 2)
    assert all(verdict is not None for verdicts in said for verdict in verdicts)
    assert prompt.judge(items) == [None] * 12


@pytest.mark.data
def test_the_record_shows_its_known_figures(recorded):
    """Random and oracle are those that the data's own page states."""
    pool = recorded(load_humaneval)
    prompts = [pool.prompt(prompt_id, 0) for prompt_id in pool.prompt_ids]
    assert np.mean([each.random_truth() for each in prompts]) == pytest.approx(0.221, abs=0.001)
    assert np.mean([each.oracle_truth() for each in prompts]) == pytest.approx(0.738, abs=0.001)


@pytest.mark.data
def test_scores_are_those_of_the_records_own_matrix(recorded):
    """Shares of asserts passed agree with the matrix that was computed with them."""
    pool = recorded(load_humaneval)
    with np.load(data_folder() / FOLDER / "matrix.npz") as matrix:
        milli = matrix["score_milli"]
    for task in (0, 7, 81):
        for call, asserts in enumerate(pool._calls[task]):
            if not asserts:
                assert (milli[task, :, call] == -1).all()
                continue
            shares = pool._passes[task][list(asserts)].mean(axis=0)
            assert np.abs(milli[task, :, call] / 1000 - shares).max() < 0.001

"""The simulated pool: it is what its setting says, and the same for every policy."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import GRID, SimulatedSetting

PROMPTS = 400


def _pool(**changes) -> SimulatedPool:
    return SimulatedPool([SimulatedSetting(**changes)], PROMPTS)


def _read(pool: SimulatedPool, *, requests: int = 3, k: int = 4):
    """Return qualities [prompt, request, candidate] and two rounds of scores of the same."""
    truths, scores = [], []
    for prompt_id in pool.prompt_ids:
        prompt = pool.prompt(prompt_id, 0)
        items = [item for _ in range(requests) for item in prompt.generate(k)]
        passes = [prompt.judge(items) for _ in range(2)]
        scores.append([[verdict.score for verdict in each] for each in passes])
        truths.append([prompt._quality[item.item_id] for item in items])
    shape = (PROMPTS, requests, k)
    return np.array(truths).reshape(shape), np.array(scores).reshape(PROMPTS, 2, *shape[1:])


def _within(left: np.ndarray, right: np.ndarray) -> float:
    x = (left - left.mean(axis=1, keepdims=True)).ravel()
    y = (right - right.mean(axis=1, keepdims=True)).ravel()
    return float(np.corrcoef(x, y)[0, 1])


@pytest.mark.parametrize("accuracy", [0.3, 0.5, 0.8])
def test_one_score_correlates_with_the_truth_as_the_setting_says(accuracy):
    """Within a prompt, over candidates of different requests; position costs a little."""
    truths, scores = _read(_pool(accuracy=accuracy, similarity=0.0))
    flat = (PROMPTS, -1)
    found = _within(truths.reshape(flat), scores[:, 0].reshape(flat))
    assert found == pytest.approx(accuracy, abs=0.06)


def test_the_reliability_is_what_was_asked_for():
    """Two passes over the same candidates correlate so, where scores are not rounded."""
    pool = _pool(accuracy=0.4, similarity=0.0, reliability=0.7, is_rounded=False)
    _, scores = _read(pool)
    flat = (PROMPTS, -1)
    assert _within(scores[:, 0].reshape(flat), scores[:, 1].reshape(flat)) == pytest.approx(
        0.7, abs=0.08
    )


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.6])
def test_candidates_of_one_request_are_as_alike_as_the_setting_says(similarity):
    """And those of two requests are not alike at all."""
    truths, _ = _read(_pool(similarity=similarity))
    same = np.corrcoef(truths[:, 0, 0], truths[:, 0, 1])[0, 1]
    other = np.corrcoef(truths[:, 0, 0], truths[:, 1, 0])[0, 1]
    assert same == pytest.approx(similarity, abs=0.12)
    assert other == pytest.approx(0, abs=0.12)
    assert truths.std() == pytest.approx(1, abs=0.08)


def test_a_child_gains_less_the_better_its_parent_is():
    """The gain of an average parent's child is nearly the setting's."""
    gains: dict[bool, list[float]] = {False: [], True: []}
    pool = _pool(gain=0.5)
    for prompt_id in pool.prompt_ids:
        prompt = pool.prompt(prompt_id, 0)
        (parent,) = prompt.generate(1)
        for child in prompt.expand(parent, 4):
            above = prompt._quality[parent.item_id]
            gains[above > 1].append(prompt._quality[child.item_id] - above)
    assert np.mean(gains[False]) == pytest.approx(0.45, abs=0.08)
    assert np.mean(gains[True]) < np.mean(gains[False]) - 0.1


def test_without_a_gain_a_child_is_the_next_from_scratch():
    """As in a recorded pool, where nothing says which candidate came of which."""
    pool = _pool(gain=None, candidates=5)
    prompt, other = pool.prompt("000-00000", 0), pool.prompt("000-00000", 0)
    (first,) = prompt.generate(1)
    assert prompt.expand(first, 9) == other.generate(5)[1:]
    assert prompt.generate(1) == []
    assert prompt.exhausted == 6


def test_the_oracle_and_the_lot_of_a_limited_pool_are_of_its_candidates():
    """The best of those that there are, and their mean."""
    prompt = _pool(gain=None, candidates=6).prompt("000-00003", 1)
    qualities = [prompt._quality[item.item_id] for item in prompt.generate(6)]
    assert prompt.oracle_truth() == pytest.approx(max(qualities))
    assert prompt.random_truth() == pytest.approx(np.mean(qualities))


def test_what_a_policy_asks_changes_nothing_of_what_another_is_given():
    """The second request's candidates are the same however wide the first was."""
    pool = _pool()
    narrow, wide = pool.prompt("000-00007", 2), pool.prompt("000-00007", 2)
    narrow.generate(1)
    wide.generate(6)
    wide.judge(wide.generate(0) or [])
    assert narrow.generate(2) != []
    again = pool.prompt("000-00007", 2)
    again.generate(6)
    assert [narrow.truth(narrow.generate(1)[0])] == [_third(pool)]


def _third(pool: SimulatedPool) -> float:
    prompt = pool.prompt("000-00007", 2)
    prompt.generate(4)
    prompt.generate(4)
    return prompt.truth(prompt.generate(1)[0])


def test_a_copy_draws_the_same():
    """A pool is copied without its draws, which follow from the seed."""
    pool = _pool()
    here = pool.prompt("000-00002", 4)
    there = copy.deepcopy(pool).prompt("000-00002", 4)
    items = here.generate(4)
    assert there.generate(4) == items
    assert there.judge(items) == here.judge(items)


def test_a_deaf_judge_says_nothing_of_anyone():
    """Whole requests are missing, not single candidates."""
    pool = _pool(unjudged_rate=0.5)
    passes = []
    for prompt_id in pool.prompt_ids[:200]:
        prompt = pool.prompt(prompt_id, 0)
        passes.append(prompt.judge(prompt.generate(3)))
    unjudged = [each for each in passes if None in each]
    assert all(each == [None] * 3 for each in unjudged)
    assert len(unjudged) / len(passes) == pytest.approx(0.5, abs=0.1)


def test_judges_have_one_rubric_and_prompts_a_name():
    """A missing judge or prompt is refused by name."""
    pool = _pool()
    prompt = pool.prompt("000-00000", 0)
    with pytest.raises(ValueError, match="warmth"):
        prompt.judge(prompt.generate(1), "warmth")
    with pytest.raises(KeyError):
        pool.prompt("000-99999", 0)


def test_the_grid_is_the_product_of_its_three_settings():
    """Eighteen cells, each with its own name."""
    assert len({setting.name for setting in GRID}) == 18


def test_no_half_is_held_back():
    """There is nothing recorded to be kept for reporting."""
    pool = _pool()
    assert pool.half("tuning") == pool.half("reporting") == pool.prompt_ids


@given(
    accuracy=st.none() | st.floats(0, 1),
    reliability=st.none() | st.floats(0, 1),
    is_rounded=st.booleans(),
)
def test_the_weights_of_a_reading_are_a_reading(accuracy, reliability, is_rounded):
    """They are real, not negative, and their squares sum to 1."""
    setting = SimulatedSetting(accuracy, reliability=reliability, is_rounded=is_rounded)
    weights = setting.weights()
    assert sum(weight**2 for weight in weights) == pytest.approx(1, abs=2e-3)
    assert min(weights) >= 0


def test_more_accuracy_is_more_truth():
    """The weight of the truth rises with the accuracy."""
    truths = [SimulatedSetting(accuracy).weights()[0] for accuracy in (0.1, 0.3, 0.6, 0.87)]
    assert all(low < high for low, high in pairwise(truths))

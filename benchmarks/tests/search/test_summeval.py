"""Summaries and the recorded judges that rated them: one judge a request, each rating once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search.collecting import collect
from benchmarks.search.settings import Entry
from benchmarks.search.summeval import ASPECTS, JUDGES, load_summeval
from benchmarks.tests.search.conftest import make_summeval

POOL = make_summeval()


def judge_of(pool, prompt_id, item, verdict):
    """Return which recorded judge gave a verdict."""
    ratings = pool._ratings[pool.prompt_ids.index(prompt_id), :, int(item.item_id)]
    (found,) = np.flatnonzero((ratings == list(verdict.attributes.values())).all(axis=1))
    return int(found)


def test_a_request_is_one_judge_and_the_score_the_mean_of_its_aspects():
    """All summaries of a request are rated by the same judge, in four aspects."""
    prompt = POOL.prompt("dm-00", 0)
    items = prompt.generate(4)
    judges = []
    for _ in JUDGES["gpt35"]:
        verdicts = prompt.judge(items)
        for verdict in verdicts:
            assert tuple(verdict.attributes) == ASPECTS
            assert verdict.score == pytest.approx(np.mean(list(verdict.attributes.values())))
        each = {judge_of(POOL, "dm-00", *pair) for pair in zip(items, verdicts, strict=True)}
        assert len(each) == 1
        judges += each
    assert sorted(judges) == list(range(5))
    assert prompt.exhausted == 0
    assert prompt.judge(items) == [None] * 4
    assert prompt.exhausted == 4


def test_summaries_read_one_a_request_are_all_read_by_one_judge():
    """A search that reads one candidate a request is not harmed by a change of judge."""
    prompt = POOL.prompt("dm-01", 3)
    items = prompt.generate(4)
    verdicts = [prompt.judge([item])[0] for item in items]
    judges = {judge_of(POOL, "dm-01", *pair) for pair in zip(items, verdicts, strict=True)}
    assert len(judges) == 1


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 9),
    requests=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True), max_size=9),
)
def test_no_rating_is_handed_out_twice(seed, requests):
    """Whatever is read together, a judge rates a summary once; the rest is counted as used up."""
    prompt = POOL.prompt("dm-02", seed)
    items = prompt.generate(4)
    seen, missing = set(), 0
    for places in requests:
        verdicts = prompt.judge([items[place] for place in places])
        for place, verdict in zip(places, verdicts, strict=True):
            if verdict is None:
                missing += 1
                continue
            pair = (place, judge_of(POOL, "dm-02", items[place], verdict))
            assert pair not in seen
            seen.add(pair)
    assert prompt.exhausted == missing


def test_odd_articles_are_for_tuning():
    """The first, third and so on by sorted id; the others are for reporting."""
    assert POOL.half("tuning") == ("dm-00", "dm-02", "dm-04")
    assert POOL.half("reporting") == ("dm-01", "dm-03")


def test_a_missing_aspect_is_left_out_and_a_judge_without_any_is_missing():
    """The score is the mean of the aspects that were recorded."""
    pool = make_summeval("llama")
    pool._ratings[0, :, :, 1:] = np.nan
    prompt = pool.prompt("dm-00", 0)
    items = prompt.generate(4)
    (verdict,) = prompt.judge(items[:1])
    assert verdict.attributes == {"coherence": verdict.score}
    pool._ratings[0] = np.nan
    assert pool.prompt("dm-00", 0).exhausted == 0
    assert prompt.judge(items[1:]) == [None] * 3


def test_an_unknown_setting_is_refused():
    """The error lists the settings there are."""
    with pytest.raises(ValueError, match="gpt35"):
        load_summeval("gpt5")


@pytest.mark.data
@pytest.mark.parametrize(("setting", "low", "high"), [("gpt35", 45, 70), ("llama", 20, 42)])
def test_the_record_shows_its_known_figures(recorded, setting, low, high):
    """A packed best-of-N of four requests wins the share of the gap that the data's page states."""
    pool = recorded(load_summeval, setting)
    assert len(pool.prompt_ids) == 100
    (runs,) = collect(pool, [Entry("best-of-N, packed", 4)], half="tuning", seeds=3)
    gap = (runs.oracle_truth - runs.random_truth).mean()
    share = 100 * (runs.values["truth"].mean() - runs.random_truth.mean()) / gap
    assert low < share < high

"""Replies and their judges: rubrics, missing samples, the end of the record."""

import numpy as np
import pytest

from benchmarks.search.topical_chat import ATTRIBUTES, load_topical_chat, within_correlation
from benchmarks.tests.search.conftest import make_topical


def test_a_column_ends_after_twenty_samples(topical):
    """The twenty-first look at a reply brings nothing, and is counted."""
    prompt = topical.prompt("tc00", 0)
    items = prompt.generate(1)
    said = [prompt.judge(items)[0] for _ in range(21)]
    assert all(verdict is not None for verdict in said[:20])
    assert said[20] is None
    assert prompt.exhausted == 1
    expected = sorted(topical._columns["eng_analyze_rate_auto_cot"][0, int(items[0].item_id)])
    assert sorted(verdict.score for verdict in said[:20]) == pytest.approx(expected)


def test_a_rubric_reads_all_attributes_in_one_pass():
    """The score is the mean of the attributes, and the attributes are told."""
    prompt = make_topical("rubric").prompt("tc00", 0)
    (verdict,) = prompt.judge(prompt.generate(1))
    assert verdict.attributes.keys() == ATTRIBUTES.keys()
    assert verdict.score == pytest.approx(np.mean(list(verdict.attributes.values())))


def test_a_named_rubric_and_overall_share_the_column(topical):
    """Engagingness by name and as `overall` never hand out the same sample twice."""
    mixed, plain = topical.prompt("tc01", 0), topical.prompt("tc01", 0)
    items = mixed.generate(2)
    plain.generate(2)
    by_turns = [mixed.judge(items, rubric) for rubric in ("overall", "engagingness") * 3]
    assert by_turns == [plain.judge(items) for _ in range(6)]


def test_a_rotating_judge_takes_the_attributes_in_turn():
    """The passes over one reply go through the rubrics in order, as asking by name would."""
    pool = make_topical("rotating")
    turning, named = pool.prompt("tc00", 0), pool.prompt("tc00", 0)
    items = turning.generate(1)
    named.generate(1)
    assert pool.rubrics == tuple(ATTRIBUTES)
    assert [turning.judge(items) for _ in range(8)] == [
        named.judge(items, rubric) for rubric in pool.rubrics * 2
    ]


def test_an_unparsed_sample_is_missing_and_paid(topical):
    """NaN in the record becomes no verdict, and the next look reads the next sample."""
    pool = make_topical()
    pool._columns["eng_analyze_rate_auto_cot"][0, :, :] = np.nan
    pool._columns["eng_analyze_rate_auto_cot"][0, :, 0] = 0.5
    prompt = pool.prompt("tc00", 0)
    items = prompt.generate(1)
    said = [prompt.judge(items)[0] for _ in range(20)]
    assert [verdict.score for verdict in said if verdict] == [0.5]
    assert prompt.exhausted == 0


def test_the_weak_judge_is_chosen_on_the_tuning_half():
    """The column with the least correlation there is used, whatever the other half says."""
    pool = make_topical("weak", prompts=8)
    assert "nat_analyze_rate_auto_cot" in pool.description
    assert pool._rubrics["overall"] == {"weak": "nat_analyze_rate_auto_cot"}


def test_an_unknown_judge_is_refused():
    """The error lists the judges there are."""
    with pytest.raises(ValueError, match="rotating"):
        make_topical("harsh")


def test_within_correlation_ignores_levels_of_prompts():
    """A judge that only knows which prompt it reads is worth nothing; a perfect one is 1."""
    draw = np.random.default_rng(0)
    truths = draw.normal(size=(20, 6))
    shifted = truths[:, :, None] + 9 * np.arange(20)[:, None, None] + np.zeros(3)
    assert within_correlation(shifted, truths) == pytest.approx(1.0)
    noise = draw.normal(size=(20, 6, 3)) + 9 * np.arange(20)[:, None, None]
    assert abs(within_correlation(noise, truths)) < 0.2


def best_of(pool, count, samples, seeds):
    """Return the mean truth of the best of some replies by the mean of some samples."""
    found = []
    for prompt_id in pool.prompt_ids:
        for seed in range(seeds):
            prompt = pool.prompt(prompt_id, seed)
            items = prompt.generate(count)
            passes = [prompt.judge(items) for _ in range(samples)]
            means = []
            for said in zip(*passes, strict=True):
                scores = [verdict.score for verdict in said if verdict is not None]
                means.append(np.mean(scores) if scores else -1.0)
            found.append(prompt.truth(items[int(np.argmax(means))]))
    return float(np.mean(found))


@pytest.mark.data
def test_the_record_shows_its_known_figures(recorded):
    """Random, oracle and best of 4 are those that the data's own page states."""
    pool = recorded(load_topical_chat)
    prompts = [pool.prompt(prompt_id, 0) for prompt_id in pool.prompt_ids]
    assert np.mean([each.random_truth() for each in prompts]) == pytest.approx(3.14, abs=0.01)
    assert np.mean([each.oracle_truth() for each in prompts]) == pytest.approx(4.86, abs=0.01)
    for samples, known in ((1, 3.84), (5, 4.14), (20, 4.23)):
        assert best_of(pool, 4, samples, 20) == pytest.approx(known, abs=0.06)


@pytest.mark.data
def test_machine_replies_show_their_known_figures(recorded):
    """The same without the two replies that people wrote."""
    pool = recorded(load_topical_chat, is_machine_only=True)
    prompts = [pool.prompt(prompt_id, 0) for prompt_id in pool.prompt_ids]
    assert np.mean([each.random_truth() for each in prompts]) == pytest.approx(2.46, abs=0.01)
    assert np.mean([each.oracle_truth() for each in prompts]) == pytest.approx(3.34, abs=0.01)
    assert best_of(pool, 4, 20, 1) == pytest.approx(2.74, abs=0.03)

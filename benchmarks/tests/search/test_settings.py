"""Settings: what is run is what the labels say."""

import pytest

from benchmarks.search.settings import (
    CAPS,
    MIN_GAINS,
    MIXED_POOLS,
    OURS,
    PEERS,
    POOLS,
    Entry,
    entries,
    grid_entries,
    knobs_for,
    peers_for,
)
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import SimulatedSetting
from benchmarks.tests.search.conftest import make_game24, make_humaneval, make_topical
from lats.search_plan import plan_search

SIMULATED = SimulatedPool([SimulatedSetting()], 2)


def test_the_classic_search_at_11_is_the_specifications():
    """Four rollouts of two, one judged each: 11 requests in 11 rounds."""
    knobs = knobs_for(Entry("classic_uct", 11), SIMULATED)
    plan = plan_search(knobs)
    assert (knobs.rollouts, knobs.expand_k, knobs.soft_top_n) == (4, 2, 1)
    assert (plan.calls, len(plan.rounds)) == (11, 11)


@pytest.mark.parametrize("policy", OURS)
def test_a_policy_plans_no_more_than_its_cap(policy):
    """Whatever the cap is."""
    for cap in CAPS:
        assert plan_search(knobs_for(Entry(policy, cap), SIMULATED)).calls <= cap


def test_knobs_follow_from_the_entry_and_the_task():
    """The task's own knobs, its rubrics, and what the entry names; gates are off."""
    knobs = knobs_for(Entry("auto", 6, min_gain=0.01), make_topical("rotating"))
    assert (knobs.min_gain, len(knobs.rubrics)) == (0.01, 4)
    assert not knobs.early_exit.enabled
    assert knobs_for(Entry("listwise", 6, by_agreement=True), make_humaneval()).judging == (
        "agreement"
    )
    assert knobs_for(Entry("listwise", 6), make_game24()).max_depth == 3


def test_a_peer_has_no_knobs():
    """It is named in the refusal."""
    with pytest.raises(ValueError, match="plain"):
        knobs_for(Entry("best-of-N, plain", 6), SIMULATED)


def test_only_searches_over_steps_run_where_candidates_are_steps():
    """Best-of-N would answer with a first step."""
    assert all(label.startswith("treequest") for label in peers_for(make_game24()))
    assert "best-of-N, plain" in peers_for(SIMULATED)


@pytest.mark.parametrize("pool", [SIMULATED, make_humaneval(), make_game24()])
def test_no_two_lines_of_a_table_have_the_same_name(pool):
    """Label and cap together are unique, and the baseline is among them."""
    for found in (entries(pool), grid_entries(pool)):
        names = [(entry.label, entry.cap) for entry in found]
        assert len(set(names)) == len(names)
        assert ("classic_uct", 11) in names


def test_agreement_is_run_where_judges_give_checks():
    """And nowhere else."""
    assert any(entry.by_agreement for entry in entries(make_humaneval()))
    assert not any(entry.by_agreement for entry in entries(SIMULATED))


def test_names_are_known():
    """Pools of the mix are pools, peers are no policies of ours, gains rise."""
    assert set(MIXED_POOLS) <= set(POOLS)
    assert not set(PEERS) & set(OURS)
    assert list(MIN_GAINS) == sorted(MIN_GAINS)

"""Settings: what is run is what the labels say."""

import pytest

from benchmarks.search.settings import (
    BIASED_POOLS,
    CAPS,
    CLAIMED_GAIN,
    MEAN_POOLS,
    MIN_GAINS,
    OURS,
    PEERS,
    POOLS,
    PRESETS,
    Entry,
    entries,
    grid_entries,
    knobs_for,
    peers_for,
    preset_knobs,
    shipped_entries,
)
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import SimulatedSetting
from benchmarks.search.topical_chat import ATTRIBUTES
from benchmarks.tests.search.conftest import (
    make_game24,
    make_humaneval,
    make_summeval,
    make_topical,
)
from graph.app import app
from lats.search_knobs import SearchKnobs
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


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_run_with_the_knobs_that_it_ships(preset):
    """All of them, at its own cap, on pools of whole answers; the environment changes nothing."""
    (entry,) = [each for each in shipped_entries() if each.policy == preset]
    shipped = app.settings(preset).search
    assert knobs_for(entry, make_summeval()) == shipped
    rotating = knobs_for(entry, make_topical("rotating"))
    assert rotating == shipped.model_copy(update={"rubrics": tuple(ATTRIBUTES)})
    with pytest.raises(ValueError, match=preset):
        knobs_for(Entry(preset, entry.cap + 1), SIMULATED)


def test_the_environment_has_no_say_in_what_a_preset_ships(monkeypatch):
    """A variable that sets a knob of the user's own runs is no part of a preset."""
    monkeypatch.setenv("CALLWISE__SEARCH__GENERATE_K", "7")
    assert preset_knobs.__wrapped__("balanced").generate_k != 7


def test_knobs_follow_from_the_entry_and_the_task():
    """The task's own knobs, its rubrics, and what the entry changes; defaults otherwise."""
    changed = Entry("auto", 6, ", min_gain 0.01", (("min_gain", 0.01),))
    knobs = knobs_for(changed, make_topical("rotating"))
    assert (knobs.min_gain, len(knobs.rubrics)) == (0.01, 4)
    assert knobs_for(Entry("listwise", 6), make_game24()).max_depth == 3
    assert not knobs_for(Entry("classic_uct", 11), SIMULATED).early_exit.enabled
    plain = knobs_for(Entry("listwise", 6), SIMULATED)
    assert plain == SearchKnobs(policy="listwise", max_calls=6)


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


def test_agreement_and_no_limits_are_run_where_judges_give_checks():
    """And nowhere else."""
    words = {each.words for each in entries(make_humaneval())}
    assert {" by agreement", ", 32 per request"} <= words
    assert not {" by agreement", ", 32 per request"} & {each.words for each in entries(SIMULATED)}
    agreeing = Entry("listwise", 6, " by agreement", (("judging", "agreement"),))
    assert agreeing in entries(make_humaneval())
    assert knobs_for(agreeing, make_humaneval()).judging == "agreement"


def test_rules_have_a_say_in_rows_of_their_own_where_candidates_are_replies():
    """The same presets, and the classic search; all other rows are without rules."""
    ruled = [each for each in entries(make_topical()) if each.has_rules]
    assert {each.policy for each in ruled} == {"classic_uct", *PRESETS}
    assert all("with rules" in each.label for each in ruled)
    assert not any(each.has_rules for each in entries(make_summeval()))


def test_names_are_known():
    """Every pool is biased, of steps, or counts in means; labels are unique; gains rise."""
    assert {*MEAN_POOLS, *BIASED_POOLS, "game24"} == set(POOLS)
    assert not set(MEAN_POOLS) & set(BIASED_POOLS)
    assert len({*PEERS, *OURS, *PRESETS}) == len(PEERS) + len(OURS) + len(PRESETS)
    assert list(MIN_GAINS) == sorted(MIN_GAINS)
    assert CLAIMED_GAIN in MIN_GAINS

"""Comparing: the three baselines, means over pools, and what is not reported."""

import numpy as np
import pytest

from benchmarks.search.collecting import FIELDS, Runs, collect
from benchmarks.search.comparing import (
    BASELINES,
    CLASSIC,
    PACKED,
    TREEQUEST,
    averages,
    between,
    compare,
)
from benchmarks.search.settings import Entry
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import SimulatedSetting


def make_runs(truth, *, policy="listwise", cap=6, pool="a pool", misses=0.0):
    """Return runs with these truths, (prompts, seeds); everything else is the cap, or 0.

    A pick by lot is worth 0 and the best pick 10, so a truth of 1 is 10 % of the gap.
    """
    truth = np.asarray(truth, dtype=float)
    values = {name: np.zeros_like(truth) for name in FIELDS}
    values |= {"truth": truth, "requests": np.full_like(truth, cap)}
    values |= {"rounds": np.full_like(truth, 2), "expansions": np.ones_like(truth)}
    values["misses"] = np.full_like(truth, misses)
    prompts = len(truth)
    return Runs(
        pool=pool,
        policy=policy,
        cap=cap,
        prompts=tuple(f"{place:03d}" for place in range(prompts)),
        values=values,
        random_truth=np.zeros(prompts),
        oracle_truth=np.full(prompts, 10.0),
    )


def baseline(truth, **changes):
    """Return runs of the classic search at 11."""
    return make_runs(truth, policy="classic_uct", cap=11, **changes)


NOISE = np.random.default_rng(0).normal(0, 1, (40, 2))


@pytest.mark.parametrize(
    ("shift", "noise", "is_open"),
    [(0.5, 0.1, False), (-0.5, 0.1, False), (0.0, 3.0, True)],
)
def test_a_difference_is_paired_and_in_shares_of_the_gap(shift, noise, is_open):
    """It is open where its interval contains 0."""
    truth = NOISE * 5
    row = compare([baseline(truth), make_runs(truth + shift + noise * NOISE[::-1])])[1]
    assert row.less[CLASSIC].mean == pytest.approx(shift / 10, abs=noise / 10)
    assert row.less[CLASSIC].is_open is is_open
    assert row.share.mean == pytest.approx((truth + shift + noise * NOISE).mean() / 10)


def test_each_policy_is_held_against_all_baselines_but_itself():
    """Packed best-of-N at the same cap, the others at 11."""
    runs = [
        baseline(NOISE),
        make_runs(NOISE + 1, policy="best-of-N, packed", cap=6),
        make_runs(NOISE - 9, policy="best-of-N, packed", cap=3),
        make_runs(NOISE + 2, policy="treequest StandardMCTS", cap=11),
        make_runs(NOISE + 3, policy="treequest AB-MCTS-A", cap=11),
        make_runs(NOISE + 4),
    ]
    rows = {(row.policy, row.cap): row for row in compare(runs)}
    less = {name: each.mean for name, each in rows["listwise", 6].less.items()}
    assert less == pytest.approx({CLASSIC: 0.4, PACKED: 0.3, TREEQUEST: 0.1})
    assert CLASSIC not in rows["classic_uct", 11].less
    assert set(rows["treequest AB-MCTS-A", 11].less) == {CLASSIC}
    assert rows["treequest StandardMCTS", 11].less[TREEQUEST].mean == pytest.approx(-0.1)


def test_without_a_baseline_a_policy_stands_alone():
    """Its quality is told, and nothing is held against it."""
    (row,) = compare([make_runs(NOISE)])
    assert row.less == {}
    assert row.is_reported


def test_what_the_record_cannot_serve_is_neither_reported_nor_a_baseline():
    """More than one request in ten that went on from a candidate brought nothing."""
    rows = compare([baseline(NOISE, misses=0.2), make_runs(NOISE)])
    assert [row.is_reported for row in rows] == [False, True]
    assert rows[1].less == {}
    assert rows[0].miss_rate == pytest.approx(0.2)


def test_only_runs_on_the_same_prompts_are_compared():
    """Other prompts are no pairs."""
    with pytest.raises(ValueError, match="same prompts"):
        compare([baseline(NOISE), make_runs(NOISE[:5])])


def test_a_pool_without_a_gap_has_no_scale():
    """Nothing is better than a pick by lot there."""
    runs = make_runs(NOISE)
    runs.oracle_truth[:] = 0
    with pytest.raises(ValueError, match="no better"):
        compare([runs])


def test_a_mean_counts_each_pool_once():
    """A pool of many prompts weighs no more than one of few; least and most name theirs."""
    rows = compare([baseline(NOISE), make_runs(NOISE + 1)])
    rows += compare([baseline(NOISE[:5], pool="b"), make_runs(NOISE[:5] + 3, pool="b")])
    rows += compare([baseline(NOISE, pool="apart"), make_runs(NOISE - 9, pool="apart")])
    (listwise,) = [row for row in averages(rows, ["a pool", "b"]) if row.policy == "listwise"]
    difference = listwise.less[CLASSIC]
    assert difference.mean.mean == pytest.approx(0.2)
    assert difference.mean.prompts == 45
    assert difference.least[0] == "a pool"
    assert difference.most[1].mean == pytest.approx(0.3)
    assert set(listwise.less) == {CLASSIC} < set(BASELINES)


def test_a_policy_that_one_pool_does_not_report_has_no_mean():
    """A mean over other pools would be another figure."""
    rows = compare([make_runs(NOISE)]) + compare([make_runs(NOISE, pool="b", misses=0.5)])
    assert averages(rows, ["a pool", "b"]) == []
    assert averages(rows, []) == []


def test_two_caps_of_one_policy_are_compared_where_both_were_run():
    """The rest is left out; without any pool there is nothing."""
    rows = compare([make_runs(NOISE, cap=6), make_runs(NOISE + 1, cap=16)])
    rows += compare([make_runs(NOISE, cap=6, pool="b")])
    found = between(rows, ("listwise", 16), ("listwise", 6))
    assert list(found.by_pool) == ["a pool"]
    assert found.mean.mean == pytest.approx(0.1)
    assert between(rows, ("auto", 16), ("listwise", 6)) is None


def test_collected_runs_are_the_entries_on_every_prompt():
    """In their order, under their cap, and split again by setting."""
    pool = SimulatedPool([SimulatedSetting(0.5), SimulatedSetting(0.8)], 3)
    entries = [
        Entry("listwise", 3),
        Entry("best-of-N, plain", 4),
        Entry("auto", 6, ", min_gain 0.01", (("min_gain", 0.01),)),
    ]
    runs = collect(pool, entries, half="tuning", seeds=2)
    assert [each.policy for each in runs] == [
        "listwise",
        "best-of-N, plain",
        "auto, min_gain 0.01",
    ]
    assert runs[0].values["truth"].shape == (6, 2)
    second = runs[0].part(SimulatedPool.prefix(1), "second")
    assert (second.pool, len(second.prompts)) == ("second", 3)
    assert second.values["truth"].tolist() == runs[0].values["truth"][3:].tolist()
    with pytest.raises(ValueError, match="begins with"):
        runs[0].part("9", "ninth")


def test_all_entries_meet_the_same_first_candidate():
    """A search of one request picks it, whatever the policy."""
    pool = SimulatedPool([SimulatedSetting()], 5)
    entries = [Entry("listwise", 1), Entry("best-of-N, packed", 1)]
    first, second = collect(pool, entries, half="tuning", seeds=1)
    assert first.values["truth"].tolist() == second.values["truth"].tolist()

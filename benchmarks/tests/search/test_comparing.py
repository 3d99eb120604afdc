"""Comparing: the baseline's pairs, its margin, and what is not reported."""

import numpy as np
import pytest

from benchmarks.search.collecting import FIELDS, Runs, collect
from benchmarks.search.comparing import BASELINE, compare
from benchmarks.search.settings import Entry
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import SimulatedSetting


def make_runs(truth, *, policy="listwise", cap=6, pool="a pool", misses=0.0, min_gain=None):
    """Return runs with these truths, (prompts, seeds); everything else is the cap, or 0."""
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
        min_gain=min_gain,
    )


def baseline(truth, **changes):
    """Return runs of the classic search at 11."""
    return make_runs(truth, policy=BASELINE[0], cap=BASELINE[1], **changes)


NOISE = np.random.default_rng(0).normal(0, 1, (40, 2))


@pytest.mark.parametrize(
    ("shift", "spread", "verdict"),
    [
        (0.5, 0.1, "better"),
        (0.0, 0.01, "not worse"),
        (-0.05, 0.01, "not worse"),
        (-0.5, 0.1, "worse"),
        (0.0, 3.0, "open"),
    ],
)
def test_the_verdict_follows_from_the_paired_interval(shift, spread, verdict):
    """The margin is 1 % of the gap from a pick by lot to the best pick: here 0.1."""
    truth = NOISE * 5
    row = compare([baseline(truth), make_runs(truth + shift + spread * NOISE[::-1])])[1]
    assert row.verdict == verdict
    assert row.claim.difference.mean == pytest.approx(shift, abs=spread)
    assert row.share == pytest.approx(row.claim.difference.mean / 10)


def test_the_baseline_is_held_against_nothing():
    """It has no difference, and says so."""
    (row,) = compare([baseline(NOISE)])
    assert (row.verdict, row.claim, row.share) == ("baseline", None, None)


def test_without_a_baseline_a_policy_stands_alone():
    """Its quality is told, and nothing is claimed."""
    (row,) = compare([make_runs(NOISE)])
    assert (row.verdict, row.claim) == ("alone", None)


def test_what_the_record_cannot_serve_is_neither_reported_nor_a_baseline():
    """More than one request in ten that went on from a candidate brought nothing."""
    rows = compare([baseline(NOISE, misses=0.2), make_runs(NOISE)])
    assert [row.verdict for row in rows] == ["not reported", "alone"]
    assert rows[0].miss_rate == pytest.approx(0.2)


def test_only_runs_on_the_same_prompts_are_compared():
    """Other prompts are no pairs."""
    with pytest.raises(ValueError, match="same prompts"):
        compare([baseline(NOISE), make_runs(NOISE[:5])])


def test_collected_runs_are_the_entries_on_every_prompt():
    """In their order, under their cap, and split again by setting."""
    pool = SimulatedPool([SimulatedSetting(0.5), SimulatedSetting(0.8)], 3)
    entries = [Entry("listwise", 3), Entry("best-of-N, plain", 4), Entry("auto", 6, min_gain=0.01)]
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

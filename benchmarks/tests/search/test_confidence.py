"""Confidence and truth: which bin a run falls in, and what is counted."""

import math

import numpy as np
import pytest

from benchmarks.search.confidence import EDGES, bins_of
from benchmarks.search.running import run_policy
from benchmarks.tests.search.conftest import make_topical
from benchmarks.tests.search.test_comparing import make_runs
from lats.search_knobs import SearchKnobs


def runs_of(chances, are_best, pool="a pool"):
    """Return runs, one a prompt, with these probabilities and findings."""
    runs = make_runs(np.zeros((len(chances), 1)), pool=pool)
    runs.values["chance_best"][:, 0] = chances
    runs.values["is_best"][:, 0] = are_best
    return runs


def test_each_run_counts_in_the_bin_of_what_was_said():
    """A bin has its lower edge; the last one has 1 as well; an empty one has no figures."""
    found = bins_of([runs_of([0.9, 0.94, 1.0, 0.2], [1, 0, 1, 0])])
    by_low = {each.low: each for each in found}
    assert [each.low for each in found] == list(EDGES[:-1])
    assert (by_low[0.9].runs, by_low[0.9].true) == (2, 0.5)
    assert by_low[0.9].said == pytest.approx(0.92)
    assert (by_low[0.99].runs, by_low[0.99].said) == (1, 1.0)
    assert by_low[0.0].true == 0.0
    assert by_low[0.7].runs == 0
    assert math.isnan(by_low[0.7].true)


def test_runs_without_a_finding_count_nothing():
    """Nothing was said, or there was nothing to choose."""
    found = bins_of([runs_of([0.9, math.nan], [math.nan, math.nan])])
    assert sum(each.runs for each in found) == 0


def test_several_pools_are_shown_one_by_one_and_together():
    """The last lines are of all runs."""
    found = bins_of([runs_of([0.9], [1]), runs_of([0.9, 0.9], [0, 0], pool="b")])
    at = {each.pool: each for each in found if each.low == 0.9}
    assert list(at) == ["a pool", "b", "all"]
    assert (at["all"].runs, at["all"].true) == (3, pytest.approx(1 / 3))


def test_a_run_tells_whether_no_candidate_was_better_than_its_pick():
    """Compared with those that the search had, not with all that were recorded."""
    pool = make_topical(replies=6)
    knobs = SearchKnobs(policy="listwise", max_calls=2, generate_k=2)
    found = [run_policy(knobs, pool.prompt("tc00", seed)) for seed in range(12)]
    best = pool._truths[0].max()
    assert all(0 <= run.chance_best <= 1 for run in found)
    assert {run.is_best for run in found} <= {0.0, 1.0}
    assert any(run.is_best == 1.0 and run.truth < best for run in found)
    assert all(run.is_best == 1.0 for run in found if run.truth == best)


def test_a_run_with_nothing_to_choose_tells_nothing():
    """All candidates are equally good, or there is no confidence."""
    pool = make_topical()
    pool._truths[:] = 3.0
    knobs = SearchKnobs(policy="listwise", max_calls=2)
    run = run_policy(knobs, pool.prompt("tc00", 0))
    assert math.isnan(run.is_best)
    classic = run_policy(SearchKnobs(), make_topical().prompt("tc00", 0))
    assert math.isnan(classic.chance_best)
    assert math.isnan(classic.is_best)

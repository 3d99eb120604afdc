"""The simulator and a pool: its settings are the measured figures."""

import pytest

from benchmarks.search.calibrated import TrustRow, measured, setting_like, trust_rows
from benchmarks.search.comparing import compare
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import SimulatedSetting
from benchmarks.tests.search.test_comparing import NOISE, make_runs


def test_a_judges_figures_are_found_again():
    """A simulated pool, measured as a recorded one is, shows what it was made with."""
    setting = SimulatedSetting(
        0.5, 0.0, None, reliability=0.7, candidates=6, is_rounded=False, unjudged_rate=0.25
    )
    found = measured(SimulatedPool([setting], 250))
    assert found.accuracy == pytest.approx(0.5, abs=0.06)
    assert found.reliability == pytest.approx(0.7, abs=0.08)
    assert found.unjudged_rate == pytest.approx(0.25, abs=0.06)
    assert found.candidates == 6
    like = setting_like(found)
    assert (like.candidates, like.gain, like.is_rounded) == (6, None, False)


def test_a_judge_that_never_scores_cannot_be_measured():
    """There is nothing to correlate."""
    pool = SimulatedPool([SimulatedSetting(unjudged_rate=1.0, candidates=3)], 2)
    with pytest.raises(ValueError, match="no judge request"):
        measured(pool)


def test_both_sides_are_shares_of_their_own_gap():
    """Lines that one side lacks are left out."""
    recorded = compare([make_runs(NOISE + 5), make_runs(NOISE, cap=7)])
    simulated = compare([make_runs(NOISE / 10 + 2)])
    (row,) = trust_rows(recorded, simulated)
    assert (row.policy, row.cap) == ("listwise", 6)
    assert row.recorded == pytest.approx((NOISE.mean() + 5) / 10)
    assert row.simulated == pytest.approx((NOISE.mean() / 10 + 2) / 10)
    assert not row.is_inside
    assert TrustRow("a", "b", 1, 0.5, 0.4, 0.6, 0.6).is_inside

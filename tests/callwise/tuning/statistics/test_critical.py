"""Critical values: the distance of limits from their figures."""

import numpy as np
import pytest

from callwise.tuning.statistics.critical import (
    CriticalValue,
    common_factor,
    critical_values_of,
    p_values,
    require_level,
    width_of,
)


def test_the_reach_is_the_farther_of_both_forms_by_hand():
    """Of 19 draws the 10 % tail is the 18th, and of sizes the 16th at twice the tail."""
    distances = np.arange(-9.0, 10.0)[None, :]
    found = critical_values_of(distances, 0.1)
    assert (found.down.tolist(), found.up.tolist()) == ([8.0], [8.0])
    skewed = np.array([[-1.0] * 15 + [5.0, 6.0, 7.0, 8.0]])
    found = critical_values_of(skewed, 0.1)
    assert (found.down.tolist(), found.up.tolist()) == ([7.0], [5.0])


def test_draws_too_few_for_a_tail_give_no_bound():
    """A tail of less than one draw lies at infinity."""
    assert critical_values_of(np.arange(19.0)[None, :], 0.01).down.tolist() == [np.inf]
    with pytest.raises(ValueError, match="needs 39 draws"):
        require_level(0.95, 38)
    require_level(0.95, 39)


def test_the_common_factor_is_the_farthest_figure_in_its_own_reach():
    """A figure that never varies counts for nothing, and one figure needs no factor."""
    rng = np.random.default_rng(0)
    distances = rng.normal(size=(5, 999))
    critical = critical_values_of(distances, 0.025)
    alone = common_factor(distances[:1], critical.of(np.array([0])), 0.95, is_lower_only=False)
    assert alone == 1.0
    together = common_factor(distances, critical, 0.95, is_lower_only=False)
    lower = common_factor(distances, critical, 0.95, is_lower_only=True)
    assert 1.2 < together < 1.5
    assert 1.0 < lower < together
    still = np.vstack([distances, np.zeros(999)])
    critical = CriticalValue(np.append(critical.down, 0), np.append(critical.up, 0))
    assert common_factor(still, critical, 0.95, is_lower_only=False) == together
    assert common_factor(distances[:0], critical, 0.95, is_lower_only=True) == 1.0


def test_what_never_varies_has_no_width_even_at_infinity():
    """No infinity times zero."""
    widths = width_of(np.array([np.inf, 2.0, np.inf]), np.array([0.0, 3.0, 1.0]), 2.0)
    assert widths.tolist() == [0.0, 12.0, np.inf]


def test_p_values_by_hand():
    """Four draws of 19 lie as far up, so 2 (1 + 4) / 20; nothing lies farther than infinity."""
    distances = np.array([[0.0] * 15 + [3.0] * 4] * 3)
    found = p_values(distances, np.array([3.0, -3.0, np.inf]))
    assert found.tolist() == pytest.approx([0.5, 0.25, 0.1])

"""Estimates of unknown qualities, and how far off they may be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.imputation import impute, shared_error
from tests.callwise.tuning.statistics.coverage import estimated_coverage


def panel(values, spread=None):
    """Return a panel of conversations of one turn each."""
    values = np.asarray(values, dtype=float)
    turns = values.shape[1]
    return Panel(
        settings=tuple(f"s{at}" for at in range(len(values))),
        conversations=tuple(f"c{at}" for at in range(turns)),
        conversation_of=np.arange(turns),
        values=values,
        spread=np.zeros(values.shape) if spread is None else np.asarray(spread, dtype=float),
    )


def test_an_estimate_is_the_mean_of_the_others_on_the_turn_by_hand():
    """Within turns: 2 and 4, 1 and 3, so a variance of 2; one turn has a single known cell."""
    values = [[2.0, 1.0, 9.0], [4.0, 3.0, 9.0], [9.0, 9.0, 5.0]]
    is_known = np.array([[True, True, False], [True, True, False], [False, False, True]])
    found = impute(panel(values), is_known)
    assert found.values[2, :2].tolist() == [3.0, 2.0]
    assert found.spread[2, :2].tolist() == pytest.approx([np.sqrt(2 * 1.5)] * 2)
    assert found.values[0, 2] == 5.0
    assert found.spread[0, 2] == pytest.approx(np.sqrt(2 * 2))
    assert found.spread[is_known].tolist() == [0.0] * 5


def test_a_turn_without_a_known_cell_takes_the_settings_own_mean():
    """With the spread of all known cells, which is wider."""
    values = [[2.0, 4.0, np.nan], [4.0, 6.0, np.nan], [np.nan, np.nan, np.nan]]
    found = impute(panel(values), ~np.isnan(values))
    assert found.values[:, 2].tolist() == [3.0, 5.0, 4.0]
    total = np.std([2, 4, 4, 6], ddof=1)
    assert found.spread[:, 2].tolist() == pytest.approx(
        [total * np.sqrt(1.5), total * np.sqrt(1.5), total * np.sqrt(1.25)]
    )


def test_what_cannot_be_estimated_stays_unknown():
    """No known cell, or a single one, which has no spread."""
    nothing = impute(panel([[1.0, 2.0]]), np.zeros((1, 2), dtype=bool))
    assert np.isnan(nothing.values).all()
    assert (nothing.spread == 0).all()
    one = impute(panel([[1.0, 2.0]]), np.array([[True, False]]))
    assert one.values[0, 0] == 1.0
    assert np.isnan(one.values[0, 1])


def test_a_missing_figure_is_never_taken_as_known():
    """Whatever the mask has."""
    found = impute(panel([[np.nan, 2.0], [3.0, 5.0]]), np.ones((2, 2), dtype=bool))
    assert found.values[0, 0] == 3.0
    assert found.spread[0, 0] > 0


def test_one_known_cell_a_turn_takes_the_spread_of_all():
    """Nothing shows how replies to one turn differ."""
    found = impute(panel([[1.0, 5.0], [np.nan, np.nan]]), np.array([[True] * 2, [False] * 2]))
    assert found.values[1].tolist() == [1.0, 5.0]
    assert found.spread[1].tolist() == pytest.approx([np.std([1, 5], ddof=1) * np.sqrt(2)] * 2)


def test_a_mask_of_another_shape_is_refused():
    """Both shapes are named."""
    with pytest.raises(ValueError, match=r"\(1, 2\), got \(2,\)"):
        impute(panel([[1.0, 2.0]]), np.ones(2, dtype=bool))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_known_cells_are_never_touched(seed):
    """Nor is a cell left unknown where others are known."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, 8))
    is_known = rng.random((3, 8)) < 0.6
    is_known[0, :2] = True
    found = impute(panel(values), is_known)
    assert (found.values[is_known] == values[is_known]).all()
    assert not np.isnan(found.values).any()
    assert (found.spread[~is_known] > 0).all()


def test_the_shared_error_grows_with_how_settings_differ():
    """Twins share nothing but noise; settings apart share nearly all."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4, 200))
    assert shared_error(panel(noise)) < 0.05
    assert 0.3 < shared_error(panel(noise + np.array([[0], [0], [1], [2]]))) < 0.8
    assert shared_error(panel(noise * 1e-9 + np.array([[0], [0], [1], [2]]))) == pytest.approx(
        1.0, abs=0.35
    )


def test_all_error_is_shared_where_settings_share_no_turn():
    """One setting measured alone, or none; and equal replies share none."""
    assert shared_error(panel([[1.0, 2.0], [1.0, 2.0]], spread=[[0, 0], [1, 1]])) == 1.0
    assert shared_error(panel([[np.nan] * 2, [np.nan] * 2])) == 1.0
    assert shared_error(panel([[1.0, 2.0], [1.0, 2.0]])) == 0.0


def test_predictions_and_their_intervals_contain_the_truth():
    """95 % ranges of estimates contain 93 to 97 of 100, intervals on them 88 or more of 100."""
    covered, inside = estimated_coverage(0.4, conversations=15, sweeps=150)
    assert covered >= 0.88
    assert 0.93 <= inside <= 0.97

"""Sums and spreads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.call import Outcome, Purpose, Role
from callwise.report.run_record import CallLine
from callwise.report.totals import Spread, spread, sum_calls

CALLS = st.builds(
    CallLine,
    conversation=st.none(),
    turn=st.none(),
    node=st.none(),
    role=st.sampled_from(Role),
    purpose=st.sampled_from(Purpose),
    outcome=st.sampled_from(Outcome),
    requests=st.integers(0, 5),
    usd=st.none() | st.floats(0, 1),
)


@given(st.lists(CALLS, max_size=20))
def test_asked_is_the_sum_of_outcomes(rows: list[CallLine]) -> None:
    """Each asked call ended in exactly one outcome, and every outcome is listed."""
    sums = sum_calls(rows)
    assert set(sums.outcomes) == set(Outcome)
    assert sums.asked == sum(sums.outcomes.values()) == len(rows)


def test_one_unknown_cost_leaves_the_whole_unknown() -> None:
    """A known part is kept apart, and never shown as the whole."""
    row = CallLine(role=Role.MAIN, purpose=Purpose.PLAN, outcome=Outcome.SERVED, usd=0.25)
    sums = sum_calls([row, row, row.model_copy(update={"usd": None})])
    assert (sums.usd, sums.usd_known) == (None, 0.5)
    assert sum_calls([row, row]).usd == 0.5
    assert sum_calls([]).usd == 0.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5], Spread(5, 5, 5, 5)),
        ([1, 2, 3, 4], Spread(2.5, 2, 4, 4)),
        (list(range(1, 101)), Spread(50.5, 50, 95, 100)),
    ],
)
def test_quantiles_are_values_by_nearest_rank(values: list[int], expected: Spread) -> None:
    """The median of four is the second, the 95th of a hundred the ninety-fifth."""
    assert spread(values) == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_a_spread_is_ordered(values: list[int]) -> None:
    """Quantiles are values, and at least as many lie below as their names say."""
    found = spread(values)
    assert found is not None
    assert found.p50 in values
    assert found.p50 <= found.p95 <= found.max == max(values)
    assert sum(value <= found.p95 for value in values) >= 0.95 * len(values)


def test_nothing_has_no_spread() -> None:
    """Without values there is no mean, and no error."""
    assert spread([]) is None


def test_whole_numbers_are_written_without_a_point() -> None:
    """Calls per turn read as counts in JSON."""
    assert Spread(1.5, 1.0, 2, 2.25).as_json() == {"mean": 1.5, "p50": 1, "p95": 2, "max": 2.25}

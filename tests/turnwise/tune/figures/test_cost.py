"""What quality is held against."""

import pytest

from turnwise.tune.figures import Cost


@pytest.mark.parametrize(
    ("cost", "value", "label"),
    [
        (Cost.CALLS, 3, "calls per turn"),
        (Cost.TOKENS, 100, "tokens per turn"),
        (Cost.USD, None, "USD per turn"),
        (Cost.ROUNDS, 2, "rounds to the reply"),
    ],
)
def test_each_cost_has_a_unit_and_reads_its_field(row, cost, value, label) -> None:
    """Tokens are input and output together; unknown USD stays unknown."""
    assert (cost.of(row()), cost.label) == (value, label)

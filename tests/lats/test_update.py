"""One score from several."""

import pytest

from lats.answers import Verdict
from lats.update import composite_score

FULL = Verdict(score=0.6, attributes={"warm": 0.8, "assistantness": 0.1})


@pytest.mark.parametrize(
    ("verdict", "weights", "wanted"),
    [
        (FULL, {}, 0.6),
        (Verdict(attributes={"a": 0.2, "b": 0.6}), {}, 0.4),
        (Verdict(), {}, None),
        (FULL, {"warm": 1}, 0.8),
        (FULL, {"score": 1, "warm": 3}, 0.75),
        (FULL, {"assistantness": -1}, 0.9),
        (FULL, {"score": 1, "assistantness": -1}, 0.75),
        (FULL, {"warm": 1, "missing": 5}, 0.8),
        (FULL, {"missing": 1}, None),
        (Verdict(score=0.6), {"score": 2, "warm": 1}, 0.6),
        (FULL, {"warm": 0}, None),
    ],
)
def test_the_score_that_counts(verdict, weights, wanted):
    """Weighted, missing ones left out, a negative weight read the other way round."""
    found = composite_score(verdict, weights)
    assert found == (None if wanted is None else pytest.approx(wanted))

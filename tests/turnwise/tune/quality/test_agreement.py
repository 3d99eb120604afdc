"""How far people agree."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.tune.quality.agreement import agreement_of

NAN = math.nan
# The worked example of Krippendorff (2011): four coders, twelve units, ratings missing.
EXAMPLE = {
    "A": (1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN),
    "B": (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3),
    "C": (NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN),
    "D": (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN),
}

RATINGS = st.dictionaries(
    st.tuples(st.just("talk"), st.integers(0, 9), st.just("a")),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 5).map(float), max_size=3),
    max_size=8,
)


def test_alpha_is_that_of_the_published_example() -> None:
    """Interval data with missing ratings: .849."""
    ratings = {
        ("talk", unit, "a"): {
            coder: float(values[unit])
            for coder, values in EXAMPLE.items()
            if not math.isnan(values[unit])
        }
        for unit in range(12)
    }
    found = agreement_of(ratings)
    assert found is not None
    assert found.alpha == pytest.approx(0.849, abs=0.0005)
    assert (found.raters, found.shared_replies) == (4, 11)
    assert "0.849" in found.sentence()


def test_without_two_ratings_of_one_reply_there_is_nothing_to_agree_on() -> None:
    """And where all are equal, nothing varies."""
    assert agreement_of({}) is None
    assert agreement_of({("talk", 0, "a"): {"x": 3.0}, ("talk", 1, "a"): {"y": 3.0}}) is None
    equal = agreement_of({("talk", 0, "a"): {"x": 0.1, "y": 0.1}})
    assert equal is not None
    assert (equal.alpha, equal.equal_share, equal.mean_distance) == (None, 1.0, 0.0)
    assert "not defined" in equal.sentence()


@settings(deadline=None)
@given(RATINGS, st.floats(0.5, 3), st.floats(-5, 5))
def test_alpha_knows_no_unit(
    ratings: dict[tuple[str, int, str], dict[str, float]], factor: float, offset: float
) -> None:
    """Another scale for the same ratings agrees as much; 1 is the most."""
    moved = {
        key: {rater: offset + factor * value for rater, value in own.items()}
        for key, own in ratings.items()
    }
    one, two = agreement_of(ratings), agreement_of(moved)
    assert (one is None) == (two is None)
    if one is not None and two is not None and one.alpha is not None:
        assert two.alpha == pytest.approx(one.alpha, abs=1e-6)
        assert one.alpha <= 1 + 1e-9

"""Factors that an endpoint's own counts teach."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.calibration import AS_PREDICTED, MAX_RATIO, Calibration
from callwise.budget.token_tables import InputTokens

COUNTS = st.integers(0, 5000)


def test_nothing_seen_changes_nothing():
    """The start is the estimate times the margin."""
    assert Calibration().tokens(InputTokens(100, 50), 1.2) == 180
    assert Calibration(1.0, 2.0).tokens(InputTokens(100, 50), 1.0) == 200


def test_english_does_not_pay_for_chinese():
    """Chinese answers change only the factor of characters beyond ASCII."""
    calibration = Calibration()
    for size in (200, 300, 500):
        calibration.observe(InputTokens(20, size), 20 + 3 * size)
    assert calibration.tokens(InputTokens(1000), 1.0) < 1150
    assert calibration.tokens(InputTokens(0, 1000), 1.0) >= 2950


def test_a_mixed_prompt_is_laid_to_what_varies():
    """One answer to a half English, half Chinese prompt does not double English."""
    calibration = Calibration()
    calibration.observe(InputTokens(500, 500), 500 + 1500)
    assert calibration.tokens(InputTokens(1000), 1.0) < 1300
    assert calibration.tokens(InputTokens(0, 1000), 1.2) >= 3000


def test_an_estimate_is_never_lowered():
    """An endpoint that reports less than was estimated does not shrink reservations."""
    calibration = Calibration()
    for _ in range(40):
        calibration.observe(InputTokens(100, 100), 90)
    assert calibration.tokens(InputTokens(100, 100), 1.2) == 240


def test_one_absurd_count_teaches_nothing():
    """A count that no tokenizer comes to leaves everything as it was."""
    calibration = Calibration()
    for reported in (10**8, 100 * int(MAX_RATIO) + 1, 1, 12, 0):
        calibration.observe(InputTokens(100), reported)
    calibration.observe(InputTokens(0), 5)
    assert calibration.tokens(InputTokens(100), 1.0) == 100


def test_what_a_server_adds_to_each_prompt_is_not_multiplied():
    """A short prompt with a system prompt of the server's own does not inflate long ones."""
    calibration = Calibration()
    calibration.observe(InputTokens(10), 40)
    assert calibration.tokens(InputTokens(10), 1.0) >= 40
    assert calibration.tokens(InputTokens(5000), 1.0) < 10_000
    for _ in range(10):
        calibration.observe(InputTokens(5000), 5030)
    assert 5030 <= calibration.tokens(InputTokens(5000), 1.0) <= 5030 / AS_PREDICTED


@settings(deadline=None)
@given(
    st.lists(st.tuples(COUNTS, COUNTS, st.floats(0.2, 7.9)), min_size=1, max_size=40),
    st.tuples(COUNTS, COUNTS),
)
def test_what_was_seen_is_covered_and_nothing_is_below_the_estimate(seen, other):
    """Any history keeps each of its last answers within the reservation of its like."""
    calibration = Calibration()
    for ascii_tokens, rest, ratio in seen:
        reported = round((ascii_tokens + rest) * ratio)
        calibration.observe(InputTokens(ascii_tokens, rest), reported)
    ascii_tokens, rest, ratio = seen[-1]
    whole = ascii_tokens + rest
    reported = round(whole * ratio)
    estimated = InputTokens(ascii_tokens, rest)
    if whole <= reported * MAX_RATIO <= whole * MAX_RATIO**2:
        assert calibration.tokens(estimated, 1.0) >= min(reported, whole * MAX_RATIO)
    assert calibration.tokens(InputTokens(*other), 1.0) >= sum(other)


def test_factors_below_one_are_not_given():
    """The start is at least the estimate."""
    calibration = Calibration(1.05, 2.2)
    calibration.observe(InputTokens(50, 50), 60)
    assert calibration.tokens(InputTokens(100, 100), 1.0) >= 200
    assert calibration.tokens(InputTokens(0, 100), 1.0) == pytest.approx(100, abs=15)

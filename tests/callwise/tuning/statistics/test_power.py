"""Number of further conversations that a verdict takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.statistics.power import figure_text, needed_for, percent, quality_digits


def test_the_number_by_hand():
    """(2 + .8416) .5 / .2 squared is 50.5 times the 10 that there are."""
    found = needed_for(0.1, 0.5, margin=0.1, critical=2.0, conversations=10, turns=80)
    assert found.verdict == "not worse"
    assert found.more_conversations == 495
    assert found.more_turns == 3960


def test_a_loss_past_the_margin_would_be_shown_as_such():
    """The verdict is the one that the data point to."""
    found = needed_for(-0.5, 0.2, margin=0.1, critical=2.0, conversations=10, turns=10)
    assert found.verdict == "worse"
    assert found.more_conversations == 11


def test_no_number_decides_on_the_margin_itself():
    """Nor does an absurd one next to it."""
    on = needed_for(-0.1, 0.2, margin=0.1, critical=2.0, conversations=10, turns=10)
    assert (on.more_conversations, on.verdict) == (None, "")
    assert "margin itself" in on.why_none
    near = needed_for(-0.1 + 1e-9, 0.2, margin=0.1, critical=2.0, conversations=10, turns=10)
    assert "more than 100,000 conversations" in near.why_none
    far = needed_for(0.1, 0.2, margin=0.1, critical=float("inf"), conversations=10, turns=10)
    assert far.more_turns is None


def test_what_never_varies_needs_nothing_more():
    """A difference that is the same everywhere is known."""
    assert needed_for(0, 0, margin=0, critical=0, conversations=9, turns=9).more_conversations == 0


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0.001, 1), st.integers(1, 500))
def test_more_noise_never_needs_fewer(difference, error, conversations):
    """And the number is never below 0."""
    found = [
        needed_for(
            difference, size, margin=0.2, critical=2.0, conversations=conversations, turns=1000
        ).more_conversations
        for size in (error, 2 * error)
    ]
    if None not in found:
        assert 0 <= found[0] <= found[1]


def test_arguments_that_make_no_sense_are_named():
    """A margin below 0, a chance of 1."""
    with pytest.raises(ValueError, match="margin"):
        needed_for(0, 1, margin=-1, critical=2, conversations=5, turns=5)
    with pytest.raises(ValueError, match="chance"):
        needed_for(0, 1, margin=1, critical=2, conversations=5, turns=5, chance=1.0)


def test_figures_keep_the_digits_that_matter():
    """Tokens are whole, shares are per cent, a quality shows a thousandth of its scale."""
    assert [figure_text(each) for each in (11_713.2, 99.94, 0.00903)] == [
        "11,713",
        "99.9",
        "0.00903",
    ]
    assert [percent(share) for share in (0.95, 0.125, 1)] == ["95 %", "12.5 %", "100 %"]
    assert [quality_digits(width) for width in (1, 4, 9, 100, 0)] == [3, 3, 3, 1, 3]

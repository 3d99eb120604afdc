"""Judgements: missing stays missing."""

import math

import pytest

from lats.judgement import Judgement


@pytest.mark.parametrize("raw", [None, -0.1, 1.5, 8, math.nan, math.inf, "0.9", True, [0.5]])
def test_a_score_that_is_none_is_missing(raw):
    """Out of range, not finite, or not a number: never clipped to an opinion."""
    assert Judgement(score=raw).score is None


@pytest.mark.parametrize("raw", [0, 0.0, 0.82, 1])
def test_a_score_in_range_stays(raw):
    """Both ends included."""
    assert Judgement(score=raw).score == raw


def test_nothing_said_is_nothing_known():
    """No field has a default opinion."""
    assert set(Judgement().model_dump(exclude={"reason"}).values()) == {None}

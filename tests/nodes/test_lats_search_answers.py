"""The models that the search's answers must fit."""

import pytest
from pydantic import ValidationError

from nodes.search_answers import Judgement, RootPlan, Variants
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.structured import parse_answer


def test_a_score_that_is_left_out_or_null_is_missing():
    """Missing is missing."""
    assert parse_answer('{"score": null}', Judgement).score is None
    assert parse_answer("{}", Judgement).assistantness is None


@pytest.mark.parametrize("score", ["8", "-0.1", '"high"'])
def test_a_score_out_of_range_is_asked_again(score):
    """It does not fit, and the repair names the range."""
    with pytest.raises(InvalidAnswer, match="score"):
        parse_answer(f'{{"score": {score}}}', Judgement)


def test_a_root_plan_needs_a_reply():
    """A blank one is repaired rather than searched from."""
    with pytest.raises(ValidationError, match="blank"):
        RootPlan(reply="  \n")


def test_blank_variants_and_unknown_fields_do_not_spoil_the_others():
    """One bad candidate is dropped later, not paid for again."""
    text = '{"candidates": [{"reply": ""}, {"reply": "Hi.", "mood": "good"}], "note": 1}'
    assert [each.reply for each in parse_answer(text, Variants).candidates] == ["", "Hi."]

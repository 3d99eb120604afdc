"""The models that the search's answers must fit."""

import json

import pytest
from pydantic import ValidationError

from nodes.search.action_answers import AssistantCheck, CandidateSet, Judgement, RootPlan, Variants
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.structured import parse_answer


def test_a_score_that_is_null_is_missing():
    """Missing is missing."""
    assert parse_answer('{"score": null}', Judgement).score is None
    assert parse_answer('{"score": 0.5, "persona": "?"}', Judgement).persona is None
    assert parse_answer('{"assistantness": null}', AssistantCheck).assistantness is None


@pytest.mark.parametrize(
    ("form", "text"), [(Judgement, '{"reason": "Dry."}'), (AssistantCheck, "{}")]
)
def test_a_judge_that_leaves_its_score_out_is_asked_again(form, text):
    """The schema asks for it, and a judge without a score was paid for nothing."""
    with pytest.raises(InvalidAnswer, match="Field required"):
        parse_answer(text, form)


@pytest.mark.parametrize(
    ("score", "expected"), [("8", 0.8), ("-0.1", 0.0), ('"66%"', 0.66), ('"7/10"', 0.7)]
)
def test_a_score_on_another_scale_is_read(score, expected):
    """Or clamped where it is a slip."""
    assert parse_answer(f'{{"score": {score}}}', Judgement).score == expected


@pytest.mark.parametrize("score", ["250", '"high"', "true", "NaN"])
def test_a_score_that_is_none_is_asked_again(score):
    """It does not fit, and the repair names the range."""
    with pytest.raises(InvalidAnswer, match="score"):
        parse_answer(f'{{"score": {score}}}', Judgement)


def test_a_root_plan_needs_a_reply():
    """A blank one is repaired rather than searched from."""
    with pytest.raises(ValidationError, match="blank"):
        RootPlan(reply="  \n")


def test_bad_variants_and_unknown_fields_do_not_spoil_the_others():
    """One bad candidate is left out, not paid for again."""
    text = '{"candidates": [{"reply": ""}, {"reply": "Hi.", "mood": "good"}, 7], "note": 1}'
    assert [each.reply for each in parse_answer(text, Variants).candidates] == ["Hi."]


@pytest.mark.parametrize("form", [Variants, CandidateSet])
@pytest.mark.parametrize(
    "candidates", [[], [{"reply": " "}], [{"strategy_tag": "x"}], "none", None]
)
def test_an_answer_without_a_usable_candidate_is_none(form, candidates):
    """It is asked again."""
    with pytest.raises(InvalidAnswer, match="candidates"):
        parse_answer(json.dumps({"candidates": candidates}), form)


@pytest.mark.parametrize(
    ("bubbles", "expected"),
    [
        (None, []),
        ("Hi. Tea?", ["Hi. Tea?"]),
        (["Hi.", "Tea?"], ["Hi.", "Tea?"]),
        ([{"text": "Hi.", "delay_seconds": -1}, {"text": "Tea?"}], ["Hi.", "Tea?"]),
        ([7, {"delay": 1}], []),
        (7, []),
    ],
)
def test_bubbles_of_any_form_cost_no_candidate(bubbles, expected):
    """They are read, or left to the rules that cut a reply."""
    document = {"candidates": [{"reply": "Hi. Tea?", "bubbles": bubbles}, {"reply": "Bye."}]}
    first, second = parse_answer(json.dumps(document), Variants).candidates
    assert (first.reply, first.bubbles, second.reply) == ("Hi. Tea?", expected, "Bye.")

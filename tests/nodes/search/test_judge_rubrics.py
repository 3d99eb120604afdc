"""Rubrics of the judge of a list."""

import re

import pytest

from callwise.calls.errors import ConfigError
from lats.search_knobs import SearchKnobs
from nodes.lats_search import check_judging
from nodes.search.action_answers import RUBRICS, Judgement, rubric_called


def _knobs(**knobs):
    return SearchKnobs(policy="listwise", **knobs)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("rubric", RUBRICS.values(), ids=str)
def test_a_rubric_explains_each_score_that_it_asks_for(rubric, language):
    """And no other."""
    text = rubric.text(language)
    named = {name for name in Judgement.model_fields if re.search(rf"(?<!\w){name}(?!\w)", text)}
    assert named == {"score", *rubric.attributes}
    assert ("其余" in text) is (language == "zh")


def test_together_the_parts_ask_for_what_overall_asks_for():
    """So that rotating them loses no sub-score."""
    parts = {*RUBRICS["character"].attributes, *RUBRICS["fit"].attributes}
    assert parts == set(RUBRICS["overall"].attributes)
    assert set(RUBRICS["overall"].attributes) == set(Judgement.model_fields) - {"score", "reason"}


def test_an_unknown_rubric_is_named_with_those_that_there_are():
    """Also for a search that has no list to judge: the knob is wrong either way."""
    with pytest.raises(ConfigError, match=r"search\.rubrics.*'wit'.*character, fit, overall"):
        rubric_called("wit")
    for policy in ("listwise", "classic_uct"):
        with pytest.raises(ConfigError, match="'wit'"):
            check_judging(SearchKnobs(policy=policy, rubrics=("overall", "wit")))


def test_weights_that_no_judge_can_meet_are_refused():
    """A misspelt attribute, or one that a rubric in turn does not ask for."""
    with pytest.raises(ConfigError, match=r"attribute_weights.*'personna'"):
        check_judging(_knobs(attribute_weights={"personna": 1.0}))
    weights = {"persona": 1.0}
    with pytest.raises(ConfigError, match=r"rubric 'fit' asks for none of persona"):
        check_judging(_knobs(rubrics=("character", "fit"), attribute_weights=weights))
    with pytest.raises(ConfigError, match="rubric 'fit'"):
        check_judging(_knobs(rubrics=("fit",), attribute_weights={"score": 0.0, **weights}))


def test_agreement_is_for_answers_that_can_be_checked():
    """A chat reply cannot."""
    with pytest.raises(ConfigError, match=r"search\.judging.*agreement"):
        check_judging(_knobs(judging="agreement"))


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"rubrics": ("overall", "character", "fit")},
        {"rubrics": ("character", "fit"), "attribute_weights": {"score": 1, "persona": 2}},
        {"judging": "pairwise", "attribute_weights": {"assistantness": -1.0}},
    ],
)
def test_what_judges_can_say_is_accepted(knobs):
    """The defaults first of all."""
    check_judging(_knobs(**knobs))

"""What the judge of a list may answer, and what is made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.search.action_answers import (
    MAX_REASON_CHARS,
    CharacterVerdicts,
    FitVerdicts,
    ListVerdicts,
    OverallVerdicts,
)
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.schema import schema_format
from turnwise.calls.structured import parse_answer

FORMS = [OverallVerdicts, CharacterVerdicts, FitVerdicts]

any_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def _entry(text: str):
    return parse_answer(f'{{"verdicts": [{text}]}}', FitVerdicts).verdicts[0]


@pytest.mark.parametrize(
    "score",
    [
        *("7", "-1e300", str(10**400), '"high"', "true", "null", "[]"),
        *("NaN", "Infinity", "-Infinity", "1e999"),
    ],
)
def test_a_score_that_is_none_is_missing_and_not_asked_again(score):
    """Far out of range, huge, a word or a list: the other scores of the answer are kept."""
    entry = _entry(f'{{"id": "c1", "score": {score}, "mode_fit": 0.25}}')
    assert (entry.score, entry.mode_fit) == (None, 0.25)


@pytest.mark.parametrize("score", ["0", "1", "0.5", "5e-1"])
def test_a_score_in_range_is_taken_as_it_is(score):
    """The ends included."""
    assert _entry(f'{{"id": "c1", "score": {score}}}').score == float(score)


@pytest.mark.parametrize(
    ("score", "expected"), [("1.01", 1.0), ("-0.1", 0.0), ('"0.7"', 0.7), ('"70%"', 0.7)]
)
def test_a_score_in_other_clothes_is_a_score(score, expected):
    """A text or a slip over the end of the scale."""
    assert _entry(f'{{"id": "c1", "score": {score}, "mode_fit": 0.25}}').score == expected


def test_scores_on_another_scale_are_read_on_it():
    """All of an answer on one."""
    text = '{"verdicts": [{"id": "c1", "score": 7}, {"id": "c2", "score": 1, "mode_fit": 10}]}'
    first, second = parse_answer(text, FitVerdicts).verdicts
    assert (first.score, second.score, second.mode_fit) == (0.7, 0.1, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"verdicts": null}',
        '{"verdicts": "none"}',
        '{"verdicts": 3}',
        '{"ranking": []}',
        "c1",
    ],
)
def test_another_form_altogether_is_asked_again(text):
    """Neither verdicts nor a ranking, or something else in their place."""
    with pytest.raises(InvalidAnswer):
        parse_answer(text, OverallVerdicts)


def test_an_empty_list_says_nothing_and_is_not_asked_again():
    """A judge that has nothing to say costs one call, not two."""
    assert parse_answer('{"verdicts": []}', FitVerdicts).verdicts == ()


def test_a_map_by_label_is_a_list():
    """Also one of bare numbers."""
    answer = parse_answer('{"verdicts": {"c2": {"score": 0.2}, "c1": 0.9}}', FitVerdicts)
    assert [(entry.id, entry.score) for entry in answer.verdicts] == [("c2", 0.2), ("c1", 0.9)]


def test_an_entry_that_is_no_object_keeps_its_place():
    """So that a path into the text still finds the one after it."""
    first, second = parse_answer('{"verdicts": [0.5, {"id": "c1"}]}', FitVerdicts).verdicts
    assert (first.id, second.id) == ("", "c1")


def test_a_ranking_alone_is_an_answer():
    """What is no text in it names nobody."""
    answer = parse_answer('{"ranking": ["c2", 1, "c1"]}', CharacterVerdicts)
    assert (answer.ranking, answer.verdicts) == (("c2", "", "c1"), ())


def test_a_reason_is_cut_and_cleaned():
    """50,000 characters of it are no reason; nor is a number."""
    entry = _entry('{"id": "c1", "reason": "%s\\u0000"}' % ("why " * 12_500))
    assert len(entry.reason) <= MAX_REASON_CHARS
    assert "\x00" not in entry.reason
    assert _entry('{"id": "c1", "reason": 5}').reason == ""


@pytest.mark.parametrize("form", FORMS)
def test_the_schema_asks_for_words_first_and_for_no_ranking(form):
    """Scores follow from the reason; what is only tolerated is not asked for."""
    asked = schema_format(form)["json_schema"]
    assert asked["strict"]
    assert list(asked["schema"]["properties"]) == ["verdicts"]
    (entry,) = asked["schema"]["$defs"].values()
    assert list(entry["properties"])[:3] == ["id", "reason", "score"]
    assert list(entry["properties"]) == list(form.entry.model_fields)


@given(raw=any_json, form=st.sampled_from(FORMS))
def test_whatever_comes_is_an_answer_or_refused(raw, form: type[ListVerdicts]):
    """No answer is any other error, and no score leaves its range."""
    try:
        answer = form.model_validate({"verdicts": raw})
    except ValueError:
        return
    for entry in answer.verdicts:
        scores = [value for value in entry.model_dump().values() if isinstance(value, float)]
        assert all(0 <= score <= 1 for score in scores)

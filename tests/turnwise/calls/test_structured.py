"""Reading answers as response models, hostile ones included."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from turnwise.calls import Call, Message, Purpose, Role
from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.structured import MAX_QUOTED_CHARS, parse_answer, repair_call


class Plan(BaseModel):
    """A form with a field that must be there and one that need not."""

    goal: str
    score: float = 0.0


class Loose(BaseModel):
    """A form that any object fits."""

    goal: str = ""


@pytest.mark.parametrize(
    "text",
    [
        '{"goal": "x"}',
        '```json\n{"goal": "x"}\n```',
        'Sure! Here it is:\n{"goal": "x"}\nAnything else?',
        '<think>maybe {braces} or {"score": 1}</think>{"goal": "x"}',
        'the form is {"goal": <text>}, so: {"goal": "x"}',
        '[{"goal": "x"}]',
        '\ufeff{"goal": "x", "unknown": {"goal": "y"}}',
    ],
)
def test_the_first_object_that_fits_is_taken(text):
    """Fences, prose and thoughts around it do not matter."""
    assert parse_answer(text, Plan).goal == "x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ("null", "no JSON object"),
        ('{"goal": "x"', "delimiter"),
        ('{"goal": "x', "Unterminated"),
        ('{"goal": "x", "score": NaN}', "NaN"),
        ('{"goal": "x", "score": -Infinity}', "Infinity"),
        ('{"goal": "x", "score": 1e999}', "too large"),
        ('{"goal": "x", "score": ' + "9" * 5000 + "}", "digits"),
        ("{" * 100_000, "property name"),
        ('{"goal":' * 100_000, "recursion"),
        ("[" * 100_000 + '{"goal":' * 100_000, "recursion"),
        ('{"score": 1}', "goal: Field required"),
        ('{"goal": 7}', "goal: Input should be a valid string"),
        ("{'goal': 'x'}", "property name"),
        ("{" + '"k": {},' * 500 + "}", "property name"),
    ],
)
def test_what_does_not_fit_says_why(text, words):
    """No JSON, broken JSON, other JSON: each is an `InvalidAnswer` with its reason."""
    with pytest.raises(InvalidAnswer, match=words) as caught:
        parse_answer(text, Plan)
    assert caught.value.text == text
    assert len(caught.value.problem) < 600


@pytest.mark.parametrize(
    "text",
    ['{"plans": [{"goal": "inner"}, {"go', '{"plan": {"goal": "inner"}', '{"a": {"goal": "i"}, x}'],
)
def test_nothing_is_taken_from_inside_a_broken_object(text):
    """A truncated answer is asked again, even when a part of it would fit."""
    with pytest.raises(InvalidAnswer):
        parse_answer(text, Loose)


@pytest.mark.parametrize(
    ("escaped", "goal"),
    [('"\\ud83d"', "\ufffd"), ('"\\ud83d\\ude00"', "😀"), ('"a\\u0000"', "a\0")],
)
def test_broken_characters_are_mended(escaped, goal):
    """Whatever is parsed can be written as UTF-8."""
    assert parse_answer(f'{{"goal": {escaped}}}', Plan).goal == goal


@given(st.text())
def test_any_text_is_an_answer_or_invalid(text):
    """Nothing else is ever raised."""
    with suppress(InvalidAnswer):
        assert isinstance(parse_answer(text, Loose), Loose)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_a_model_writes_is_read_back(goal, score):
    """A whole answer is read as it is, within words around it."""
    text = f"Answer: {json.dumps({'goal': goal, 'score': score})} Done."
    assert parse_answer(text, Plan) == Plan(goal=goal, score=score)


def test_a_repair_repeats_the_question_and_names_the_problem():
    """The prefix stays, the wrong answer is quoted with a limit, and it counts up."""
    call = Call(Role.MAIN, Purpose.PLAN, (Message("user", "plan"),), response_model=Plan)
    repaired = repair_call(call, InvalidAnswer("goal: Field required", "y" * 10_000))
    assert repaired.messages[: len(call.messages)] == call.messages
    wrong, request = repaired.messages[-2:]
    assert (wrong.role, len(wrong.content)) == ("assistant", MAX_QUOTED_CHARS)
    assert "goal: Field required" in request.content
    assert repaired.repair == 1

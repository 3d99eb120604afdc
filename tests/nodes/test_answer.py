"""Fields that forgive what models usually get wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nodes.answer import (
    MAX_TEXT_CHARS,
    MAX_TEXTS,
    Answer,
    SignedScore,
    Text,
    Texts,
    Thought,
    UnitScore,
    known_members,
)
from nodes.detection import DetectionAnswer
from nodes.evolver import EvolverAnswer
from nodes.inner_monologue import MonologueAnswer
from nodes.memory_manager import MemoryAnswer
from nodes.processor import HumanizeAnswer
from nodes.reasoner import ReasonerAnswer
from nodes.records import Signal
from turnwise.calls.schema import schema_format

ANSWERS = (
    DetectionAnswer,
    EvolverAnswer,
    HumanizeAnswer,
    MemoryAnswer,
    MonologueAnswer,
    ReasonerAnswer,
)


class Everything(Answer):
    """One field of each kind."""

    unit: UnitScore = 0.0
    signed: SignedScore = 0.0
    text: Text = ""
    thought: Thought = "-"
    texts: Texts = []  # noqa: RUF012 - pydantic copies it


@pytest.mark.parametrize(
    ("given_value", "unit", "signed"),
    [(7, 1.0, 1.0), (-3.5, 0.0, -1.0), (None, 0.0, 0.0), ("0.7", 0.7, 0.7), (1e999, 1.0, 1.0)],
)
def test_scores_are_clamped(given_value, unit, signed):
    """A score outside its range becomes the nearest bound, null is neutral."""
    answer = Everything(unit=given_value, signed=given_value)
    assert (answer.unit, answer.signed) == (unit, signed)


@pytest.mark.parametrize("value", ["high", "nan", float("nan"), [0.5], {}])
def test_a_score_that_is_no_number_is_asked_again(value):
    """What cannot be read as a number is not guessed."""
    with pytest.raises(ValidationError):
        Everything(unit=value)


def test_texts_are_cleaned():
    """One text counts as a list, blank entries and repetitions go, and the first ones stay."""
    assert Everything(texts=" a ").texts == ["a"]
    assert Everything(texts=["a", " ", "b", "a", None]).texts == ["a", "b"]
    assert Everything(texts=None).texts == []
    assert len(Everything(texts=[str(number) for number in range(99)]).texts) == MAX_TEXTS
    assert len(Everything(text="x" * 99_999).text) == MAX_TEXT_CHARS
    assert Everything(text="a\ud800").text == "a\ufffd"


def test_a_thought_must_say_something():
    """A blank answer is not an answer."""
    with pytest.raises(ValidationError, match="blank"):
        Everything(thought="  ")


@pytest.mark.parametrize("value", [3, ["a", 3], {"a": 1}])
def test_texts_that_are_no_texts_are_asked_again(value):
    """Numbers and objects are not turned into their repr."""
    with pytest.raises(ValidationError):
        Everything(texts=value)


def test_unknown_names_are_dropped():
    """Names are matched loosely in spelling, and each is kept once."""
    names = ["Self disclosure", "joy", "QUESTION", "self-disclosure", None, 3]
    assert known_members(names, Signal) == [Signal.SELF_DISCLOSURE, Signal.QUESTION]
    assert known_members("humor", Signal) == [Signal.HUMOR]
    assert known_members(None, Signal) == []


def test_a_scores_range_stands_in_the_schema():
    """A model is told the range that its scores are clamped to."""
    properties = schema_format(EvolverAnswer)["json_schema"]["schema"]["properties"]
    assert properties["trust_delta"] == {"type": "number", "minimum": -1.0, "maximum": 1.0}
    properties = schema_format(DetectionAnswer)["json_schema"]["schema"]["properties"]
    assert properties["hostility"] == {"type": "number", "minimum": 0.0, "maximum": 1.0}


@pytest.mark.parametrize("answer", ANSWERS)
def test_each_answer_fits_a_providers_strict_schema(answer):
    """Every node's schema can be enforced: no free objects, no fixed-place arrays."""
    asked = schema_format(answer)["json_schema"]
    assert asked["strict"] is True
    assert "prefixItems" not in str(asked)
    assert "description" not in asked["schema"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("answer", ANSWERS)
@given(data=st.data())
def test_no_json_breaks_an_answer_in_another_way(answer, data):
    """Whatever JSON comes, an answer validates or raises ValidationError, nothing else."""
    document = {name: data.draw(json_values) for name in answer.model_fields}
    try:
        answer.model_validate(document)
    except ValidationError:
        return

"""Forms of the nodes' answers: what is asked for is what is accepted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.calls.errors import InvalidAnswer
from callwise.calls.schema import MAX_LEVELS, response_schema, schema_format, schema_prompt
from callwise.calls.structured import parse_answer, read_answer
from callwise.simulator import SimulatedModel, SimulatedSettings
from nodes.detection import DetectionAnswer
from nodes.evolver import EvolverAnswer
from nodes.fused_calls import BookkeepingAnswer, ReplyingAnswer, ThinkingAnswer
from nodes.inner_monologue import MonologueAnswer
from nodes.memory_manager import MemoryAnswer
from nodes.processor import HumanizeAnswer
from nodes.question import (
    MAX_TEXT_CHARS,
    MAX_TEXTS,
    AnswerForm,
    FilledTexts,
    SignedScore,
    Text,
    Texts,
    UnitScore,
)
from nodes.reasoner import ReasonerAnswer
from nodes.records import Signal
from nodes.search.action_answers import (
    RUBRICS,
    AssistantCheck,
    CandidateSet,
    Judgement,
    RootPlan,
    Variants,
)

FORMS = (
    DetectionAnswer,
    EvolverAnswer,
    HumanizeAnswer,
    MemoryAnswer,
    MonologueAnswer,
    ReasonerAnswer,
    ThinkingAnswer,
    ReplyingAnswer,
    BookkeepingAnswer,
    RootPlan,
    Variants,
    CandidateSet,
    Judgement,
    AssistantCheck,
    *(rubric.answer for rubric in RUBRICS.values()),
)
"""Every form that a node asks for."""


class Everything(AnswerForm):
    """One field of each kind."""

    unit: UnitScore = 0.0
    signed: SignedScore = 0.0
    text: Text = ""
    texts: Texts = []  # noqa: RUF012 - pydantic copies it
    filled: FilledTexts = ["-"]  # noqa: RUF012


class Scores(AnswerForm):
    """Scores that must be there."""

    unit: UnitScore
    signed: SignedScore


def _everything(**fields):
    return parse_answer(json.dumps(fields), Everything)


@pytest.mark.parametrize(
    ("unit", "signed", "expected"),
    [
        (0.7, -0.2, (0.7, -0.2)),
        ("0.7", "-20%", (0.7, -0.2)),
        (7, -3.5, (0.7, -0.35)),
        (1.2, -1.4, (1.0, -1.0)),
        (-0.3, 0.5, (0.0, 0.5)),
        (1000, -250, (1.0, -1.0)),
        (None, None, (0.0, 0.0)),
    ],
)
def test_scores_are_read_on_one_scale_and_clamped(unit, signed, expected):
    """A score outside its range becomes the nearest bound, null is neutral."""
    answer = parse_answer(json.dumps({"unit": unit, "signed": signed}), Scores)
    assert (answer.unit, answer.signed) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["high", "nan", float("nan"), 1e999, [0.5, 1], True])
def test_a_required_score_that_is_no_number_is_asked_again(value):
    """What cannot be read as a number is not guessed; an optional one is left out."""
    with pytest.raises(InvalidAnswer, match="unit"):
        parse_answer(json.dumps({"unit": value, "signed": 0}), Scores)
    assert _everything(unit=value).unit == 0.0


def test_texts_are_cleaned():
    """One text counts as a list, blank entries and repetitions go, and the first ones stay."""
    assert _everything(texts=" a ").texts == ["a"]
    assert _everything(texts=["a", " ", "b", "a", None]).texts == ["a", "b"]
    assert _everything(texts=None).texts == []
    assert len(_everything(texts=[str(number) for number in range(99)]).texts) == MAX_TEXTS
    assert len(_everything(text="x" * 99_999).text) == MAX_TEXT_CHARS
    assert _everything(text="a\ud800").text == "a\ufffd"


def test_blank_goals_are_none():
    """A list of blank ones is empty; other texts may be blank, as the schema allows."""
    assert parse_answer('{"thought": "  "}', MonologueAnswer).thought == ""
    assert parse_answer('{"goals": ["", " "]}', ReasonerAnswer).goals == []
    assert parse_answer('{"goals": ["", "Ask."]}', ReasonerAnswer).goals == ["Ask."]


@pytest.mark.parametrize(("value", "kept"), [(3, []), (["a", 3], ["a"]), ({"a": 1}, [])])
def test_what_is_no_text_is_left_out(value, kept):
    """Numbers and objects are not turned into their repr."""
    assert _everything(texts=value).texts == kept


def test_unknown_names_are_dropped():
    """Names are matched loosely in spelling, and each is kept once."""
    names = ["Self disclosure", "joy", "QUESTION", "self-disclosure", None, 3]
    read = read_answer(
        json.dumps({"signals": names, "sentiment": 0, "hostility": 0, "stage_hint": "Friends"}),
        DetectionAnswer,
    )
    assert read.parsed.signals == [Signal.SELF_DISCLOSURE, Signal.QUESTION]
    assert read.parsed.stage_hint is None
    assert "left out stage_hint" in read.notes


def test_a_scores_range_is_in_the_schema():
    """A model is told the range that its scores are clamped to."""
    properties = schema_format(EvolverAnswer)["json_schema"]["schema"]["properties"]
    assert properties["trust_delta"] == {"type": "number", "minimum": -1.0, "maximum": 1.0}
    properties = schema_format(DetectionAnswer)["json_schema"]["schema"]["properties"]
    assert properties["hostility"] == {"type": "number", "minimum": 0.0, "maximum": 1.0}


_STRICT_KEYWORDS = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const"),
    *("anyOf", "$ref", "$defs", "pattern", "format", "multipleOf", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "description"),
}
"""What the structured-outputs guide of the OpenAI API names as supported."""


def _nodes(node, level=0):
    yield node, level
    for child in (*node.get("properties", {}).values(), *node.get("$defs", {}).values()):
        yield from _nodes(child, level + 1)
    for child in (*node.get("anyOf", ()), *([node["items"]] if "items" in node else ())):
        yield from _nodes(child, level)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_each_form_keeps_to_the_strict_rules(form):
    """Known keywords, closed objects with every key required, few levels, small lists."""
    asked = schema_format(form)["json_schema"]
    assert asked["strict"] is True
    assert asked["schema"]["type"] == "object"
    for node, level in _nodes(asked["schema"]):
        assert node.keys() <= _STRICT_KEYWORDS
        assert level <= MAX_LEVELS
        assert node.get("minItems", 0) in (0, 1)
        assert node.get("maxItems", 0) <= 16
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
        if "$ref" in node:
            assert node.keys() == {"$ref"}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_simulated_model_writes_each_form(form):
    """It knows every keyword that a form is sent with, and its answer is read without a repair."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Where do I put all these boxes?"}],
        "response_format": schema_format(form),
    }
    answer = SimulatedModel(settings=SimulatedSettings(missing_score_rate=0)).answer(body)
    parse_answer(answer.text, form)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_no_developers_text_is_sent(form):
    """Docstrings are for those who read the code, and neither mode has them."""
    sent = json.dumps(schema_format(form)) + schema_prompt(form)
    assert '"description"' not in sent
    assert '"title"' not in sent


def _instances(node, schema):
    """Return a strategy of what a schema allows."""
    if "$ref" in node:
        return _instances(schema["$defs"][node["$ref"].removeprefix("#/$defs/")], schema)
    if "anyOf" in node:
        return st.one_of([_instances(option, schema) for option in node["anyOf"]])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    match node["type"]:
        case "null":
            return st.none()
        case "number":
            return st.floats(node["minimum"], node["maximum"])
        case "string":
            # A text must not only be there but say something: no schema can ask for that.
            text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
            return text.filter(str.strip) if node.get("minLength") else text
        case "array":
            items = _instances(node["items"], schema)
            low, high = node.get("minItems", 0), node.get("maxItems", 4)
            return st.lists(items, min_size=low, max_size=min(high, 4))
    properties = node["properties"]
    return st.fixed_dictionaries(
        {name: _instances(child, schema) for name, child in properties.items()}
    )


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_whatever_the_schema_allows_is_accepted_as_it_is(form, data):
    """No repair, nothing left out, nothing clamped: the schema that is sent is the validator."""
    schema = response_schema(form)
    document = data.draw(_instances(schema, schema))
    assert read_answer(json.dumps(document), form).notes == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_no_json_breaks_an_answer_in_another_way(form, data):
    """Whatever JSON comes, an answer is read or is invalid, nothing else."""
    document = {name: data.draw(json_values) for name in form.model_fields}
    try:
        parse_answer(json.dumps(document), form)
        form.model_validate(document)
    except (InvalidAnswer, ValidationError):
        return

"""Reading answers as response models, hostile ones included."""

import json
from contextlib import suppress
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from callwise.calls.errors import InvalidAnswer
from callwise.calls.structured import MAX_NOTE_CHARS, MAX_NOTES, parse_answer, read_answer


class Plan(BaseModel):
    """A form with a field that must be there and one that need not."""

    goal: str
    score: float = 0.0


class Loose(BaseModel):
    """A form without required fields."""

    goal: str = ""


class Bubble(BaseModel):
    """A part with two required fields."""

    text: str
    delay_seconds: Annotated[float, Field(ge=0)]


class Candidate(BaseModel):
    """An entry with an optional part."""

    reply: str
    bubbles: list[Bubble] | None = None


class Candidates(BaseModel):
    """A list of which one entry must be usable."""

    candidates: Annotated[list[Candidate], Field(min_length=1)]


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
        '{"goal": "draft"}\nBetter:\n{"goal": "x"}',
        '{"goal": "x"}\n{"goal": "x"}',
        '{"goal": "x"}\n{"goal": "x", "sco',
        '{"goal": "x"} (see {"note": 1} and [1])',
        '{"goal": "x"',
        '{"goal": "x", "score": 0.',
        "{'goal': 'x'}",
        '{"goal": "x", "score": NaN}',
        '{"goal": "x", "score": -Infinity}',
        '{"goal": "x", "score": 1e999}',
        '{"goal": "x", "score": ' + "9" * 5000 + "}",
        '{"goal": "x", "score": "none"}',
        '{"GOAL": "x"}',
    ],
)
def test_the_last_object_that_fits_is_taken(text):
    """Fences, prose, drafts, thoughts, broken JSON and bad optional fields do not matter."""
    assert parse_answer(text, Plan).goal == "x"


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": {"goal": "x"}}',
        '{"response": {"goal": "x"}, "confidence": 0.9}',
        '{"Plan": {"goal": "x"}}',
        '{"whatever": {"goal": "x"}}',
        '{"result": {"data": {"goal": "x"}}}',
        '{"output": "{\\"goal\\": \\"x\\"}"}',
        '{"output": [{"goal": "x"}]}',
        '{"name": "plan", "arguments": {"goal": "x"}}',
        '{"name": "plan", "arguments": "{\\"goal\\": \\"x\\"}"}',
        '{"name": "plan", "parameters": {"goal": "x"}}',
        '{"type": "function", "function": {"name": "plan", "arguments": {"goal": "x"}}}',
        '{"tool_calls": [{"function": {"name": "plan", "arguments": "{\\"goal\\": \\"x\\"}"}}]}',
        '{"type": "object", "properties": {"goal": "x"}}',
        '{"answer": {"goal": "x",},}',
        '{"answer": {"goal": "x"}',
    ],
)
def test_a_wrapped_answer_is_unwrapped(text):
    """One key around it, a tool call, or the words of its schema."""
    assert parse_answer(text, Plan).goal == "x"


def test_a_list_is_the_answer_of_a_form_with_one_list():
    """Its entries need no name then."""
    assert len(parse_answer('[{"reply": "a"}, {"reply": "b"}]', Candidates).candidates) == 2
    assert parse_answer('["a", "b"]', Candidates).candidates[1].reply == "b"


ENTRIES_WITHOUT_THEIR_LIST = {
    "one entry": '{"reply": "a"}',
    "an entry a line": '{"reply": "a"}\n{"reply": "b"}\n{"reply": "c"}',
    "each in a separate list": '[[{"reply": "a"}], [{"reply": "b"}]]',
}


@pytest.mark.parametrize("shape", ENTRIES_WITHOUT_THEIR_LIST)
def test_entries_without_their_list_are_read(shape):
    """The form has one list, so there is no doubt about where they belong."""
    text = ENTRIES_WITHOUT_THEIR_LIST[shape]
    replies = [entry.reply for entry in parse_answer(text, Candidates).candidates]
    assert replies == sorted(set(text) & set("abc"))


class Names(BaseModel):
    """A list that may be empty."""

    names: list[str]
    reason: str = ""


@pytest.mark.parametrize("after", ['{"names": []}', '{"names": [""], "reason": null}'])
def test_an_empty_form_never_replaces_an_answer(after):
    """Models repeat the form that they were to fill in; alone it is all there is."""
    assert parse_answer(f'{{"names": ["a"]}}\n{after}', Names).names == ["a"]
    assert parse_answer(f"{after}\n{after}", Names).reason == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ("null", "no JSON object"),
        ('{"goal": "x', "cut off .* Unterminated"),
        ('{"goal": {"a": "x', "cut off"),
        ("{" * 100_000, "no JSON object"),
        ('{"goal":' * 100_000, "nested too deeply"),
        ("[" * 100_000 + '{"goal":' * 100_000, "nested too deeply"),
        ('{"score": 1}', "goal: Field required"),
        ('{"goal": 7}', "goal: Input should be a valid string"),
        ('{"goal": null}', "goal: Input should be a valid string"),
        ("{" + '"k": {},' * 500 + "}", "none of the fields"),
        ('{"type": "object", "properties": {"goal": {"type": "string"}}}', "goal"),
        ("x" * 1_000_001, "more than 1000000"),
    ],
)
def test_what_does_not_fit_says_why(text, words):
    """No JSON, broken JSON, other JSON: each is an `InvalidAnswer` with its reason."""
    with pytest.raises(InvalidAnswer, match=words) as caught:
        parse_answer(text, Plan)
    assert caught.value.text == text
    assert len(caught.value.problem) < 600
    assert len(caught.value.excerpt) <= 400


@pytest.mark.parametrize(
    "text",
    ['{"plans": [{"goal": "inner"}, {"go', '{"plan": {"goal": "inner"}', '{"a": {"goal": "i"}, x}'],
)
def test_nothing_is_taken_from_inside_a_broken_object(text):
    """A truncated answer is asked again, even when a part of it would fit."""
    with pytest.raises(InvalidAnswer):
        parse_answer(text, Loose)


def test_an_object_of_other_fields_is_no_answer():
    """Even where no field is required; an empty one is."""
    with pytest.raises(InvalidAnswer, match="none of the fields"):
        parse_answer('{"rating": 8}', Loose)
    assert parse_answer("{}", Loose) == Loose()


@pytest.mark.parametrize(
    ("bubbles", "expected"),
    [
        ([{"text": "a", "delay_seconds": -2}], [("a", 0.0)]),
        ([{"text": "a", "delay_seconds": "1.5"}], [("a", 1.5)]),
        ([{"text": "a"}, {"text": "b", "delay_seconds": 1}], [("b", 1.0)]),
        ("a", None),
        (7, None),
        ({"text": "a", "delay_seconds": 1}, [("a", 1.0)]),
        (["a", "b"], []),
    ],
)
def test_an_optional_part_never_costs_the_reply(bubbles, expected):
    """What can be read of it is; the rest is left out, whatever its form."""
    text = json.dumps({"candidates": [{"reply": "hi", "bubbles": bubbles}]})
    (candidate,) = parse_answer(text, Candidates).candidates
    assert candidate.reply == "hi"
    found = candidate.bubbles
    assert (found and [(b.text, b.delay_seconds) for b in found]) == (expected or found)
    assert bool(found) == bool(expected)


def test_a_bad_entry_never_costs_the_others():
    """It is left out and noted, by its place in the answer."""
    entries = [{"reply": "a"}, {"reply": 7}, 3, {"text": "b"}, None, {"reply": "c"}]
    read = read_answer(json.dumps({"candidates": entries}), Candidates)
    assert [each.reply for each in read.parsed.candidates] == ["a", "c"]
    assert read.notes == tuple(f"left out candidates.{place}" for place in (1, 2, 3, 4))


def test_no_usable_entry_is_no_answer():
    """A list that must have one and has none left is asked again."""
    with pytest.raises(InvalidAnswer, match=r"candidates.*at least 1"):
        parse_answer('{"candidates": [{"reply": 7}, {}]}', Candidates)


@pytest.mark.parametrize("finish_reason", ["length", "stop", None])
def test_a_cut_answer_keeps_its_whole_entries(finish_reason):
    """And never the one that was cut, however it ended."""
    text = '{"candidates": [{"reply": "a"}, {"reply": "b"}, {"reply": "c and'
    read = read_answer(text, Candidates, finish_reason=finish_reason)
    assert [each.reply for each in read.parsed.candidates] == ["a", "b"]
    assert read.notes == ("kept what was whole of a cut answer",)


def test_a_cut_answer_without_a_whole_entry_says_that_it_was_cut():
    """So that the repair asks for less."""
    for text in ('{"candidates": [{"reply": "c and', "", "I think that", "<think>hm"):
        with pytest.raises(InvalidAnswer, match="cut off") as caught:
            parse_answer(text, Candidates, finish_reason="length")
        assert caught.value.is_cut


def test_a_whole_answer_that_ended_by_length_is_whole():
    """Some endpoints stop at the limit just behind the last bracket."""
    read = read_answer('{"goal": "x"}', Plan, finish_reason="length")
    assert (read.parsed.goal, read.notes) == ("x", ())


@pytest.mark.parametrize(
    ("escaped", "goal"),
    [('"\\ud83d"', "\ufffd"), ('"\\ud83d\\ude00"', "😀"), ('"a\\u0000"', "a\0")],
)
def test_broken_characters_are_mended(escaped, goal):
    """Whatever is parsed can be written as UTF-8."""
    assert parse_answer(f'{{"goal": {escaped}}}', Plan).goal == goal
    assert parse_answer(f'{{"goal": {escaped},}}', Plan).goal == goal


class Cat(BaseModel):
    """One side of a union."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """The other side."""

    kind: Literal["dog"]
    name: str


class Strict(BaseModel):
    """A form that allows no other fields, with a union, a map and its own rule."""

    model_config = ConfigDict(extra="forbid")

    goal: str
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    counts: dict[str, int] = {}
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def _in_order(self) -> "Strict":
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


def test_unions_maps_and_unknown_fields():
    """What is not allowed is left out, wherever it is."""
    pets = [
        {"kind": "cat", "lives": 9},
        {"kind": "cow"},
        {"kind": "dog"},
        {"kind": "dog", "name": "Rex"},
    ]
    document = {"goal": "x", "note": 1, "pets": pets, "counts": {"a": 1, "b": "many"}}
    answer = parse_answer(json.dumps(document), Strict)
    assert answer.pets == [Cat(kind="cat", lives=9), Dog(kind="dog", name="Rex")]
    assert answer.counts == {"a": 1}


def test_a_rule_of_the_whole_form_is_not_pruned():
    """There is no field to leave out for it."""
    with pytest.raises(InvalidAnswer, match="low must not"):
        parse_answer('{"goal": "x", "low": 9, "high": 1}', Strict)


def test_forms_that_are_a_list_or_a_map():
    """A root model is read as it is."""
    assert parse_answer("[1, 2]", RootModel[list[int]]).root == [1, 2]
    assert parse_answer('{"a": 1}', RootModel[dict[str, int]]).root == {"a": 1}


def test_a_form_that_contains_itself_is_read_to_its_depth():
    """A deep answer is invalid, and nothing else is raised."""
    text = '{"children": [' * 400 + "]}" * 400
    with suppress(InvalidAnswer):
        parse_answer(text, Tree)
    assert parse_answer('{"children": [{"children": 7}, {}]}', Tree).children[1] == Tree()


class Tree(BaseModel):
    """A model that contains itself."""

    children: list["Tree"] = []


def test_notes_are_few_and_short():
    """However much was left out, and whatever it was called."""
    document = {"goal": "x", **{f"{'k' * 200}{number}": 1 for number in range(50)}}
    read = read_answer(json.dumps(document), Strict)
    assert len(read.notes) == MAX_NOTES
    assert all(len(note) <= MAX_NOTE_CHARS for note in read.notes)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_an_answer_or_invalid(text):
    """Nothing else is ever raised."""
    with suppress(InvalidAnswer):
        assert isinstance(parse_answer(text, Loose), Loose)


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_a_model_writes_is_read_back(goal, score):
    """A whole answer is read as it is, within words around it."""
    text = f"Answer: {json.dumps({'goal': goal, 'score': score})} Done."
    assert parse_answer(text, Plan) == Plan(goal=goal, score=score)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.floats(0, 1))
def test_of_a_cut_answer_only_whole_entries_are_kept(replies, share):
    """Wherever it is cut, each reply that is kept is one that was written, in its place."""
    text = json.dumps({"candidates": [{"reply": reply} for reply in replies]})
    kept: list[str] = []
    with suppress(InvalidAnswer):
        cut = text[: int(len(text) * share)]
        answer = parse_answer(cut, Candidates, finish_reason="length")
        kept = [each.reply for each in answer.candidates]
    assert [json.dumps(each) for each in kept] == [
        json.dumps(each) for each in replies[: len(kept)]
    ]

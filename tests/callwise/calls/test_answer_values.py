"""Values of an answer, brought to the types and limits of their schema."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from callwise.calls.errors import InvalidAnswer
from callwise.calls.structured import read_answer

Unit = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]


class Mood(StrEnum):
    """A closed set."""

    VERY_GOOD = "very_good"
    BAD = "bad"


class Scores(BaseModel):
    """Numbers that need not be there."""

    a: Unit | None = None
    b: Unit | None = None
    c: Unit | None = None
    signed: Signed = 0.0


class Entry(BaseModel):
    """An entry of a list."""

    id: str = ""
    score: Unit | None = None


class Form(BaseModel):
    """A field of each kind."""

    goal: str
    texts: list[str] = []
    moods: list[Mood] = []
    mood: Mood | None = None
    grade: Literal["a", "b", 3] | None = None
    entries: list[Entry] = []
    seconds: Annotated[float, Field(ge=0)] = 0.0
    stars: Annotated[int, Field(ge=1, le=5)] = 1
    few: Annotated[list[str], Field(max_length=2)] = []
    short: Annotated[str, Field(max_length=3)] = ""
    entry: Entry = Entry()
    plan_alignment: Unit | None = None


def _read(model: type[BaseModel] = Form, **fields: Any) -> Any:
    document = {"goal": "x", **fields} if model is Form else fields
    return read_answer(json.dumps(document), model)


def _scores(**fields: Any) -> tuple[Any, ...]:
    answer = _read(Scores, **fields).parsed
    return tuple(getattr(answer, name) for name in fields)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0.66", 0.66),
        (" .5 ", 0.5),
        ("66%", 0.66),
        ("66 %", 0.66),
        ("66\uff05", 0.66),
        ("7/10", 0.7),
        ("3/5", 0.6),
        ("8 out of 10", 0.8),
        ("0,66", 0.66),
        ("~0.7", 0.7),
        ("0.7 (fairly high)", 0.7),
        ("0.8\u5206", 0.8),
        ("8/10\u5206", 0.8),
        ([0.5], 0.5),
        ({"score": 0.5, "reason": "so"}, 0.5),
        ({"value": "0.5"}, 0.5),
    ],
)
def test_numbers_in_other_clothes_are_numbers(written, number):
    """Texts, percents, fractions, in a list of one or an object."""
    assert _scores(a=written, b=0.25) == (number, 0.25)


@pytest.mark.parametrize("written", ["high", "7th", "1-2", "nan", True, False, [], [1, 2]])
def test_what_is_no_number_is_left_out(written):
    """It is never guessed, and true is not 1."""
    read = _read(Scores, a=written, b=0.25)
    assert (read.parsed.a, read.parsed.b) == (None, 0.25)
    assert read.notes == ("left out a",)


@pytest.mark.parametrize(
    "written", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 350, "9" * 5000]
)
def test_nan_and_infinity_are_no_numbers(written):
    """They cost their own field only."""
    read = read_answer(f'{{"a": {written}, "b": 0.25, "signed": {written}}}', Scores)
    assert read.parsed == Scores(b=0.25)
    with pytest.raises(InvalidAnswer):
        read_answer(f'{{"goal": {written}}}', Form)


@pytest.mark.parametrize("written", [None, "", "null", "N/A", "none", {}])
def test_a_word_for_absent_is_null(written):
    """Where null is allowed."""
    read = _read(Scores, a=written, b=0.25)
    assert (read.parsed, read.notes) == (Scores(b=0.25), ())


@pytest.mark.parametrize(
    ("written", "numbers", "note"),
    [
        ((0.7, 0.2, 1), (0.7, 0.2, 1.0), ""),
        ((7, 2, 10), (0.7, 0.2, 1.0), "scores read on a scale of 10"),
        ((7, 1, 0), (0.7, 0.1, 0.0), "scores read on a scale of 10"),
        ((7.5, 8, 0.5), (0.75, 0.8, 0.05), "scores read on a scale of 10"),
        ((70, 25, 100), (0.7, 0.25, 1.0), "scores read on a scale of 100"),
        ((70, 5, 0), (0.7, 0.05, 0.0), "scores read on a scale of 100"),
        ((0.7, 0.2, 1.05), (0.7, 0.2, 1.0), "clamped c"),
        ((0.7, 0.2, 1.2), (0.7, 0.2, 1.0), "clamped c"),
        ((1.2, 1.1, 1), (1.0, 1.0, 1.0), "clamped a"),
        ((0.7, -0.1, 0.2), (0.7, 0.0, 0.2), "clamped b"),
        ((0.7, 0.2, 7), (0.7, 0.2, None), "left out c"),
        ((7, 2, 250), (None, None, None), "left out a"),
        ((0.7, "20%", 0.4), (0.7, 0.2, 0.4), "read numbers from texts"),
        (("7", "2", "10"), (0.7, 0.2, 1.0), "scores read on a scale of 10"),
    ],
)
def test_the_scale_is_that_of_all_scores_of_an_answer(written, numbers, note):
    """A slip is clamped; several large ones are on another scale; a lone large one is none."""
    read = _read(Scores, **dict(zip("abc", written, strict=True)))
    values = (read.parsed.a, read.parsed.b, read.parsed.c)
    assert values == pytest.approx(numbers)
    assert note in (read.notes or ("",))


def test_numbers_with_a_scale_of_their_own_leave_the_others_theirs():
    """A percent among marks of ten is a percent."""
    assert _scores(a="66%", b=7, c="1/4") == pytest.approx((0.66, 0.7, 0.25))


def test_signed_scores_share_the_scale():
    """A 1 next to a 6 is a tenth, and a sign is kept."""
    assert _scores(a=1, signed=-6) == pytest.approx((0.1, -0.6))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_scores_in_range_are_taken_as_they_are(numbers):
    """Nothing is changed or noted."""
    read = _read(Scores, **dict(zip("abc", numbers, strict=True)))
    assert [read.parsed.a, read.parsed.b, read.parsed.c] == numbers
    assert read.notes == ()


@settings(deadline=None)
@given(st.lists(st.integers(0, 10), min_size=3, max_size=3), st.sampled_from([10, 100]))
def test_a_scale_keeps_the_order(numbers, scale):
    """Whatever scale is found, a higher score stays no lower than a lower one."""
    written = [number * scale // 10 for number in numbers]
    read = _read(Scores, **dict(zip("abc", written, strict=True)))
    values = [read.parsed.a, read.parsed.b, read.parsed.c]
    assert sorted(range(3), key=lambda at: (values[at], at)) == sorted(
        range(3), key=lambda at: (numbers[at], at)
    )


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [
        ("seconds", -3, 0.0),
        ("seconds", -1e9, 0.0),
        ("seconds", "2.5", 2.5),
        ("stars", 6, 5),
        ("stars", 0, 1),
        ("stars", "4", 4),
        ("stars", "4/5", 4),
        ("stars", 40, 1),
        ("short", "abcdef", "abc"),
        ("few", ["a", "b", "c"], ["a", "b"]),
    ],
)
def test_values_are_brought_within_their_limits(field, written, value):
    """Numbers are clamped, texts and lists clipped; a number far beyond two limits is refused."""
    assert getattr(_read(**{field: written}).parsed, field) == value


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [
        ("texts", "one", ["one"]),
        ("texts", "", []),
        ("texts", None, []),
        ("texts", '["a", "b"]', ["a", "b"]),
        ("texts", [{"text": "a", "delay": 1}, "b"], ["a", "b"]),
        ("texts", {"1": "a", "2": "b"}, ["a", "b"]),
        ("texts", ["a", 3, None, "b"], ["a", "b"]),
        ("moods", "Very good", [Mood.VERY_GOOD]),
        ("moods", "very_good, bad", [Mood.VERY_GOOD, Mood.BAD]),
        ("moods", ["very-good", "joy", "BAD"], [Mood.VERY_GOOD, Mood.BAD]),
        ("mood", "VeryGood", Mood.VERY_GOOD),
        ("mood", "joy", None),
        ("mood", "none", None),
        ("grade", "A", "a"),
        ("grade", "3", 3),
        ("goal", ["one", "two"], "one\ntwo"),
        ("goal", {"text": "one"}, "one"),
        ("entry", '{"id": "c1"}', Entry(id="c1")),
        ("entry", [{"id": "c1"}], Entry(id="c1")),
        ("entry", 0.5, Entry()),
        ("entry", "c1", Entry()),
        ("entries", [0.5, {"id": "c1"}], [Entry(score=0.5), Entry(id="c1")]),
        ("entries", {"id": "c1"}, [Entry(id="c1")]),
        (
            "entries",
            {"c1": {"score": 0.5}, "c2": 0.25},
            [Entry(id="c1", score=0.5), Entry(id="c2", score=0.25)],
        ),
    ],
)
def test_values_of_another_form_are_read_as_they_were_meant(field, written, value):
    """One for a list, a list for one, a map by id, another spelling."""
    assert getattr(_read(**{field: written}).parsed, field) == value


@pytest.mark.parametrize(
    "key", ["planAlignment", "plan-alignment", "Plan Alignment", "PLAN_ALIGNMENT"]
)
def test_keys_in_another_spelling_are_known(key):
    """Where only one of them can be meant."""
    assert _read(**{key: 0.5}).parsed.plan_alignment == 0.5


def test_ambiguous_keys_are_left_alone():
    """Two spellings of one field name neither; the right one wins over a wrong one."""
    assert _read(planAlignment=0.5, PlanAlignment=0.25).parsed.plan_alignment is None
    assert _read(plan_alignment=0.5, planAlignment=0.25).parsed.plan_alignment == 0.5


@settings(deadline=None)
@given(
    document=st.dictionaries(
        st.sampled_from([*Form.model_fields, "other"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["id", "score", "text", "x"]), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_whatever_json_comes_a_required_field_is_enough(document):
    """No optional field costs the answer, whatever is in it."""
    text = json.dumps({**document, "goal": "x"})
    assert read_answer(text, Form).parsed.goal == "x"

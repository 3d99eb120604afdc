"""Marks for one reply."""

from typing import Any

import pytest

from turnwise.calls.errors import InvalidAnswer
from turnwise.calls.structured import parse_answer
from turnwise.tune.quality.pointwise import Pointwise, marks_model


@pytest.mark.parametrize(
    ("raw", "mark"),
    [
        ("7", 7.0),
        ("7.5", 7.5),
        ('"8"', 8.0),
        ("1", 1.0),
        ("10.0", 10.0),
        ('"7/10"', 7.0),
        ("[7]", 7.0),
        ("0", 1.0),
        ("11", 10.0),
    ],
)
def test_a_mark_is_read_as_it_was_meant(raw: str, mark: float) -> None:
    """Asked for as a whole number; halves and numbers in quotes are marks, a slip is clamped."""
    answer = parse_answer(f'{{"wit": {raw}}}', marks_model(("wit",)))
    assert answer.model_dump()["wit"] == mark


@pytest.mark.parametrize(
    "raw", ["-20", "75", "null", "true", '"high"', '"nan"', "[7, 8]", "{}", "1e999"]
)
def test_what_is_no_mark_does_not_fit(raw: str) -> None:
    """A number far out of the range is on another scale: to clip it would invent a mark."""
    with pytest.raises(InvalidAnswer):
        parse_answer(f'{{"wit": {raw}}}', marks_model(("wit",)))


def test_the_form_asks_for_whole_numbers_in_range() -> None:
    """A provider that holds to the schema cannot answer anything else; a reason may be missing."""
    schema = marks_model(("wit",)).model_json_schema()
    assert schema["properties"]["wit"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10,
        "title": "Wit",
    }
    assert schema["required"] == ["wit"]
    assert marks_model(("wit",)) is marks_model(("wit",))


def test_first_looks_come_before_repeats(item_of: Any) -> None:
    """A budget that ends early leaves out repeats before it leaves out replies."""
    looks = Pointwise(repeats=2).looks([item_of("a"), item_of("b")])
    assert [(look.repeat, look.item.reply) for look in looks] == [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (1, "b"),
    ]


@pytest.mark.parametrize(
    ("user_text", "language", "expected"),
    [("Hello.", None, "en"), ("你好", None, "zh"), ("你好", "en", "en"), ("Hello.", "zh-CN", "zh")],
)
def test_a_referee_is_addressed_in_the_users_language(
    item_of: Any, user_text: str, language: str | None, expected: str
) -> None:
    """As the turn says, or by its script."""
    method = Pointwise()
    (look,) = method.looks([item_of("Hm.", user_text=user_text, language=language)])
    assert look.questions[0].call.messages[0].content == method.rubric.text(expected)

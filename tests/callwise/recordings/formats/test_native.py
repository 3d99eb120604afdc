"""Callwise's own format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation import RecordedTurn
from callwise.recordings.conversation_files import read_conversations

Write = Callable[..., Path]
PERSONA = {"name": "Mira", "background": "Keeps bees.", "speaking_style": "dry"}


def line(number: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Return one line; `None` leaves the turn's number out."""
    record = {"conversation_id": "a", "turn": number, "user_text": f"text {number}", **fields}
    return {name: value for name, value in record.items() if value is not None}


def test_every_field_is_read(write_lines: Write) -> None:
    """A line's fields become a turn's, and the persona and the user the conversation's."""
    path = write_lines(
        line(0, time="2024-05-01T18:30:00+02:00", user_id="u1", reply="Yes.", persona=PERSONA),
        line(1, reply="  ", note="unknown fields are left alone"),
    )

    (conversation,) = read_conversations([path]).conversations

    assert (conversation.user_id, conversation.persona) == ("u1", PERSONA)
    assert conversation.turns == (
        RecordedTurn("a", 0, "text 0", "2024-05-01T18:30:00+02:00", "u1", "Yes.", PERSONA),
        RecordedTurn("a", 1, "text 1"),
    )


def test_turns_are_ordered_and_may_have_gaps(write_lines: Write) -> None:
    """Interleaved and unordered lines are put in order; numbers stay as recorded."""
    other = {"conversation_id": "b", "turn": 0, "user_text": "hi"}
    path = write_lines(line(7), other, line(3))

    first, second = read_conversations([path]).conversations

    assert [turn.turn for turn in first.turns] == [3, 7]
    assert second.conversation_id == "b"


def test_missing_numbers_are_counted_from_0(write_lines: Write) -> None:
    """A conversation whose lines bear no number at all is numbered in order of lines."""
    path = write_lines(line(None), line(None))

    assert [turn.turn for turn in read_conversations([path]).conversations[0].turns] == [0, 1]


def test_persona_may_be_free_text(write_lines: Write) -> None:
    """A persona that is one text is a background."""
    path = write_lines(line(0, persona="You are Mira."), line(1, persona=" "))

    assert read_conversations([path]).conversations[0].persona == {"background": "You are Mira."}


def test_a_very_long_message(write_lines: Write) -> None:
    """A message of 100,000 characters, emoji among them, is read as it is."""
    text = "🫠你x " * 25_000
    path = write_lines(line(0, user_text=text))

    assert read_conversations([path]).conversations[0].turns[0].user_text == text


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (line(1, user_text=""), "expected `user_text` to be a text, it is empty"),
        (line(1, user_text="\u3000\n"), "expected `user_text` to be a text, it is empty"),
        (line(1, user_text=7), "expected `user_text` to be a string, got a number"),
        ({"conversation_id": "a", "turn": 1}, r"expected `user_text` \(a string\); it is missing"),
        ({"turn": 1, "user_text": "hi"}, r"expected `conversation_id` .* keys are: turn, user_te"),
        (line(1, conversation_id=None), "expected `conversation_id`"),
        (line(0), "expected turn 0 once; it is on line 1 too"),
        (line(-1), "expected `turn` to be at least 0, got -1"),
        (line(1, turn="1"), "expected `turn` to be a whole number, got a string"),
        (line(1, turn=True), "expected `turn` to be a whole number, got a boolean"),
        (line(None), "expected `turn` on every line of a conversation, or on none"),
        (line(1, time="yesterday"), "expected `time` to be an ISO 8601 time"),
        (line(1, time="20240501"), "expected `time` to be an ISO 8601 time"),
        (line(1, user_id="u2"), "expected one user per conversation: `user_id` was 'u1'"),
        (line(0, user_id="u2"), "expected one user per conversation.* Give conversations of two"),
        (line(1, reply=["a"]), "expected `reply` to be a string, got a list"),
        (line(1, persona=3), "persona: expected a JSON object, got a number"),
        (line(1, persona={"nmae": "x"}), "persona: expected only name, background, .*'nmae'"),
        ([1], "expected a JSON object, got a list"),
    ],
)
def test_a_bad_line_is_named_or_skipped(write_lines: Write, bad: Any, words: str) -> None:
    """Each kind of bad line is an error with its place, and is counted when skipped."""
    path = write_lines(line(0, user_id="u1"), bad, line(5))

    with pytest.raises(FormatError, match=words) as caught:
        read_conversations([path])
    assert (caught.value.path, caught.value.line) == (path, 2)

    result = read_conversations([path], skip_bad=True)
    assert [error.line for error in result.skipped] == [2]
    assert [turn.turn for turn in result.conversations[0].turns] == [0, 5]

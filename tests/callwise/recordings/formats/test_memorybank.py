"""MemoryBank."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import read_conversations

Write = Callable[..., Path]


def line(user: str, date: str, turn: int | None, **fields: Any) -> dict[str, Any]:
    """Return one line."""
    return {
        "turn_id": f"{user}/{date}#{turn}",
        "user_id": user,
        "date": date,
        "turn": turn,
        "user_text": f"{user} {date} {turn}",
        "bot_text": "ok",
        **fields,
    }


def test_days_are_one_conversation(write_lines: Write) -> None:
    """A user's days are joined in order and numbered from 0; the persona is the user's."""
    path = write_lines(
        line("u1", "2023-05-02", 0), line("u0", "2023-05-01", 0),
        line("u1", "2023-04-30", 1), line("u1", "2023-04-30", 0, bot_text=""),
    )  # fmt: skip
    write_lines('{"u1": {"name": "Wei", "hobbies": "tea"}}', name="personas.json")

    first, second = read_conversations([path]).conversations

    assert [(turn.turn, turn.time) for turn in first.turns] == [
        (0, "2023-04-30"), (1, "2023-04-30"), (2, "2023-05-02"),
    ]  # fmt: skip
    assert first.turns[0].reply is None
    assert first.persona is None
    assert first.user_persona == {"name": "Wei", "background": "hobbies: tea"}
    assert (second.user_id, second.user_persona) == ("u0", None)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (line("u0", "2023-05-01", 0), "expected turn 0 of 2023-05-01 once for user 'u0'"),
        (line("u0", "May 1st", 1), "expected `date` to be an ISO 8601 time"),
        (line("u0", "2023-05-01", None), "expected `turn`, it is missing"),
        (line("u0", "2023-05-01", 1, user_text=None), "expected `user_text` to be a string"),
    ],
)
def test_a_bad_line(write_lines: Write, bad: dict[str, Any], words: str) -> None:
    """A bad line is named, or skipped and counted."""
    path = write_lines(line("u0", "2023-05-01", 0), bad)

    with pytest.raises(FormatError, match=words) as caught:
        read_conversations([path])
    assert caught.value.line == 2
    assert len(read_conversations([path], skip_bad=True).skipped) == 1


def test_broken_personas_are_named(write_lines: Write) -> None:
    """A personas file that cannot be read is an error, not a conversation without one."""
    path = write_lines(line("u0", "2023-05-01", 0))
    write_lines('{"u0": ', name="personas.json")

    with pytest.raises(FormatError, match=r"personas\.json: expected a JSON object of personas"):
        read_conversations([path])
    assert len(read_conversations([path], skip_bad=True).skipped) == 1


def test_the_published_form(tmp_path: Path) -> None:
    """Users by name and days by date are read like lines; a day without a word is noted."""
    days = {
        "2023-04-28": [{"query": "c", "response": "d"}],
        "2023-04-27": [{"query": "a", "response": "b"}, {"query": "x", "response": ""}],
        "2023-04-29": [],
    }
    users = {
        "Ana": {"name": "Ana", "summary": {"x": "y"}, "history": days},
        "Wei": {"history": days},
    }
    path = tmp_path / "memory_bank.json"
    path.write_text(json.dumps(users), encoding="utf-8")

    result = read_conversations([path])

    first, second = result.conversations
    assert [(each.conversation_id, each.user_id) for each in (first, second)] == [
        ("Ana", "Ana"), ("Wei", "Wei"),
    ]  # fmt: skip
    assert [(turn.time, turn.user_text, turn.reply) for turn in first.turns] == [
        ("2023-04-27", "a", "b"), ("2023-04-27", "x", None), ("2023-04-28", "c", "d"),
    ]  # fmt: skip
    assert result.left_out == {"day without a word": 2, "`summary` of a user": 1}

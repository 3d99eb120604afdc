"""LoCoMo."""

import json
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation import RecordedTurn
from callwise.recordings.conversation_files import ReadOptions, read_conversations


def write(tmp_path: Path, *records: Any) -> Path:
    """Write a JSON list of samples."""
    path = tmp_path / "samples.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def talk(**fields: Any) -> dict[str, Any]:
    """Return the sessions of two people."""
    return {
        "speaker_a": "Ana",
        "speaker_b": "Ben",
        "session_10_date_time": "12:05 am on 3 June, 2023",
        "session_10": [{"speaker": "Ana", "dia_id": "D10:1", "text": "Later."}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Ben", "dia_id": "D2:1", "text": "Hey."},
            {"speaker": "Ana", "dia_id": "D2:2", "text": "Hi."},
            {"speaker": "Ben", "dia_id": "D2:3", "text": "So."},
        ],
        "session_3": [],
        **fields,
    }


@pytest.mark.parametrize("is_nested", [True, False])
def test_sessions_are_one_conversation(tmp_path: Path, is_nested: bool) -> None:
    """Sessions go in order of their numbers, and their time becomes ISO 8601."""
    record = {"conversation": talk()} if is_nested else talk()
    path = write(tmp_path, {"sample_id": "conv-1", **record, "qa": []})

    result = read_conversations([path])

    (conversation,) = result.conversations
    assert result.format == "locomo"
    assert (conversation.user_id, conversation.persona) == ("Ana", {"name": "Ben"})
    assert conversation.opening == "Hey."
    assert conversation.turns == (
        RecordedTurn("conv-1", 0, "Hi.", "2023-05-08T13:56:00", "Ana", "So."),
        RecordedTurn("conv-1", 1, "Later.", "2023-06-03T00:05:00", "Ana"),
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"session_2_date_time": "noon"}, "expected `session_2_date_time` such as .*'noon'"),
        ({"session_2_date_time": "1:56 pm on 8 Mai, 2023"}, "expected `session_2_date_time`"),
        ({"session_2_date_time": "1:56 pm on 31 June, 2023"}, "expected `session_2_date_time`"),
        ({"speaker_a": "Zoe"}, "session_2 message 2: expected `speaker` 'Zoe' or 'Ben'"),
        ({"speaker_b": None}, "conversation: expected `speaker_b` to be a string"),
    ],
)
def test_a_bad_sample(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """What does not fit is named with its record and message."""
    path = write(tmp_path, {"conversation": talk(**fields)})

    with pytest.raises(FormatError, match=words):
        read_conversations([path])


def test_no_reply_answers_another_session(tmp_path: Path) -> None:
    """A message that ends a session is a separate turn; one that opens one answers nothing."""
    sessions = talk(
        session_2=[{"speaker": "Ana", "text": "Hi."}],
        session_10=[{"speaker": "Ben", "text": "Back."}, {"speaker": "Ana", "text": "Good."}],
    )

    result = read_conversations([write(tmp_path, {"conversation": sessions})])

    turns = [(turn.user_text, turn.reply) for turn in result.conversations[0].turns]
    assert turns == [("Hi.", None), ("Good.", None)]
    assert result.left_out == {"message of the agent that opens a later session": 1}


def test_the_other_speaker_may_be_the_agent(tmp_path: Path) -> None:
    """A person may choose; a name that no speaker has is an error."""
    path = write(tmp_path, {"conversation": talk()})

    (conversation,) = read_conversations([path], options=ReadOptions(agent="Ana")).conversations

    assert (conversation.user_id, conversation.persona) == ("Ben", {"name": "Ana"})
    with pytest.raises(FormatError, match=r"expected --agent 'Ana' or 'Ben', .*got 'Zoe'"):
        read_conversations([path], options=ReadOptions(agent="Zoe"))

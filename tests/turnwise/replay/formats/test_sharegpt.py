"""ShareGPT."""

import json
from pathlib import Path

import pytest

from turnwise.calls.errors import FormatError
from turnwise.replay.conversation import RecordedTurn
from turnwise.replay.reading import read_conversations


def test_a_list_of_conversations(tmp_path: Path) -> None:
    """A JSON list is read, each record with its system text as persona."""
    said = [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "Hi."},
        {"from": "gpt", "value": "Hello."},
        {"from": "human", "value": "Bye."},
    ]
    path = tmp_path / "chats.json"
    path.write_text(
        json.dumps([{"id": "x1", "conversations": said}, {"conversations": said[1:]}]),
        encoding="utf-8",
    )

    result = read_conversations([path])

    first, second = result.conversations
    assert result.format == "sharegpt"
    assert first.persona == {"background": "Be kind."}
    assert first.turns == (
        RecordedTurn("x1", 0, "Hi.", reply="Hello."),
        RecordedTurn("x1", 1, "Bye."),
    )
    assert (second.conversation_id, second.persona) == ("chats-2", None)


def test_an_unknown_speaker(tmp_path: Path) -> None:
    """A speaker that is nobody's is an error that says which record and message."""
    path = tmp_path / "chats.json"
    path.write_text('[{"conversations": [{"from": "owl", "value": "hoo"}]}]', encoding="utf-8")

    with pytest.raises(FormatError, match="record 1, message 1: expected `from` to be one of"):
        read_conversations([path])

"""OpenAI chat format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnwise.calls.errors import FormatError
from turnwise.replay.conversation import RecordedTurn
from turnwise.replay.reading import read_conversations

Write = Callable[..., Path]


def says(role: str, content: Any) -> dict[str, Any]:
    """Return one message."""
    return {"role": role, "content": content}


def test_messages_become_turns(write_lines: Write) -> None:
    """System is the persona, a greeting the opening, tools are left out, runs are joined."""
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    path = write_lines(
        {
            "id": 12,
            "user": "u1",
            "messages": [
                says("system", "You are Mira."),
                says("developer", "Be brief."),
                says("assistant", "Hello!"),
                says("user", "What is 2+2?"),
                call,
                says("tool", "4"),
                says("assistant", "4."),
                says("user", [{"type": "text", "text": "And"}, {"type": "image_url"}]),
                says("user", "3+3?"),
            ],
        }
    )

    (conversation,) = read_conversations([path]).conversations

    assert conversation.conversation_id == "12"
    assert conversation.persona == {"background": "You are Mira.\n\nBe brief."}
    assert conversation.opening == "Hello!"
    assert conversation.turns == (
        RecordedTurn("12", 0, "What is 2+2?", None, "u1", "4."),
        RecordedTurn("12", 1, "And\n3+3?", None, "u1"),
    )


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([says("user", "")], "message 1: expected the user's `content` to be a text"),
        ([says("user", [{"type": "image_url"}])], "message 1: expected the user's `content`"),
        ([says("user", "a"), says("robot", "b")], "message 2: expected `role` system.*'robot'"),
        ([says("user", "a"), "b"], "message 2: expected a JSON object, got a string"),
        ([says("user", 5)], "message 1: expected `content` to be a string, got a number"),
        ([says("system", "a")], "expected at least one message of the user"),
    ],
)
def test_a_bad_message_spoils_its_conversation(
    write_lines: Write, messages: list[Any], words: str
) -> None:
    """One bad message is named; skipping leaves out the whole conversation."""
    good = {"messages": [says("user", "hi")]}
    path = write_lines(good, {"messages": messages})

    with pytest.raises(FormatError, match=words) as caught:
        read_conversations([path])
    assert caught.value.line == 2

    result = read_conversations([path], skip_bad=True)
    assert [each.conversation_id for each in result.conversations] == ["talk-1"]
    assert len(result.skipped) == 1

"""Conversations, and how messages are paired to their turns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callwise.recordings.conversation import Conversation, RecordedTurn, conversation_digest
from callwise.recordings.conversation_files import ReadOptions, ReadResult, read_conversations

TURNS = tuple(RecordedTurn("a", number, f"text {number}") for number in range(3))
CONVERSATION = Conversation("a", "u", {"name": "Mira"}, TURNS)


def test_digest_is_stable() -> None:
    """The digest of the same conversation is the same in every process."""
    expected = "c00f8b5effa7670baab64345a831a54398d55d107581d1e707b25acaca78d1ed"

    assert conversation_digest([CONVERSATION]) == expected


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONVERSATION, user_id=None),
        replace(CONVERSATION, persona={"name": "Mara"}),
        replace(CONVERSATION, opening="Hello."),
        replace(CONVERSATION, turns=TURNS[:2]),
        replace(CONVERSATION, turns=(*TURNS[:2], replace(TURNS[2], reply="Yes."))),
    ],
)
def test_digest_sees_every_field(changed: Conversation) -> None:
    """Whatever differs in a conversation changes its digest."""
    assert conversation_digest([changed]) != conversation_digest([CONVERSATION])


def test_digest_sees_the_order() -> None:
    """The same conversations in another order are another run."""
    other = replace(CONVERSATION, conversation_id="b")

    assert conversation_digest([CONVERSATION, other]) != conversation_digest([other, CONVERSATION])


def test_digest_takes_any_text() -> None:
    """A lone surrogate, legal in Python and illegal in UTF-8, has a digest too."""
    odd = replace(CONVERSATION, turns=(RecordedTurn("a", 0, "\ud800"),))

    assert len(conversation_digest([odd])) == 64


def test_first_turns() -> None:
    """A conversation cut short keeps everything but its later turns."""
    assert CONVERSATION.first_turns(2) == replace(CONVERSATION, turns=TURNS[:2])


Write = Callable[..., Path]
TALK = (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))


def turns_of(result: ReadResult) -> list[tuple[str, str | None]]:
    """Return the turns of the only conversation."""
    return [(turn.user_text, turn.reply) for turn in result.conversations[0].turns]


def talk(key: str, values: list[Any]) -> list[dict[str, Any]]:
    """Return the messages of one conversation, each with a value in a field."""
    return [
        {"role": role, "content": text, key: value}
        for (role, text), value in zip(TALK, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("timestamp_ms", [1700000001000, 1700000001500, 1700000002000, 1700000003000]),
        ("sentAt", ["2024-05-01T10:00:01Z", "2024-05-01T10:00:01.5Z", "2024-05-01T10:00:02Z",
                    "2024-05-01T10:00:03Z"]),
        ("created_at", [1_700_000_001, 1_700_000_002, 1_700_000_002, 1_700_000_003]),
    ],
)  # fmt: skip
def test_the_newest_message_first(write_lines: Write, key: str, values: list[Any]) -> None:
    """So Messenger and the Assistants API list them, with fractions and equal seconds."""
    newest_first = talk(key, values)[::-1]
    path = write_lines({"messages": newest_first})
    lines = write_lines(*newest_first, name="lines.jsonl")

    result = read_conversations([path])

    assert turns_of(result) == [("a", "b"), ("c", "d")]
    assert turns_of(read_conversations([lines])) == [("a", "b"), ("c", "d")]
    assert result.left_out == {"message put in order of time": 4}


def test_messenger_with_a_chosen_agent(write_lines: Write) -> None:
    """Its messages are named by people."""
    messages = [
        {"sender_name": {"user": "Ana", "assistant": "Nora"}[role], "content": text,
         "timestamp_ms": 1_700_000_000_000 + number}
        for number, (role, text) in enumerate(TALK)
    ]  # fmt: skip
    path = write_lines({"participants": [], "messages": messages[::-1]})

    result = read_conversations([path], options=ReadOptions(agent="Nora"))

    assert turns_of(result) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("key", ["index", "utterance_idx", "seq"])
def test_numbered_messages_are_put_in_order(write_lines: Write, key: str) -> None:
    """In a list and on lines, also as text, as tables have them."""
    messages = talk(key, [1, "2", 9, 10])
    shuffled = [messages[place] for place in (2, 0, 3, 1)]
    path = write_lines({"messages": shuffled})
    lines = write_lines(*shuffled, name="lines.jsonl")

    result = read_conversations([path])

    assert turns_of(result) == [("a", "b"), ("c", "d")]
    assert turns_of(read_conversations([lines])) == [("a", "b"), ("c", "d")]
    assert result.left_out == {"message put in order of numbers": 4}


def test_times_out_of_order_are_noted(write_lines: Write) -> None:
    """Which of order and time is right is not known; so the order stays, with a word."""
    path = write_lines({"messages": talk("timestamp", [f"2024-05-0{day}" for day in (1, 3, 2, 4)])})

    result = read_conversations([path])

    assert turns_of(result) == [("a", "b"), ("c", "d")]
    assert result.left_out == {"message that is older than the one before it": 1}

"""Lists of messages that name their parents, or have the next ones inside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadResult, read_conversations

Write = Callable[..., Path]
ROOT = "00000000-0000-4000-8000-000000000000"
TALK = (("human", "a", "1", ROOT), ("assistant", "b", "2", "1"), ("human", "c", "3", "2"))


def turns_of(result: ReadResult) -> list[list[tuple[str, str | None]]]:
    """Return the turns of each conversation."""
    return [
        [(turn.user_text, turn.reply) for turn in conversation.turns]
        for conversation in result.conversations
    ]


def claude(*messages: tuple[str, str, str, str], **fields: Any) -> dict[str, Any]:
    """Return a conversation of Claude's export."""
    return {
        "uuid": "x",
        "chat_messages": [
            {"sender": sender, "text": text, "uuid": name, "parent_message_uuid": parent}
            for sender, text, name, parent in messages
        ],
        **fields,
    }


def test_an_answer_that_was_asked_again_is_not_part_of_the_reply(write_lines: Write) -> None:
    """Of two answers to one message, the one that was gone on from is read; the other is noted."""
    old = ("assistant", "old", "9", "1")
    path = write_lines(claude(TALK[0], old, *TALK[1:], ("assistant", "d", "4", "3")))

    result = read_conversations([path])

    assert turns_of(result) == [[("a", "b"), ("c", "d")]]
    assert result.left_out == {"message of a branch that was not read": 1}


def test_the_leaf_that_a_record_names_is_the_end_of_its_branch(write_lines: Write) -> None:
    """What was shown last counts, not what was written last, and nothing after it."""
    newer = [("assistant", "newer", "9", "1"), ("human", "lost", "10", "9")]
    path = write_lines(claude(*TALK, *newer, current_leaf_message_uuid="3"))

    result = read_conversations([path])

    assert turns_of(result) == [[("a", "b"), ("c", None)]]
    assert result.left_out == {"message of a branch that was not read": 2}


def test_an_edited_first_message_replaces_the_first_one(write_lines: Write) -> None:
    """So with a parent that is not in the list, and with none."""
    edited = [("human", "A", "5", ROOT), ("assistant", "B", "6", "5")]
    path = write_lines(claude(*TALK, *edited))

    assert turns_of(read_conversations([path])) == [[("A", "B")]]


def test_a_map_of_messages_is_read_along_its_branch(write_lines: Write) -> None:
    """Open WebUI keeps them by id, in no order that means something, with a system message."""
    rows = [("4", "3", "d"), ("1", None, "a"), ("9", "1", "old"), ("2", "1", "b"), ("3", "2", "c")]
    roles = dict(zip("12349", ("user", "assistant", "user", "assistant", "assistant"), strict=True))
    messages = {
        name: {"id": name, "parentId": parent, "role": roles[name], "content": text}
        for name, parent, text in rows
    }
    path = write_lines({"id": "x", "chat": {"history": {"currentId": "4", "messages": messages}}})

    assert turns_of(read_conversations([path])) == [[("a", "b"), ("c", "d")]]


def test_messages_inside_messages_are_read_to_the_last(write_lines: Write) -> None:
    """LibreChat's export as a tree: of several children the last was shown."""

    def said(is_user: bool, text: str, *children: Any) -> dict[str, Any]:
        return {"isCreatedByUser": is_user, "sender": "User" if is_user else "AI", "text": text,
                "children": list(children)}  # fmt: skip

    tree = said(True, "a", said(False, "old"), said(False, "b", said(True, "c", said(False, "d"))))
    path = write_lines({"conversationId": "x", "messages": [tree]})

    result = read_conversations([path])

    assert turns_of(result) == [[("a", "b"), ("c", "d")]]
    assert result.left_out == {"branch that was not read": 1}


def test_a_chain_of_parents_and_flat_messages_lose_nothing(write_lines: Write) -> None:
    """Without alternatives every message is read, and nothing is noted."""
    flat = [
        {"id": str(number), "parent_id": None, "role": role, "content": role}
        for number, role in enumerate(("user", "assistant", "user", "assistant"))
    ]
    path = write_lines(claude(*TALK), {"messages": flat})

    result = read_conversations([path])

    assert turns_of(result) == [
        [("a", "b"), ("c", None)],
        [("user", "assistant"), ("user", "assistant")],
    ]
    assert result.left_out == {}


def test_a_message_that_is_its_own_ancestor_is_an_error(write_lines: Write) -> None:
    """A circle has no beginning."""
    path = write_lines(claude(("human", "a", "1", "2"), ("assistant", "b", "2", "1")))

    with pytest.raises(FormatError, match="its own ancestor"):
        read_conversations([path])


def test_of_lines_without_a_rank_the_newest_branch_is_read(write_lines: Write) -> None:
    """A session that was edited goes on below the edited message."""
    lines = [
        {"type": role, "uuid": name, "parentUuid": parent, "sessionId": "s",
         "message": {"role": role, "content": text}}
        for role, text, name, parent in (
            ("user", "a", "1", None), ("assistant", "old", "2", "1"), ("assistant", "b", "3", "1"),
            ("user", "c", "4", "3"),
        )
    ]  # fmt: skip
    path = write_lines(*lines)

    assert turns_of(read_conversations([path])) == [[("a", "b"), ("c", None)]]

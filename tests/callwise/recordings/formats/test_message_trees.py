"""Conversations that branch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadResult, read_conversations

Write = Callable[..., Path]


def node(parent: str | None, role: str = "", *parts: Any, **fields: Any) -> dict[str, Any]:
    """Return a node of an export's mapping."""
    message = {"author": {"role": role}, "content": {"parts": list(parts)}, **fields}
    return {"parent": parent, "message": message if role else None}


def turns_of(result: ReadResult) -> list[tuple[str, str | None]]:
    """Return the first conversation's turns as pairs of texts."""
    return [(turn.user_text, turn.reply) for turn in result.conversations[0].turns]


def export(**fields: Any) -> dict[str, Any]:
    """Return an exported conversation in which an answer was given twice."""
    hidden = {"metadata": {"is_visually_hidden_from_conversation": True}}
    mapping = {
        "root": node(None),
        "s": node("root", "system", ""),
        "h": node("s", "user", "about me", **hidden),
        "u": node("h", "user", "a", create_time=1714557600.5),
        "x": node("u", "assistant", "not this"),
        "t": node("u", "assistant", "search()", recipient="browser"),
        "r": node("t", "tool", "found"),
        "y": node("r", "assistant", "b"),
        "v": node("y", "user", {"content_type": "image_asset_pointer"}, "c"),
    }
    return {"id": "c1", "mapping": mapping, "current_node": "v", **fields}


def test_the_branch_that_was_shown_last_is_read(tmp_path: Path) -> None:
    """From the current node to the root; calls of tools and hidden messages are not shown."""
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([export()]), encoding="utf-8")

    result = read_conversations([path])

    assert turns_of(result) == [("a", "b"), ("c", None)]
    assert result.conversations[0].turns[0].time == "2024-05-01T10:00:00.500000+00:00"
    assert result.left_out == {
        "message of a branch that was not read": 1,
        "hidden message": 1,
        "message of the agent without words": 1,
        "tool message": 1,
        "image_asset_pointer part": 1,
    }


def test_a_branch_that_cannot_be_told(write_lines: Write) -> None:
    """Without a current node there must be one branch only, and no node is its own ancestor."""
    several = write_lines(export(current_node=None))
    circle = {"a": node("b", "user", "a"), "b": node("a", "user", "b")}
    circular = write_lines({"mapping": circle, "current_node": "a"}, name="circle.jsonl")

    with pytest.raises(
        FormatError, match=r"`current_node` .* is missing, and there are 2 branches"
    ):
        read_conversations([several])
    with pytest.raises(FormatError, match="node 'a' is its own ancestor"):
        read_conversations([circular])


def test_the_best_ranked_reply_is_read(write_lines: Write) -> None:
    """Rank 0 is best, replies without a rank come last, deleted ones not at all."""

    def reply(role: str, text: str, *replies: Any, **fields: Any) -> dict[str, Any]:
        return {"role": role, "text": text, "replies": list(replies), **fields}

    later = reply("prompter", "c", reply("assistant", "d", rank=None))
    root = reply(
        "prompter",
        "a",
        reply("assistant", "worst"),
        reply("assistant", "gone", rank=0, deleted=True),
        reply("assistant", "b", later, rank=1),
        reply("assistant", "worse", rank=2),
    )
    path = write_lines({"message_tree_id": "t", "prompt": root}, root)

    result = read_conversations([path])

    assert [each.conversation_id for each in result.conversations] == ["t", "talk-2"]
    assert turns_of(result) == [("a", "b"), ("c", "d")]
    assert result.left_out == {"branch that was not read": 4}

"""One message per line, and rows of tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadOptions, ReadResult, read_conversations

Write = Callable[..., Path]


def says(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    """Return one line."""
    return {"role": role, "content": content, **fields}


def turns_of(result: ReadResult) -> dict[str, list[tuple[str, str | None]]]:
    """Return the turns of each conversation by its id."""
    return {
        each.conversation_id: [(turn.user_text, turn.reply) for turn in each.turns]
        for each in result.conversations
    }


def test_a_file_is_one_conversation(write_lines: Write) -> None:
    """What a chat logger appends, in the order of lines."""
    path = write_lines(
        says("system", "Be brief."), says("user", "a"), says("assistant", "b"), says("user", "c")
    )

    result = read_conversations([path])

    assert turns_of(result) == {"talk-1": [("a", "b"), ("c", None)]}
    assert result.conversations[0].persona == {"background": "Be brief."}


@pytest.mark.parametrize("key", ["conversation_id", "thread_id", "session_id", "dialogue_id"])
def test_lines_that_name_their_conversation_are_grouped(write_lines: Write, key: str) -> None:
    """Interleaved conversations are told apart by their ids."""
    path = write_lines(
        says("user", "a", **{key: "x"}),
        says("user", "c", **{key: 2}),
        says("assistant", "b", **{key: "x"}),
    )

    assert turns_of(read_conversations([path])) == {"x": [("a", "b")], "2": [("c", None)]}


@pytest.mark.parametrize(
    "key", ["convo_id", "convoId", "ChatID", "sid", "Thread-Id", "case id", "conversation"]
)
def test_ids_in_other_spellings_tell_conversations_apart(write_lines: Write, key: str) -> None:
    """What two users said at the same time is never one conversation."""
    path = write_lines(
        says("user", "a", **{key: "x"}),
        says("user", "c", **{key: "y"}),
        says("assistant", "b", **{key: "x"}),
        says("assistant", "d", **{key: "y"}),
    )

    assert turns_of(read_conversations([path])) == {"x": [("a", "b")], "y": [("c", "d")]}


def test_an_id_in_the_metadata_separates_conversations(write_lines: Write) -> None:
    """Loggers keep it apart from the message."""
    path = write_lines(
        says("user", "a", metadata={"conversation_id": "x"}),
        says("user", "c", metadata={"conversation_id": "y"}),
    )

    assert turns_of(read_conversations([path])) == {"x": [("a", None)], "y": [("c", None)]}


@pytest.mark.parametrize("key", ["id", "task_id", "scenarioId"])
def test_an_id_of_unknown_meaning_that_repeats_is_an_error(write_lines: Write, key: str) -> None:
    """It may separate conversations: they are not read as one without a word."""
    path = write_lines(
        says("user", "a", **{key: 1}), says("assistant", "b", **{key: 1}),
        says("user", "c", **{key: 2}), says("assistant", "d", **{key: 2}),
    )  # fmt: skip

    with pytest.raises(FormatError, match=f"`{key}` has 2 values .* Rename it to"):
        read_conversations([path])


@pytest.mark.parametrize("key", ["turn_id", "speaker_id", "user_id", "model", "run_id"])
def test_ids_of_something_else_do_no_harm(write_lines: Write, key: str) -> None:
    """Turns, speakers and calls have ids too."""
    numbers = {"speaker_id": "1212", "user_id": "1111"}.get(key, "1122")
    path = write_lines(
        *(
            says(role, text, **{key: number})
            for role, text, number in zip(
                ("user", "assistant") * 2, ("a", "b", "c", "d"), numbers, strict=True
            )
        )
    )

    assert turns_of(read_conversations([path])) == {"talk-1": [("a", "b"), ("c", "d")]}


def test_a_bad_line_is_skipped_alone(write_lines: Write) -> None:
    """A line that is no message, or whose role is not known, costs no other."""
    path = write_lines(
        says("user", "a"), {"n": 1}, says("owl", "hoo"), "{broken", says("user", 5),
        says("assistant", "b"),
    )  # fmt: skip

    result = read_conversations([path], skip_bad=True)

    assert turns_of(result) == {"talk-1": [("a", "b")]}
    assert sorted(error.line or 0 for error in result.skipped) == [2, 3, 4, 5]
    with pytest.raises(FormatError, match=r"talk\.jsonl:2: expected one message"):
        read_conversations([path])


def test_a_line_without_its_conversation_is_an_error(write_lines: Write) -> None:
    """Where lines name their conversation, one that does not belongs to none of them."""
    path = write_lines(says("user", "a", thread_id="x"), says("assistant", "b"))

    with pytest.raises(FormatError, match=r":2: expected the conversation's id.*on every line"):
        read_conversations([path])


def test_two_users_in_one_conversation_are_an_error(write_lines: Write) -> None:
    """A conversation belongs to one user."""
    path = write_lines(says("user", "a", user_id="u1"), says("user", "b", user_id="u2"))

    with pytest.raises(
        FormatError, match="expected one user per conversation, got `user_id` u1, u2"
    ):
        read_conversations([path])


def test_a_tavern_chat(write_lines: Write) -> None:
    """The first line describes the chat, system lines are hidden, dates are read."""
    path = write_lines(
        {"user_name": "You", "character_name": "Nora", "create_date": "2024-1-5@15h04m05s"},
        {"name": "Nora", "is_user": False, "mes": "Hello."},
        {"name": "You", "is_user": True, "send_date": "January 5, 2024 3:04pm", "mes": "a"},
        {"name": "Nora", "is_user": False, "is_system": True, "mes": "note"},
        {"name": "Nora", "is_user": False, "send_date": 1704467045000, "mes": "b"},
    )

    result = read_conversations([path])

    (conversation,) = result.conversations
    assert (conversation.persona, conversation.opening) == ({"name": "Nora"}, "Hello.")
    assert turns_of(result) == {"talk-1": [("a", "b")]}
    assert conversation.turns[0].time == "2024-01-05T15:04:00"
    assert result.left_out == {"hidden message": 1}


def test_a_tavern_chat_of_a_newer_version(write_lines: Write) -> None:
    """Its first line names no agent; the agent's lines do."""
    path = write_lines(
        {"user_name": "unused", "character_name": "unused", "chat_metadata": {}},
        {"name": "Alice", "is_user": True, "mes": "a"},
        {"name": "Nora", "is_user": False, "mes": "b"},
    )

    assert read_conversations([path]).conversations[0].persona == {"name": "Nora"}


def test_lines_with_parents_are_trees(write_lines: Write) -> None:
    """Flat files of message trees are read by their best-ranked branch, one a root."""
    path = write_lines(
        says("prompter", "a", message_id="1", parent_id=None),
        says("assistant", "worse", message_id="2", parent_id="1", rank=1),
        says("assistant", "better", message_id="3", parent_id="1", rank=0),
        says("prompter", "c", message_id="4", parent_id="3"),
        says("prompter", "other", message_id="5", parent_id=None),
        says("assistant", "lost", message_id="6", parent_id="99"),
    )

    result = read_conversations([path])

    assert turns_of(result) == {
        "talk-1": [("a", "better"), ("c", None)], "talk-2": [("other", None)],
    }  # fmt: skip
    assert result.left_out == {"branch that was not read": 1, "message whose parent is missing": 1}


def test_speakers_with_names_need_a_choice_and_a_named_file(
    write_lines: Write, tmp_path: Path
) -> None:
    """Lines with nicknames are conversations only where a person says so."""
    path = write_lines({"nick": "amy", "text": "a"}, {"nick": "bob", "text": "b"}, name="irc.jsonl")
    write_lines(says("user", "hi"))

    assert read_conversations([tmp_path]).ignored == (path,)
    with pytest.raises(FormatError, match=r"'amy' \(1\), 'bob' \(1\); give --agent"):
        read_conversations([path])
    chosen = read_conversations([path], options=ReadOptions(agent="bob"))
    assert turns_of(chosen) == {"irc-1": [("a", "b")]}


@pytest.mark.parametrize(
    ("name", "text", "turns"),
    [
        ("a.csv", "role,content\r\nuser,hi\r\nassistant,hello\r\n", {"a-1": [("hi", "hello")]}),
        ("a.csv", "\ufeffRole;Content\nuser;hi\n\nassistant;hello", {"a-1": [("hi", "hello")]}),
        ("a.tsv", "speaker\ttext\nhuman\thi\nbot\thello\n", {"a-1": [("hi", "hello")]}),
        ("a.csv", "is_user,text\nTrue,hi\nFalse,hello\n", {"a-1": [("hi", "hello")]}),
        ("a.data", "from,text\nuser,hi\nbot,hello\n", {"a.data-1": [("hi", "hello")]}),
        ("a.csv", 'prompt,response\n"x, ""y""\nz",hello\n', {"a-3": [('x, "y"\nz', "hello")]}),
        (
            "a.csv",
            "conversation_id,turn,user_text,reply\nc,1,more,\nc,0,hi,hello\n",
            {"c": [("hi", "hello"), ("more", None)]},
        ),
        (
            "a.csv",
            "thread_id,role,content\nx,user,hi\ny,user,yo\nx,assistant,hello\n",
            {"x": [("hi", "hello")], "y": [("yo", None)]},
        ),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str, turns: dict[str, Any]) -> None:
    """Rows are messages, exchanges or turns, whatever separates the cells."""
    path = tmp_path / name
    path.write_bytes(text.encode())

    assert turns_of(read_conversations([path])) == turns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"role,content\nuser,hi,there\n", "2: expected 2 cells as in the header, got 3"),
        (b'role,content\nuser,"hi\n', "2: expected a row of a table: unexpected end of data"),
        (b"role,content\nuser,caf\xe9\n", "2: byte 0xe9 at position 9 of the line"),
        (b"role,caf\xe9\nuser,hi\n", "1: byte 0xe9 at position 9 of the line"),
        (b"a,b\n1,2\n", "an object with keys a, b"),
    ],
)
def test_a_bad_row(tmp_path: Path, text: bytes, words: str) -> None:
    """A row that cannot be read is named with its line, and skipped alone."""
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    good = tmp_path / "good.csv"
    good.write_bytes(b"role,content\nuser,hi\n")

    with pytest.raises(FormatError, match=words):
        read_conversations([path])
    assert turns_of(read_conversations([path, good], skip_bad=True))["good-1"] == [("hi", None)]


def test_a_long_cell(tmp_path: Path) -> None:
    """A message may be longer than the csv module takes by itself."""
    path = tmp_path / "a.csv"
    path.write_text("role,content\nuser," + "x" * 200_000 + "\n", encoding="utf-8")

    assert len(read_conversations([path]).conversations[0].turns[0].user_text) == 200_000


def test_a_list_of_messages_of_several_conversations(tmp_path: Path) -> None:
    """A JSON list of messages is grouped by their ids as lines are."""
    path = tmp_path / "a.json"
    messages = [says("user", "a", thread_id="x"), says("user", "b", thread_id="y")]
    path.write_text(json.dumps(messages), encoding="utf-8")

    assert turns_of(read_conversations([path])) == {"x": [("a", None)], "y": [("b", None)]}

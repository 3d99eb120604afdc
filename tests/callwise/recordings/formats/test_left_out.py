"""Parts of records besides their conversation: they are left out, and a note reports it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadOptions, ReadResult, read_conversations

Write = Callable[..., Path]


def says(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    """Return one message."""
    return {"role": role, "content": content, **fields}


def turns_of(result: ReadResult) -> list[tuple[str, str | None]]:
    """Return the turns of the only conversation."""
    return [(turn.user_text, turn.reply) for turn in result.conversations[0].turns]


SAMPLES = [{"message": says("assistant", "b")}, {"message": says("assistant", "other")}]


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": SAMPLES},
        {"response": {"choices": SAMPLES}},
        {"response": {"body": {"choices": SAMPLES}}},
        {"responses": [says("assistant", "b"), says("assistant", "other")]},
    ],
)
def test_of_several_replies_to_one_message_the_first_is_read(
    write_lines: Write, fields: dict[str, Any]
) -> None:
    """Two samples are never one reply."""
    path = write_lines({"messages": [says("user", "a")], **fields})

    result = read_conversations([path])

    assert turns_of(result) == [("a", "b")]
    assert result.left_out == {"further reply to the same message": 1}


def test_the_parts_of_one_output_are_no_samples(write_lines: Write) -> None:
    """A reply of several messages is read as a whole."""
    output = [says("assistant", "b"), says("assistant", "c")]
    result = read_conversations([write_lines({"input": [says("user", "a")], "output": output})])

    assert turns_of(result) == [("a", "b\nc")]
    assert result.left_out == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("history", [says("user", "x"), says("assistant", "y")]),
        ("original", [["agent", "x"], ["customer", "y"]]),
        ("haystack_sessions", [[says("user", "x")], [says("user", "y")]]),
    ],
)
def test_another_list_of_messages_is_noted(write_lines: Write, key: str, value: Any) -> None:
    """One list is read; that there is another one is not kept quiet."""
    messages = [says("user", "a"), says("assistant", "b")]

    result = read_conversations([write_lines({"messages": messages, key: value})])

    assert turns_of(result) == [("a", "b")]
    assert result.left_out == {f"list of messages `{key}`": 1}


def test_sessions_next_to_a_question_are_noted(write_lines: Write) -> None:
    """LongMemEval's sessions are not what its question and answer are."""
    sessions = [[says("user", "x"), says("assistant", "y")]]
    path = write_lines({"question": "a", "answer": "b", "haystack_sessions": sessions})

    result = read_conversations([path])

    assert result.left_out == {"list of messages `haystack_sessions`": 1}


@pytest.mark.parametrize(
    "thought",
    ["<think>\nx\n</think>\n\n", "<|begin_of_thought|>x<|end_of_thought|>", "[THINK]x[/THINK]"],
)
def test_thoughts_in_the_text_of_a_reply_are_left_out(write_lines: Write, thought: str) -> None:
    """The user was not shown what a model thinks before it answers."""
    path = write_lines({"messages": [says("user", "a"), says("assistant", thought + "b")]})
    pair = write_lines({"prompt": "a", "response": thought + "b"}, name="pair.jsonl")

    for result in (read_conversations([path]), read_conversations([pair])):
        assert turns_of(result) == [("a", "b")]
        assert result.left_out == {"thought": 1}


def test_a_text_about_thoughts_stays_as_it_is(write_lines: Write) -> None:
    """Only thoughts at the beginning are thoughts."""
    text = "End it with </think>, after <think>."
    path = write_lines({"messages": [says("user", text), says("assistant", text)]})

    assert turns_of(read_conversations([path])) == [(text, text)]


def test_thoughts_next_to_the_text_are_noted(write_lines: Write) -> None:
    """DeepSeek and others have them in a field."""
    reply = says("assistant", "b", reasoning_content="x")
    result = read_conversations([write_lines({"messages": [says("user", "a"), reply]})])

    assert result.left_out == {"thought": 1}


@pytest.mark.parametrize("mark", ["isMeta", "isThought"])
def test_messages_that_were_not_shown_are_noted(write_lines: Write, mark: str) -> None:
    """Claude Code writes its own commands as messages of the user."""
    messages = [says("user", "hidden", **{mark: True}), says("user", "a"), says("assistant", "b")]
    result = read_conversations([write_lines({"messages": messages})])

    assert turns_of(result) == [("a", "b")]
    assert result.left_out == {"hidden message": 1}


@pytest.mark.parametrize(
    ("text", "is_noted"), [("caf\u00c3\u00a9", True), ("caf\u00e9 \u00ab\u00c2\u00bb", False)]
)
def test_a_text_that_was_encoded_twice_is_noted(
    write_lines: Write, text: str, is_noted: bool
) -> None:
    """Messenger exports it; it is read as it is, and not without a word."""
    path = write_lines({"messages": [says("user", text), says("assistant", "b")]})

    result = read_conversations([path])

    assert turns_of(result) == [(text, "b")]
    assert bool(result.left_out) is is_noted


def test_several_lists_under_unknown_names_are_an_error(write_lines: Write) -> None:
    """None of them was chosen; the error names them."""
    speakers = ("agent", "customer", "action")
    pairs = [[speaker, "x"] for speaker in speakers]
    record = {
        "original": pairs,
        "delexed": [{"speaker": speaker, "text": text} for speaker, text in pairs],
    }
    path = write_lines(record, record)

    with pytest.raises(FormatError, match="got several: original, delexed"):
        read_conversations([path])


def test_speakers_in_a_field_called_agent(write_lines: Write) -> None:
    """Topical-Chat's two speakers: a person says which of them is the agent."""
    said = [{"message": text, "agent": f"agent_{1 + at % 2}"} for at, text in enumerate("abcd")]
    path = write_lines({"t_1": {"config": "A", "content": said}})

    result = read_conversations([path], options=ReadOptions(agent="agent_2"))

    assert turns_of(result) == [("a", "b"), ("c", "d")]

"""One exchange a record, transcripts, and comparisons."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.conversation_files import ReadOptions, ReadResult, read_conversations

Write = Callable[..., Path]


def turns_of(result: ReadResult) -> list[tuple[str, str | None]]:
    """Return the first conversation's turns as pairs of texts."""
    return [(turn.user_text, turn.reply) for turn in result.conversations[0].turns]


@pytest.mark.parametrize(
    ("record", "turns"),
    [
        ({"prompt": "a", "response": "b"}, [("a", "b")]),
        ({"prompt": "a", "completion": "b"}, [("a", "b")]),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, [("a", "b")]),
        ({"question": "a", "answer": "b"}, [("a", "b")]),
        ({"instruction": "a", "input": "", "output": "b"}, [("a", "b")]),
        ({"instruction": "a", "input": "x", "output": "b"}, [("a\nx", "b")]),
        (
            {"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "s"},
            [("a", "b"), ("c", "d")],
        ),
        ({"inputs": {"question": "a"}, "outputs": {"answer": "b"}}, [("a", "b")]),
        ({"input": "c", "output": "d", "chat_history": [{"type": "human", "content": "a"},
                                                        {"type": "ai", "content": "b"}]},
         [("a", "b"), ("c", "d")]),
    ],
)  # fmt: skip
def test_an_exchange_is_a_conversation(
    write_lines: Write, record: dict[str, Any], turns: list[tuple[str, str]]
) -> None:
    """Both sides under their usual names, with what was said before."""
    result = read_conversations([write_lines(record)])

    assert turns_of(result) == turns
    assert result.conversations[0].persona == ({"background": "s"} if "system" in record else None)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "a", "model": "gpt-4"},
        {"user": "u1", "reply": "b"},
        {"user": "u1", "messages": [{"role": "assistant", "content": "b"}]},
    ],
)
def test_names_are_no_words(write_lines: Write, record: dict[str, Any]) -> None:
    """A model's name is no reply, and a user's id no question."""
    with pytest.raises(FormatError):
        read_conversations([write_lines(record)])


def test_questions_and_answers_of_a_folder_are_no_conversations(
    write_lines: Write, tmp_path: Path
) -> None:
    """Loose pairs next to conversations may be labels: they are read only when named."""
    labels = write_lines({"question": "a", "answer": "b"}, name="labels.jsonl")
    write_lines({"prompt": "a", "response": "b"})

    result = read_conversations([tmp_path])

    assert (result.ignored, len(result.conversations)) == ((labels,), 1)
    assert turns_of(read_conversations([labels])) == [("a", "b")]


@pytest.mark.parametrize(
    "text",
    [
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\nUser: quoted\n\nAssistant: d",
        "### Human: a### Assistant: b### Human: c\nUser: quoted### Assistant: d",
        (
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
            "<|im_start|>user\nc\nUser: quoted<|im_end|>\n<|im_start|>assistant\nd<|im_end|>\n"
        ),
    ],
)
@pytest.mark.parametrize("key", ["chosen", "text"])
def test_transcripts(write_lines: Write, key: str, text: str) -> None:
    """Marks of one style separate the messages; others are part of the text."""
    path = write_lines({key: text, "rejected": "x"})

    assert turns_of(read_conversations([path])) == [("a", "b"), ("c\nUser: quoted", "d")]


def test_a_text_without_speakers_is_no_transcript(write_lines: Write) -> None:
    """A text without marked speakers is not a conversation."""
    with pytest.raises(FormatError, match="an object with keys text"):
        read_conversations([write_lines({"text": "She said: Human: maybe."})])


@pytest.mark.parametrize(
    "record",
    [
        {
            "conversation_a": [{"role": "user", "content": "q"}, {"role": "model", "content": "a"}],
            "conversation_b": [{"role": "user", "content": "q"}, {"role": "model", "content": "b"}],
            "turn": 1,
        },
        {"prompt": "q", "response_a": "a", "response_b": "b"},
    ],
)
def test_a_comparison_needs_a_side(write_lines: Write, record: dict[str, Any]) -> None:
    """Neither side is read until a person has chosen."""
    path = write_lines(record)

    with pytest.raises(FormatError, match=r"_a` and `.*_b`; give --side a or --side b"):
        read_conversations([path])
    for side in ("a", "b"):
        chosen = read_conversations([path], options=ReadOptions(side=side))
        assert turns_of(chosen) == [("q", side)]
        assert chosen.left_out == {"side that was not chosen": 1}
    with pytest.raises(ConfigError, match="side is 'c'; give `a` or `b`"):
        ReadOptions(side="c")


@pytest.mark.parametrize(
    ("user", "agent"), [("query", "answer"), ("prompt", "response"), ("Input", "Output")]
)
def test_exchanges_of_one_conversation_are_its_turns(
    write_lines: Callable[..., Path], user: str, agent: str
) -> None:
    """Logs of chat services have a row for each exchange, also with the newest first."""
    rows = [
        {"conversation_id": name, user: text, agent: text.upper(), "created_at": 1_700_000_000 + at}
        for at, (name, text) in enumerate((("x", "a"), ("y", "b"), ("x", "c")))
    ]
    for lines in (rows, rows[::-1]):
        result = read_conversations([write_lines(*lines)])
        turns = {
            each.conversation_id: [(turn.turn, turn.user_text, turn.reply) for turn in each.turns]
            for each in result.conversations
        }
        assert turns == {"x": [(0, "a", "A"), (1, "c", "C")], "y": [(0, "b", "B")]}


def test_exchanges_with_their_history_are_conversations(write_lines: Callable[..., Path]) -> None:
    """Where each row repeats what was before, rows are not put together."""
    row = {"conversation_id": "x", "prompt": "c", "response": "d", "history": [["a", "b"]]}

    result = read_conversations([write_lines(row, row)])

    assert [len(each.turns) for each in result.conversations] == [2, 2]


def test_one_conversation_of_two_users_is_an_error(write_lines: Callable[..., Path]) -> None:
    """A user's memory belongs to that user only."""
    rows = [
        {"session_id": "x", "user_id": user, "prompt": "a", "response": "b"} for user in ("u", "v")
    ]
    with pytest.raises(FormatError, match="expected one user per conversation, got `user_id` u, v"):
        read_conversations([write_lines(*rows)])


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "u1", "model": "gpt-4", "prompt": "a", "response": "b"},
        {"user": "u1", "assistant": "asst_9", "query": "a", "answer": "b"},
        {"customer": "c1", "agent": "a7", "question": "a", "answer": "b"},
    ],
)
def test_names_next_to_a_prompt_and_a_response_are_no_texts(
    write_lines: Write, fields: dict[str, str]
) -> None:
    """In logs, `user` is an id and `model` is a name."""
    assert turns_of(read_conversations([write_lines(fields)])) == [("a", "b")]


@pytest.mark.parametrize("is_bare", [True, False])
def test_pairs_of_a_speaker_and_a_text(write_lines: Write, is_bare: bool) -> None:
    """They are no pairs of a question and an answer, whatever the speakers are called."""
    roled = [["user", "a"], ["assistant", "b"], ["user", "c"], ["assistant", "d"]]
    named = [["Ana", "a"], ["Nora", "b"], ["Ana", "c"], ["Nora", "d"]]
    logged = [["agent", "Hi"], ["customer", "a"], ["action", "x"], ["agent", "b"]]

    def write(pairs: list[list[str]]) -> Path:
        text = json.dumps(pairs if is_bare else {"conversation": pairs})
        return write_lines(text, name="talk.json")

    assert turns_of(read_conversations([write(roled)])) == [("a", "b"), ("c", "d")]
    with pytest.raises(FormatError, match=r"'Ana' \(2\), 'Nora' \(2\); give --agent NAME"):
        read_conversations([write(named)])
    chosen = read_conversations([write(named)], options=ReadOptions(agent="Nora"))
    assert turns_of(chosen) == [("a", "b"), ("c", "d")]
    with pytest.raises(FormatError, match="got 'action'"):
        read_conversations([write(logged)])


def test_pairs_of_a_question_and_an_answer(write_lines: Write) -> None:
    """Short ones, and such as come twice, are what was said."""
    pairs = [["Hi.", "Hello."], ["Yes.", "Good."], ["Hi.", "Again?"], ["No.", "Fine."]]
    result = read_conversations([write_lines({"history": pairs})])

    assert turns_of(result) == [(user, agent) for user, agent in pairs]


def test_the_marks_of_moss_are_no_text(write_lines: Write) -> None:
    """Its published turns have a mark for who says it and one for the end."""
    turn = {"Human": "<|Human|>: a <|b|><eoh>\n", "Inner Thoughts": "<|Inner Thoughts|>: x<eot>",
            "MOSS": "<|MOSS|>: c\nd<eom>\n"}  # fmt: skip
    path = write_lines({"conversation_id": "1", "chat": {"turn_1": turn, "turn_2": turn}})

    assert turns_of(read_conversations([path])) == [("a <|b|>", "c\nd")] * 2


def test_a_long_run_of_blanks_in_a_transcript_is_read_at_once(write_lines: Write) -> None:
    """A pattern that begins with blanks is tried at each of them, to the end of the run."""
    text = "### Human: a" + " " * 300_000 + "x ### Assistant: b"
    turns = turns_of(read_conversations([write_lines({"text": text})]))
    assert [reply for _, reply in turns] == ["b"]
    assert turns[0][0].endswith(" x")

"""The general reader of lists of messages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import FormatError
from callwise.recordings.conversation import RecordedTurn
from callwise.recordings.conversation_files import ReadOptions, ReadResult, read_conversations

Write = Callable[..., Path]
ROLES = ("user", "assistant", "user", "assistant")
TEXTS = ("Is it far?", "Ten minutes.", "And uphill?", "All the way.")
TURNS = [("Is it far?", "Ten minutes."), ("And uphill?", "All the way.")]


def says(role: str, content: Any) -> dict[str, Any]:
    """Return one message."""
    return {"role": role, "content": content}


def talk(
    role_key: str = "role",
    text_key: str = "content",
    *,
    user: str = "user",
    agent: str = "assistant",
    wrap: Callable[[str], Any] = str,
) -> list[dict[str, Any]]:
    """Return two exchanges as messages whose fields are called as given."""
    words = {"user": user, "assistant": agent}
    return [
        {role_key: words[role], text_key: wrap(text)}
        for role, text in zip(ROLES, TEXTS, strict=True)
    ]


def turns_of(result: ReadResult) -> list[tuple[str, str | None]]:
    """Return the first conversation's turns as pairs of texts."""
    return [(turn.user_text, turn.reply) for turn in result.conversations[0].turns]


def with_texts(make: Callable[[str, str], Any]) -> list[Any]:
    """Return a message for each text, made from its role and itself."""
    return [make(role, text) for role, text in zip(ROLES, TEXTS, strict=True)]


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

    result = read_conversations([path])

    (conversation,) = result.conversations
    assert conversation.conversation_id == "12"
    assert conversation.persona == {"background": "You are Mira.\n\nBe brief."}
    assert conversation.opening == "Hello!"
    assert conversation.turns == (
        RecordedTurn("12", 0, "What is 2+2?", None, "u1", "4."),
        RecordedTurn("12", 1, "And\n3+3?", None, "u1"),
    )
    assert result.left_out == {
        "message of the agent without words": 1,
        "tool message": 1,
        "image_url part": 1,
    }


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([says("user", "")], "message 1: expected the user's `content` to be a text"),
        ([says("user", [{"type": "image_url"}])], "message 1: expected the user's `content`"),
        ([says("user", "a"), says("robin", "b")], "message 2: expected `role` to be .*'robin'"),
        ([says("user", "a"), "b"], "message 2: expected a JSON object, got a string"),
        ([says("user", 5)], "message 1: expected `content` to be a string, got a number"),
        ([says("user", [[]])], "message 1: part 1: expected a text or an object, got a list"),
        ([says("system", "a")], "expected at least one message of the user"),
        ([{"id": 1, "text": "a"}, {"id": 2, "text": "b"}], "expected a field that names the spe"),
        ([], "expected `messages` to have a value, it is empty"),
        ("hi", "expected `messages` to be a list, got a string"),
    ],
)
def test_a_bad_message_spoils_its_conversation(
    write_lines: Write, messages: list[Any], words: str
) -> None:
    """One bad message is named; skipping leaves out that conversation, and no other."""
    good = {"messages": [says("user", "hi")]}
    path = write_lines(good, {"messages": messages}, good)

    with pytest.raises(FormatError, match=words) as caught:
        read_conversations([path])
    assert caught.value.line == 2

    result = read_conversations([path], skip_bad=True)
    assert [each.conversation_id for each in result.conversations] == ["talk-1", "talk-3"]
    assert len(result.skipped) == 1


@pytest.mark.parametrize(
    "key",
    [
        "messages", "conversation", "conversations", "items", "contents", "turns", "dialog",
        "dialogue", "chat", "history", "log", "data", "utterances", "chat_messages", "some_talk",
    ],
)  # fmt: skip
def test_the_list_under_any_key(write_lines: Write, key: str) -> None:
    """The messages are found under each usual key, and under another one if it is the only."""
    assert turns_of(read_conversations([write_lines({"n": 1, key: talk()})])) == TURNS


@pytest.mark.parametrize(
    ("role_key", "text_key", "user", "agent"),
    [
        ("role", "content", "user", "model"),
        ("from", "value", "human", "gpt"),
        ("type", "text", "human", "ai"),
        ("speaker", "utterance", "USER", "SYSTEM"),
        ("speaker", "text", "A", "B"),
        ("sender", "body", "customer", "agent"),
        ("author", "message", "prompter", "chatbot"),
        ("name", "mes", "User", "ChatGPT"),
        ("who", "msg", "Human:", "Assistant:"),
        ("role", "content", "用户", "助手"),
        ("participant", "text", "HumanMessage", "AIMessage"),
    ],
)
def test_roles_and_texts_under_any_name(
    write_lines: Write, role_key: str, text_key: str, user: str, agent: str
) -> None:
    """Roles and texts are found by the usual fields and words, in capitals or not."""
    messages = talk(role_key, text_key, user=user, agent=agent)
    assert turns_of(read_conversations([write_lines({"messages": messages})])) == TURNS


@pytest.mark.parametrize(
    "messages",
    [
        talk(wrap=lambda text: [{"type": "text", "text": text}]),
        talk(wrap=lambda text: [{"type": "text", "value": text}]),
        talk(wrap=lambda text: [{"type": "input_text", "text": text}]),
        talk(wrap=lambda text: [{"type": "text", "text": {"value": text, "annotations": []}}]),
        talk(wrap=lambda text: [{"text": text}]),
        talk(wrap=lambda text: [text]),
        talk(wrap=lambda text: {"type": "text", "text": text}),
        talk("role", "parts", wrap=lambda text: [{"type": "step-start"}, {"text": text}]),
        talk("role", "blocks", wrap=lambda text: [{"block_type": "text", "text": text}]),
        with_texts(lambda role, text: {"author": {"role": role}, "content": {"parts": [text]}}),
        with_texts(lambda role, text: {"is_user": role == "user", "mes": text}),
        with_texts(lambda role, text: {"message": says(role, text)}),
        with_texts(lambda role, text: {"type": role.replace("assistant", "ai"),
                                       "data": {"content": text}}),
        with_texts(lambda role, text: [role, text]),
        with_texts(lambda role, text: {role: text}),
        [{"user": TEXTS[0], "bot": TEXTS[1]}, {"user": TEXTS[2], "bot": TEXTS[3]}],
        json.dumps(talk()),
        [talk()],
    ],
)  # fmt: skip
def test_messages_of_any_make(write_lines: Write, messages: Any) -> None:
    """Parts, nested messages, pairs and single keys are read as what they are."""
    assert turns_of(read_conversations([write_lines({"messages": messages})])) == TURNS


def test_texts_with_links_are_one_line(write_lines: Write) -> None:
    """A chat's text in pieces, of which some are links or bold, is joined as it was shown."""
    text = ["see ", {"type": "link", "text": "https://a.example"}, {"type": "bold", "text": "!"}]
    path = write_lines({"messages": [{"from": "user", "text": text}]})

    assert turns_of(read_conversations([path])) == [("see https://a.example!", None)]


def test_what_the_user_was_not_shown_is_left_out(write_lines: Write) -> None:
    """Thoughts, tool calls and tool results in parts are no text, and are noted."""
    path = write_lines(
        {
            "system": [{"type": "text", "text": "Be kind."}],
            "messages": [
                says("user", "Is it far?"),
                says("assistant", [{"type": "thinking", "thinking": "hm"},
                                   {"type": "tool_use", "id": "1", "name": "map", "input": {}}]),
                says("user", [{"type": "tool_result", "tool_use_id": "1", "content": "1 km"}]),
                says("assistant", [{"type": "text", "text": "No."}]),
            ],
        }
    )  # fmt: skip

    result = read_conversations([path])

    assert turns_of(result) == [("Is it far?", "No.")]
    assert result.conversations[0].persona == {"background": "Be kind."}
    assert result.left_out == {
        "thought": 1, "tool message": 1, "message of the agent without words": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "act",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"role": "function_call", "content": '{"name": "f"}'},
    ],
)
def test_an_agent_without_words_ends_the_turn(write_lines: Write, act: dict[str, Any]) -> None:
    """Users' messages on both sides of an act are two turns."""
    path = write_lines({"messages": [says("user", "a"), act, says("user", "b")]})

    assert turns_of(read_conversations([path])) == [("a", None), ("b", None)]


@pytest.mark.parametrize(
    ("key", "final"),
    [
        ("completion", TEXTS[3]),
        ("ideal", [TEXTS[3], "another"]),
        ("chosen", says("assistant", TEXTS[3])),
        ("output", [{"type": "reasoning"}, says("assistant", [{"type": "output_text",
                                                               "text": TEXTS[3]}])]),
        ("outputs", {"messages": talk()}),
        ("outputs", {"output": TEXTS[3]}),
        ("response", {"choices": [{"message": says("assistant", TEXTS[3])},
                                  {"message": says("assistant", "another")}]}),
        ("response", {"candidates": [{"content": {"role": "model",
                                                  "parts": [{"text": TEXTS[3]}]}}]}),
    ],
)  # fmt: skip
def test_a_last_reply_apart(write_lines: Write, key: str, final: Any) -> None:
    """A reply next to the messages ends them, in whatever it is wrapped."""
    path = write_lines({"messages": talk()[:3], key: final, "rejected": "x"})

    result = read_conversations([path])

    assert turns_of(result) == TURNS
    assert result.left_out["rejected reply"] == 1


def test_a_reply_in_endless_wrappers_is_none(write_lines: Write) -> None:
    """Objects in objects do not exhaust the stack."""
    final: Any = TEXTS[3]
    for _ in range(300):
        final = {"output": [final]}
    path = write_lines({"messages": talk()[:3], "output": final})

    assert turns_of(read_conversations([path])) == [TURNS[0], (TEXTS[2], None)]


def test_a_reply_is_not_added_twice(write_lines: Write) -> None:
    """Messages that end with a reply keep it; the other one is noted."""
    result = read_conversations([write_lines({"messages": talk(), "output": "another"})])

    assert turns_of(result) == TURNS
    assert result.left_out == {"final reply after messages that end with a reply": 1}


@pytest.mark.parametrize(
    "record",
    [
        {"inputs": {"messages": talk()[:3]}, "outputs": {"messages": [talk()[3]]}},
        {"inputs": {"messages": [talk()[:3]]}, "outputs": {"generations": [[{"text": TEXTS[3]}]]}},
        {"request": {"contents": talk()[:3]}, "response": TEXTS[3]},
        {"body": {"messages": talk()[:3]}, "response": {"body": {"output": TEXTS[3]}}},
        {"values": {"messages": talk()}},
        {"prompt": talk()[:3], "completion": [talk()[3]]},
        {"prompt": TEXTS[0], "chosen": talk(), "rejected": talk()},
        {"chosen_messages": talk(), "rejected_messages": talk()},
        {"history": [[TEXTS[0], TEXTS[1]]], "query": TEXTS[2], "response": TEXTS[3]},
        {"chat_history": talk()[:2], "message": TEXTS[2], "reply": TEXTS[3]},
        {"chat": {"turn_1": {"Human": TEXTS[0], "MOSS": TEXTS[1]},
                  "turn_2": {"Human": TEXTS[2], "MOSS": TEXTS[3]}}},
        {"data": list(TEXTS)},
        {"messages": [{"message": TEXTS[0]}, {"attrs": [], "message": TEXTS[1]},
                      {"message": TEXTS[2]}, {"message": TEXTS[3]}]},
    ],
)  # fmt: skip
def test_conversations_in_other_places(write_lines: Write, record: dict[str, Any]) -> None:
    """Messages one level down, a prompt apart, a history, and speakers who take turns."""
    assert turns_of(read_conversations([write_lines(record)])) == TURNS


@pytest.mark.parametrize(
    "document",
    [
        talk(),
        [talk(), talk()],
        [{"conversations": talk("from", "value")}, {"conversations": talk("from", "value")}],
        {"data": [{"messages": talk()}]},
        {"version": 1, "conversations": [{"id": "a", "messages": talk()}]},
        {"a": talk(), "b": talk()},
        {"chats": {"about": "x", "list": [{"id": 1, "messages": talk("from", "text")}]}},
    ],
)
def test_documents_of_many_conversations(tmp_path: Path, document: Any) -> None:
    """A bare list, lists in lists, and data sets under some name are looked into."""
    path = tmp_path / "talks.json"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    assert turns_of(read_conversations([path])) == TURNS


@pytest.mark.parametrize(
    "record",
    [
        {"question_id": 1, "choices": [{"index": 0, "turns": ["an answer", "another"]}]},
        {"labels": [["good", "bad"]], "notes": {"question": "a", "answer": "b"}},
    ],
)
def test_what_is_similar_deep_in_a_record_is_not_read(
    write_lines: Write, record: dict[str, Any]
) -> None:
    """Lists of texts and loose pairs inside of records are labels and answers, not talks."""
    with pytest.raises(FormatError, match="expected a known conversation format, got an object"):
        read_conversations([write_lines(record)])


def test_alternatives_are_not_chosen_among(write_lines: Write) -> None:
    """Two lists of messages in one record of many are no two conversations."""
    record = {"first_try": talk(), "second_try": talk()}
    path = write_lines(record, record)

    with pytest.raises(FormatError, match="got several: first_try, second_try"):
        read_conversations([path])


@pytest.mark.parametrize("key", ["timestamp", "time", "created_at", "date"])
def test_times_reach_the_turns(write_lines: Write, key: str) -> None:
    """A turn bears the time of the user's message; what is no time is noted."""
    messages = [
        {**says("user", "a"), key: "2024-05-01T10:00:00"},
        {**says("assistant", "b"), key: "01/05/2024"},
        {**says("user", "c"), key: 1714557600},
    ]
    result = read_conversations([write_lines({"messages": messages})])

    times = [turn.time for turn in result.conversations[0].turns]
    assert times == ["2024-05-01T10:00:00", "2024-05-01T10:00:00+00:00"]
    assert result.left_out == {"time that could not be read": 1}


def test_messages_with_the_newest_first_are_put_in_order(write_lines: Write) -> None:
    """Some services list them so; what is in no order of time stays, and is noted."""
    times = [1714557600 + second for second in range(4)]
    messages = [{**each, "created_at": time} for each, time in zip(talk(), times, strict=True)]
    edited = [{**messages[0], "created_at": times[3]}, *messages[1:]]
    path = write_lines({"data": messages[::-1]}, {"data": edited})

    result = read_conversations([path])

    assert turns_of(result) == TURNS
    assert [turn.user_text for turn in result.conversations[1].turns] == [TEXTS[0], TEXTS[2]]
    older = "message that is older than the one before it"
    assert result.left_out == {"message put in order of time": 4, older: 1}


def test_ids_that_only_number_records_are_made_unique(write_lines: Write) -> None:
    """Conversations that are numbered from 0 in each file are all read."""
    record = {"id": 0, "messages": talk()}
    path, other = write_lines(record, record), write_lines(record, name="b.jsonl")

    result = read_conversations([path, other])

    ids = [each.conversation_id for each in result.conversations]
    assert ids == ["0", "0@talk.jsonl-2", "0@b.jsonl-1"]
    assert [each.turns[0].conversation_id for each in result.conversations] == ids
    assert result.left_out == {"id that was met before, made unique": 2}


CHAT = {
    "messages": [
        {"from": "Ana", "from_id": "user1", "text": "Is it far?"},
        {"from": "Bot", "from_id": "user2", "text": "Ten minutes."},
        {"type": "service", "actor": "Ana", "action": "phone_call", "text": ""},
        {"from": "Ana", "from_id": "user1", "text": "", "photo": "a.jpg"},
        {"from": "Ana", "from_id": "user1", "text": "And uphill?"},
    ]
}


def test_speakers_with_names_are_chosen_among_by_a_person(write_lines: Write) -> None:
    """Who the agent is is not guessed: the error lists the speakers, and --agent chooses."""
    path = write_lines(CHAT)

    with pytest.raises(FormatError, match=r"got 'Ana'.*'Ana' \(3\), 'Bot' \(1\); give --agent"):
        read_conversations([path])
    with pytest.raises(FormatError, match="No speaker is called 'Zoe'"):
        read_conversations([path], options=ReadOptions(agent="Zoe"))

    result = read_conversations([path], options=ReadOptions(agent="Bot"))
    assert turns_of(result) == [("Is it far?", "Ten minutes."), ("And uphill?", None)]
    assert result.conversations[0].persona == {"name": "Bot"}
    assert result.conversations[0].user_id is None
    assert result.left_out == {"service message": 1, "photo": 1, "message without text": 1}


def test_one_bot_is_the_agent_and_two_are_a_question(write_lines: Write) -> None:
    """In a chat that marks bots, the only one is the agent."""
    messages = [
        {"content": "hi", "author": {"name": "ana", "isBot": False}},
        {"content": "hello", "author": {"name": "b1", "isBot": True}},
    ]
    other = {"content": "hey", "author": {"name": "b2", "isBot": True}}
    path = write_lines({"messages": messages})
    two = write_lines({"messages": [*messages, other]}, name="two.jsonl")

    assert turns_of(read_conversations([path])) == [("hi", "hello")]
    with pytest.raises(FormatError, match=r"'ana' \(1\), 'b1' \(1\), 'b2' \(1\)"):
        read_conversations([two])
    assert turns_of(read_conversations([two], options=ReadOptions(agent="b2"))) == [
        ("hi\nhello", "hey")
    ]


def test_speakers_a_and_b(write_lines: Write) -> None:
    """In KdConv's letters A is the user, unless a person says otherwise; C is a third one."""
    messages = [{"speaker": "A", "text": "几点开门？"}, {"speaker": "B", "text": "九点。"}]
    path = write_lines({"dialogue_id": "t-1", "messages": messages})
    third = write_lines(
        {"messages": [*messages, {"speaker": "C", "text": "x"}]}, name="third.jsonl"
    )

    result = read_conversations([path])
    assert (result.format, turns_of(result)) == ("kdconv", [("几点开门？", "九点。")])
    assert result.conversations[0].conversation_id == "t-1"
    other = read_conversations([path], options=ReadOptions(agent="A"))
    assert (other.conversations[0].opening, turns_of(other)) == ("几点开门？", [("九点。", None)])
    with pytest.raises(FormatError, match=r"expected `speaker` to be user.*'A'.*'C'"):
        read_conversations([third])

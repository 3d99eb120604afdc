"""Messages of LangChain's: every legal kind and content part, to the wire and to other models."""

import json

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from callwise.budget import Budgeter, CallOrigin
from callwise.budget.recorder import RecordedExchange
from callwise.budget.token_estimate import IMAGE_TOKENS, LOW_DETAIL_TOKENS, estimator
from callwise.calls import Call, ConfigError, Endpoint, Message, Purpose, Reply, Role, call_key
from callwise.calls.call import Outcome
from callwise.calls.capabilities import Capabilities
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.langchain_messages import from_langchain, to_langchain
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.wire import chat_body, messages_with_schema
from callwise.recordings.cassette_format import decode_exchange, exchange_document

PIXELS = "iVBORw0KGgo" * 400
DATA_URL = f"data:image/png;base64,{PIXELS}"
IMAGE = {"type": "image_url", "image_url": {"url": DATA_URL}}
QUESTION = {"type": "text", "text": "What is it?"}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
PAPER = {
    "type": "file",
    "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
}


def wire_of(message):
    """Return a message as the body of a request has it."""
    call = Call(Role.MAIN, Purpose.OTHER, (from_langchain(message),))
    return chat_body(call, model="m")["messages"][0]


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (IMAGE, IMAGE),
        (
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
        ),
        (
            {"type": "image_url", "image_url": "https://a.example/x.png"},
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
        ),
        # LangChain's standard blocks, version 0 and version 1.
        (
            {
                "type": "image",
                "source_type": "base64",
                "data": PIXELS,
                "mime_type": "image/png",
            },
            IMAGE,
        ),
        ({"type": "image", "source_type": "url", "url": DATA_URL}, IMAGE),
        ({"type": "image", "base64": PIXELS, "mime_type": "image/png"}, IMAGE),
        ({"type": "image", "url": DATA_URL, "mime_type": None}, IMAGE),
        ({"type": "audio", "base64": "UklGRg==", "mime_type": "audio/wav"}, SOUND),
        (SOUND, SOUND),
        (
            {
                "type": "file",
                "base64": "JVBERi0=",
                "mime_type": "application/pdf",
                "filename": "a.pdf",
            },
            PAPER,
        ),
        (PAPER, PAPER),
        ({"type": "file", "file_id": "f1"}, {"type": "file", "file": {"file_id": "f1"}}),
        # Anthropic's.
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PIXELS},
            },
            IMAGE,
        ),
    ],
)
@pytest.mark.parametrize("kind", [HumanMessage, SystemMessage])
def test_content_parts_reach_the_wire_in_its_own_form(part, wire, kind):
    """With the text, in their order."""
    message = kind([QUESTION, part])
    assert wire_of(message)["content"] == [QUESTION, wire]
    assert from_langchain(message).content == "What is it?"
    assert wire_of(kind([part]))["content"] == [wire]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video", "url": "https://a.example/x.mp4"},
        {"type": "file", "url": "https://a.example/x.pdf"},
        {"type": "thinking", "thinking": "hm"},
        {"type": "image"},
        {"type": "image_url"},
        {"no": "type"},
    ],
)
def test_a_part_without_a_place_on_the_wire_is_refused_and_named(part):
    """It is not silently left out."""
    with pytest.raises(ConfigError, match=str(part.get("type"))):
        from_langchain(HumanMessage([QUESTION, part]))


@pytest.mark.parametrize(
    "content", ["", [], [""], "a", [QUESTION], ["a", {"type": "text", "text": "b"}]]
)
def test_text_alone_is_a_text(content):
    """However it is given, so that its key is one."""
    message = HumanMessage(content)
    assert from_langchain(message) == Message("user", str(message.text))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            ToolMessage("no", tool_call_id="c", status="error", artifact={"a": 1}, name="look"),
            Message("tool", "no", tool_call_id="c", name="look"),
        ),
        (ToolMessage([QUESTION], tool_call_id="c"), Message("tool", "What is it?", (), "c")),
        (AIMessage(""), Message("assistant", "")),
        (AIMessage([{"type": "reasoning", "reasoning": "hm"}, "a"]), Message("assistant", "a")),
        (
            AIMessage([{"type": "thinking", "thinking": "hm"}, QUESTION]),
            Message("assistant", "What is it?"),
        ),
        (HumanMessage("a", name="Ann"), Message("user", "a", name="Ann")),
        (ChatMessage("a", role="developer"), Message("system", "a")),
        (ChatMessage("a", role="ai"), Message("assistant", "a")),
        (ChatMessage([QUESTION], role="human"), Message("user", "What is it?")),
    ],
)
def test_unusual_messages_are_what_they_mean(message, expected):
    """A tool's artifact and status are the program's own and are not sent."""
    assert from_langchain(message) == expected


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (RemoveMessage(id="1"), "add_messages"),
        (FunctionMessage("a", name="f"), "FunctionMessage"),
        (ChatMessage("a", role="critic"), "'critic'"),
    ],
)
def test_what_is_no_message_of_a_chat_is_refused(message, words):
    """With what to do, or what there is."""
    with pytest.raises(ConfigError, match=words):
        from_langchain(message)


def test_invalid_tool_calls_go_back_as_they_came():
    """Their arguments are the model's own text."""
    broken = {"id": "c", "name": "f", "args": "{a", "error": None, "type": "invalid_tool_call"}
    [call] = from_langchain(AIMessage("", invalid_tool_calls=[broken])).tool_calls
    assert call == {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{a"}}


def test_other_models_get_the_parts_too():
    """In the OpenAI form, which LangChain's integrations read."""
    message = from_langchain(HumanMessage([QUESTION, IMAGE]))
    assert to_langchain(message).content == [QUESTION, IMAGE]


def test_words_added_to_a_message_leave_its_parts():
    """The form of an answer, and instructions for a model without a system message."""
    seen = Message("user", "What is it?", parts=(QUESTION, IMAGE))
    system = Message("system", "Look.", parts=({"type": "text", "text": "Look."}, IMAGE))
    call = Call(Role.MAIN, Purpose.OTHER, (system, seen))
    body = chat_body(call, model="m", capabilities=Capabilities(system_role="user"))
    [merged] = body["messages"]
    assert merged["content"] == [{"type": "text", "text": "Look."}, IMAGE, QUESTION, IMAGE]
    form = {"type": "json_schema", "json_schema": {"name": "A", "schema": {"type": "object"}}}
    sampling = call.sampling.__class__(extra_body={"response_format": form})
    asked = Call(Role.MAIN, Purpose.OTHER, (system, seen), sampling=sampling)
    first = messages_with_schema(asked)[0]
    assert first.parts[:2] == system.parts
    assert first.parts[2]["text"].endswith('{"type":"object"}')
    assert first.content.startswith("Look.\n\nAnswer with one JSON object")


def test_images_are_estimated_by_a_rule():
    """By the most that one can cost, or the little that it costs at low detail; not by its data."""
    low = {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}}
    counter = estimator("m", use_tables=False)

    def tokens(*parts):
        message = Message("user", "What is it?", parts=parts)
        return counter.call_tokens(Call(Role.MAIN, Purpose.OTHER, (message,)))

    assert tokens(QUESTION, IMAGE) - tokens() == IMAGE_TOKENS
    assert tokens(QUESTION, low, low) - tokens() == 2 * LOW_DETAIL_TOKENS
    assert tokens(QUESTION, SOUND) > tokens()
    assert tokens(QUESTION, PAPER) > tokens()


def test_a_cassette_holds_an_images_digest_and_not_its_data():
    """What it was asked stays recognizable; the key alone is what a replay needs."""
    message = from_langchain(HumanMessage([QUESTION, IMAGE]))
    call = Call(Role.MAIN, Purpose.OTHER, (message,))
    key = call_key(call, endpoint="e", model="m")
    where = CallOrigin("run", None, None, None, Role.MAIN, Purpose.OTHER, "e", "m")
    exchange = RecordedExchange(outcome=Outcome.SERVED, reply=Reply("a cat"), error=None)
    document = exchange_document(key, call, where, exchange, redact=lambda text: text)
    assert len(json.dumps(document)) < 1500
    assert decode_exchange(document) == exchange
    shown = json.dumps(document["messages"][0]["parts"])
    assert "data:image/png;base64" in shown
    assert f"{len(DATA_URL)} characters" in shown
    other = from_langchain(HumanMessage([QUESTION, {**IMAGE, "image_url": {"url": DATA_URL[:-1]}}]))
    again = exchange_document(
        key, Call(Role.MAIN, Purpose.OTHER, (other,)), where, exchange, redact=lambda text: text
    )
    assert again["messages"] != document["messages"]


async def test_an_image_is_asked_about_at_an_endpoint(server, wire_words):
    """From LangChain's message to the request's body, and counted."""
    server.then(document=wire_words.chat_document("a cat"))
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", OpenAIClient(server.url))})
    block = {"type": "image", "base64": PIXELS, "mime_type": "image/png"}
    answer = await BudgetedChatModel(llm=budgeter).ainvoke([HumanMessage([QUESTION, block])])
    assert answer.text == "a cat"
    assert server.bodies[0]["messages"][0]["content"] == [QUESTION, IMAGE]
    assert budgeter.ledger.rows[0].requests == 1
    await budgeter.aclose()

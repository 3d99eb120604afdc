"""Request bodies from calls, replies from response bodies."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.calls import Call, Message, Purpose, Role, Sampling
from callwise.calls.capabilities import Capabilities
from callwise.calls.errors import BadResponse, ContentRefused
from callwise.calls.reply import ReportedUsage, TokenLogprobs
from callwise.calls.wire import chat_body, embedding_body, reply_of_chat, reply_of_embeddings


class Verdict(BaseModel):
    """A form."""

    score: float


CALL = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "usage",
                    "prompt_tokens",
                    "data",
                    "index",
                    "embedding",
                    "tool_calls",
                    "function",
                    "finish_reason",
                    "cost",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def test_a_plain_call_is_a_plain_body():
    """What is not set is not sent."""
    body = chat_body(CALL, model="m")
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_all_sampling_parameters_are_sent():
    """By their names in the protocol."""
    sampling = Sampling(0.5, 0.9, 100, 7, ("END",), 2, "low")
    body = chat_body(replace(CALL, sampling=sampling), model="m")
    assert body | {"messages": []} == {
        "model": "m",
        "messages": [],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 100,
        "seed": 7,
        "stop": ["END"],
        "n": 2,
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize("number", [0, 5])
def test_logprobs_are_asked_for_where_a_number_is_set(number):
    """0 is a number: those of the chosen tokens."""
    body = chat_body(replace(CALL, sampling=Sampling(top_logprobs=number)), model="m")
    assert (body["logprobs"], body["top_logprobs"]) == (True, number)


def test_logprobs_of_the_first_choice_are_read():
    """Malformed ones are absent, and the answer is kept."""
    content = [{"token": "x", "logprob": -0.1, "top_logprobs": [{"token": "y", "logprob": -3}]}]
    for logprobs, expected in (
        ({"content": content}, (TokenLogprobs("x", -0.1, (("y", -3.0),)),)),
        ({"content": "x"}, ()),
        (7, ()),
    ):
        first = {"message": {"content": "x"}, "logprobs": logprobs}
        second = {"message": {"content": "z"}, "logprobs": {"content": content * 2}}
        reply = reply_of_chat({"choices": [first, second]}, latency_seconds=0)
        assert (reply.text, reply.token_logprobs) == ("x", expected)


def test_the_limit_on_tokens_has_two_names():
    """Newer OpenAI models know only one of them."""
    body = chat_body(
        replace(CALL, sampling=Sampling(max_tokens=9)),
        model="m",
        capabilities=Capabilities(token_limit_field="max_completion_tokens"),
    )
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_messages_carry_tools_names_and_ids():
    """In the wire format, only where they are set."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = (
        Message("assistant", "", (call,), name="ann"),
        Message("tool", "42", tool_call_id="c"),
    )
    body = chat_body(replace(CALL, messages=messages), model="m")
    assert body["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [call], "name": "ann"},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
    ]


def test_the_words_for_a_form_do_not_change_the_call():
    """The call's own messages stay as they are."""
    call = replace(CALL, response_model=Verdict)
    body = chat_body(call, model="m", capabilities=Capabilities(schema_mode="prompt"))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert call.messages == CALL.messages
    assert chat_body(call, model="m")["messages"] == [{"role": "user", "content": "hi"}]


def test_an_embedding_body_has_all_inputs():
    """One request for all texts."""
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("a", "b"))
    assert embedding_body(call, model="e")["input"] == ["a", "b"]


@pytest.mark.parametrize(
    ("usage", "cached", "usd"),
    [
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, 4, None),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}, 5, None),
        ({"prompt_tokens": 9, "cost": 0.5}, None, 0.5),
        ({"prompt_tokens": 9, "prompt_tokens_details": None, "cost": "free"}, None, None),
    ],
)
def test_usage_is_read_by_each_providers_names(usage, cached, usd):
    """What is not said is unknown, never 0."""
    choices = [{"message": {"content": "x"}}]
    reply = reply_of_chat({"choices": choices, "usage": usage}, latency_seconds=0)
    assert reply.usage.input_tokens == 9
    assert reply.usage.output_tokens is None
    assert (reply.usage.cached_tokens, reply.usage.usd) == (cached, usd)


def test_content_in_parts_is_their_text():
    """Some servers answer with a list of typed parts."""
    parts = [{"type": "reasoning", "text": None}, {"type": "text", "text": "a"}, {"text": "b"}]
    reply = reply_of_chat({"choices": [{"message": {"content": parts}}]}, latency_seconds=0)
    assert reply.text == "ab"


@given(st.dictionaries(st.sampled_from(["choices", "usage", "data", "model"]), json_values))
def test_any_document_is_a_reply_or_a_named_error(body):
    """Nothing else is ever raised."""
    for read in (reply_of_chat, reply_of_embeddings):
        with suppress(BadResponse, ContentRefused):
            read(body, latency_seconds=0.0)


@given(st.lists(json_values, max_size=3))
def test_any_choices_are_a_reply_or_a_named_error(choices):
    """Also one level deeper."""
    with suppress(BadResponse, ContentRefused):
        reply_of_chat({"choices": choices}, latency_seconds=0.0)


@pytest.mark.parametrize("vectors", [[[]], [[], []], [[1.0], [1.0, 2.0]]])
def test_embeddings_are_of_one_length(vectors):
    """Vectors without numbers, or of different lengths, cannot be compared."""
    data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    with pytest.raises(BadResponse, match="one length above 0"):
        reply_of_embeddings({"data": data}, latency_seconds=0.1, expected=len(vectors))


def test_embeddings_of_another_number_report_what_was_used():
    """The tokens of an answer that cannot be read were billed all the same."""
    body = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 7}}
    with pytest.raises(BadResponse) as raised:
        reply_of_embeddings(body, latency_seconds=0.1, expected=2)
    assert raised.value.usage == ReportedUsage(7, 0)
    with pytest.raises(BadResponse) as raised:
        reply_of_embeddings({"data": []}, latency_seconds=0.1)
    assert raised.value.usage is None

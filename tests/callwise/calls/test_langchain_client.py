"""LangChain models as clients: messages, usage, tools, streams, errors and secrets."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import BaseModel, Field, SecretStr

from callwise.calls import Call, ConfigError, Message, Purpose, Role, Sampling
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallTimeout,
    ConnectionFailed,
    EndpointError,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from callwise.calls.langchain_client import LangChainClient


class Verdict(BaseModel):
    """A form."""

    score: float


class ScriptedModel(BaseChatModel):
    """A LangChain model that answers what its script says and keeps what it was asked."""

    script: list[Any] = Field(default_factory=list)
    asked: list[Any] = Field(default_factory=list)
    max_retries: int = 6
    api_key: SecretStr = SecretStr("test-key-0123456789")

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        """Bind them as most integrations do."""
        return self.bind(tools=tools, tool_choice=tool_choice)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        raise NotImplementedError

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append(
            {"messages": messages, "stop": stop, "retries": self.max_retries} | kwargs
        )
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        answers = answer if isinstance(answer, list) else [answer]
        return ChatResult(generations=[ChatGeneration(message=each) for each in answers])


class StreamingModel(ScriptedModel):
    """The same as a stream."""

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for piece in self.script:
            if isinstance(piece, Exception):
                raise piece
            yield ChatGenerationChunk(message=piece)


async def answer(model, call, **more):
    """Return the answer to one call."""
    client = LangChainClient(model, now=lambda: datetime(2026, 11, 20, tzinfo=UTC))
    [reply] = await client.answer([call], model="named", **more)
    return reply


async def test_messages_go_out_in_langchains_form(ask):
    """Each role as its class, tool calls and their answers with them."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    broken = {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{x"}}
    messages = (
        Message("system", "s"),
        Message("user", "u", name="ann"),
        Message("assistant", "a", (call, broken)),
        Message("tool", "42", tool_call_id="c"),
    )
    model = ScriptedModel(script=[AIMessage("x")])
    await answer(model, ask(messages=messages))
    system, user, assistant, tool = model.asked[0]["messages"]
    assert [each.type for each in (system, user, assistant, tool)] == [
        "system",
        "human",
        "ai",
        "tool",
    ]
    assert user.name == "ann"
    assert assistant.tool_calls[0]["args"] == {"x": 1}
    assert assistant.invalid_tool_calls[0]["args"] == "{x"
    assert tool.tool_call_id == "c"


async def test_an_answer_carries_usage_model_and_reason(ask):
    """As LangChain's standard fields have them."""
    message = AIMessage(
        "hi",
        usage_metadata={
            "input_tokens": 9,
            "output_tokens": 2,
            "total_tokens": 11,
            "input_token_details": {"cache_read": 4},
        },
        response_metadata={"model_name": "claude", "stop_reason": "end_turn"},
    )
    reply = await answer(ScriptedModel(script=[message]), ask())
    assert (reply.text, reply.model, reply.finish_reason) == ("hi", "claude", "end_turn")
    usage = reply.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (9, 2, 4)


async def test_unknown_usage_is_unknown(ask):
    """Not 0; and the model is the one that was named."""
    reply = await answer(ScriptedModel(script=[AIMessage("hi")]), ask())
    assert reply.usage.total_tokens is None
    assert reply.model == "named"


async def test_content_blocks_are_their_text(ask):
    """Reasoning is left out."""
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}]
    assert (await answer(ScriptedModel(script=[AIMessage(blocks)]), ask())).text == "hi"


async def test_sampling_goes_out_as_invocation_arguments(ask):
    """Only what is set."""
    model = ScriptedModel(script=[[AIMessage("a"), AIMessage("b")]])
    sampling = Sampling(temperature=0.0, max_tokens=9, stop=("END",), n=2)
    reply = await answer(model, ask(sampling=sampling))
    asked = model.asked[0]
    assert (asked["temperature"], asked["max_tokens"], asked["stop"], asked["n"]) == (
        0.0,
        9,
        ["END"],
        2,
    )
    assert "top_p" not in asked
    assert reply.choices == ("a", "b")


async def test_a_form_is_asked_for_in_the_prompt(ask):
    """In the system message, the call itself unchanged."""
    model = ScriptedModel(script=[AIMessage('{"score": 1}')])
    await answer(model, ask(response_model=Verdict))
    first = model.asked[0]["messages"][0]
    assert first.type == "system"
    assert "JSON schema" in first.text


@pytest.mark.parametrize(
    ("choice", "bound"),
    [
        ("required", "any"),
        ("auto", "auto"),
        (None, None),
        ({"type": "function", "function": {"name": "f"}}, "f"),
    ],
)
async def test_tools_are_bound_and_their_calls_come_back(ask, choice, bound):
    """The choice in LangChain's words, the calls in the wire format."""
    message = AIMessage("", tool_calls=[{"name": "f", "args": {"x": "é"}, "id": "c"}])
    model = ScriptedModel(script=[message])
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    reply = await answer(model, ask(tools=(tool,), tool_choice=choice))
    assert model.asked[0]["tools"] == [tool]
    assert model.asked[0]["tool_choice"] == bound
    [call] = reply.tool_calls
    assert call["function"] == {"name": "f", "arguments": '{"x": "é"}'}


async def test_a_model_without_tools_refuses_them_unsent(ask):
    """Nothing was asked of it."""

    class Plain(ScriptedModel):
        bind_tools = BaseChatModel.bind_tools

    sent = []
    error = await answer(Plain(), ask(tools=({"type": "function"},)), on_sent=sent.append)
    assert isinstance(error, BadRequest)
    assert not error.was_sent
    assert sent == []


async def test_a_stream_is_put_together(ask):
    """Its pieces are the chunks, its usage the sum."""
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    pieces = [
        AIMessageChunk("he"),
        AIMessageChunk("llo", usage_metadata=usage),
        AIMessageChunk("", response_metadata={"finish_reason": "stop"}),
    ]
    reply = await answer(StreamingModel(script=pieces), ask(stream=True))
    assert (reply.text, reply.chunks) == ("hello", ("he", "llo"))
    assert reply.usage.total_tokens == 3
    assert reply.finish_reason == "stop"


async def test_a_stream_that_breaks_is_cut(ask):
    """After its first piece; before it, the error is what it is."""
    error = await answer(
        StreamingModel(script=[AIMessageChunk("he"), RuntimeError("gone")]), ask(stream=True)
    )
    assert isinstance(error, StreamCut)
    error = await answer(StreamingModel(script=[ConnectionResetError("gone")]), ask(stream=True))
    assert isinstance(error, ConnectionFailed)


def with_status(status, *, place="status_code", headers=None, words="boom"):
    """Return an error of some library, its status in a place of its choice."""
    error = RuntimeError(words)
    if place == "botocore":
        error.response = {"ResponseMetadata": {"HTTPStatusCode": status}}
        return error
    response = type("Response", (), {"status_code": status, "headers": headers or {}})()
    error.response = response
    if place != "response":
        setattr(error, place, status)
    return error


@pytest.mark.parametrize("place", ["status_code", "http_status", "code", "response", "botocore"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (401, AuthFailed), (429, RateLimited), ("500", ServerFailed)],
)
async def test_errors_are_known_by_their_status(ask, place, status, kind):
    """Wherever the library puts it, as a number or as a text."""
    error = await answer(ScriptedModel(script=[with_status(status, place=place)]), ask())
    assert type(error) is kind
    assert error.status == int(status)
    assert error.was_sent


async def test_retry_after_is_read(ask):
    """From the response that the error carries."""
    failure = with_status(429, headers={"retry-after": "Fri, 20 Nov 2026 00:00:09 GMT"})
    error = await answer(ScriptedModel(script=[failure]), ask())
    assert error.retry_after_seconds == 9.0


class APITimeoutError(Exception):
    """Named as libraries name it."""


class APIConnectionError(Exception):
    """Named as libraries name it."""


@pytest.mark.parametrize(
    ("failure", "kind", "was_sent"),
    [
        (TimeoutError(), CallTimeout, True),
        (APITimeoutError(), CallTimeout, True),
        (APIConnectionError("broke"), ConnectionFailed, True),
        (ConnectionRefusedError("no"), ConnectionFailed, False),
        (ValueError("odd"), EndpointError, True),
    ],
)
async def test_errors_without_a_status_are_known_by_their_names(ask, failure, kind, was_sent):
    """And what is unknown is an endpoint error that is not retried."""
    error = await answer(ScriptedModel(script=[failure]), ask())
    assert type(error) is kind
    assert error.was_sent is was_sent


async def test_a_timeout_of_the_call_is_kept(ask):
    """Even where the model has none."""

    class Slow(ScriptedModel):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            await asyncio.Event().wait()

    error = await answer(Slow(), ask(timeout_seconds=0.01))
    assert isinstance(error, CallTimeout)


async def test_a_models_key_reaches_no_error(ask):
    """The keys that it holds are looked for."""
    failure = with_status(401, words="bad key test-key-0123456789")
    error = await answer(ScriptedModel(script=[failure]), ask())
    assert "test-key" not in str(error)


async def test_retries_and_cache_are_off_on_a_copy(ask):
    """The given model keeps its own."""
    model = ScriptedModel(script=[AIMessage("a"), AIMessage("b")], cache=InMemoryCache())
    client = LangChainClient(model)
    replies = [(await client.answer([ask("same")], model="m"))[0] for _ in range(2)]
    assert [reply.text for reply in replies] == ["a", "b"]
    assert model.asked[0]["retries"] == 0
    assert (model.max_retries, type(model.cache)) == (6, InMemoryCache)


async def test_what_it_does_not_have_is_refused_unsent(ask):
    """Embeddings of a chat model, chat of embeddings, or neither."""
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("a",))
    error = await answer(ScriptedModel(), call)
    assert not error.was_sent
    with pytest.raises(ConfigError, match="chat model, embeddings, or both"):
        LangChainClient()


async def test_an_answer_that_is_none_is_a_bad_response(ask):
    """A model that returns no generation."""
    assert isinstance(await answer(ScriptedModel(script=[[]]), ask()), BadResponse)


@pytest.mark.parametrize(
    "chat",
    [
        ScriptedModel(script=[AIMessage("said: test-key-0123456789.")]),
        StreamingModel(
            script=[AIMessageChunk(text) for text in ("said: test-", "key-0123456789.")]
        ),
    ],
)
async def test_an_echoed_key_is_in_no_answer(chat):
    """What the model holds as its key is kept out of a recording, whole or in pieces."""
    stream = isinstance(chat, StreamingModel)
    call = Call(Role.MAIN, Purpose.PLAN, (Message("user", "x"),), stream=stream)
    (reply,) = await LangChainClient(chat).answer([call], model="m")
    assert reply.text == "said: [key]."
    assert "".join(reply.chunks) == ("said: [key]." if stream else "")

"""Arguments of OpenAI's chat models: sent unchanged, part of the key or not, or refused."""

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from typing_extensions import TypedDict

from callwise.budget import Budgeter
from callwise.calls import ConfigError, Endpoint, Role, Sampling, call_key
from callwise.calls.capabilities import Capabilities
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.wire import chat_body
from callwise.testing.fakes import ScriptedClient

SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "Verdict", "schema": {"type": "object", "properties": {}}},
}
KEYED = {
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 5,
    "max_completion_tokens": 6,
    "seed": 3,
    "n": 2,
    "stop": ["END"],
    "reasoning_effort": "low",
    "presence_penalty": 1.0,
    "frequency_penalty": -1.0,
    "logprobs": True,
    "top_logprobs": 4,
    "logit_bias": {"50256": -100},
    "modalities": ["text"],
    "moderation": {"model": "m"},
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "so"},
    "response_format": SCHEMA,
    "verbosity": "low",
    "extra_body": {"top_k": 4},
}
UNKEYED = {
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "safety_identifier": "s",
    "service_tier": "flex",
    "store": True,
    "user": "u1",
}
ON_THE_WIRE = {
    "max_completion_tokens": {"max_tokens": 6},
    "top_logprobs": {"logprobs": True, "top_logprobs": 4},
    "logprobs": {"logprobs": True, "top_logprobs": 0},
    "extra_body": {"top_k": 4},
}
"""Fields that have another name in the body, or more content."""


@tool
def add(left: int, right: int) -> int:
    """Return the sum of two numbers."""
    return left + right


class Verdict(BaseModel):
    """A form."""

    score: float


class Opinion(TypedDict):
    """Another form."""

    score: float


async def asked(made, /, *, bound=None, bind_tools=(), **arguments):
    """Return the call that an invocation becomes."""
    client = ScriptedClient(lambda call: "ok")
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client)})
    chat = BudgetedChatModel(llm=budgeter, **made)
    if bind_tools:
        chat = chat.bind_tools(bind_tools, **(bound or {}))
    elif bound is not None:
        chat = chat.bind(**bound)
    await chat.ainvoke("u", **arguments)
    return client.calls[-1]


def key(call):
    """Return a call's key."""
    return call_key(call, endpoint="e", model="m")


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("way", ["constructor", "bind", "invocation"])
async def test_what_may_change_the_answer_is_sent_and_in_the_key(name, way):
    """By each of the three ways that LangChain code has to give it."""
    given = {name: KEYED[name]}
    call = await {
        "constructor": lambda: asked(given),
        "bind": lambda: asked({}, bound=given),
        "invocation": lambda: asked({}, **given),
    }[way]()
    body = chat_body(call, model="m")
    expected = ON_THE_WIRE.get(name, given)
    assert {field: body[field] for field in expected} == expected
    assert key(call) != key(await asked({}))


@pytest.mark.parametrize("name", UNKEYED)
async def test_fields_that_leave_the_answer_unchanged_are_sent_and_not_in_the_key(name):
    """Two users with one question may share its answer.

    LangChain takes an argument `metadata` for itself, as it does from OpenAI's own models.
    """
    call = await asked({}, extra_body={name: UNKEYED[name]})
    if name != "metadata":
        assert await asked({}, **{name: UNKEYED[name]}) == call
        assert await asked({name: UNKEYED[name]}) == call
    assert await asked({"model_kwargs": {name: UNKEYED[name]}}) == call
    assert chat_body(call, model="m")[name] == UNKEYED[name]
    assert key(call) == key(await asked({}))


async def test_what_langchain_adds_is_left_to_it():
    """For its tracing and its streams: neither sent nor in the key."""
    added = {
        "ls_provider": "x",
        "ls_structured_output_format": {"kwargs": {}, "schema": {}},
        "stream_options": {"include_usage": False},
        "stream_usage": False,
        "logit_bias": None,
    }
    call = await asked({}, bound=added)
    assert key(call) == key(await asked({}))
    assert set(chat_body(call, model="m")) == {"model", "messages"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("model", "gpt-x", "another role"),
        ("model_name", "gpt-x", "another role"),
        ("extra_headers", {"A": "secret-1"}, "headers carry keys"),
        ("extra_query", {"a": "b"}, "endpoint"),
        ("max_retries", 3, "RetryPolicy"),
        ("functions", [{}], "bind tools"),
        ("function_call", "auto", "tool_choice"),
        ("audio", {"voice": "x"}, "ask for text"),
        ("modalities", ["text", "audio"], "ask for text"),
        ("web_search_options", {}, "cannot be counted"),
        ("extra_body", {"messages": []}, "belongs to each call"),
        ("extra_body", {"model": "x"}, "another role"),
        ("extra_body", 4, "is a mapping"),
        ("top_k", 3, "extra_body"),
        ("top_logprobs", 21, "in \\[0, 20\\]"),
        ("tools", [{"type": "custom", "custom": {"name": "x"}}], "Bind a function"),
        ("tools", [{"type": "web_search_preview"}], "Bind a function"),
        ("response_format", 4, "no JSON schema"),
        ("temperature", "hot", "finite number"),
        ("temperature", float("nan"), "finite number"),
        ("max_tokens", 4.5, "whole number"),
        ("n", True, "whole number"),
        ("stop", 4, "is a list"),
        ("tools", 4, "is a list"),
        ("modalities", 4, "is a list"),
    ],
)
@pytest.mark.parametrize("way", ["constructor", "invocation"])
async def test_what_cannot_be_counted_or_honoured_is_refused_with_its_reason(
    name, value, reason, way
):
    """Before anything is sent, and at once where the constructor is given it."""
    with pytest.raises(ConfigError, match=reason) as caught:
        await (asked({name: value}) if way == "constructor" else asked({}, **{name: value}))
    assert "secret-1" not in str(caught.value)


async def test_the_nearer_argument_goes_before():
    """Invocation before `bind` before constructor before sampling; extra fields are joined."""
    sampling = Sampling(temperature=0.1, extra_body={"top_k": 1, "min_p": 0.5})
    own = {"sampling": sampling, "temperature": 0.2, "extra_body": {"top_k": 2}}
    call = await asked(own, bound={"temperature": 0.3}, temperature=0.4)
    assert call.sampling.temperature == 0.4
    assert call.sampling.extra_body == {"top_k": 2, "min_p": 0.5}
    assert (await asked(own)).sampling.temperature == 0.2


async def test_a_limit_inside_of_extra_body_is_a_limit():
    """Known fields there are read like arguments, so that they are counted."""
    call = await asked({}, extra_body={"max_tokens": 7, "user": "u1", "top_k": 4})
    assert call.sampling.max_tokens == 7
    assert call.unkeyed_body == {"user": "u1"}
    assert call.sampling.extra_body == {"top_k": 4}


async def test_a_field_that_an_endpoint_refuses_is_left_out_from_then_on(server, wire_words):
    """As for every call: the refusal is learned, and the call is answered."""
    refusal = {"error": {"message": "Unrecognized request argument supplied: verbosity"}}
    server.then(status=400, document=refusal)
    server.then(document=wire_words.chat_document("fine"))
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", OpenAIClient(server.url))})
    model = BudgetedChatModel(llm=budgeter, verbosity="low", store=True)
    assert (await model.ainvoke("u")).text == "fine"
    assert [set(body) - {"model", "messages"} for body in server.bodies] == [
        {"verbosity", "store"},
        {"store"},
    ]
    await budgeter.aclose()


async def test_one_stop_word_is_one_stop_word():
    """And not its letters."""
    assert (await asked({}, stop="END")).sampling.stop == ("END",)
    assert (await asked({"stop": "END"})).sampling.stop == ("END",)


async def test_no_logprobs_are_none():
    """`logprobs=False` takes back what the model was made with."""
    call = await asked({"sampling": Sampling(top_logprobs=3)}, logprobs=False)
    assert call.sampling.top_logprobs is None


async def test_tools_are_bound_with_all_that_openai_takes():
    """Strict tools, a choice by any form, and one tool call at a time."""
    bound = {"tool_choice": "add", "strict": True, "parallel_tool_calls": False}
    call = await asked({}, bind_tools=[add], bound=bound)
    [function] = [each["function"] for each in call.tools]
    assert function["strict"] is True
    assert function["parameters"]["additionalProperties"] is False
    assert call.tool_choice == {"type": "function", "function": {"name": "add"}}
    assert chat_body(call, model="m")["parallel_tool_calls"] is False
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert (
        await asked({}, bind_tools=[add], bound={"tool_choice": allowed})
    ).tool_choice == allowed
    raw = await asked({}, bound={"tools": [add], "tool_choice": "any"})
    assert (raw.tools[0]["function"]["name"], raw.tool_choice) == ("add", "required")


async def test_a_class_as_response_format_is_its_schema():
    """As agents bind it, with or without tools."""
    pydantic = await asked({}, bound={"response_format": Verdict})
    form = chat_body(pydantic, model="m")["response_format"]
    assert form["json_schema"]["name"] == "Verdict"
    typed = await asked({}, bound={"response_format": Opinion})
    form = chat_body(typed, model="m")["response_format"]
    assert form["json_schema"]["schema"]["properties"] == {"score": {"type": "number"}}


@pytest.mark.parametrize(
    ("capabilities", "sent", "is_in_prompt"),
    [
        (Capabilities(), SCHEMA, False),
        (Capabilities(schema_mode="json_object"), {"type": "json_object"}, True),
        (Capabilities(schema_mode="prompt"), None, True),
        (Capabilities(refused=frozenset({"response_format"})), None, True),
    ],
)
async def test_a_given_schema_is_asked_for_as_the_endpoint_understands(
    capabilities, sent, is_in_prompt
):
    """By schema, by JSON mode and the prompt, or by the prompt alone, as for a response model."""
    call = await asked({}, response_format=SCHEMA)
    body = chat_body(call, model="m", capabilities=capabilities)
    assert body.get("response_format") == sent
    assert ("JSON schema" in body["messages"][0]["content"]) is is_in_prompt


async def test_an_endpoint_that_refuses_a_given_schema_is_asked_otherwise(server, wire_words):
    """Learned from its refusal, and the call is answered."""
    refusal = {"error": {"message": "response_format json_schema is not supported"}}
    server.then(status=400, document=refusal)
    server.then(document=wire_words.chat_document('{"score": 1}'))
    client = OpenAIClient(server.url)
    budgeter = Budgeter({Role.MAIN: Endpoint("e", "m", client)})
    model = BudgetedChatModel(llm=budgeter)
    structured = model.with_structured_output(Opinion, method="json_schema")
    assert await structured.ainvoke("u") == {"score": 1}
    assert [body["response_format"]["type"] for body in server.bodies] == [
        "json_schema",
        "json_object",
    ]
    await budgeter.aclose()


@pytest.mark.parametrize("schema", [Opinion, Verdict.model_json_schema() | {"title": "Opinion"}])
@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_other_schemas_are_asked_for_by_each_method(schema, include_raw, method):
    """And read from the text."""
    client = ScriptedClient(['{"score": 0.5}'])
    model = BudgetedChatModel(llm=Budgeter({Role.MAIN: Endpoint("e", "m", client)}))
    asking = model.with_structured_output(schema, method=method, include_raw=include_raw)
    answer = await asking.ainvoke("u")
    assert (answer["parsed"] if include_raw else answer) == {"score": 0.5}
    form = client.calls[0].sampling.extra_body["response_format"]
    assert form["type"] == {"json_schema": "json_schema", "json_mode": "json_object"}[method]


async def test_any_object_may_be_asked_for():
    """Under JSON mode, without a schema; other methods need one."""
    client = ScriptedClient(['{"a": [1]}'])
    model = BudgetedChatModel(llm=Budgeter({Role.MAIN: Endpoint("e", "m", client)}))
    assert await model.with_structured_output(method="json_mode").ainvoke("u") == {"a": [1]}
    with pytest.raises(ConfigError, match="needs a schema"):
        model.with_structured_output()
    with pytest.raises(ConfigError, match="function_calling, json_schema, json_mode"):
        model.with_structured_output(Opinion, method="grammar")


async def test_the_old_calls_keep_their_keys():
    """A call that uses none of it is what it was: recordings of it go on playing."""
    call = await asked({}, temperature=0.5, max_tokens=5)
    assert call.sampling == Sampling(temperature=0.5, max_tokens=5)
    assert key(call) == "c9fa8b2f617e5c49aa2d7c661dc6712ecf231f4a4843e72503011a334345d89c"


async def test_messages_may_be_given_in_any_form_of_langchains():
    """Tuples and dicts, as the docs of agents show."""
    client = ScriptedClient(["ok"])
    model = BudgetedChatModel(llm=Budgeter({Role.MAIN: Endpoint("e", "m", client)}))
    await model.ainvoke([("system", "s"), {"role": "user", "content": "u"}, HumanMessage("v")])
    roles = [message.role for message in client.calls[0].messages]
    assert roles == ["system", "user", "user"]

"""The HTTP client against a real server: every failure, streams, secrets, and what was sent."""

import asyncio
import base64
import gzip
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web
from pydantic import BaseModel

from callwise.calls import Call, ConfigError, Message, Purpose, Reply, Role, Sampling
from callwise.calls.capabilities import Capabilities
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallTimeout,
    ConnectionFailed,
    ContentRefused,
    ParameterRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    StreamCut,
    UnknownModel,
    WrongAddress,
)
from callwise.calls.openai_connection import TIMEOUT_SECONDS

KEY = "test-key-0123456789abcdef"


class Verdict(BaseModel):
    """An answer with a form."""

    score: float


@pytest.fixture
async def client(client_class, server):
    """A client of the scripted server, with a key."""
    made = client_class(
        server.url, api_key=KEY, now=lambda: datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
    )
    yield made
    await made.aclose()


async def answer(client, call, **more):
    """Return the answer to one call."""
    [reply] = await client.answer([call], model="m", **more)
    return reply


async def test_a_chat_answer_carries_text_usage_and_model(client, ask):
    """The reply has the names that the endpoint gives."""
    reply = await answer(client, ask("你好 😀"))
    assert (reply.text, reply.model, reply.finish_reason) == ("你好 😀", "served-model", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)
    assert reply.latency_seconds > 0


async def test_the_key_is_sent_and_organizations_are_not(client, server, ask, monkeypatch):
    """The bearer token is the given key; the environment adds nothing of OpenAI's."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-someone-else")
    await answer(client, ask())
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "OpenAI-Organization" not in server.headers[0]


async def test_without_a_key_none_of_the_environment_is_sent(
    client_class, server, ask, monkeypatch
):
    """A keyless endpoint does not get the key that is set for another."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-someone-else")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-of-someone-else")
    client = client_class(server.url)
    await answer(client, ask())
    assert "Authorization" not in server.headers[0]
    await client.aclose()


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "prompt"])
async def test_the_schema_mode_decides_how_a_form_is_asked_for(client_class, server, ask, mode):
    """By schema, by JSON mode and words, or by words alone."""
    client = client_class(server.url, capabilities=Capabilities(schema_mode=mode))
    await answer(client, ask(response_model=Verdict))
    body = server.bodies[0]
    kinds = {"json_schema": "json_schema", "json_object": "json_object", "prompt": None}
    assert body.get("response_format", {}).get("type") == kinds[mode]
    assert ("JSON schema" in json.dumps(body["messages"])) == (mode != "json_schema")
    await client.aclose()


async def test_reasoning_of_the_model_is_left_out(client, server, ask, wire_words):
    """Fields that only some providers have do no harm."""
    document = wire_words.chat_document("answer")
    document["choices"][0]["message"] |= {"reasoning_content": "hm", "reasoning": [1]}
    server.then(document=document)
    assert (await answer(client, ask())).text == "answer"


async def test_n_choices_are_all_returned(client, server, ask, wire_words):
    """The first choice is the text, and all of them are the choices."""
    document = wire_words.chat_document("a")
    document["choices"].append({"index": 1, "message": {"content": "b"}})
    server.then(document=document)
    reply = await answer(client, ask(sampling=Sampling(n=2)))
    assert (reply.text, reply.choices) == ("a", ("a", "b"))
    assert server.bodies[0]["n"] == 2


async def test_an_endpoint_without_logprobs_answers_all_the_same(client, server, ask):
    """They were asked for, and are absent."""
    reply = await answer(client, ask("hello", sampling=Sampling(top_logprobs=5)))
    assert (reply.text, reply.token_logprobs) == ("hello", ())
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 5)


async def test_a_refused_parameter_is_named_and_learned(client, server, ask):
    """One request, and an error with the endpoint's words; nothing is asked again in secret."""
    server.then(status=400, document={"error": {"message": "logprobs is not supported"}})
    outcome = await answer(client, ask(sampling=Sampling(top_logprobs=5)))
    assert isinstance(outcome, ParameterRefused)
    assert "logprobs is not supported" in str(outcome)
    assert len(server.bodies) == 1
    assert isinstance(await answer(client, ask(sampling=Sampling(top_logprobs=5))), Reply)
    assert not {"logprobs", "top_logprobs"}.intersection(server.bodies[1])


async def test_thoughts_are_kept_apart_from_the_answer(client, server, ask, wire_words):
    """Their text, and how many tokens they were."""
    document = wire_words.chat_document("answer")
    document["choices"][0]["message"]["reasoning_content"] = "hm, let me see"
    document["usage"]["completion_tokens_details"] = {"reasoning_tokens": 2}
    server.then(document=document)
    reply = await answer(client, ask())
    assert (reply.text, reply.reasoning_text) == ("answer", "hm, let me see")
    assert (reply.usage.output_tokens, reply.usage.reasoning_tokens) == (3, 2)


async def test_thoughts_of_a_stream_are_put_together(client, server, ask, wire_words):
    """They come before the answer, in pieces."""
    stream = wire_words.events(
        wire_words.delta(None, reasoning_content="hm, "),
        wire_words.delta("", reasoning="wait"),
        wire_words.delta("hi", finish_reason="stop"),
    )
    server.then(text=stream, content_type="text/event-stream")
    reply = await answer(client, ask(stream=True))
    assert (reply.text, reply.reasoning_text) == ("hi", "hm, wait")


@pytest.mark.parametrize(
    ("message", "finish_reason", "text"),
    [
        ({"content": None, "reasoning_content": '{"score": 1}'}, "stop", '{"score": 1}'),
        ({"content": " ", "reasoning": 'so: {"score": 1}'}, "stop", 'so: {"score": 1}'),
        ({"content": {"score": 1}}, "stop", '{"score": 1}'),
        ({"content": None, "function_call": {"arguments": '{"score": 1}'}}, "stop", '{"score": 1}'),
        ({"content": "", "reasoning_content": 'draft {"score": 1'}, "length", ""),
        ({"content": "", "reasoning_content": "only words"}, "stop", ""),
        ({"content": '{"score": 2}', "reasoning_content": '{"score": 1}'}, "stop", '{"score": 2}'),
    ],
)
async def test_an_answer_that_is_not_in_the_content_is_taken(  # noqa: PLR0917 - fixtures
    client, server, ask, wire_words, message, finish_reason, text
):
    """Where a form was asked for and the content is empty; not of thoughts that were cut."""
    document = wire_words.chat_document()
    document["choices"][0] |= {"message": message, "finish_reason": finish_reason}
    server.then(document=document)
    assert (await answer(client, ask(response_model=Verdict))).text.strip() == text
    server.then(document=document)
    plain = (await answer(client, ask())).text.strip()
    assert plain == (message["content"].strip() if isinstance(message["content"], str) else "")


@pytest.mark.parametrize("arguments", ['{"score": 1}', {"score": 1}])
async def test_an_answer_in_a_tool_call_is_taken(client, server, ask, wire_words, arguments):
    """Where a form was asked for and no tool was offered."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    for fields, text in (({}, '{"score": 1}'), ({"tools": ({"type": "function"},)}, "")):
        document = wire_words.chat_document(None)
        document["choices"][0]["message"]["tool_calls"] = [call]
        server.then(document=document)
        reply = await answer(client, ask(response_model=Verdict, **fields))
        assert (reply.text, reply.tool_calls) == (text, (call,))


@pytest.mark.parametrize(
    ("usage", "read", "odd"),
    [
        ({"prompt_tokens": 1e300, "completion_tokens": 3}, (None, 3, None), "prompt_tokens"),
        ({"prompt_tokens": 10**30, "completion_tokens": True}, (None, None, None), "True"),
        ({"prompt_tokens": 7, "completion_tokens": -3}, (7, None, None), "completion_tokens -3"),
        ({"prompt_tokens": "7", "completion_tokens": 3}, (None, 3, None), "prompt_tokens '7'"),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": True}, (7, 3, None), "cost True"),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": 1e300}, (7, 3, None), "cost 1e+300"),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": 0.5}, (7, 3, 0.5), None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (None, None, None), None),
        (None, (None, None, None), None),
    ],
)
async def test_usage_that_cannot_be_right_is_unknown_and_said_once(  # noqa: PLR0917 - fixtures
    client, server, ask, wire_words, usage, read, odd
):
    """Unknown is not 0, and never an exception."""
    notices = []
    client.listen(on_learned=lambda fact: None, on_notice=notices.append)
    for _ in range(2):
        server.then(document=wire_words.chat_document(usage=usage))
        got = (await answer(client, ask())).usage
        assert (got.input_tokens, got.output_tokens, got.usd) == read
    assert len(notices) == (odd is not None)
    assert all(odd in notice for notice in notices)


async def test_infinite_usage_is_unknown(client, server, ask):
    """JSON has no infinity, and some servers send it."""
    text = '{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": Infinity}}'
    server.then(text=text, content_type="application/json")
    assert (await answer(client, ask())).usage.input_tokens is None


@pytest.mark.parametrize("wrong", ["", "/", "/v1/chat/completions", "/v1/embeddings/"])
async def test_a_page_at_the_wrong_path_says_what_to_try(client_class, server, ask, wrong):
    """The base URL lacks its version, or has the route in it."""
    client = client_class(server.url.removesuffix("/v1") + wrong)

    async def nowhere(request, body):
        return web.Response(status=404, text="404 page not found")

    server.script.append(nowhere)
    error = await answer(client, ask())
    assert isinstance(error, WrongAddress)
    assert str(error).endswith(f"try the base URL {server.url}")
    await client.aclose()


async def test_https_to_a_plain_server_says_so(client_class, server, ask):
    """Nothing was sent, and the scheme is named."""
    client = client_class(server.url.replace("http://", "https://"))
    error = await answer(client, ask())
    assert isinstance(error, WrongAddress)
    assert "http://" in str(error)
    assert not error.was_sent
    await client.aclose()


async def test_a_choice_that_ended_in_an_error_is_an_error(client, server, ask, wire_words):
    """As a router reports an upstream that broke in the middle."""
    document = wire_words.chat_document("")
    document["choices"][0]["error"] = {"code": 502, "message": "upstream broke"}
    server.then(document=document)
    error = await answer(client, ask())
    assert isinstance(error, ServerFailed)
    assert "upstream broke" in str(error)


async def test_the_words_of_a_routers_upstream_are_read(client, server, ask):
    """Its own say nothing."""
    raw = '{"error":{"message":"Unsupported parameter: \'seed\' is not supported"}}'
    error = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}
    server.then(status=400, document={"error": error})
    outcome = await answer(client, ask(sampling=Sampling(seed=1)))
    assert isinstance(outcome, ParameterRefused)
    assert client.capabilities("m").refused == {"seed"}


async def test_tool_calls_are_carried(client, server, ask, wire_words):
    """Tools go out and tool calls come back in the wire format."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    document = wire_words.chat_document(None)
    document["choices"][0]["message"]["tool_calls"] = [call]
    server.then(document=document)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    reply = await answer(client, ask(tools=(tool,), tool_choice="auto"))
    assert reply.tool_calls == (call,)
    assert server.bodies[0]["tools"] == [tool]


async def test_a_stream_is_put_together(client, server, ask):
    """Its pieces are the chunks, and its usage was asked for and is read."""
    reply = await answer(client, ask("hello", stream=True))
    assert (reply.text, reply.chunks) == ("hello", ("he", "llo"))
    assert reply.usage.total_tokens == 10
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_an_emoji_cut_in_two_by_a_stream_is_whole_again(client, server, ask, wire_words):
    """Two escaped halves in two events become one character in one chunk."""
    one, two = "\ud83d", "\ude00!"
    stream = wire_words.events(wire_words.delta(one), wire_words.delta(two, finish_reason="stop"))
    server.then(text=stream, content_type="text/event-stream")
    reply = await answer(client, ask(stream=True))
    assert (reply.text, reply.chunks) == ("😀!", ("😀!",))


async def test_tool_calls_of_a_stream_are_put_together(client, server, ask, wire_words):
    """The name comes first, the arguments in pieces."""
    parts = [
        {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"q":'}},
        {"index": 0, "function": {"arguments": '"x"}'}},
    ]
    stream = wire_words.events(
        wire_words.delta(None, tool_calls=parts[:1]),
        wire_words.delta(None, tool_calls=parts[1:], finish_reason="tool_calls"),
    )
    server.then(text=stream, content_type="text/event-stream")
    [call] = (await answer(client, ask(stream=True))).tool_calls
    assert call["function"] == {"name": "look", "arguments": '{"q":"x"}'}


async def test_a_whole_answer_to_a_streamed_call_is_taken(client, server, ask, wire_words):
    """Some servers ignore `stream`."""
    server.then(document=wire_words.chat_document("whole"))
    assert (await answer(client, ask(stream=True))).chunks == ("whole",)


@pytest.mark.parametrize("ending", ["clean", "broken", "malformed"])
async def test_a_cut_stream_is_an_error(client, server, ask, wire_words, ending):
    """Without an end marker or a finish reason the answer is not whole."""
    beginning = wire_words.events(wire_words.delta("he"), done=False)
    if ending == "broken":
        server.then_hang_up(after=beginning)
    else:
        rest = b'data: {"choices": [\n\n' if ending == "malformed" else b""
        server.then(text=beginning + rest, content_type="text/event-stream")
    error = await answer(client, ask(stream=True))
    assert isinstance(error, StreamCut)
    assert error.was_sent
    assert "after 1 pieces" in str(error)


async def test_a_stream_without_an_end_marker_is_whole_by_its_finish_reason(
    client, server, ask, wire_words
):
    """Servers that leave `[DONE]` out are understood."""
    stream = wire_words.events(wire_words.delta("hi", finish_reason="stop"), done=False)
    server.then(text=stream, content_type="text/event-stream")
    assert (await answer(client, ask(stream=True))).text == "hi"


async def test_an_error_inside_a_stream_is_named(client, server, ask, wire_words):
    """A provider's error event ends the call with its words and status."""
    error = {"error": {"message": "upstream overloaded", "code": 503}}
    stream = wire_words.events(wire_words.delta("he"), error, done=False)
    server.then(text=stream, content_type="text/event-stream")
    failure = await answer(client, ask(stream=True))
    assert isinstance(failure, ServerFailed)
    assert "upstream overloaded" in str(failure)


async def test_a_connection_is_kept_after_a_stream(client, server, ask):
    """The end of a stream is read, so that the next call does not connect again."""
    peers = []

    async def serve(request, body):
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response(
            {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
        )

    await answer(client, ask("hello", stream=True))
    server.script.extend([serve, serve])
    await answer(client, ask())
    await answer(client, ask())
    assert len(set(peers)) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, AuthFailed),
        (402, QuotaExhausted),
        (403, AuthFailed),
        (404, UnknownModel),
        (408, CallTimeout),
        (422, BadRequest),
        (429, RateLimited),
        (500, ServerFailed),
        (501, BadRequest),
        (503, ServerFailed),
        (529, ServerFailed),
    ],
)
async def test_each_status_has_its_error(client, server, ask, status, kind):
    """With the provider's words, the status, and the request counted."""
    server.then(status=status, document={"error": {"message": "the provider's words"}})
    error = await answer(client, ask())
    assert type(error) is kind
    assert error.status == status
    assert error.was_sent
    assert "the provider's words" in str(error)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "document",
    [
        {"detail": "the words"},
        {"message": "the words"},
        {"error": "the words"},
        {"error": {"message": "the words"}},
    ],
)
async def test_the_providers_words_are_found_where_they_stand(client, server, ask, document):
    """Each server has its own form of error."""
    server.then(status=400, document=document)
    assert "the words" in str(await answer(client, ask()))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read_in_both_forms(client, server, ask, headers, seconds):
    """Seconds or an HTTP date; what is neither is unknown."""
    server.then(status=429, document={"error": {"message": "slow down"}}, headers=headers)
    assert (await answer(client, ask())).retry_after_seconds == seconds


@pytest.mark.parametrize(
    "came",
    [
        ("<!DOCTYPE html><title>Sign in</title>", "text/html", "HTML page titled 'Sign in'"),
        ("", "application/json", "an empty body"),
        ('{"choices": [', "application/json", "not JSON"),
        ("[]", "application/json", "not of the expected form"),
        ("\xff", "text/plain", "not JSON"),
        ('{"ok": true}', "application/json", "expected a chat completion"),
        ('{"choices": []}', "application/json", "expected a chat completion"),
        ('{"choices": [{"message": null}]}', "application/json", "expected a chat completion"),
        ('{"choices": 7}', "application/json", "expected a chat completion"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_in_the_protocol_is_described(client, server, ask, came, stream):
    """HTML, nothing, half a document: the error says what came."""
    text, content_type, words = came
    server.then(text=text, content_type=content_type)
    error = await answer(client, ask(stream=stream))
    assert isinstance(error, BadResponse)
    assert words in str(error)
    assert len(str(error)) < 400


async def test_an_html_error_page_is_named_and_not_quoted(client, server, ask):
    """A gateway's page becomes its title."""
    page = "<html><head><title>502 Bad Gateway</title></head>" + "x" * 9000
    server.then(status=502, text=page, content_type="text/html")
    error = await answer(client, ask())
    assert isinstance(error, ServerFailed)
    assert "titled '502 Bad Gateway'" in str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow down", "code": 429}, RateLimited),
        ({"message": "slow down", "code": "429"}, RateLimited),
        ({"message": "slow down", "code": "rate_limited", "status_code": "429"}, RateLimited),
        ({"message": "broken", "code": None, "status": 500}, ServerFailed),
        ({"message": "odd"}, BadResponse),
        ("just words", BadResponse),
    ],
)
async def test_an_error_under_status_200_is_an_error(client, server, ask, error, kind):
    """As some routers report their upstream's failures."""
    server.then(document={"error": error})
    assert type(await answer(client, ask())) is kind


async def test_an_error_without_its_wrapping_is_an_error(client, server, ask):
    """Some gateways answer so under status 200."""
    server.then(document={"code": 401, "msg": "令牌已过期", "success": False})
    error = await answer(client, ask())
    assert isinstance(error, AuthFailed)
    assert "令牌已过期" in str(error)


async def test_a_redirect_is_not_followed_and_named(client, server, ask):
    """A second request would not be counted; the error says what to set."""
    route = "https://elsewhere.example/v1/chat/completions"
    server.then(status=307, headers={"Location": route})
    error = await answer(client, ask())
    assert isinstance(error, WrongAddress)
    assert error.is_fatal
    assert "a redirect to https://elsewhere.example/v1;" in str(error)
    assert len(server.bodies) == 1


async def test_a_refusal_is_a_refusal(client, server, ask, wire_words):
    """By the model's own field, by the filter's finish reason, or by a status's code."""
    refusal = wire_words.chat_document()
    refusal["choices"][0]["message"]["refusal"] = "no"
    filtered = wire_words.chat_document()
    filtered["choices"][0]["finish_reason"] = "content_filter"
    server.then(document=refusal)
    server.then(document=filtered)
    server.then(status=400, document={"error": {"message": "no", "code": "content_filter"}})
    for _ in range(3):
        assert isinstance(await answer(client, ask()), ContentRefused)


async def test_a_server_that_does_not_answer_times_out_after_sending(
    client, server, ask, pass_time
):
    """The request left, and the error says so."""
    sent = []
    call = ask("hold", timeout_seconds=30)
    asking = asyncio.create_task(answer(client, call, on_sent=sent.append))
    await server.arrived.acquire()
    await pass_time(60)
    error = await asking
    assert isinstance(error, CallTimeout)
    assert error.was_sent
    assert sent == [0]


async def test_a_call_that_waits_for_a_connection_times_out_unsent(client_class, server, ask):
    """With the pool full, nothing of the second call leaves."""
    client = client_class(server.url, max_connections=1)
    first = asyncio.create_task(answer(client, ask("hold")))
    await server.arrived.acquire()
    sent = []
    error = await answer(client, ask("two", timeout_seconds=0.05), on_sent=sent.append)
    assert isinstance(error, CallTimeout)
    assert not error.was_sent
    assert (sent, len(server.bodies)) == ([], 1)
    server.release.set()
    await first
    await client.aclose()


async def test_a_connection_that_breaks_is_not_called_a_timeout(client, server, ask):
    """It had been sent, and the connection failed."""
    server.then_hang_up()
    error = await answer(client, ask())
    assert isinstance(error, ConnectionFailed)
    assert error.was_sent


async def test_every_purpose_has_a_timeout():
    """No purpose waits forever."""
    assert set(TIMEOUT_SECONDS) == set(Purpose)
    assert all(0 < seconds <= 600 for seconds in TIMEOUT_SECONDS.values())


async def test_ledger_and_server_agree_wherever_a_call_is_cancelled(client_class, server, ask):
    """Cancelled after any number of steps of the loop, what was said to be sent arrived."""
    client = client_class(server.url, max_connections=4)
    sent = []
    await answer(client, ask("warm"), on_sent=sent.append)
    for steps in range(40):
        fresh = steps % 2 == 0
        if fresh:
            await client.aclose()
        task = asyncio.create_task(answer(client, ask("hold"), on_sent=sent.append))
        for _ in range(steps // 2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(len(sent)):  # every request that left arrives, and none besides
        await asyncio.wait_for(server.arrived.acquire(), 60)
    await client.aclose()
    await server.stop()
    assert len(server.bodies) == len(sent)
    assert 1 < len(sent) < 41


async def test_many_calls_at_once_are_each_sent_once(client, server, ask):
    """Thirty-two calls in one go, over a pool, with failures among them."""
    sent = []
    calls = [ask("fail" if index % 5 == 0 else f"t{index}") for index in range(32)]
    replies = await client.answer(calls, model="m", on_sent=sent.append)
    assert sorted(sent) == list(range(32))
    assert len(server.bodies) == 32
    texts = [reply.text if isinstance(reply, Reply) else None for reply in replies]
    assert texts == [None if index % 5 == 0 else f"t{index}" for index in range(32)]


@pytest.mark.parametrize(
    "echo",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}.",
        f"invalid header Authorization: Bearer {KEY}",
        "other key sk-proj-abcdefghijklmnop found",
    ],
)
async def test_an_echoed_key_reaches_no_error(client, server, ask, echo):
    """Whole, shortened, or in a header: it is blanked out."""
    server.then(status=401, document={"error": {"message": echo}})
    error = await answer(client, ask())
    for text in (str(error), repr(error), repr(vars(error)), repr(client)):
        assert KEY not in text
        assert KEY[:8] not in text
        assert "sk-proj-abc" not in text
    assert "[key]" in str(error)


@pytest.mark.parametrize("key", ["", "with\nline break", "schlüssel"])
async def test_a_key_that_cannot_be_sent_is_refused_without_repeating_it(client_class, key):
    """At once, before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        client_class("http://localhost:1/v1", api_key=key)
    assert not key or key not in str(caught.value)


async def test_a_base_url_without_a_scheme_is_refused(client_class):
    """It names what is missing."""
    with pytest.raises(ConfigError, match="http://"):
        client_class("localhost:8000/v1")


@pytest.mark.parametrize(
    "text", ["half an emoji \ud83d", "\ude00\ud83d", "a\x00b\u2028c😀", "x" * 2**21]
)
async def test_any_text_can_be_asked(client, server, ask, text):
    """Lone surrogates become U+FFFD; everything else arrives as it is."""
    reply = await answer(client, ask(text))
    assert isinstance(reply, Reply)
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert server.bodies[0]["messages"][0]["content"] == expected


async def test_a_lone_surrogate_in_an_answer_is_mended(client, server, ask, wire_words):
    """What comes back can always be written as UTF-8."""
    server.then(document=wire_words.chat_document("half \ud83d"))
    reply = await answer(client, ask())
    assert reply.text == "half \ufffd"


async def test_what_json_cannot_hold_is_refused_unsent(client, server, ask):
    """A tool definition with an object in it is a bad request that never left."""
    error = await answer(client, ask(tools=({"type": object()},)))
    assert isinstance(error, BadRequest)
    assert not error.was_sent
    assert server.bodies == []


async def test_an_answer_in_its_own_character_set_is_read(client, server, ask, wire_words):
    """The header names it; one that is not known makes the answer unreadable, not the run."""
    body = json.dumps(wire_words.chat_document("déjà vu"), ensure_ascii=False).encode("latin-1")
    server.then(text=body, content_type="application/json", charset="iso-8859-1")
    assert (await answer(client, ask())).text == "déjà vu"
    server.then(text=body, content_type="application/json", charset="x-none")
    assert isinstance(await answer(client, ask()), BadResponse)


async def test_events_that_were_not_asked_for_are_read(client, server, ask):
    """Some gateways always stream."""
    events = [{"choices": [{"delta": {"content": word}}]} for word in ("not ", "far")]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    server.then(text="".join([*lines, "data: [DONE]\n\n"]), content_type="text/event-stream")
    assert (await answer(client, ask())).text == "not far"
    server.then(text=lines[0], content_type="text/event-stream")
    assert isinstance(await answer(client, ask()), BadResponse)


async def test_of_several_choices_the_first_with_an_answer_counts(client, server, ask, wire_words):
    """One question was asked, and one of the choices answers it."""
    document = wire_words.chat_document("")
    document["choices"].append({"index": 1, "message": {"content": ["not ", "far"]}})
    server.then(document=document)
    assert (await answer(client, ask())).text == "not far"


async def test_an_echoed_key_is_in_no_answer(client, server, ask, wire_words):
    """A server that shows the request it received does not get the key into a recording."""
    server.then(document=wire_words.chat_document(f"Authorization: Bearer {KEY}"))
    assert (await answer(client, ask())).text == "Authorization: Bearer [key]"


@pytest.mark.parametrize(
    "echo",
    [
        json.dumps(KEY)[1:-1].replace("k", "\\u006b"),
        "".join(f"%{ord(char):02X}" for char in KEY),
        base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    ],
)
async def test_an_encoded_echo_is_in_no_answer(client, server, ask, wire_words, echo):
    """However the server writes it down, as JSON itself or in a text."""
    text = json.dumps(wire_words.chat_document("said: ECHO.")).replace("ECHO", echo)
    server.then(text=text, content_type="application/json")
    found = (await answer(client, ask())).text
    assert found.startswith("said: ")
    assert "[key]" in found
    assert all(echo[at : at + 12] not in found for at in range(len(echo) - 11))


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_an_echo_in_the_pieces_of_a_stream_is_in_no_answer(client, server, ask, size):
    """Cut anywhere: the pieces that are kept have no part of it."""
    text = f"said: {KEY}."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    server.then(text="".join([*lines, "data: [DONE]\n\n"]), content_type="text/event-stream")
    reply = await answer(client, ask(stream=True))
    assert reply.text == "".join(reply.chunks) == "said: [key]."


async def test_a_compressed_answer_is_read(client, server, ask, wire_words):
    """The transport leaves decoding to the library above it."""
    packed = gzip.compress(json.dumps(wire_words.chat_document("packed")).encode())
    server.then(text=packed, content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert (await answer(client, ask())).text == "packed"


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [None]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [float("nan")]}],
        "nonsense",
    ],
)
async def test_wrong_embeddings_are_refused(client, server, data):
    """Too few, without a place, or not numbers."""
    server.then(document={"data": data})
    [error] = await client.answer([embed_call()], model="e")
    assert isinstance(error, BadResponse)


def embed_call():
    """Return a call that asks for two vectors."""
    return Call(Role.EMBED, Purpose.EMBED, inputs=("a", "b"))


async def test_a_system_message_keeps_its_place_when_words_ask_for_a_form(
    client_class, server, ask
):
    """The schema's words follow the system text in the same message."""
    client = client_class(server.url, capabilities=Capabilities(schema_mode="prompt"))
    messages = (Message("system", "static"), Message("user", "hi"))
    await answer(client, ask(messages=messages, response_model=Verdict))
    first, second = server.bodies[0]["messages"]
    assert first["content"].startswith("static\n\nAnswer with one JSON object")
    assert second == {"role": "user", "content": "hi"}
    await client.aclose()


async def test_a_client_is_usable_in_a_second_loop(client_class, server, ask):
    """The pool belongs to a loop; another loop gets its own."""
    client = client_class(server.url)

    async def once():
        reply = await answer(client, ask("again"))
        await client.aclose()
        return reply.text

    texts = [await asyncio.to_thread(lambda: asyncio.run(once())) for _ in range(2)]
    assert texts == ["again", "again"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_any_legal_stream_is_an_answer_with_its_usage(  # noqa: PLR0917 - fixtures
    client, server, ask, wire_words, end, stream
):
    """Pretty-printed events, any line's end, a byte-order mark, and no end of the last event."""
    usage = {"choices": [], "usage": wire_words.chat_document()["usage"]}
    events = [wire_words.delta("one"), wire_words.delta(" two", finish_reason="stop"), usage]
    texts = [json.dumps(event, indent=1).encode() for event in events]
    body = (end * 2).join(b"data: " + text.replace(b"\n", end + b"data: ") for text in texts)
    server.then(text=b"\xef\xbb\xbf" + body, content_type="text/event-stream")
    reply = await answer(client, ask(stream=stream))
    assert (reply.text, reply.usage.input_tokens) == ("one two", 7)


async def test_a_last_event_that_was_cut_does_no_harm(client, server, ask, wire_words):
    """The answer had ended before it."""
    body = wire_words.events(wire_words.delta("one", finish_reason="stop"), done=False)
    server.then(text=body + b'data: {"choices": [], "us', content_type="text/event-stream")
    assert (await answer(client, ask(stream=True))).text == "one"


@pytest.mark.parametrize("data", [b'{"message": "overloaded"}', b"overloaded"])
async def test_an_event_named_error_ends_a_stream_with_the_servers_words(
    client, server, ask, wire_words, data
):
    """Also without an error object around them."""
    body = wire_words.events(wire_words.delta("one"), done=False)
    body += b"event: error\ndata: " + data + b"\n\n"
    server.then(text=body, content_type="text/event-stream")
    error = await answer(client, ask(stream=True))
    assert isinstance(error, StreamCut)
    assert str(error) == "127.0.0.1: answered an error: overloaded"

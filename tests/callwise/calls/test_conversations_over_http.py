"""Conversations of one request over HTTP: its body, its answers, and how it fails."""

import asyncio

import pytest
from aiohttp import web

from callwise.calls import Call, Message, Purpose, Reply, Role, Sampling
from callwise.calls.client import ConversationClient
from callwise.calls.errors import (
    AuthFailed,
    BadResponse,
    CallTimeout,
    RateLimited,
    ServerFailed,
    UnknownModel,
    WrongAddress,
)

KEY = "test-key-0123456789abcdef"
PATH = "/chat/completions/batch"


@pytest.fixture
async def client(client_class, server):
    """A client of the scripted server, with a key."""
    made = client_class(server.url, api_key=KEY)
    yield made
    await made.aclose()


def chat(text, **changes):
    """Return a chat call."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", text),), **changes)


async def answered(client, calls):
    """Return the ends of conversations, and how often a request left."""
    sent = []
    ends = await client.answer_conversations(
        calls, model="m", path=PATH, on_sent=lambda: sent.append(1)
    )
    return ends, len(sent)


async def echo(_request, body):
    """Answer each conversation with its last text, in reverse."""
    texts = [messages[-1]["content"] for messages in body["messages"]]
    choices = [
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
    return web.json_response({"model": "served", "choices": choices[::-1], "usage": usage})


async def test_conversations_are_one_request_of_lists_of_messages(client, server):
    """Parameters are there once, and the answers are in the order of the calls."""
    server.script.append(echo)
    sampling = Sampling(temperature=0.5, max_tokens=7)
    calls = [chat(text, sampling=sampling) for text in ("one", "two", "three")]
    replies, sent = await answered(client, calls)
    assert isinstance(client, ConversationClient)
    assert [reply.text for reply in replies] == ["one", "two", "three"]
    assert sum(reply.usage.total_tokens for reply in replies) == 30
    assert (sent, len(server.bodies)) == (1, 1)
    assert server.paths == ["/v1/chat/completions/batch"]
    assert server.bodies[0]["temperature"] == 0.5
    assert [each[-1]["content"] for each in server.bodies[0]["messages"]] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, ServerFailed), (429, RateLimited), (401, AuthFailed), (404, WrongAddress)],
)
async def test_a_request_that_fails_fails_for_each_call(client, server, status, kind):
    """Each call has an error to itself."""
    server.then(status=status, document={"detail": "Not Found"})
    ends, sent = await answered(client, [chat("one"), chat("two")])
    assert [type(end) for end in ends] == [kind, kind]
    assert ends[0] is not ends[1]
    assert sent == 1


@pytest.mark.parametrize(
    "body",
    [
        {"text": "<html><title>nginx</title></html>", "content_type": "text/html"},
        {"text": "", "content_type": "text/plain"},
        {"text": "nothing here", "content_type": "text/plain"},
        {"document": {"status": "404", "reason": "no handler"}},
        {"document": []},
    ],
)
async def test_an_odd_404_of_the_route_is_that_of_what_is_not_there(client, server, body):
    """Whatever its body, so that the calls can be sent alone."""
    server.then(status=404, **body)
    ends, _ = await answered(client, [chat("one"), chat("two")])
    assert all(isinstance(end, UnknownModel) and end.status == 404 for end in ends)


async def test_a_failure_that_reports_a_usage_is_apportioned(client, server):
    """What it has used is known, to the token."""
    usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    server.then(status=500, document={"error": {"message": "boom"}, "usage": usage})
    ends, _ = await answered(client, [chat("one"), chat("two")])
    assert all(isinstance(end, ServerFailed) for end in ends)
    assert sum(end.usage.total_tokens for end in ends) == 15


async def test_an_error_under_status_200_fails_for_each_call(client, server):
    """As routers send it."""
    server.then(document={"error": {"message": "overloaded", "code": 429}})
    ends, _ = await answered(client, [chat("one"), chat("two")])
    assert [type(end) for end in ends] == [RateLimited, RateLimited]


async def test_what_is_not_in_the_protocol_fails_for_each_call(client, server):
    """No part of it is read."""
    server.then(text="<html>", content_type="text/html")
    ends, _ = await answered(client, [chat("one"), chat("two")])
    assert [type(end) for end in ends] == [BadResponse, BadResponse]


async def test_the_longest_time_of_the_calls_is_that_of_the_request(client, server):
    """One that may take longer is not cut by another."""

    async def late(_request, body):
        await asyncio.sleep(0.05)
        return await echo(_request, body)

    async def never(_request, _body):
        await server.release.wait()
        return web.Response()

    server.script.extend([late, never])
    ends, _ = await answered(
        client, [chat("one", timeout_seconds=0.01), chat("two", timeout_seconds=60)]
    )
    assert all(isinstance(end, Reply) for end in ends)
    ends, sent = await answered(client, [chat(text, timeout_seconds=0.3) for text in "ab"])
    assert [type(end) for end in ends] == [CallTimeout, CallTimeout]
    assert (sent, ends[0].was_sent) == (1, True)


async def test_the_key_is_in_no_answer(client, server):
    """Also where a server repeats it."""

    async def leak(_request, body):
        choices = [
            {"index": index, "message": {"content": KEY}} for index in range(len(body["messages"]))
        ]
        return web.json_response({"choices": choices})

    server.script.append(leak)
    ends, _ = await answered(client, [chat("one"), chat("two")])
    assert all(KEY not in end.text for end in ends)


async def test_calls_that_differ_in_a_parameter_cannot_share_a_request(client, server):
    """That is a mistake of who asks, and nothing is sent."""
    with pytest.raises(ValueError, match="temperature"):
        await answered(client, [chat("one"), chat("two", sampling=Sampling(temperature=1))])
    assert server.bodies == []

"""The recording proxy, before the simulated server: what it passes on, replaces and counts."""

from dataclasses import replace

import pytest

from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.errors import ConnectionFailed, EndpointError, ServerFailed
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator.server import SimServer
from tests.model.proxy import Proxy

QUESTION = Call(
    role=Role.MAIN, purpose=Purpose.OTHER, messages=(Message("user", "How was your day?"),)
)


async def instead(body):
    """Return the same words to every request."""
    message = {"role": "assistant", "content": f"I read {len(body['messages'])} message."}
    return {"message": message, "finish_reason": "stop"}


async def asked(base_url, **changes):
    """Ask once through the real client, and return its answer or error."""
    client = OpenAIClient(base_url, api_key=None)
    (answer,) = await client.answer((replace(QUESTION, **changes),), model="m")
    await client.aclose()
    return answer


async def test_what_the_server_answers_is_passed_on():
    """Without a stand-in the answer, its usage and its status are the server's."""
    async with SimServer() as server:
        with Proxy(server.base_url) as proxy:
            through = await asked(proxy.base_url)
        direct = await asked(server.base_url)
    (exchange,) = proxy.log
    assert through.text
    assert (through.usage.input_tokens, exchange.input_tokens) == (direct.usage.input_tokens,) * 2
    assert (exchange.path, exchange.status) == ("/chat/completions", 200)
    assert exchange.content == through.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stand_in_changes_the_words_and_not_the_usage(stream):
    """The words are replaced, also of a stream; tokens stay those of the server."""
    async with SimServer() as server:
        with Proxy(server.base_url, stand_in=instead) as proxy:
            reply = await asked(proxy.base_url, stream=stream)
    assert reply.text == "I read 1 message."
    assert reply.usage.output_tokens == proxy.log[0].output_tokens > 0


async def test_fields_are_fixed_and_output_is_capped_on_the_way_only():
    """The server gets a seed and a limit; the log has the request as it was sent."""
    async with SimServer() as server:
        with Proxy(server.base_url, max_output_tokens=3, fixed={"seed": 5}) as proxy:
            reply = await asked(proxy.base_url)
    assert reply.finish_reason == "length"
    assert "seed" not in proxy.log[0].body
    assert "max_tokens" not in proxy.log[0].body


async def test_a_stopped_port_is_opened_again():
    """After its last request nothing listens, until the port is opened again."""
    async with SimServer() as server:
        with Proxy(server.base_url, stops_after=1) as proxy:
            await asked(proxy.base_url)
            assert isinstance(await asked(proxy.base_url), ConnectionFailed)
            proxy.listen()
            await asked(proxy.base_url)
    assert len(proxy.log) == 2


async def test_a_server_that_is_gone_is_an_answer_of_the_proxy():
    """Where nothing listens behind it, the proxy answers 502 and counts the request."""
    async with SimServer() as server:
        base_url = server.base_url
    with Proxy(base_url) as proxy:
        assert isinstance(await asked(proxy.base_url), ServerFailed)
    assert [exchange.status for exchange in proxy.log] == [502]


async def test_paths_outside_of_the_api_are_not_found():
    """A base URL without `/v1` gets 404, as many servers answer, and is counted."""
    with Proxy("http://127.0.0.1:9/v1") as proxy:
        answer = await asked(proxy.base_url.removesuffix("/v1"))
    assert isinstance(answer, EndpointError)
    assert [exchange.status for exchange in proxy.log] == [404]

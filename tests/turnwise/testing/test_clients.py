"""The fakes themselves, beyond what every client promises."""

import asyncio

import pytest
from pydantic import BaseModel

from turnwise.calls import Call, Message, Purpose, Reply, Role
from turnwise.calls.errors import ConnectionFailed, ServerFailed
from turnwise.testing.clients import FailingClient, ScriptedClient, ScriptExhausted

CALL = Call(Role.JUDGE, Purpose.JUDGE, (Message("user", "hi"),))


class Verdict(BaseModel):
    """A form."""

    score: float


async def ask(client, call=CALL, **more):
    """Return the answer to one call."""
    [reply] = await client.answer([call], model="m", **more)
    return reply


async def test_a_list_is_answered_in_order():
    """Texts, models, replies and errors; calls and models are kept."""
    error = ServerFailed("boom", status=500)
    client = ScriptedClient(["a", Verdict(score=1), Reply("r"), error])
    replies = [await ask(client) for _ in range(4)]
    assert [reply.text for reply in replies[:3]] == ["a", '{"score":1.0}', "r"]
    assert replies[3] is error
    assert (client.calls, client.models) == ([CALL] * 4, ["m"] * 4)
    assert client.sent_requests == 4


async def test_a_script_that_is_too_short_says_who_asked():
    """So that the test shows the call nobody thought of."""
    client = ScriptedClient(["a"])
    await ask(client)
    with pytest.raises(ScriptExhausted, match="1 answers, and call 2 came: judge / judge"):
        await ask(client)


async def test_an_unsent_error_counts_no_request():
    """As with a real client."""
    sent = []
    client = ScriptedClient([ConnectionFailed("refused", was_sent=False)])
    await ask(client, on_sent=sent.append)
    assert (client.sent_requests, sent) == (0, [])


async def test_an_async_function_can_hold_an_answer_back():
    """Its request has left, and a cancellation is counted."""
    held = asyncio.Event()

    async def script(call):
        await held.wait()
        return "late"

    client = ScriptedClient(script)
    tasks = [asyncio.create_task(ask(client)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    held.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1].text == "late"
    assert (client.sent_requests, client.cancelled_calls) == (2, 1)


async def test_simulated_and_streamed_answers_say_so():
    """Where a test needs them."""
    client = ScriptedClient(["a"], is_simulated=True)
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),), stream=True)
    reply = await ask(client, call)
    assert (reply.is_simulated, reply.chunks) == (True, ("a",))


@pytest.mark.parametrize(("failures", "errors"), [(0, 0), (2, 2), (None, 4)])
async def test_a_failing_client_fails_as_often_as_it_is_told(failures, errors):
    """A new error each time, then answers."""
    client = FailingClient(lambda: ServerFailed("boom", status=500), failures=failures)
    replies = [await ask(client) for _ in range(4)]
    assert sum(isinstance(reply, ServerFailed) for reply in replies) == errors
    assert len({id(reply) for reply in replies}) == 4


async def test_closing_is_remembered():
    """So that a test can hold its owner to it."""
    client = ScriptedClient()
    await client.aclose()
    assert client.is_closed

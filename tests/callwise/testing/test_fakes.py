"""The fakes themselves, beyond what every client promises."""

import asyncio

import pytest
from pydantic import BaseModel

from callwise.calls import LLM, Call, CallRefused, Message, Purpose, Remaining, Reply, Role
from callwise.calls.errors import AuthFailed, ConnectionFailed, InvalidAnswer, ServerFailed
from callwise.testing.fakes import FailingClient, ScriptedClient, ScriptedLLM, ScriptExhausted

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


async def test_a_script_that_is_too_short_names_the_call():
    """So that the test shows the unexpected call."""
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
async def test_a_failing_client_fails_as_often_as_set(failures, errors):
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


class Answer(BaseModel):
    """Answer form of the calls here."""

    thought: str


def call(purpose=Purpose.MONOLOGUE, *, sample=0):
    """Return a call for a purpose."""
    return Call(Role.MAIN, purpose, (Message("user", "{}"),), response_model=Answer, sample=sample)


async def test_it_answers_by_purpose_and_keeps_the_calls():
    """One answer is given always, a list in order, a function by the call."""
    asker: LLM = ScriptedLLM(
        {
            Purpose.MONOLOGUE: {"thought": "always"},
            Purpose.REASON: [Answer(thought="first"), '{"thought": "second"}'],
            Purpose.JUDGE: lambda asked: {"thought": f"sample {asked.sample}"},
        }
    )
    asked = [
        call(),
        call(),
        call(Purpose.REASON),
        call(Purpose.REASON),
        call(Purpose.JUDGE, sample=4),
    ]
    thoughts = [(await asker.ask(one)).parsed.thought for one in asked]
    assert thoughts == ["always", "always", "first", "second", "sample 4"]
    assert asker.calls == asked
    assert len(asker.calls_for(Purpose.REASON)) == 2


async def test_it_refuses_beyond_its_maximum():
    """A refused call is kept too, and the advisory says what is left."""
    asker = ScriptedLLM({Purpose.MONOLOGUE: {"thought": "x"}}, max_calls=1)
    assert asker.advisory().calls_left == 1
    await asker.ask(call())
    with pytest.raises(CallRefused):
        await asker.ask(call())
    assert asker.advisory().calls_left == 0
    assert len(asker.calls) == 2


async def test_answers_are_parsed_as_the_budgeter_parses_them():
    """An answer that does not fit fails in the fake too."""
    with pytest.raises(InvalidAnswer):
        await ScriptedLLM({Purpose.MONOLOGUE: "no JSON here"}).ask(call())


async def test_a_round_keeps_errors_in_their_place_and_limits_concurrency():
    """One failure does not take the others' answers; at most so many run concurrently."""
    asker = ScriptedLLM(
        {
            Purpose.JUDGE: lambda asked: (
                ServerFailed("500") if asked.sample == 1 else {"thought": str(asked.sample)}
            )
        }
    )
    calls = [call(Purpose.JUDGE, sample=sample) for sample in range(5)]
    outcomes = await asker.ask_all(calls, max_concurrency=2)
    assert isinstance(outcomes[1], ServerFailed)
    assert [outcomes[place].parsed.thought for place in (0, 2, 3, 4)] == ["0", "2", "3", "4"]
    assert asker.max_in_flight == 2
    await asker.ask_all(calls)
    assert asker.max_in_flight == 5


async def test_a_fatal_error_ends_a_round():
    """A key that is wrong for one call is wrong for all."""
    asker = ScriptedLLM({Purpose.MONOLOGUE: AuthFailed("401")})
    with pytest.raises(AuthFailed):
        await asker.ask_all([call(), call()])


async def test_a_script_that_ends_is_an_error():
    """A test that asks too much, or for what is not scripted, hears it."""
    asker = ScriptedLLM({Purpose.REASON: []}, advisory=Remaining(calls_left=3))
    with pytest.raises(ScriptExhausted, match="call 1"):
        await asker.ask(call(Purpose.REASON))
    with pytest.raises(ScriptExhausted, match="no answer for purpose"):
        await asker.ask(call())
    assert asker.advisory().calls_left == 3

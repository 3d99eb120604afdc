"""The in-process client answers without delay, labels itself, and fails by its script."""

import json

import pytest
from pydantic import BaseModel

from callwise.calls import Call, Client, Message, Purpose, Reply, Role
from callwise.calls.errors import (
    AuthFailed,
    BadResponse,
    CallTimeout,
    ConnectionFailed,
    InvalidAnswer,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from callwise.calls.structured import parse_answer
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.model import embed
from callwise.simulator.simulated_client import SimulatedClient as Inner


class Plan(BaseModel):
    """The answer of a planner."""

    reply: str
    strategy: str


async def one(client, call):
    """Return the outcome of a single call."""
    (outcome,) = await client.answer([call], model="m")
    return outcome


def test_it_is_a_client():
    """It implements the client protocol."""
    assert isinstance(SimulatedClient(), Client)
    assert SimulatedClient is Inner


async def test_every_reply_is_labelled(ask, english):
    """Replies are marked as simulated, and so is the model's name."""
    client = SimulatedClient()
    reply = await one(client, ask(english, Plan))
    assert client.is_simulated
    assert reply.is_simulated
    assert reply.model == "simulated-m"
    assert parse_answer(reply.text, Plan)
    assert reply.usage.cached_tokens == 0
    assert reply.latency_seconds > 0
    await client.aclose()
    await client.aclose()


async def test_it_answers_the_body_that_the_wire_carries(ask, english):
    """The body is made as `chat_body` makes it, so HTTP gets the same answer."""
    client = SimulatedClient()
    call = ask(english, Plan, sample=3)
    assert client._body(call, "m") == chat_body(call, model="m")
    expected = client.model.answer(chat_body(call, model="m"), 3)
    assert (await one(client, call)).text == expected.text


async def test_several_calls_are_answered_in_order_and_reported(ask, english, chinese):
    """Each call is one request, and `on_sent` is called for each."""
    sent = []
    client = SimulatedClient(script=["ok", "500"])
    calls = [ask(english), ask(chinese), ask(english, sample=1)]
    outcomes = await client.answer(calls, model="m", on_sent=sent.append)
    assert sent == [0, 1, 2]
    assert isinstance(outcomes[0], Reply)
    assert isinstance(outcomes[1], ServerFailed)
    assert outcomes[2].text != outcomes[0].text


async def test_scripted_faults_become_errors(ask, english):
    """Each scripted fault ends in the error that HTTP would end in."""
    script = ["429", "500", "timeout", "401", "html", "cut_stream", "ok"]
    settings = SimulatedSettings(retry_after_seconds=2.5, timeout_seconds=9)
    client = SimulatedClient(settings, script=script)
    outcomes = [await one(client, ask(english)) for _ in script]
    kinds = [RateLimited, ServerFailed, CallTimeout, AuthFailed, BadResponse, ConnectionFailed]
    assert [type(outcome) for outcome in outcomes] == [*kinds, Reply]
    assert outcomes[0].retry_after_seconds == 2.5
    assert outcomes[1].status == 500
    assert outcomes[2].latency_seconds == 9


async def test_a_script_with_an_unknown_fault_is_refused():
    """A misspelt fault is an error, not an answer."""
    with pytest.raises(ValueError, match="bang"):
        SimulatedClient(script=["bang"])


async def test_streams_have_chunks_and_can_be_cut(ask, english):
    """A streamed reply has its pieces; only streams are cut by rate."""
    client = SimulatedClient()
    reply = await one(client, ask(english, stream=True))
    assert "".join(reply.chunks) == reply.text
    cutting = SimulatedClient(SimulatedSettings(cut_stream_rate=1.0))
    assert isinstance(await one(cutting, ask(english, stream=True)), StreamCut)
    assert isinstance(await one(cutting, ask(english)), Reply)


async def test_too_little_patience_is_a_timeout(ask, english):
    """A call whose drawn latency exceeds its timeout times out, in virtual seconds."""
    client = SimulatedClient()
    outcome = await one(client, ask(english, Plan, timeout_seconds=0.01))
    assert isinstance(outcome, CallTimeout)
    assert outcome.latency_seconds == 0.01


async def test_fault_rates_are_met_and_reproducible(ask):
    """Rates come out as set, equal runs fail alike, and a retry is a new draw."""
    settings = SimulatedSettings(error_rate_429=0.2, error_rate_500=0.1, timeout_rate=0.05)

    async def run():
        client = SimulatedClient(settings)
        kinds = []
        for number in range(400):
            call = ask({"user_text": f"turn {number}"})
            kinds.append([type(await one(client, call)).__name__ for _ in range(2)])
        return kinds

    kinds = await run()
    assert kinds == await run()
    first = [pair[0] for pair in kinds]
    assert 0.14 < first.count("RateLimited") / 400 < 0.26
    assert 0.06 < first.count("ServerFailed") / 400 < 0.15
    assert 0.02 < first.count("CallTimeout") / 400 < 0.09
    recovered = [second for one_, second in kinds if one_ != "Reply"]
    assert recovered.count("Reply") > len(recovered) / 2


async def test_faults_do_not_change_what_is_answered(ask, english):
    """After a failure the same call gets the answer it would have got."""
    plain = await one(SimulatedClient(), ask(english, Plan))
    failing = SimulatedClient(script=["500", "ok"])
    await one(failing, ask(english, Plan))
    assert (await one(failing, ask(english, Plan))) == plain


async def test_malformed_answers_do_not_parse(ask, english):
    """A malformed answer arrives as a reply and fails to validate."""
    client = SimulatedClient(SimulatedSettings(malformed_json_rate=1.0))
    reply = await one(client, ask(english, Plan))
    with pytest.raises(InvalidAnswer):
        parse_answer(reply.text, Plan)
    assert (await one(client, ask(english))).text


async def test_time_passes_only_through_the_given_sleeper(ask, english, chinese):
    """Calls that are answered together wait once, for the slowest."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    client = SimulatedClient(sleep=sleep)
    outcomes = await client.answer([ask(english), ask(chinese)], model="m")
    assert slept == [max(outcome.latency_seconds for outcome in outcomes)]


async def test_like_texts_have_near_vectors():
    """Embeddings are unit vectors of 256, near for texts that share letters."""
    texts = ("I like green tea", "green tea is what I like", "我喜欢喝绿茶", "绿茶我喜欢", "")
    call = Call(Role.EMBED, Purpose.EMBED, inputs=texts)
    reply = await one(SimulatedClient(), call)
    assert all(len(vector) == 256 for vector in reply.vectors)
    assert all(abs(sum(v * v for v in vector) - 1) < 1e-5 for vector in reply.vectors)

    def near(left, right):
        return sum(a * b for a, b in zip(reply.vectors[left], reply.vectors[right], strict=True))

    assert near(0, 1) > 0.7
    assert near(0, 2) < 0.3
    assert near(2, 3) > 0.6
    assert reply.usage.output_tokens == 0
    assert reply.is_simulated


def test_another_seed_embeds_elsewhere():
    """Vectors of two seeds are not comparable."""
    assert embed("tea", seed=0) != embed("tea", seed=1)


async def test_material_is_not_changed(ask, english):
    """A call belongs to its caller: answering does not change it."""
    call = Call(
        Role.MAIN, Purpose.PLAN, (Message("user", json.dumps(english)),), response_model=Plan
    )
    before = repr(call)
    await one(SimulatedClient(), call)
    assert repr(call) == before

"""Conversations of one request to the simulated client: each is answered as if asked alone."""

import asyncio

import pytest
from pydantic import BaseModel

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, Role
from callwise.calls.client import ConversationClient
from callwise.calls.errors import CallError, RateLimited
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.service_limits import SimulatedLimits

PATH = "/chat/completions/batch"
FAULTS = SimulatedSettings(
    seed=3,
    error_rate_429=0.1,
    error_rate_500=0.1,
    timeout_rate=0.1,
    malformed_json_rate=0.1,
    latency_scale=0.1,
)


class Plan(BaseModel):
    """An answer with a form."""

    reply: str


def calls_of(count, **changes):
    """Return calls with different prompts."""
    return [
        Call(Role.MAIN, Purpose.OTHER, (Message("user", f"question {at}"),), **changes)
        for at in range(count)
    ]


def seen(end):
    """Return an end as a value that can be compared."""
    if isinstance(end, CallError):
        return type(end), str(end), vars(end)
    return end


def test_it_is_a_client_of_conversations():
    """So that the batch layer gives it common requests."""
    assert isinstance(SimulatedClient(), ConversationClient)


@pytest.mark.parametrize("form", [None, Plan])
async def test_each_has_its_own_answer_fault_and_usage(form):
    """The same as alone, byte for byte, attempt by attempt; one report of what was sent."""
    together, alone = SimulatedClient(FAULTS), SimulatedClient(FAULTS)
    calls = calls_of(60, response_model=form)
    kinds, sent = set(), []
    for _ in range(3):
        ends = await together.answer_conversations(
            calls, model="m", path=PATH, on_sent=lambda: sent.append(1)
        )
        singly = [end for call in calls for end in await alone.answer([call], model="m")]
        assert list(map(seen, ends)) == list(map(seen, singly))
        kinds.update(map(type, ends))
    assert len(sent) == 3
    assert len(kinds) > 3


async def test_a_request_lasts_as_long_as_its_slowest_conversation():
    """One wait; each reply has its own latency."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    client = SimulatedClient(sleep=sleep)
    ends = await client.answer_conversations(calls_of(5), model="m", path=PATH)
    latencies = [end.latency_seconds for end in ends]
    assert waits == [max(latencies)]
    assert len(set(latencies)) > 1


async def test_a_request_counts_once_against_the_limits_with_the_tokens_of_all():
    """What is refused is refused whole, and takes nothing."""
    limits = SimulatedLimits(requests_per_minute=1)
    client = SimulatedClient(SimulatedSettings(limits=limits), now=lambda: 0.0)
    first = await client.answer_conversations(calls_of(4), model="m", path=PATH)
    assert all(isinstance(end, Reply) for end in first)
    tokens = sum(end.usage.input_tokens + end.usage.output_tokens for end in first)
    assert (client.gate.taken["requests"], client.gate.taken["tokens"]) == (1, tokens)
    second = await client.answer_conversations(calls_of(4), model="m", path=PATH)
    assert [type(end) for end in second] == [RateLimited] * 4
    assert len(set(map(id, second))) == 4
    assert client.gate.taken["requests"] == 1
    assert client.gate.in_flight == 0


async def test_a_cancelled_request_is_in_flight_no_longer():
    """As a single one."""
    settings = SimulatedSettings(limits=SimulatedLimits(max_in_flight=1))
    client = SimulatedClient(settings, sleep=asyncio.sleep, now=lambda: 0.0)
    request = asyncio.ensure_future(client.answer_conversations(calls_of(2), model="m", path=PATH))
    await asyncio.sleep(0)
    assert client.gate.in_flight == 1
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert client.gate.in_flight == 0


@pytest.mark.parametrize("settings", [SimulatedSettings(), FAULTS])
def test_agents_of_two_models_make_two_requests_and_get_the_same_replies(settings):
    """Three agents of one model and two of another; faults are asked again alone."""
    models = ["dsv3", "dsv3", "dsv3", "qwen32b", "qwen32b"]
    calls = [
        Call(Role.MAIN, Purpose.OTHER, (Message("user", f"agent {at}"),), model=model)
        for at, model in enumerate(models)
    ]

    async def main(chat_path):
        client = SimulatedClient(settings, sleep=asyncio.sleep)
        endpoints = {name: Endpoint("simulated", name, client) for name in (Role.FAST, *models)}
        load = LoadKnobs(batch=BatchKnobs(chat_path=chat_path, is_adaptive=False, chat_size=100))
        engine = Budgeter(
            endpoints, clock=LoopClock(), load=load, retry=RetryPolicy(jitter=0), seed=1
        )
        ends = await asyncio.gather(*map(engine.ask, calls), return_exceptions=True)
        engine.ledger.check()
        return [getattr(end, "text", type(end)) for end in ends], engine.ledger.counts().usage

    texts, usage = run_in_virtual_time(main(PATH))
    singly, usage_singly = run_in_virtual_time(main(None))
    assert texts == singly
    if settings is not FAULTS:
        assert (usage.requests, usage_singly.requests) == (2, 5)
        assert usage.tokens == usage_singly.tokens

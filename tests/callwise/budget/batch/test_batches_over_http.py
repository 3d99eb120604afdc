"""Batches over HTTP against the simulated service: its log is the truth."""

import asyncio

import pytest

from callwise.budget import Budgeter
from callwise.calls import Endpoint, Role, Sampling
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from tests.callwise.budget.batch.batch_service import PATH, chat, embed

pytestmark = pytest.mark.slow

CALLS = [
    *(chat(f"Which book of {i}?", sampling=Sampling(temperature=0, seed=i % 3)) for i in range(21)),
    *(embed(f"a note of day {i}") for i in range(40)),
    embed(*(f"line {i}" for i in range(70))),
]


async def answers_of(batch, faults=()):
    """Return what calls that are asked together are answered, their ledger, and the log."""
    async with SimServer(SimulatedSettings(latency_scale=0.0), faults=list(faults)) as server:
        client = OpenAIClient(server.base_url)
        endpoint = Endpoint("local", "simulated-main", client, load=LoadKnobs(batch=batch))
        engine = Budgeter(dict.fromkeys(Role, endpoint))
        replies = await asyncio.gather(*map(engine.ask, CALLS))
        engine.ledger.check()
        await engine.aclose()
        return [(reply.text, reply.vectors) for reply in replies], engine.ledger, server.log


@pytest.mark.parametrize("faults", [(), ("500",) * 3, ("429", "ok", "500")])
async def test_answers_are_those_of_single_calls_and_counts_those_of_the_log(faults):
    """Also where requests with several calls fail."""
    alone, _, log_alone = await answers_of(None)
    batch = BatchKnobs(chat_path=PATH, max_items=30)
    together, ledger, log = await answers_of(batch, faults)
    assert together == alone
    assert len(log) < len(log_alone) / 2
    usage = ledger.counts().usage
    answered = [entry for entry in log if entry.is_answered]
    tokens = sum(entry.input_tokens + entry.output_tokens for entry in answered)
    assert (usage.requests, usage.tokens) == (len(log), tokens)

"""Texts to embed that travel together: how many, how long they wait, and who fails."""

import asyncio

import pytest
from tests.virtual_time import run_in_virtual_time

from callwise.budget import Limits
from callwise.calls.errors import BadRequest, CallRefused
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.reply import Reply

from .conftest import BatchService, budgeter, embed


def test_a_thousand_texts_in_ten_milliseconds_are_32_requests(service):
    """Each of 32 texts; each caller gets its own vector."""

    async def main():
        engine = budgeter(service)

        async def ask(index):
            await asyncio.sleep(index * 1e-5)
            reply = await engine.ask(embed(f"{'x' * index} text"))
            assert reply.vectors == ((float(index + 5), 1.0),)

        await asyncio.gather(*(ask(index) for index in range(1000)))
        return engine

    engine = run_in_virtual_time(main())
    assert len(service.requests) == 32
    counts = engine.counts()
    assert counts.usage.requests == 32
    assert counts.usage.tokens == service.tokens
    engine.ledger.check()

"""Replay of calls that travelled together: nothing is sent, and every row is as it was."""

import asyncio
from random import Random

import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Sampling
from callwise.calls.errors import BadRequest, ServerFailed
from callwise.calls.load.batch_knobs import BatchKnobs
from tests.callwise.budget.batch.batch_service import PATH, BatchService, budgeter, chat, embed

CALLS = [
    *(chat(f"question {i}", sampling=Sampling(temperature=i % 2)) for i in range(24)),
    *(embed(f"text {i}") for i in range(20)),
    embed("bad"),
    embed(*map(str, range(25))),
]


def run_of(recorder, order, users, service):
    """Return what each call was answered, by its place, and its row."""
    knobs = BatchKnobs(chat_path=PATH, max_items=10)

    async def main():
        engine = budgeter(service, batch=knobs, recorder=recorder)
        answers, gate = {}, asyncio.Semaphore(users)

        async def ask(index):
            async with gate:
                try:
                    reply = await engine.ask(CALLS[index])
                    answers[index] = reply.text or reply.vectors
                except BadRequest as error:
                    answers[index] = str(error)

        await asyncio.gather(*map(ask, order))
        engine.ledger.check()
        return answers, engine

    answers, engine = run_in_virtual_time(main())
    rows = {
        row.key: (row.usage.requests, row.usage.tokens, row.delivery, row.error)
        for row in engine.ledger.rows
    }
    return [answers[index] for index in range(len(CALLS))], rows, engine


@pytest.mark.parametrize("users", [1, 8, 64])
def test_a_strict_replay_is_equal_in_any_order(recorder, users):
    """At 1, 8 and 64 users: batches, halves, pieces and single calls are not decided again."""
    service = BatchService(bad={"bad"})
    service.script.append(ServerFailed("boom", status=500))
    everything = range(len(CALLS))
    answers, rows, _ = run_of(recorder, everything, 64, service)
    assert {delivery.batch_size for _, _, delivery, _ in rows.values()} > {0, 10}
    for seed in range(7):
        order = list(everything)
        Random(seed).shuffle(order)
        offline = BatchService()
        again, rows_again, engine = run_of(recorder.played(), order, users, offline)
        assert (again, rows_again) == (answers, rows)
        assert engine.ledger.counts().usage.sent == len(offline.requests) == 0

"""Whatever happens to calls that travel together: one end each, and counts equal to the log."""

import asyncio
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from callwise.budget import Limits
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Role, Sampling
from callwise.calls.errors import CallError, RateLimited, ServerFailed
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply
from tests.callwise.budget.batch.batch_service import PATH, BatchService, budgeter, chat, embed


def call_of(draw, index):
    """Return one of the calls of a run, chat or texts."""
    if draw.random() < 0.4:
        texts = [f"text {index} {part}" for part in range(draw.choice([1, 1, 2, 7, 23]))]
        if draw.random() < 0.1:
            texts[-1] = "bad"
        return embed(*texts, deadline_seconds=draw.choice([None, None, 0.9]))
    sampling = Sampling(temperature=draw.choice([0, 0.5, 1]))
    return chat(f"question {index}", sampling=sampling, sample=draw.choice([0, 0, 1]))


def failures_of(draw):
    """Return what happens to the first requests of conversations."""
    ends = [
        None,
        ServerFailed("boom", status=500),
        RateLimited("slow down", retry_after_seconds=0.2),
        lambda document: {**document, "choices": document["choices"][1:]},
    ]
    return [draw.choice(ends) for _ in range(6)]


@given(
    seed=st.integers(0, 10**9),
    cancels=st.integers(0, 12),
    most=st.sampled_from([None, 12]),
    slots=st.sampled_from([None, 1, 3]),
)
@example(seed=182130136, cancels=12, most=None, slots=None)  # cancelled before it begins
@example(seed=106500869, cancels=12, most=None, slots=None)  # a list in pieces is cancelled
@settings(deadline=None, max_examples=60)
def test_counts_are_those_of_the_log(seed, cancels, most, slots):
    """Every call ends once, each request is on one row, and known tokens are the service's."""
    draw = Random(seed)
    service = BatchService(seconds=draw.choice([0.1, 0.5]), bad={"bad"})
    service.script.extend(failures_of(draw))
    knobs = BatchKnobs(chat_path=PATH, max_items=10, max_concurrent=draw.choice([None, 1, 3]))
    calls = [call_of(draw, index) for index in range(40)]
    starts = [draw.choice([0.0, 0.0, 0.02, 0.3]) for _ in calls]

    load = {} if slots is None else {"schedule": ScheduleKnobs(max_concurrency=slots)}

    async def main():
        engine = budgeter(service, batch=knobs, load=load, limits=Limits(max_requests=most))

        async def ask(call, start):
            await asyncio.sleep(start)
            return await engine.ask(call)

        tasks = [
            asyncio.create_task(ask(call, start)) for call, start in zip(calls, starts, strict=True)
        ]
        for _ in range(cancels):
            await asyncio.sleep(draw.choice([0.0, 0.03, 0.1]))
            draw.choice(tasks).cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return engine, ends

    engine, ends = run_in_virtual_time(main())
    engine.ledger.check()
    assert engine.in_flight == 0
    for call, end in zip(calls, ends, strict=True):
        assert isinstance(end, Reply | CallError | asyncio.CancelledError)
        if isinstance(end, Reply) and call.is_embedding:
            assert end.vectors == tuple((float(len(text)), 1.0) for text in call.inputs)
        elif isinstance(end, Reply):
            assert end.text == f"echo {call.messages[-1].content}"
    usage = engine.ledger.counts().usage
    assert usage.requests == len(service.requests) <= (most or len(service.requests))
    for quota in engine.run.scope_limits.quotas(Role.MAIN):
        assert quota.used.requests == usage.requests, "no reservation is left"
    if not cancels:
        unknown = any(row.usage.unknown_usage for row in engine.ledger.rows)
        assert usage.tokens == service.tokens or (unknown and usage.tokens <= service.tokens)

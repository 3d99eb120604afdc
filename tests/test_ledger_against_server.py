"""The ledger's requests are what a real server received: no more, no less."""

import asyncio
import random
from contextlib import suppress

import pytest

from callwise.budget import Budgeter, Limits, ScopeKind
from callwise.calls import Call, CallError, Endpoint, Message, Outcome, Purpose, Role
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator.faults import Fault
from callwise.simulator.server import SimServer
from callwise.simulator.simulator_settings import SimulatedSettings
from tests.leaving import HurriedClock, Leaving, WatchedClient, mean_to_leave
from tests.server_audit import run_audit

QUICK_SECONDS = 3.0
"""Longest time for one attempt, where one is to time out."""


def question(*, stream=False, timeout_seconds=None, share=True):
    """Return a chat call."""
    return Call(
        role=Role.MAIN,
        purpose=Purpose.OTHER,
        messages=(Message("user", "How was your day?"),),
        stream=stream,
        share=share,
        timeout_seconds=timeout_seconds,
    )


def budgeter_for(base_url):
    """Return a budgeter over the real client, whose waits are short."""
    client = WatchedClient(OpenAIClient(base_url, api_key="none"))
    return Budgeter({Role.MAIN: Endpoint("sim", "m", client)}, clock=HurriedClock())


async def asked(budgeter, call, leaving=Leaving.STAYS):
    """Ask, leave when told to, and return the one row that it left in the ledger."""

    async def ask():
        mean_to_leave(leaving)
        return await budgeter.ask(call)

    await asyncio.gather(asyncio.create_task(ask()), return_exceptions=True)
    budgeter.ledger.check()
    (row,) = budgeter.ledger.rows
    return row


@pytest.mark.parametrize(
    ("faults", "call", "statuses"),
    [
        ((), question(), [200]),
        ((Fault.RATE_LIMITED, Fault.SERVER_ERROR), question(), [429, 500, 200]),
        pytest.param(
            *((Fault.TIMEOUT,), question(timeout_seconds=QUICK_SECONDS), [None, 200]),
            marks=pytest.mark.slow,
        ),
        ((Fault.CUT_STREAM, Fault.CUT_STREAM), question(stream=True), [200, 200, 200]),
        ((Fault.CUT_STREAM,), question(), [200, 200]),
    ],
    ids=["whole", "429 and 500", "timeout", "cut streams", "cut connection"],
)
async def test_each_attempt_is_one_request_in_ledger_and_log(faults, call, statuses):
    """A call that fails and is tried again has one request per attempt."""
    async with SimServer(faults=faults) as server:
        budgeter = budgeter_for(server.base_url)
        row = await asked(budgeter, call)
        await budgeter.aclose()
    assert [entry.status for entry in server.log] == statuses
    assert (row.outcome, row.attempts, row.requests) == (
        Outcome.SERVED,
        len(statuses),
        len(statuses),
    )


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.SERVER_ERROR])
async def test_a_call_cancelled_before_its_retry_has_paid_for_one_request(fault):
    """A call that is cancelled between two attempts has the request of the first."""
    async with SimServer(faults=[fault]) as server:
        budgeter = budgeter_for(server.base_url)
        row = await asked(budgeter, question(), Leaving.AT_RETRY)
        await budgeter.aclose()
    assert len(server.log) == 1
    assert (row.outcome, row.attempts, row.requests) == (Outcome.CANCELLED, 1, 1)


@pytest.mark.parametrize("earlier", [False, True], ids=["new connection", "kept connection"])
async def test_a_call_cancelled_while_it_is_sent_has_paid_for_one_request(earlier):
    """A call that is cancelled as its request leaves is a request that the server received."""
    async with SimServer() as server:
        client = OpenAIClient(server.base_url, api_key="none")
        if earlier:
            await client.answer((question(),), model="m")
        endpoint = Endpoint("sim", "m", WatchedClient(client))
        budgeter = Budgeter({Role.MAIN: endpoint}, clock=HurriedClock())
        row = await asked(budgeter, question(), Leaving.AS_SENT)
        # Once a later request is answered, an earlier one has certainly arrived.
        await client.answer((question(),), model="m")
        await budgeter.aclose()
    assert len(server.log) == earlier + 1 + 1
    assert (row.outcome, row.requests) == (Outcome.CANCELLED, 1)


async def test_an_attempt_without_a_connection_is_no_request():
    """Attempts at a server that does not listen are counted, and are no requests."""
    async with SimServer() as server:
        base_url = server.base_url
    budgeter = budgeter_for(base_url)
    row = await asked(budgeter, question())
    await budgeter.aclose()
    assert (row.outcome, row.attempts, row.requests) == (Outcome.FAILED, 3, 0)
    assert len(server.log) == 0


async def test_the_second_of_two_equal_calls_sends_nothing():
    """When the first of two equal calls is cancelled, the other pays and nothing is sent twice."""
    async with SimServer() as server:
        budgeter = budgeter_for(server.base_url)

        async def ask(leaving):
            mean_to_leave(leaving)
            return await budgeter.ask(question())

        first, second = await asyncio.gather(
            asyncio.create_task(ask(Leaving.AS_SENT)),
            asyncio.create_task(ask(Leaving.STAYS)),
            return_exceptions=True,
        )
        await budgeter.aclose()
    assert isinstance(first, asyncio.CancelledError)
    assert not isinstance(second, CallError)
    assert len(server.log) == 1
    by_outcome = {row.outcome: row.requests for row in budgeter.ledger.rows}
    assert by_outcome == {Outcome.CANCELLED: 0, Outcome.SERVED: 1}


@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_ledger_and_log_agree_after_every_fault(seed):
    """After many calls, faults and cancellations they agree, call by call."""
    audit = await run_audit(60, seed)
    assert audit.ledger_requests == audit.server_requests
    assert audit.differing_calls == 0
    assert audit.is_identity_whole


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))]
)
async def test_ledger_and_log_agree_after_deadlines_while_waiting_for_a_connection(seed):
    """300 calls on few connections, most with a deadline: only sent requests are counted."""
    draw = random.Random(seed)
    settings = SimulatedSettings(seed=seed, latency_scale=0.002, real_time_scale=1.0)
    async with SimServer(settings) as server:
        client = OpenAIClient(
            server.base_url,
            api_key="none",
            is_confirmed=True,
            max_connections=draw.choice((1, 2, 4, 8)),
        )
        budgeter = Budgeter({Role.MAIN: Endpoint("sim", "m", client)}, seed=seed)

        async def ask(number):
            limits = Limits(max_seconds=draw.uniform(0.001, 0.6) if number % 10 else None)
            with budgeter.scope(ScopeKind.TURN, str(number), limits=limits), suppress(CallError):
                await budgeter.ask(question(stream=number % 3 == 0, share=False))

        await asyncio.gather(*map(ask, range(300)))
        # Later requests on every connection: what left before them has arrived by then.
        await asyncio.gather(*(budgeter.ask(question(share=False)) for _ in range(8)))
        await budgeter.aclose()
    counts = budgeter.run.counts()
    assert counts.requests == len(server.log) > 8
    assert sum(row.requests == 0 for row in budgeter.ledger.rows) > 0
    assert (counts.asked, counts.in_flight) == (308, 0)
    budgeter.ledger.check()


@pytest.mark.slow
async def test_a_long_audit_has_every_fault_and_every_kind_of_cancellation():
    """Each fault, outcome and kind of cancellation that the audit names occurs."""
    audit = await run_audit(600, 7)
    assert audit.is_exact
    assert {fault for fault, number in audit.faults.items() if number} >= {
        "ok",
        "429",
        "500",
        "timeout",
        "cut_stream",
        "malformed_json",
    }
    assert set(audit.outcomes) == {
        Outcome.SERVED,
        Outcome.COALESCED,
        Outcome.FAILED,
        Outcome.CANCELLED,
    }
    assert min(audit.left_unsent, audit.left_in_flight, audit.left_at_retry) > 0

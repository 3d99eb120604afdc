"""Failing endpoints, second attempts, queues and leaving callers: each call ends once, settled."""

import asyncio
from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget import Budgeter, Limits, RetryPolicy, ScopeKind, VirtualClock
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Outcome, Prices, Purpose, ReportedUsage, Role
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallError,
    CallTimeout,
    ConnectionFailed,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.conftest import MemoryRecorder

FAILURES = (
    lambda: ServerFailed("boom"),
    lambda: CallTimeout("slow"),
    lambda: ConnectionFailed("refused", was_sent=True),
    lambda: StreamCut("cut"),
    lambda: RateLimited("slow down", retry_after_seconds=3),
    lambda: AuthFailed("no key"),
    lambda: BadRequest("wrong"),
)


def flaky(seed, failing):
    """Return a client that answers after some time, or fails as often as `failing`."""
    random = Random(seed)

    async def answer(_call):
        await asyncio.sleep(random.choice((0.1, 1.0, 8.0)))
        if random.random() < failing:
            return random.choice(FAILURES)()
        return "ok"

    return ScriptedClient(answer, usage=ReportedUsage(10, 5))


def call_of(number):
    """Return one of ten calls, the even ones of which share."""
    message = Message("user", str(number % 10))
    return Call(Role.MAIN, Purpose.OTHER, (message,), share=number % 2 == 0)


def decided(rows):
    """Return what load and failures have decided, for each call."""
    return Counter((row.key, row.delivery, row.requests, row.error_name) for row in rows)


async def replayed(budgeter, rows, random):
    """Ask the same calls in another order, and check that nothing is decided again."""
    numbers = list(range(24))
    random.shuffle(numbers)
    await asyncio.gather(
        *(budgeter.ask(call_of(number)) for number in numbers), return_exceptions=True
    )
    assert decided(budgeter.ledger.rows) == decided(rows)
    budgeter.ledger.check()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    failing=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=3),
    policy=st.sampled_from(["fallback", "least_busy", "weighted"]),
    hedge_seconds=st.sampled_from([None, 0.5, 2.0]),
    places=st.sampled_from([None, 1, 4]),
    leaving=st.sampled_from([0.0, 0.3]),
    is_drained=st.booleans(),
)
def test_each_call_ends_once_and_every_request_is_in_a_row(
    *, seed, failing, policy, hedge_seconds, places, leaving, is_drained
):
    """The rows have the requests that the endpoints have received, and nothing stays reserved."""

    async def main():
        random, clock = Random(seed), LoopClock()
        clients = [flaky(seed + n, rate) for n, rate in enumerate(failing)]
        others = [
            Endpoint(f"e{n}", "m", client, Prices(n, n), weight=n)
            for n, client in enumerate(clients[1:], start=1)
        ]
        asked = Endpoint("e0", "m", clients[0], Prices(1, 2), alternatives=tuple(others))
        load = LoadKnobs(
            route=RouteKnobs(policy=policy, hedge_seconds=hedge_seconds, hedge_share=0.5),
            breaker=BreakerKnobs(min_attempts=3, open_seconds=5, stop_seconds=None),
            schedule=None if places is None else ScheduleKnobs(max_concurrency=places),
        )
        retry = RetryPolicy(first_wait_seconds=0.5, down_seconds=5)
        recorder = MemoryRecorder()
        options = {"load": load, "retry": retry, "seed": seed}
        budgeter = Budgeter({Role.MAIN: asked}, clock=clock, recorder=recorder, **options)
        limits = Limits(max_requests=60, max_tokens=100_000, max_usd=1.0)
        turn = budgeter.run.open(ScopeKind.TURN, "1", limits=limits)

        async def ask(number):
            await asyncio.sleep(random.uniform(0, 10))
            return await budgeter.ask(call_of(number))

        with turn.entered():
            tasks = [asyncio.ensure_future(ask(number)) for number in range(24)]
        for task in tasks:
            if random.random() < leaving:
                asyncio.get_running_loop().call_later(random.uniform(0, 12), task.cancel)
        if is_drained:
            await asyncio.sleep(7)
            await budgeter.drain(2)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                assert isinstance(end, CallError | asyncio.CancelledError), end
        await asyncio.sleep(0)
        budgeter.ledger.check()
        rows = budgeter.ledger.rows
        assert sum(row.requests for row in rows) == sum(each.sent_requests for each in clients)
        assert len({row.sequence for row in rows}) == len(rows)
        counts = turn.counts()
        assert counts.in_flight == 0
        # What is reserved and what is charged is one: nothing is left over.
        left = turn.scope_limits.remaining(turn.position)
        usages = [row.usage for row in rows]
        charged = sum(usage.charged_tokens for usage in usages)
        assert left.requests_left == 60 - sum(row.requests for row in rows)
        assert left.tokens_left == 100_000 - charged
        assert {row.outcome for row in rows} <= set(Outcome)
        route = budgeter._call_path.layers["route"]
        assert not route._waiting
        assert not route._woken
        assert set(route._router._under_way.values()) <= {0}
        assert all(each._trials == 0 for each in route._breakers._breakers.values())
        assert len(asyncio.all_tasks()) == 1
        if not leaving and not is_drained:
            again = Budgeter(
                {Role.MAIN: asked}, clock=VirtualClock(), **options, recorder=recorder.played()
            )
            await replayed(again, rows, random)
            assert sum(row.requests for row in rows) == sum(each.sent_requests for each in clients)

    run_in_virtual_time(main())

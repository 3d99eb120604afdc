"""Budgeters that send their calls in common requests, each with its own limits and ledger."""

import asyncio

import pytest

from callwise.budget import Budgeter, Limits
from callwise.budget.clock import LoopClock
from callwise.budget.shared_requests import SharedRequests
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Endpoint, Prices, Role
from callwise.calls.errors import CallRefused, ConfigError
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.fleet_knobs import FleetKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from tests.callwise.budget.batch.batch_service import PATH, BatchService, chat

BATCH = LoadKnobs(batch=BatchKnobs(chat_path=PATH, is_adaptive=False))


class ClosableService(BatchService):
    """A service that counts how often it was closed."""

    closed = 0

    async def aclose(self):
        """Count it."""
        self.closed += 1


def joined(shared, service, load=BATCH, **options):
    """Return a budgeter of one service."""
    endpoint = Endpoint("served", "m", service, Prices(1.0, 2.0))
    roles = dict.fromkeys(Role, endpoint)
    return Budgeter(roles, clock=LoopClock(), load=load, shared=shared, **options)


def test_calls_of_several_budgeters_travel_together():
    """One request; each ledger has its call and its part of the tokens, and adds up."""
    services = [ClosableService(), ClosableService(), ClosableService()]

    async def main():
        shared = SharedRequests()
        engines = [joined(shared, service) for service in services]
        replies = await asyncio.gather(
            *(engine.ask(chat(f"setting {at}")) for at, engine in enumerate(engines))
        )
        for engine in engines:
            await engine.aclose()
        closed = services[0].closed
        await shared.aclose()
        await shared.aclose()
        return engines, [reply.text for reply in replies], closed

    engines, texts, closed_before = run_in_virtual_time(main())
    assert texts == ["echo setting 0", "echo setting 1", "echo setting 2"]
    assert [len(texts) for _, texts in services[0].requests] == [3]
    assert not services[1].requests
    rows = [row for engine in engines for row in engine.ledger.rows]
    assert len(rows) == 3
    assert sum(row.usage.requests for row in rows) == 1
    assert sum(row.usage.tokens for row in rows) == services[0].tokens
    assert len({row.delivery.batch for row in rows}) == 1
    for engine in engines:
        engine.ledger.check()
    assert closed_before == 0
    assert [service.closed for service in services] == [1, 1, 1]


def test_one_that_is_closed_leaves_the_requests_of_the_others():
    """Its call is cancelled; the batch that it had opened goes on with the other one."""
    services = [ClosableService(), ClosableService()]

    async def main():
        shared = SharedRequests()
        first, second = (joined(shared, service) for service in services)
        lost = asyncio.ensure_future(first.ask(chat("of the first")))
        kept = asyncio.ensure_future(second.ask(chat("of the second")))
        await asyncio.sleep(0.001)  # both wait for others
        await first.aclose()
        reply = await kept
        await asyncio.gather(lost, return_exceptions=True)
        await second.aclose()
        await shared.aclose()
        first.ledger.check()
        second.ledger.check()
        return reply.text, lost.exception()

    text, error = run_in_virtual_time(main())
    assert text == "echo of the second"
    assert error is not None
    assert [texts for _, texts in services[0].requests] == [("of the second",)]


def test_limits_remain_each_ones():
    """One that may ask nothing more refuses its call; the other one's is sent."""
    service = ClosableService()

    async def main():
        shared = SharedRequests()
        first = joined(shared, service, limits=Limits(max_calls=0))
        second = joined(shared, service)
        return await asyncio.gather(
            first.ask(chat("a")), second.ask(chat("b")), return_exceptions=True
        )

    refused, reply = run_in_virtual_time(main())
    assert isinstance(refused, CallRefused)
    assert reply.text == "echo b"


def test_places_and_rate_limits_are_there_once():
    """Three budgeters of one request per second and one place send no two in one second."""
    service = ClosableService(seconds=0.1)
    load = LoadKnobs(
        schedule=ScheduleKnobs(max_concurrency=1),
        rate=RateLimits(requests_per_minute=60, burst_seconds=1.0),
    )

    async def main():
        shared = SharedRequests()
        engines = [joined(shared, service, load) for _ in range(3)]
        await asyncio.gather(*(engine.ask(chat("a")) for engine in engines))

    run_in_virtual_time(main())
    gaps = [later - sooner for sooner, later in zip(service.times, service.times[1:], strict=False)]
    assert len(gaps) == 2
    assert min(gaps) >= 1.0 - 1e-6
    assert service.most_under_way == 1


async def test_what_has_no_common_loop_or_has_shares_of_processes_is_refused():
    """The error names the option."""
    with pytest.raises(ConfigError, match="a private loop"):
        joined(SharedRequests(), BatchService(), own_loop=True)
    with pytest.raises(ConfigError, match=r"`load\.fleet`"):
        joined(SharedRequests(), BatchService(), LoadKnobs(fleet=FleetKnobs(name="r")))

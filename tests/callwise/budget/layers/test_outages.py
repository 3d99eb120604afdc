"""Calls while all endpoints of a role are down: they wait for a trial, and never for ever."""

import asyncio
import math
from collections import Counter

import pytest

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.errors import CallError, EndpointDown, ServerFailed
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy
from callwise.testing.fakes import ScriptedClient

ONCE = RetryPolicy(server_failed_attempts=1, down_seconds=0)


class Service:
    """Two endpoints that fail until a time of the loop; logs when each was asked.

    Args:
        until_seconds: from when on they answer.
    """

    def __init__(self, until_seconds, **knobs):
        self.until_seconds = until_seconds
        self.times = []
        breaker = BreakerKnobs(min_attempts=1, open_seconds=20, **knobs)
        second = Endpoint("b", "m", ScriptedClient(self._answer))
        asked = Endpoint("a", "m", ScriptedClient(self._answer), alternatives=(second,))
        self.budgeter = Budgeter(
            {Role.MAIN: asked}, retry=ONCE, clock=LoopClock(), load=LoadKnobs(breaker=breaker)
        )

    async def _answer(self, call):
        del call
        now = asyncio.get_running_loop().time()
        self.times.append(now)
        await asyncio.sleep(1)
        if now < self.until_seconds:
            raise ServerFailed("down", status=503)
        return "ok"

    async def ask(self, number, *, at=0.0, **changes):
        """Return how a call ended, and when, which is asked at a time."""
        await asyncio.sleep(at)
        message = Message("user", f"q{number}")
        try:
            reply = await self.budgeter.ask(
                Call(Role.MAIN, Purpose.OTHER, (message,), share=False, **changes)
            )
        except CallError as error:
            return error, asyncio.get_running_loop().time()
        return reply.text, asyncio.get_running_loop().time()


def test_calls_wait_for_the_first_trial_and_go_on_after_its_success():
    """One of them is the trial; the others are sent once it has ended, in no further wait."""

    async def main():
        service = Service(until_seconds=10)
        first, _ = await service.ask("first")
        assert isinstance(first, ServerFailed)
        ends = await asyncio.gather(*(service.ask(number) for number in range(8)))
        return service, ends

    service, ends = run_in_virtual_time(main())
    assert [end for end, _ in ends] == ["ok"] * 8
    trials = [time for time in service.times if time > 2]
    assert len(trials) == 8
    assert trials[0] == pytest.approx(21)  # both opened within two seconds
    assert min(trials[1:]) >= trials[0]
    assert max(time for _, time in ends) <= 24
    rows = service.budgeter.ledger.rows
    assert all(row.usage.queue_seconds > 18 for row in rows[1:])
    assert all(row.usage.work_seconds <= 2 for row in rows)
    service.budgeter.ledger.check()


def test_a_wait_ends_where_no_trial_is_due_in_time():
    """Immediately by a knob or a deadline before it, and after a trial that has failed."""

    async def main(until_seconds, changes, **knobs):
        service = Service(until_seconds, **knobs)
        await service.ask("first")
        ends = await asyncio.gather(*(service.ask(number, **changes) for number in range(4)))
        service.budgeter.ledger.check()
        return service, ends

    for changes, knobs in (
        ({}, {"wait_seconds": 5}),
        ({"deadline_seconds": 5}, {}),
        ({}, {"wait_seconds": 0}),
    ):
        service, ends = run_in_virtual_time(main(10**9, changes, **knobs))
        assert [type(end) for end, _ in ends] == [EndpointDown] * 4
        assert {time for _, time in ends} == {2.0}
        assert len(service.times) == 2
    service, ends = run_in_virtual_time(main(10**9, {}))
    kinds = Counter(type(end) for end, _ in ends)
    assert kinds[EndpointDown] + kinds[ServerFailed] == 4
    assert kinds[ServerFailed] <= 2
    assert max(time for _, time in ends) <= 2 + 30 + 2, "all waits of a call, and two attempts"
    assert len(service.times) <= 4, "two trials at most"
    notes = [end.__notes__ for end, _ in ends if isinstance(end, EndpointDown)]
    assert all("load.breaker.wait_seconds" in note for [note] in notes)


def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing_behind():
    """The others are served as before."""

    async def main():
        service = Service(until_seconds=10)
        await service.ask("first")
        tasks = [asyncio.create_task(service.ask(number)) for number in range(4)]
        await asyncio.sleep(5)
        tasks[0].cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert service.budgeter.in_flight == 0
        service.budgeter.ledger.check()
        return ends

    gone, *ends = run_in_virtual_time(main())
    assert isinstance(gone, asyncio.CancelledError)
    assert [end for end, _ in ends] == ["ok"] * 3


def test_a_rest_of_the_wait_that_is_too_short_for_a_clock_ends_it():
    """Of the time to wait, the wait for the trial leaves less than a clock can show."""

    async def main():
        service = Service(10**9, wait_seconds=math.nextafter(19.0, 20.0))
        await service.ask("first")
        ends = await asyncio.gather(*(service.ask(number) for number in range(4)))
        service.budgeter.ledger.check()
        return ends

    ends = run_in_virtual_time(main())
    assert all(isinstance(end, EndpointDown | ServerFailed) for end, _ in ends)
    assert max(time for _, time in ends) <= 2 + 19 + 2

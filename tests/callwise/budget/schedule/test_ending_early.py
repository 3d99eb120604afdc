"""Calls that end before their turn, or under way: deadlines, cancellation, overload, a drain."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget import Budgeter, Limits, ManualClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Endpoint, Priority, Role
from callwise.calls.call import Outcome
from callwise.calls.errors import CallRefused, CallTimeout, Overloaded
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.schedule.timed_service import (
    TimedClient,
    call,
    check_idle,
    ends,
    outcomes,
    scheduled,
)

SERVED = Outcome.SERVED


def test_deadlines_of_a_scope_are_those_of_the_calls_in_it():
    """What is asked in a turn of 2 s ends by then, whether it waits or is under way."""

    async def main():
        client = TimedClient(1.5)
        budgeter = scheduled(client, max_concurrency=1)
        with budgeter.scope("turn", "t", limits=Limits(max_seconds=2.0)):
            started = asyncio.get_running_loop().time()
            found = await ends(*(budgeter.ask(call(f"{i}")) for i in range(3)))
            took = asyncio.get_running_loop().time() - started
        return found, took, client, budgeter

    found, took, client, budgeter = run_in_virtual_time(main())
    assert found[0] == "0"
    assert [type(each) for each in found[1:]] == [CallTimeout, CallTimeout]
    assert [each.was_sent for each in found[1:]] == [True, False]
    assert took == pytest.approx(2.0, abs=1e-3)
    assert client.order == ["0", "1"]
    assert budgeter.run.counts().requests == 2


def test_a_deadline_that_passes_in_the_queue_ends_the_call_unsent_with_its_quota_back():
    """The error names the wait; a deadline in the past is refused without one."""

    async def main():
        client = TimedClient(5.0)
        budgeter = scheduled(client, max_concurrency=1, limits=Limits(max_requests=2))
        first = asyncio.ensure_future(budgeter.ask(call("first")))
        await asyncio.sleep(0.1)
        (late,) = await ends(budgeter.ask(call("late", deadline_seconds=1.0)))
        assert asyncio.get_running_loop().time() == pytest.approx(1.1, abs=1e-3)
        left = budgeter.run.scope_limits.remaining(budgeter.run.position).requests_left
        (past,) = await ends(budgeter.ask(call("past", deadline_seconds=0.0)))
        await first
        return late, left, past, client, budgeter

    late, left, past, client, budgeter = run_in_virtual_time(main())
    assert isinstance(late, CallTimeout)
    assert not late.was_sent
    assert "its deadline passed after 1 s in the queue of local" in str(late)
    assert left == 1
    assert isinstance(past, CallRefused)
    assert client.order == ["first"]
    assert outcomes(budgeter) == {SERVED: 1, Outcome.FAILED: 1, Outcome.REFUSED: 1}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_cancelled_calls_leave_no_slot_taken_and_no_count_open(seed):
    """Calls are cancelled while they wait, as their turn comes, and under way."""

    async def main():
        chance = random.Random(seed)
        client = TimedClient(0.3, jitter=0.5)
        budgeter = scheduled(client, max_concurrency=3, max_tasks=4)

        async def ask(i):
            deadline = chance.choice((None, None, 0.4))
            role = chance.choice((Role.MAIN, Role.MAIN, Role.EMBED))
            fields = {"role": role, "messages": (), "inputs": (f"{i}",)} if role == "embed" else {}
            await budgeter.ask(call(f"{i}", Priority(i % 5), deadline_seconds=deadline, **fields))

        tasks = [asyncio.ensure_future(ask(i)) for i in range(60)]
        for task in chance.sample(tasks, 40):
            await asyncio.sleep(chance.choice((0, 0, 0.1, 0.3)))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return budgeter, client

    budgeter, client = run_in_virtual_time(main())
    check_idle(budgeter, client)


async def test_a_turn_that_comes_after_the_deadline_is_not_taken():
    """As after a loop that was busy, whose timers come late: it could not be answered in time."""
    may_answer = asyncio.Event()

    async def answer(_):
        await may_answer.wait()
        return "ok"

    clock, client = ManualClock(), ScriptedClient(answer)
    load = LoadKnobs(schedule=ScheduleKnobs(max_concurrency=1))
    budgeter = Budgeter({Role.MAIN: Endpoint("local", "m", client)}, clock=clock, load=load)
    asked = call("first"), call("late", deadline_seconds=1.0)
    tasks = [asyncio.ensure_future(budgeter.ask(each)) for each in asked]
    for _ in range(20):
        await asyncio.sleep(0)
    clock._now_seconds += 2.0  # no timer is called
    may_answer.set()
    _, late = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each.messages[0].content for each in client.calls] == ["first"]
    assert isinstance(late, CallTimeout)
    assert not late.was_sent
    budgeter.ledger.check()


@pytest.mark.slow
def test_4096_cancelled_calls_leave_no_orphan():
    """Every one has an outcome, the service works on none, and the next call goes immediately."""

    async def main():
        client = TimedClient(1.0)
        budgeter = scheduled(client, max_concurrency=5)
        tasks = [asyncio.ensure_future(budgeter.ask(call(f"{i}"))) for i in range(4096 + 5)]
        await asyncio.sleep(0.5)
        statistics = budgeter.statistics()["schedule"]
        assert (statistics["running"], statistics["waiting"]) == (5, 4096)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert client.under_way == 0
        assert (await budgeter.ask(call("next"))).text == "next"
        return budgeter, client

    budgeter, client = run_in_virtual_time(main())
    check_idle(budgeter, client)
    assert len(client.sent) == 6
    assert outcomes(budgeter) == {SERVED: 1, Outcome.CANCELLED: 4101}


def test_refusing_overload_names_the_knobs_and_sends_nothing():
    """The calls that wait already are served."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1, overload="refuse", max_waiting=2)
        found = await ends(*(budgeter.ask(call(f"{i}", Priority(4 - i))) for i in range(5)))
        return found, client, budgeter

    found, client, budgeter = run_in_virtual_time(main())
    assert found[:3] == ["0", "1", "2"]
    assert [type(each) for each in found[3:]] == [Overloaded, Overloaded]
    assert "2 calls wait for local already (schedule.max_waiting is 2" in str(found[3])
    assert len(client.sent) == 3
    assert outcomes(budgeter) == {SERVED: 3, Outcome.FAILED: 2}
    assert budgeter.run.counts().requests == 3
    check_idle(budgeter, client)


def test_shedding_drops_the_newest_of_the_lowest_class():
    """A call that is of that class itself is the newest, and is refused."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1, overload="shed", max_waiting=3)
        classes = (0, 4, 3, 4, 3, 0, 4, 3)
        found = await ends(
            *(budgeter.ask(call(f"{i}", Priority(each))) for i, each in enumerate(classes))
        )
        return found, client, budgeter.statistics()["schedule"]

    found, client, statistics = run_in_virtual_time(main())
    assert [isinstance(each, Overloaded) for each in found] == [
        *(False, True, False, True, False, False, True, True)
    ]
    assert "a call of class LOW took its place" in str(found[3])
    assert client.order == ["0", "5", "2", "4"]
    assert (statistics["shed"], statistics["refused"]) == (2, 2)


class Number(BaseModel):
    """Answer that the timed service never gives in this form."""

    number: int


def test_a_repair_has_the_deadline_of_the_call_that_it_repairs():
    """Its time counts from the first asking, so no chain of repairs outlives it."""

    async def main():
        client = TimedClient(1.0)
        budgeter = scheduled(client, max_concurrency=1)
        asked = call("x", response_model=Number, max_repairs=5, deadline_seconds=2.5)
        (found,) = await ends(budgeter.ask(asked))
        return found, client.sent, budgeter.run.counts()

    found, sent, counts = run_in_virtual_time(main())
    assert isinstance(found, CallTimeout)
    assert [at for at, _ in sent] == [0, 1, 2]
    assert counts.asked == 3
    assert counts.usage.work_seconds == pytest.approx(2.5, abs=1e-3)


def test_a_drain_answers_what_it_can_and_leaves_no_slot_taken():
    """Calls in the queue go on being sent until its time is over; the others are cancelled."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=2)
        tasks = [asyncio.ensure_future(budgeter.ask(call(f"{i}"))) for i in range(20)]
        await asyncio.sleep(0.5)
        await budgeter.drain(2.0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return found, budgeter, client

    found, budgeter, client = run_in_virtual_time(main())
    answered = [each for each in found if not isinstance(each, BaseException)]
    assert len(answered) == 4
    assert len(client.sent) == 6
    assert outcomes(budgeter) == {SERVED: 4, Outcome.CANCELLED: 16}
    check_idle(budgeter, client)


async def test_a_clock_that_jumps_ends_every_wait_that_is_over_by_then():
    """An hour passes in a step: late calls end unsent, and the others keep their order."""
    clock, client = ManualClock(), ScriptedClient(lambda _: "ok")
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("local", "m", client)},
        clock=clock,
        load=LoadKnobs(
            schedule=ScheduleKnobs(max_concurrency=10),
            rate=RateLimits(requests_per_minute=1, burst_seconds=0, slack_seconds=0),
        ),
    )
    deadlines = (None, 1.0, None, 30.0)
    tasks = [
        asyncio.ensure_future(budgeter.ask(call(f"{i}", deadline_seconds=each)))
        for i, each in enumerate(deadlines)
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, False, False, False]
    clock.advance(3600.0)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found[1::2]] == [CallTimeout, CallTimeout]
    assert [each.messages[0].content for each in client.calls] == ["0", "2"]
    budgeter.ledger.check()


def test_calls_that_are_abandoned_with_their_loop_leave_no_slot_taken():
    """A loop that is closed under them wakes none of the others, and the next loop can be used."""

    async def answer(asked):
        if asked.messages[0].content != "next":
            await asyncio.get_running_loop().create_future()
        return "ok"

    client = ScriptedClient(answer)
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("local", "m", client)},
        clock=ManualClock(),
        load=LoadKnobs(schedule=ScheduleKnobs(max_concurrency=2)),
    )
    loop = asyncio.new_event_loop()
    asking = [budgeter.ask(call(f"{i}", deadline_seconds=9.0)) for i in range(6)]
    tasks = [loop.create_task(each) for each in asking]
    while budgeter.statistics()["schedule"].get("waiting") != 4:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for each in tasks:
        each._log_destroy_pending = False
    for each in asking:
        each.close()
    lane = budgeter._call_path.layers["schedule"]._lanes["local", "m"]
    assert (lane.running, lane.waiting, lane._timer.is_set) == (0, 0, False)
    assert outcomes(budgeter) == {Outcome.CANCELLED: 6}
    assert asyncio.run(budgeter.ask(call("next"))).text == "ok"
    budgeter.ledger.check()

"""Rate limits as the lane applies them: order, users that wait apart, and what is given back."""

import asyncio
import random
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Endpoint, Priority, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from tests.callwise.budget.schedule.timed_service import ONCE, TimedClient, call

EVEN = {"burst_seconds": 0.0, "slack_seconds": 0.0, "token_margin": 1.0}


def limited(client, schedule=None, **rates):
    """Return a budgeter with rate limits."""
    load = LoadKnobs(schedule=schedule, rate=RateLimits(**{**EVEN, **rates}))
    endpoint = Endpoint("local", "m", client)
    return Budgeter({Role.MAIN: endpoint}, clock=LoopClock(), retry=ONCE, load=load)


async def asked_by(budgeter, user, text, priority=Priority.NORMAL):
    """Ask one call in a conversation of a user."""
    with budgeter.scope("conv", text, user=user):
        return await budgeter.ask(call(text, priority))


def lane_of(budgeter):
    """Return the only lane."""
    (lane,) = budgeter._call_path.layers["schedule"]._lanes.values()
    return lane


def test_calls_are_spaced_by_the_rate_in_the_order_of_the_queue():
    """60 per minute, one timer per turn, and a more urgent one takes the next turn."""

    async def main():
        client = TimedClient(0.1)
        budgeter = limited(client, requests_per_minute=60)
        tasks = [asyncio.ensure_future(budgeter.ask(call(f"{i}"))) for i in range(5)]
        await asyncio.sleep(1.5)
        tasks.append(asyncio.ensure_future(budgeter.ask(call("now", Priority.CRITICAL))))
        await asyncio.gather(*tasks)
        return client, lane_of(budgeter)

    client, lane = run_in_virtual_time(main())
    assert client.order == ["0", "1", "now", "2", "3", "4"]
    sent = [at for at, _ in client.sent]
    assert all(0.999 <= b - a <= 1.01 for a, b in pairwise(sent))
    assert lane.counters()["timers"] <= lane.counters()["granted"] + 10
    assert not lane._timer.is_set


def test_a_user_at_the_limit_does_not_keep_others_waiting():
    """Calls of that user wait apart, in order; those of others pass them."""

    async def main():
        client = TimedClient(0.1)
        budgeter = limited(client, users={"a": {"requests_per_minute": 60}})
        asking = [asked_by(budgeter, "a", f"a{i}") for i in range(4)]
        asking += [asked_by(budgeter, "b", f"b{i}") for i in range(4)]
        asking.append(asked_by(budgeter, "a", "a urgent", Priority.CRITICAL))
        await asyncio.gather(*asking)
        return client, lane_of(budgeter)

    client, lane = run_in_virtual_time(main())
    assert client.order == ["a0", "b0", "b1", "b2", "b3", "a urgent", "a1", "a2", "a3"]
    assert [round(at) for at, _ in client.sent] == [0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert (len(lane._queue), list(lane._parking.queues()), lane.waiting) == (0, [], 0)


def test_a_flood_of_one_limited_user_costs_each_turn_the_same():
    """5,000 parked calls are not tried again one by one each time that one may go."""

    async def main():
        client = TimedClient(0.01)
        budgeter = limited(client, users={"a": {"requests_per_minute": 6_000}})
        asking = [asked_by(budgeter, "a", f"{i}") for i in range(2_000)]
        tasks = [asyncio.ensure_future(each) for each in asking]
        await asyncio.sleep(0)
        await asyncio.sleep(5.0)
        asked = 0
        gate = lane_of(budgeter)._gate
        ready_in = gate.ready_in

        def counted(*args):
            nonlocal asked
            asked += 1
            return ready_in(*args)

        gate.ready_in = counted
        await asyncio.sleep(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return asked, client.order

    asked, order = run_in_virtual_time(main())
    assert order == [f"{i}" for i in range(len(order))]
    assert 900 <= len(order) <= 1_002
    assert asked <= 500 * 4


@example(seed=5)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_cancelled_gives_its_part_of_the_limits_back(seed):
    """Calls of several users, cancelled at any time; afterwards the next goes immediately."""

    async def main():
        chance = random.Random(seed)
        client = TimedClient(0.3, jitter=0.9)
        budgeter = limited(
            client,
            ScheduleKnobs(max_concurrency=3),
            requests_per_minute=600,
            user={"requests_per_minute": 120},
        )
        tasks = [
            asyncio.ensure_future(
                asked_by(budgeter, chance.choice("abc"), f"{i}", Priority(chance.randrange(5)))
            )
            for i in range(40)
        ]
        for task in chance.sample(tasks, 30):
            await asyncio.sleep(chance.choice((0, 0.05, 0.2)))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lane = lane_of(budgeter)
        assert (lane.running, lane.waiting, len(lane._queue)) == (0, 0, 0)
        assert not lane._timer.is_set
        assert list(lane._parking.queues()) == []
        budgeter.ledger.check()
        await asyncio.sleep(60.0)
        began = asyncio.get_running_loop().time()
        await asked_by(budgeter, "a", "next")
        return client.sent[-1][0] - began, client.under_way

    assert run_in_virtual_time(main()) == (0, 0)

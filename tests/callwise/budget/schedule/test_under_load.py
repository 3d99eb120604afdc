"""The schedule under load, in virtual time: floods, long queues, and a capacity that changes."""

import asyncio
from statistics import quantiles

import pytest

from callwise.budget import RetryPolicy
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Priority
from callwise.calls.errors import CallError
from tests.callwise.budget.schedule.timed_service import TimedClient, call, scheduled

pytestmark = pytest.mark.slow


async def timed(budgeter, asked):
    """Ask a call, and return its latency; None where it has no answer."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        await budgeter.ask(asked)
    except CallError:
        return None
    return loop.time() - started


async def interactive(budgeter, *, count, every_seconds=1.0, deadline_seconds=None):
    """Ask critical calls at a steady rate, and return their latencies."""
    tasks = []
    for i in range(count):
        asked = call(f"person {i}", Priority.CRITICAL, deadline_seconds=deadline_seconds)
        tasks.append(asyncio.ensure_future(timed(budgeter, asked)))
        await asyncio.sleep(every_seconds)
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize("slots", [1, 5])
def test_a_flood_of_background_work_costs_a_person_one_service_time_at_most(slots):
    """5,000 calls that wait, and one per second of a person: p95 <= 1.1 x idle + one service."""

    async def main(flood):
        client = TimedClient(0.6, jitter=0.3)
        budgeter = scheduled(client, max_concurrency=slots)
        background = [
            asyncio.ensure_future(budgeter.ask(call(f"{i}", Priority.BACKGROUND)))
            for i in range(flood)
        ]
        await asyncio.sleep(10.0 if flood else 0.0)  # all of them have aged
        latencies = await interactive(budgeter, count=120)
        served = sum(task.done() for task in background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        return latencies, served

    idle, _ = run_in_virtual_time(main(0))
    flooded, served = run_in_virtual_time(main(5_000))
    p95 = quantiles(flooded, n=20)[-1]
    assert p95 <= 1.1 * quantiles(idle, n=20)[-1] + 0.6
    assert served > 0.5 * slots * 120 / 0.6 - 120


def test_no_feasible_deadline_is_missed_in_a_flood():
    """A person's call may wait for one service and take one: 1.3 x 0.6 s each at most."""

    async def main():
        client = TimedClient(0.6, jitter=0.3)
        budgeter = scheduled(client, max_concurrency=2)
        background = [
            asyncio.ensure_future(budgeter.ask(call(f"{i}", Priority.BACKGROUND)))
            for i in range(5_000)
        ]
        await asyncio.sleep(10.0)
        latencies = await interactive(budgeter, count=200, deadline_seconds=1.6)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        return latencies

    latencies = run_in_virtual_time(main())
    assert None not in latencies
    assert len(latencies) == 200


def test_no_class_is_starved_by_calls_that_need_every_slot():
    """Critical calls come faster than they are served, and each class has its turns."""

    async def main():
        client = TimedClient(0.5)
        budgeter = scheduled(client, max_concurrency=2, aged_every=20)
        flood = asyncio.ensure_future(interactive(budgeter, count=1_000, every_seconds=0.2))
        await asyncio.sleep(10.0)
        others = [
            asyncio.ensure_future(timed(budgeter, call(f"{each.name}", each)))
            for each in list(Priority)[1:]
            for _ in range(3)
        ]
        done, _ = await asyncio.wait(others, timeout=150.0)
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
        return len(done), max(task.result() for task in done)

    done, longest = run_in_virtual_time(main())
    assert done == 12
    assert longest < 12 * 20 * 0.5 / 2 + 10


def test_ten_thousand_that_wait_cost_one_timer_per_turn_and_no_time():
    """For 60 s behind slow calls; deadlines of all are watched by one timer."""

    async def main():
        client = TimedClient(70.0)
        budgeter = scheduled(client, max_concurrency=5)
        tasks = [
            asyncio.ensure_future(
                budgeter.ask(call(f"{i}", Priority(i % 5), deadline_seconds=5_000.0))
            )
            for i in range(10_005)
        ]
        await asyncio.sleep(1.0)
        began = asyncio.get_running_loop().rounds
        await asyncio.sleep(60.0)
        rounds = asyncio.get_running_loop().rounds - began
        statistics = budgeter.statistics()["schedule"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return rounds, statistics

    rounds, statistics = run_in_virtual_time(main())
    assert statistics["waiting"] == 10_000
    assert statistics["timers"] <= statistics["granted"] + 10
    assert rounds <= 10  # of the event loop; nothing is polled


@pytest.mark.parametrize("refusal_seconds", [0.01, 0.1])
def test_the_number_under_way_follows_the_capacity(refusal_seconds):
    """32 -> 8 -> 64, with Retry-After of 89 s: within 10 % in 12 rounds, few 429s, no freeze."""
    phases = (32, 8, 64)
    rounds = 40

    async def main():
        client = TimedClient(
            1.0,
            jitter=0.4,
            capacity=32,
            retry_after_seconds=89.0,
            refusal_seconds=refusal_seconds,
        )
        retry = RetryPolicy(rate_limited_attempts=50, max_retry_after_seconds=90.0)
        budgeter = scheduled(client, is_adaptive=True, retry=retry)
        tasks = [asyncio.ensure_future(budgeter.ask(call(f"{i}"))) for i in range(5_000)]
        reached, goodput = [], []
        for capacity in phases:
            client.capacity = capacity
            first = None
            for elapsed in range(rounds):
                await asyncio.sleep(1.0)
                limit = budgeter.statistics()["schedule"]["limit"]
                if first is None and abs(limit - capacity) <= 0.1 * capacity:
                    first = elapsed + 1
                if elapsed == 11:
                    answered = client.answered
            reached.append(first)
            goodput.append((client.answered - answered) / (rounds - 12) / capacity)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return reached, goodput, client.refused / len(client.sent)

    reached, goodput, refused = run_in_virtual_time(main())
    assert all(first is not None and first <= 12 for first in reached)
    assert all(part >= 0.9 for part in goodput)
    assert refused <= 0.03

"""Runs of awake agents: what a process leaves unfinished, another one finishes, and no other."""

import asyncio
from collections import Counter

import pytest

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Role
from callwise.calls.errors import CallError
from callwise.wake import WakeStore
from callwise.wake.wake_run import LEASE_SECONDS, RENEW_SECONDS
from tests.callwise.wake.wake_world import HOUR, START, World, everyone, five_agents

DAY = 24 * HOUR


def test_an_hour_that_was_cut_off_is_finished_by_the_next_process():
    """Agents whose messages are there are not asked again; a finished hour is left alone."""
    answered = []

    async def two_then_none(call, model):
        if call.role is not Role.FAST:
            answered.append(model)
            if len(answered) > 2:
                await asyncio.Event().wait()
        return everyone(call, model)

    async def steps():
        world = World(five_agents(), answer=two_then_none, variant="mixed")
        assert world.store.claims.claim_slot("main", int(START), until=START + 60)
        cut_off = asyncio.ensure_future(world.wake())
        await asyncio.sleep(60)
        assert len(answered) == 5
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
        found = []
        for _ in range(2):
            next_one = World(five_agents(), answer=everyone, variant="mixed", store=world.store)
            found.append((await next_one.run(), next_one))
        return world, found

    world, [(first, asked), (second, _)] = run_in_virtual_time(steps())
    repeated, following = first.reports
    assert Counter(each.outcome for each in repeated.replies) == Counter(
        {"published before": 2, "published": 3}
    )
    assert repeated.calls == 3
    assert (repeated.at, following.at) == (START, START + HOUR)
    assert len(second.reports) == 1
    assert len(asked.client.requests) == 3 + 6
    ids = [message.id for message in world.store.rooms.messages("main")]
    assert len(ids) == len(set(ids)) == 15
    assert world.store.credits.open_holds() == []


def test_each_room_of_one_store_has_its_hours():
    """An hour that one room has claimed, and is awake, is not taken from the other."""

    async def steps():
        store = WakeStore(":memory:")
        rooms = [World(five_agents(), answer=everyone, store=store, room=name) for name in "ab"]
        return await asyncio.gather(*(world.run(count=3, is_first_now=True) for world in rooms))

    for listener in run_in_virtual_time(steps()):
        assert [each.at for each in listener.reports] == [START + HOUR * n for n in range(3)]
        assert {each.outcome for r in listener.reports for each in r.replies} == {"published"}


def hanging(role, *, seconds=None):
    """Return an answer that never comes to calls of a role, or after some seconds."""

    async def answer(call, model):
        if (call.role is Role.FAST) == (role is Role.FAST):
            await (asyncio.Event().wait() if seconds is None else asyncio.sleep(seconds))
        return everyone(call, model)

    return answer


def asked_at(world):
    """Return the times of requests within the first hour, from the start on."""
    return [time for time, *_ in world.client.requests if time < HOUR]


@pytest.mark.parametrize("role", [Role.FAST, Role.MAIN])
@pytest.mark.parametrize("pause", [5.0, 600.0])
def test_an_hour_that_was_given_up_is_woken_again_immediately(role, pause):
    """Whether its agents were chosen or not: a run that is cancelled ends its lease."""

    async def steps():
        first = World(five_agents(), answer=hanging(role), load=None)
        running = asyncio.ensure_future(first.run(is_first_now=True))
        await asyncio.sleep(pause)
        running.cancel()
        await asyncio.wait([running])
        second = World(five_agents(), answer=everyone, store=first.store)
        listener = await second.run()
        return second, listener

    second, listener = run_in_virtual_time(steps())
    assert [each.at for each in listener.reports] == [START, START + HOUR]
    assert pause <= asked_at(second)[0] < pause + 1
    assert len(asked_at(second)) == (3 if role is Role.FAST else 2)
    ids = [message.id for message in second.store.rooms.messages("main")]
    assert len(ids) == len(set(ids)) == 10


@pytest.mark.parametrize("role", [Role.FAST, Role.MAIN])
def test_an_hour_at_which_another_process_is_at_work_is_left_alone(role):
    """However long its model takes; a process that has begun meanwhile asks nothing of it."""

    async def steps():
        first = World(five_agents(), answer=hanging(role, seconds=25 * 60))
        running = asyncio.ensure_future(first.run(is_first_now=True))
        others = []
        for _ in range(3):
            await asyncio.sleep(400)
            other = World(five_agents(), answer=everyone, store=first.store)
            others.append((other, asyncio.ensure_future(other.run())))
        await running
        listeners = await asyncio.gather(*(task for _, task in others))
        return first, [other for other, _ in others], listeners

    first, others, listeners = run_in_virtual_time(steps())
    assert len(asked_at(first)) == 3
    assert [asked_at(other) for other in others] == [[]] * 3
    later = [each.at for listener in listeners for each in listener.reports]
    assert sorted(later) == [START + HOUR * hour for hour in (1, 2, 3)]


@pytest.mark.parametrize("is_first_now", [False, True])
def test_a_process_that_runs_already_takes_an_hour_over(is_first_now):
    """Of another one that dies: within its lease's end, and as long as the hour lasts."""

    async def steps():
        first = World(five_agents(), answer=everyone)
        second = World(five_agents(), answer=everyone, store=first.store)
        # A process that dies leaves its claim, and renews nothing.
        assert first.store.claims.claim_slot("main", int(START), until=START + LEASE_SECONDS)
        return second, await second.run(is_first_now=is_first_now, count=2)

    second, listener = run_in_virtual_time(steps())
    assert [each.at for each in listener.reports] == [START, START + HOUR, START + 2 * HOUR]
    assert LEASE_SECONDS <= asked_at(second)[0] <= LEASE_SECONDS + RENEW_SECONDS


def test_replies_that_failed_are_asked_again_by_each_other_process_once():
    """As those of a server that has ended while they were asked."""

    def some_fail(call, model):
        return CallError("it is down") if model == "dsv3" else everyone(call, model)

    async def steps():
        first = World(five_agents(), answer=some_fail)
        found = [await first.run(is_first_now=True)]
        others = [World(five_agents(), answer=some_fail, store=first.store) for _ in range(2)]
        found += await asyncio.gather(*(other.run() for other in others))
        return found

    found = run_in_virtual_time(steps())
    ends = [
        Counter(each.outcome for each in report.replies)
        for listener in found
        for report in listener.reports
        if report.at == START
    ]
    again = Counter({"failed": 3, "published before": 2})
    assert ends == [Counter({"failed": 3, "published": 2}), again, again]
    assert len(found[0].reports) == 1


def test_an_hour_that_is_over_is_not_woken_again():
    """Its lease has ended after it."""

    async def steps():
        world = World(five_agents(), answer=everyone)
        assert world.store.claims.claim_slot("main", int(START), until=START + HOUR + 30)
        return await world.run()

    listener = run_in_virtual_time(steps())
    assert [each.at for each in listener.reports] == [START + HOUR]


def test_a_store_that_cannot_be_written_does_not_end_the_wake(caplog, monkeypatch):
    """Without its lease the hour goes on, and the log states that it may be woken again."""

    async def steps():
        world = World(five_agents(), answer=hanging(Role.FAST, seconds=40))

        def broken(*_, **__):
            from callwise.memory.memory_errors import StoreLocked

            raise StoreLocked("the store is locked")

        monkeypatch.setattr(world.store.claims, "lease_slot", broken)
        return await world.run(is_first_now=True)

    listener = run_in_virtual_time(steps())
    assert [each.outcome for each in listener.reports[0].replies] == ["published"] * 5
    assert "it may be woken again" in caplog.text


@pytest.mark.parametrize("ahead", [3 * HOUR, 25 * HOUR, 366 * DAY])
def test_hours_that_a_wrong_clock_has_woken_do_not_stop_those_before_them(ahead):
    """Of this process or of an earlier one; those hours are left out when their time comes."""

    async def steps():
        wrong = World(five_agents(), answer=everyone)
        offset = [ahead]
        running = asyncio.ensure_future(
            wrong.run(is_first_now=True, count=4, wall=lambda: wrong.wall() + offset[0])
        )
        await asyncio.sleep(120)
        offset[0] = 0.0
        await asyncio.sleep(2 * HOUR)
        fixed = World(five_agents(), answer=everyone, store=wrong.store)
        listener = await fixed.run(count=1)
        await running
        return listener

    listener = run_in_virtual_time(steps())
    assert len(listener.reports) == 1
    assert START + 2 * HOUR < listener.reports[0].at <= START + 4 * HOUR


@pytest.mark.parametrize("every", [1.1, 7.3, 3599.9])
def test_hours_of_any_length_are_each_their_own(every):
    """Also where their multiples are rounded: none takes another one's messages for its own."""

    async def steps():
        world = World(five_agents(), answer=everyone, every_seconds=every, batch_wait_seconds=0.0)
        world.client.seconds = 0.0
        return await world.run(count=12)

    listener = run_in_virtual_time(steps())
    ids = [reply.message_id for report in listener.reports for reply in report.replies]
    assert len(ids) == len(set(ids)) == 60
    assert {reply.outcome for each in listener.reports for reply in each.replies} == {"published"}

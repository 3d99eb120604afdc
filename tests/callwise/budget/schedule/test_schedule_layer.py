"""The schedule layer: turns, slots, deadlines, cancellation, overload and what is shown."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget import Budgeter, Limits, VirtualClock
from callwise.budget.clock import LoopClock
from callwise.budget.schedule.task import TaskState
from callwise.calls import Call, Endpoint, Message, Priority, Purpose, Role
from callwise.calls.call import Outcome, Piece, Sampling
from callwise.calls.errors import CallRefused, CallTimeout, ConfigError, Overloaded
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from tests.callwise.budget.conftest import MemoryRecorder
from tests.callwise.budget.schedule.timed_service import TimedClient, call, scheduled
from tests.virtual_time import run_in_virtual_time

SERVED = Outcome.SERVED


def outcomes(budgeter):
    """Return the outcomes of the run that occurred."""
    return {outcome: n for outcome, n in budgeter.run.counts().outcomes.items() if n}


async def ends(*asking):
    """Return the texts or the errors of several calls."""
    found = await asyncio.gather(*asking, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each.text for each in found]


def test_no_more_are_under_way_than_have_a_slot_and_the_urgent_go_first():
    """Class before arrival, for all that has to wait."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=2)
        await ends(*(budgeter.ask(call(f"{i}", Priority(4 - i % 5))) for i in range(10)))
        budgeter.ledger.check()
        return client, budgeter.ledger.rows

    client, rows = run_in_virtual_time(main())
    assert client.most_under_way == 2
    assert client.order == ["0", "1", "4", "9", "3", "8", "2", "7", "6", "5"]
    waits = sorted(row.usage.queue_seconds for row in rows)
    assert waits == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(row.path_seconds == row.usage.queue_seconds + 1 for row in rows)


def test_within_a_class_an_earlier_deadline_goes_first():
    """It replaces the target of the class, which counts from asking."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1)
        calls = [call("first"), call("target"), call("late", deadline_seconds=30.0)]
        calls += [call("soon", deadline_seconds=1.5)]
        await ends(*(budgeter.ask(each) for each in calls))
        return client.order

    assert run_in_virtual_time(main()) == ["first", "soon", "target", "late"]


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


def test_a_retry_waits_in_the_queue_again_and_its_wait_is_counted():
    """The time of both waits is in the usage, apart from the time of the attempts."""

    async def main():
        client = TimedClient(1.0, capacity=1, retry_after_seconds=0.5)
        budgeter = scheduled(client, max_concurrency=2, retry=None)
        await ends(*(budgeter.ask(call(f"{i}")) for i in range(3)))
        return client, budgeter.ledger.rows

    client, rows = run_in_virtual_time(main())
    assert client.refused > 0
    assert all(row.outcome is SERVED for row in rows)
    assert all(row.path_seconds == pytest.approx(row.usage.path_seconds, abs=1e-5) for row in rows)


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


def check_idle(budgeter, client):
    """Check that nothing is taken, waits, or is set as a timer."""
    budgeter.ledger.check()
    assert client.under_way == 0
    layer = budgeter._call_path.layers["schedule"]
    assert layer._slots.taken == 0
    for lane in layer._lanes.values():
        assert (lane.running, lane.waiting, len(lane._queue)) == (0, 0, 0)
        assert not lane._timer.is_set
    counts = budgeter.run.counts()
    assert counts.in_flight == 0
    assert counts.requests == len(client.sent)
    statistics = layer.statistics()
    assert (statistics["waiting"], statistics["running"]) == (0, 0)


def test_the_run_has_ten_slots_for_all_its_endpoints():
    """An endpoint that may have more raises it; a limit of the run does not give way."""

    async def main(**knobs):
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=8, **knobs)
        asking = [budgeter.ask(call(f"{i}")) for i in range(20)]
        asking += [
            budgeter.ask(call("", role=Role.EMBED, messages=(), inputs=(f"e{i}",)))
            for i in range(20)
        ]
        await asyncio.gather(*asking)
        return client.most_under_way

    assert run_in_virtual_time(main()) == 10
    assert run_in_virtual_time(main(max_tasks=3)) == 3
    assert run_in_virtual_time(main(max_embedding_concurrency=12)) == 12


def test_no_endpoint_is_starved_by_another_one_of_the_run():
    """One choice in so many goes to the call that has waited longest."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1, max_tasks=1, aged_every=4)
        embedding = Call(Role.EMBED, Purpose.EMBED, inputs=("e",), priority=Priority.BACKGROUND)
        tasks = []
        for i in range(40):
            tasks.append(asyncio.ensure_future(budgeter.ask(call(f"{i}", Priority.CRITICAL))))
            if i == 3:
                tasks.append(asyncio.ensure_future(budgeter.ask(embedding)))
            await asyncio.sleep(0.5)
        await asyncio.gather(*tasks)
        return client.order

    assert run_in_virtual_time(main()).index("e") < 16


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
        classes = (0, 4, 3, 4, 3, 0, 4)
        found = await ends(
            *(budgeter.ask(call(f"{i}", Priority(each))) for i, each in enumerate(classes))
        )
        return found, client, budgeter.statistics()["schedule"]

    found, client, statistics = run_in_virtual_time(main())
    assert [isinstance(each, Overloaded) for each in found] == [
        *(False, True, False, True, False, False, True)
    ]
    assert "a call of class LOW took its place" in str(found[3])
    assert client.order == ["0", "5", "2", "4"]
    assert (statistics["shed"], statistics["refused"]) == (2, 1)


def test_the_state_of_every_task_and_the_level_can_be_read():
    """Low while a call goes immediately, high while it waits, overloaded at `max_waiting`."""

    async def main():
        budgeter = scheduled(TimedClient(), max_concurrency=1, max_waiting=2)
        seen = []
        tasks = []
        for i in range(3):
            tasks.append(asyncio.ensure_future(budgeter.ask(call(f"{i}", deadline_seconds=9.0))))
            await asyncio.sleep(0.1)
            (lane,) = budgeter.lanes()
            seen.append((lane.level, [task.state for task in lane.tasks]))
        waiting = lane.tasks[1]
        await asyncio.gather(*tasks)
        (lane,) = budgeter.lanes()
        return seen, waiting, lane

    seen, waiting, lane = run_in_virtual_time(main())
    running, waits = TaskState.RUNNING, TaskState.WAITING
    assert seen == [
        ("high", [running]),
        ("high", [running, waits]),
        ("overloaded", [running, waits, waits]),
    ]
    assert (waiting.calls, waiting.priority, waiting.purpose) == ((2,), Priority.NORMAL, "reason")
    assert waiting.waited_seconds == pytest.approx(0.2)
    assert waiting.seconds_left == pytest.approx(8.8)
    assert (lane.endpoint, lane.model, lane.level, lane.limit) == ("local", "m", "low", 1)
    assert (lane.tasks, lane.counters["done"], lane.counters["most_waiting"]) == ((), 3, 2)


def test_a_shared_call_is_as_urgent_as_the_most_urgent_that_waits_for_it():
    """A critical call that joins a waiting background one takes it along."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1)
        greedy = Sampling(temperature=0.0)
        asking = [
            budgeter.ask(call("first", Priority.CRITICAL)),
            budgeter.ask(call("same", Priority.BACKGROUND, sampling=greedy)),
            budgeter.ask(call("normal", Priority.NORMAL)),
            budgeter.ask(call("same", Priority.CRITICAL, sampling=greedy)),
        ]
        await asyncio.gather(*asking)
        return client.order, budgeter

    order, budgeter = run_in_virtual_time(main())
    assert order == ["first", "same", "normal"]
    assert outcomes(budgeter) == {SERVED: 3, Outcome.COALESCED: 1}


def test_of_calls_with_a_common_beginning_the_first_goes_ahead():
    """The others wait for its answer, whatever slots are free; another beginning does not."""

    def asked(text, beginning="long " * 20):
        return call(text, messages=(Message("system", beginning), Message("user", text)))

    async def main(**knobs):
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=5, **knobs)
        calls = [asked(f"{i}") for i in range(4)] + [asked("other", "else " * 20)]
        calls.append(asked("short", "a"))
        await asyncio.gather(*(budgeter.ask(each) for each in calls))
        await asyncio.gather(*(budgeter.ask(asked(f"later {i}")) for i in range(2)))
        return client.sent, budgeter.statistics()["schedule"]

    sent, statistics = run_in_virtual_time(
        main(warm_prefix_seconds=300.0, warm_prefix_characters=50)
    )
    assert sent == [
        *((0, text) for text in ("0", "other", "short")),
        *((1, text) for text in ("1", "2", "3")),
        *((2, text) for text in ("later 0", "later 1")),
    ]
    assert (statistics["prefix_firsts"], statistics["prefix_followers"]) == (2, 5)
    sent, _ = run_in_virtual_time(main())
    assert [at for at, _ in sent] == [0] * 5 + [1] * 1 + [2] * 2


class StreamingClient(TimedClient):
    """A service whose answers begin long before they end."""

    async def answer(self, calls, *, model, on_sent=None):
        """Stream one answer: its beginning after 0.2 s."""
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, calls[0].listener.on_piece, Piece("begin"))
        return await super().answer(calls, model=model, on_sent=on_sent)


def test_a_streamed_answer_lets_the_others_go_when_it_begins():
    """The cache has read the common beginning by then."""

    def asked(text):
        messages = (Message("system", "long " * 20), Message("user", text))
        return call(text, messages=messages, stream=True)

    async def main():
        client = StreamingClient()
        budgeter = scheduled(
            client, max_concurrency=5, warm_prefix_seconds=300.0, warm_prefix_characters=50
        )
        await asyncio.gather(*(budgeter.ask(asked(f"{i}")) for i in range(3)))
        check_idle(budgeter, client)
        return client.sent

    assert run_in_virtual_time(main()) == [(0, "0"), (0.2, "1"), (0.2, "2")]


def test_where_the_first_of_a_common_beginning_fails_the_next_goes_ahead():
    """A cancelled one leaves its place too."""

    def asked(text):
        return call(text, messages=(Message("system", "long " * 20), Message("user", text)))

    async def main():
        client = TimedClient()
        budgeter = scheduled(
            client, max_concurrency=5, warm_prefix_seconds=300.0, warm_prefix_characters=50
        )
        tasks = [asyncio.ensure_future(budgeter.ask(asked(f"{i}"))) for i in range(4)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        check_idle(budgeter, client)
        return client.sent

    assert run_in_virtual_time(main()) == [(0, "0"), (0.5, "1"), (1.5, "2"), (1.5, "3")]


async def test_on_a_virtual_clock_nothing_is_scheduled():
    """There nothing waits, and a replay decides nothing again."""
    budgeter = Budgeter.simulated(
        clock=VirtualClock(), load=LoadKnobs(schedule=ScheduleKnobs(max_concurrency=1))
    )
    assert "schedule" not in budgeter.statistics()
    assert budgeter.lanes() == ()
    await asyncio.gather(*(budgeter.ask(call(f"{i}")) for i in range(3)))


def test_an_endpoint_has_its_knobs_laid_over_those_of_the_run():
    """Field by field; a schedule of one endpoint alone does not limit the others."""

    async def main(run, own):
        client = TimedClient()
        endpoint = Endpoint("local", "m", client, load=LoadKnobs(schedule=own))
        other = Endpoint("vectors", "e", client)
        budgeter = Budgeter(
            {Role.MAIN: endpoint, Role.EMBED: other},
            clock=LoopClock(),
            load=LoadKnobs(schedule=run),
        )
        await asyncio.gather(*(budgeter.ask(call(f"{i}")) for i in range(4)))
        limits = {lane.endpoint: lane.limit for lane in budgeter.lanes()}
        embedding = Call(Role.EMBED, Purpose.EMBED, inputs=("e",))
        await budgeter.ask(embedding)
        return limits | {lane.endpoint: lane.limit for lane in budgeter.lanes()}

    three = ScheduleKnobs(max_concurrency=3)
    assert run_in_virtual_time(main(None, three)) == {"local": 3, "vectors": None}
    assert run_in_virtual_time(main(ScheduleKnobs(), three)) == {"local": 3, "vectors": 10}


def test_an_endpoint_with_a_schedule_is_not_added_to_a_budgeter_without():
    """Its limits would not bind."""
    endpoint = Endpoint("local", "m", TimedClient(), load=LoadKnobs(schedule=ScheduleKnobs()))
    with pytest.raises(ConfigError, match="local has a schedule or rate limits"):
        Budgeter().add_endpoint(Role.MAIN, endpoint)
    budgeter = Budgeter(load=LoadKnobs(schedule=ScheduleKnobs()))
    budgeter.add_endpoint(Role.MAIN, endpoint)
    Budgeter(clock=VirtualClock()).add_endpoint(Role.MAIN, endpoint)


def test_a_replay_of_a_scheduled_run_sends_nothing_and_returns_the_same():
    """Shed and late calls included; nothing of the schedule is decided again."""

    async def main(recorder, client):
        budgeter = scheduled(
            client, max_concurrency=1, overload="shed", max_waiting=3, recorder=recorder
        )
        calls = [
            call(f"{i}", Priority(i % 5), deadline_seconds=1.5 if i == 4 else None)
            for i in range(8)
        ]
        found = await ends(*(budgeter.ask(each) for each in calls))
        budgeter.ledger.check()
        rows = sorted(budgeter.ledger.rows, key=lambda row: row.sequence)
        return [str(each) for each in found], [row.usage.queue_microseconds for row in rows]

    recorder, client = MemoryRecorder(), TimedClient()
    recorded = run_in_virtual_time(main(recorder, client))
    assert len(client.sent) < 8
    replayed_client = TimedClient()
    assert run_in_virtual_time(main(recorder.played(), replayed_client)) == recorded
    assert replayed_client.sent == []


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

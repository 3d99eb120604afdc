"""The schedule layer: turns, slots, common beginnings, and what is shown of it."""

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget import Budgeter, VirtualClock
from callwise.budget.clock import LoopClock
from callwise.budget.schedule.task import TaskState
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Priority, Purpose, Role
from callwise.calls.call import Outcome, Sampling
from callwise.calls.errors import ConfigError, ServerFailed
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.pieces import Piece
from callwise.calls.retry import RetryPolicy
from tests.callwise.budget.conftest import MemoryRecorder
from tests.callwise.budget.schedule.timed_service import (
    TimedClient,
    call,
    check_idle,
    ends,
    outcomes,
    scheduled,
)

SERVED = Outcome.SERVED


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
    """A deadline goes before the targets of others, which count from asking."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1)
        calls = [call("first"), call("target"), call("late", deadline_seconds=30.0)]
        calls += [call("soon", deadline_seconds=1.5)]
        await ends(*(budgeter.ask(each) for each in calls))
        return client.order

    assert run_in_virtual_time(main()) == ["first", "soon", "late", "target"]


CLASSES = st.sampled_from(Priority)
DEADLINES = st.none() | st.floats(60.0, 1e12) | st.just(math.inf)


@settings(max_examples=60)
@given(others=st.lists(st.tuples(CLASSES, DEADLINES), max_size=12), data=st.data())
def test_no_call_goes_later_for_a_deadline_that_can_be_kept(others, data):
    """However many others wait, of any class, with deadlines and without."""
    place = data.draw(st.integers(0, len(others)))
    priority = data.draw(CLASSES)

    async def turn_of(deadline_seconds):
        client = TimedClient(0.01)
        budgeter = scheduled(client, max_concurrency=1)
        waiting = [*others[:place], (priority, deadline_seconds), *others[place:]]
        calls = [
            call(f"{index}", each, deadline_seconds=limit)
            for index, (each, limit) in enumerate(waiting)
        ]
        await ends(budgeter.ask(call("first")), *(budgeter.ask(each) for each in calls))
        return client.order.index(f"{place}")

    without = run_in_virtual_time(turn_of(None))
    assert run_in_virtual_time(turn_of(data.draw(DEADLINES))) <= without


def test_calls_without_a_deadline_get_turns_among_those_with_one():
    """Aged, one of so many, however many calls with deadlines come."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=1, aged_every=4)
        asking = [budgeter.ask(call("open"))]
        asking += [budgeter.ask(call(f"{i}", deadline_seconds=1e6)) for i in range(40)]
        await ends(budgeter.ask(call("first")), *asking)
        return client.order.index("open")

    assert run_in_virtual_time(main()) == 8


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


def test_the_run_has_ten_slots_for_all_its_endpoints():
    """An endpoint that may have more raises it; a limit of the run does not give way."""

    async def main(**knobs):
        client = TimedClient()
        budgeter = scheduled(client, **{"max_concurrency": 8, **knobs})
        asking = [budgeter.ask(call(f"{i}")) for i in range(20)]
        asking += [
            budgeter.ask(call("", role=Role.EMBED, messages=(), inputs=(f"e{i}",)))
            for i in range(20)
        ]
        await asyncio.gather(*asking)
        return client.most_under_way

    assert run_in_virtual_time(main()) == 10
    assert run_in_virtual_time(main(max_concurrency=2, max_tasks=3)) == 3
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


def test_the_class_of_a_purpose_is_a_knob():
    """A class that a call has itself goes before it."""

    async def main():
        client = TimedClient()
        knobs = {"judge": "background", "remember": "critical"}
        budgeter = scheduled(client, max_concurrency=1, priorities=knobs)
        asked = [
            call("first", None),
            call("judge", None, purpose=Purpose.JUDGE),
            call("urgent judge", Priority.NORMAL, purpose=Purpose.JUDGE),
            call("expand", None, purpose=Purpose.EXPAND),
            call("remember", None, purpose=Purpose.REMEMBER),
        ]
        await asyncio.gather(*(budgeter.ask(each) for each in asked))
        return client.order

    order = ["first", "remember", "urgent judge", "expand", "judge"]
    assert run_in_virtual_time(main()) == order


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


def test_a_common_beginning_that_was_not_used_for_long_is_cold_again():
    """The provider keeps it for so long, and then the first of several goes ahead."""

    def asked(text):
        return call(text, messages=(Message("system", "long " * 20), Message("user", text)))

    async def main():
        client = TimedClient()
        budgeter = scheduled(
            client, max_concurrency=5, warm_prefix_seconds=300.0, warm_prefix_characters=50
        )
        for pause_seconds in (0.0, 298.5, 301.0):
            await asyncio.sleep(pause_seconds)
            await asyncio.gather(*(budgeter.ask(asked(f"{i}")) for i in range(2)))
        return [at for at, _ in client.sent]

    assert run_in_virtual_time(main()) == [0, 1, 300.5, 300.5, 602.5, 603.5]


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


def test_a_success_after_a_failed_attempt_shows_nothing_about_the_capacity():
    """The number under way grows by answers to first attempts alone."""

    class Failing(TimedClient):
        async def answer(self, calls, *, model, on_sent=None):
            results = await super().answer(calls, model=model, on_sent=on_sent)
            return [ServerFailed("boom")] if len(self.sent) % 2 else results

    async def limit_after(client):
        retry = RetryPolicy(server_failed_attempts=2, first_wait_seconds=0.0)
        budgeter = scheduled(client, retry=retry, max_concurrency=1, is_adaptive=True)
        for number in range(4):
            await budgeter.ask(call(f"{number}"))
        return budgeter.lanes()[0].limit

    assert run_in_virtual_time(limit_after(Failing())) == 1
    assert run_in_virtual_time(limit_after(TimedClient())) == 2


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

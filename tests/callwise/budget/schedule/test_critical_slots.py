"""Slots that are kept for calls of class CRITICAL: of an endpoint, and of the run."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.schedule.run_slots import Slots
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Priority, Purpose, Role
from tests.callwise.budget.schedule.timed_service import (
    TimedClient,
    call,
    check_idle,
    ends,
    scheduled,
)

CRITICAL = Priority.CRITICAL


async def flooded(budgeter, count, *later, after_seconds=0.5):
    """Ask so many NORMAL calls, then others while those are under way."""
    flood = [asyncio.ensure_future(budgeter.ask(call(f"n{i}"))) for i in range(count)]
    await asyncio.sleep(after_seconds)
    await ends(*flood, *(budgeter.ask(each) for each in later))


def test_a_critical_call_waits_for_no_other_class():
    """One of three slots is free however many wait; a second critical call is the next to go."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=3, critical_slots=1)
        await flooded(budgeter, 6, call("c0", CRITICAL), call("c1", CRITICAL))
        check_idle(budgeter, client)
        return client

    client = run_in_virtual_time(main())
    assert client.sent[:4] == [(0.0, "n0"), (0.0, "n1"), (0.5, "c0"), (1.0, "c1")]
    assert client.most_under_way == 3


def test_others_use_as_many_as_are_not_kept():
    """Two at a time of three; a single slot is for all classes."""

    async def main(most):
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=most, critical_slots=1)
        await flooded(budgeter, 4)
        return client.most_under_way, client.sent[-1][0]

    assert run_in_virtual_time(main(3)) == (2, 1.0)
    assert run_in_virtual_time(main(1)) == (1, 3.0)


def test_the_run_keeps_slots_too():
    """Where the endpoints have more slots than the run, the last of the run is kept."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=4, max_tasks=4, critical_slots=1)
        texts = (f"e{i}" for i in range(4))
        embeddings = [Call(Role.EMBED, Purpose.EMBED, inputs=(text,)) for text in texts]
        asking = [asyncio.ensure_future(budgeter.ask(each)) for each in embeddings]
        await flooded(budgeter, 4, call("c", CRITICAL))
        await asyncio.gather(*asking)
        check_idle(budgeter, client)
        return client

    client = run_in_virtual_time(main())
    assert [time for time, _ in client.sent[:4]] == [0.0, 0.0, 0.0, 0.5]
    assert client.sent[3] == (0.5, "c")


def test_an_aged_call_of_another_class_does_not_take_a_kept_slot():
    """Its turns are among the slots of all classes; a critical call behind it still goes."""

    async def main():
        client = TimedClient(20.0)
        budgeter = scheduled(client, max_concurrency=2, critical_slots=1, aged_every=1)
        await flooded(budgeter, 3, call("c", CRITICAL), after_seconds=15.0)
        return client.sent

    assert run_in_virtual_time(main()) == [(0.0, "n0"), (15.0, "c"), (20.0, "n1"), (40.0, "n2")]


def test_a_call_that_becomes_critical_takes_a_kept_slot():
    """A waiting call that a critical one joins goes immediately."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=2, critical_slots=1)
        flood = asyncio.ensure_future(budgeter.ask(call("first")))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(budgeter.ask(call("same", share=True)))
        await asyncio.sleep(0.5)
        await asyncio.gather(flood, waiting, budgeter.ask(call("same", CRITICAL, share=True)))
        return client.sent

    assert run_in_virtual_time(main()) == [(0.0, "first"), (0.5, "same")]


def test_a_deadline_of_what_may_not_take_a_kept_slot_passes_in_time():
    """The free slot of others does not keep it waiting."""

    async def main():
        client = TimedClient(9.0)
        budgeter = scheduled(client, max_concurrency=2, critical_slots=1)
        asking = budgeter.ask(call("late", deadline_seconds=2.0))
        first, late = await ends(budgeter.ask(call("first")), asking)
        return first, str(late), client.order

    first, late, order = run_in_virtual_time(main())
    assert (first, order) == ("first", ["first"])
    assert "its deadline passed after 2 s" in late


def test_the_level_is_that_of_the_other_classes():
    """`high` once a NORMAL call would wait, though a critical one would not."""

    async def main():
        budgeter = scheduled(TimedClient(), max_concurrency=2, critical_slots=1)
        asking = asyncio.ensure_future(budgeter.ask(call("n")))
        await asyncio.sleep(0.1)
        (lane,) = budgeter.lanes()
        await asking
        return lane.level

    assert run_in_virtual_time(main()) == "high"


def test_an_adaptive_limit_grows_while_slots_are_kept():
    """They count as taken, so that the others can show that the endpoint takes more."""
    slots = Slots(3, 2)
    slots.take(Priority.NORMAL)
    assert (slots.taken, slots.used, slots.has_one_for(Priority.HIGH)) == (1, 3, False)
    slots.take(CRITICAL)
    assert (slots.taken, slots.used, slots.has_one_for(CRITICAL)) == (2, 3, True)

    async def main():
        client = TimedClient(capacity=8)
        knobs = {"is_adaptive": True, "critical_slots": 1, "max_adaptive_concurrency": 50}
        budgeter = scheduled(client, max_concurrency=2, retry=None, **knobs)
        await flooded(budgeter, 400)
        return client

    assert run_in_virtual_time(main()).most_under_way == 8


def test_critical_calls_without_end_leave_the_others_their_slots():
    """Aged calls of other classes have their turns among the slots that are not kept."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=2, critical_slots=1, aged_every=2)
        asking = []
        for number in range(60):
            asking.append(asyncio.ensure_future(budgeter.ask(call(f"c{number}", CRITICAL))))
            if number == 2:
                asking.append(asyncio.ensure_future(budgeter.ask(call("n", Priority.LOW))))
            await asyncio.sleep(0.3)
        await asyncio.gather(*asking)
        return client.sent

    sent = run_in_virtual_time(main())
    (at,) = [time for time, text in sent if text == "n"]
    assert 5.0 < at < 12.0 < sent[-1][0]


@settings(max_examples=40, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.floats(0.0, 10.0), st.sampled_from(Priority)), max_size=25),
    most=st.integers(1, 4),
    kept=st.integers(0, 4),
)
def test_no_slot_is_lost_and_no_other_class_is_over_its_part(arrivals, most, kept):
    """Every call ends, and those of other classes are never more than they may be."""

    async def main():
        client = TimedClient()
        budgeter = scheduled(client, max_concurrency=most, critical_slots=kept)

        async def asked(number, at, priority):
            await asyncio.sleep(at)
            await budgeter.ask(call(f"{priority.name} {number}", priority))

        await asyncio.gather(*(asked(i, *each) for i, each in enumerate(arrivals)))
        if arrivals:
            check_idle(budgeter, client)
        return client

    client = run_in_virtual_time(main())
    assert client.answered == len(arrivals)
    assert client.most_under_way <= most
    others = [time for time, text in client.sent if not text.startswith("CRITICAL")]
    for time in others:  # each takes 1 s
        under_way = [each for each in others if time - 1.0 + 1e-6 < each <= time]
        assert len(under_way) <= max(most - kept, 1)


@pytest.mark.parametrize("critical_slots", [-1, 10_001, "one"])
def test_a_number_of_kept_slots_out_of_its_range_is_refused(critical_slots):
    """The error names the knob."""
    with pytest.raises(ValueError, match="critical_slots"):
        scheduled(TimedClient(), critical_slots=critical_slots)

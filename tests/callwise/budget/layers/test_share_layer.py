"""Single shared: who pays, who leaves, and when the work ends."""

import asyncio

import pytest

from callwise.budget.layers.share import SharedWork
from callwise.calls import CallRefused


class Work:
    """Work that waits for a gate, and notes whether it was cancelled."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.was_cancelled = False

    async def run(self):
        """Wait, and answer."""
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "answer"


def refusal(name):
    """Return the refusal of a waiter that cannot pay."""
    return CallRefused(name, "max_calls", 0, 0, 1)


class WorkByKey:
    """Work under way by its name, as the layer keeps it."""

    def __init__(self, take_over):
        self._take_over = take_over
        self.under_way = {}

    def start(self, payer, work):
        """Start work that others may join."""
        shared = SharedWork(payer, work, self._take_over, lambda: self.under_way.pop("key"))
        self.under_way["key"] = shared
        return shared


class Payers:
    """Changes of the payer, and the waiters that cannot pay."""

    def __init__(self, *poor):
        self.poor = set(poor)
        self.changes = []

    def take_over(self, payer, previous):
        """Change the payer, or refuse."""
        if payer in self.poor:
            return refusal(payer)
        self.changes.append((previous, payer))
        return None


async def start(payers, names):
    """Return the works, work under way for the first name, and all waiters for it."""
    works, work = WorkByKey(payers.take_over), Work()
    shared = works.start(names[0], work.run())
    waits = {name: asyncio.ensure_future(shared.wait(name)) for name in names}
    await asyncio.sleep(0)
    return works, shared, work, waits


async def test_all_waiters_get_the_answer_and_none_joins_afterwards():
    """One answer for all, and then the key is free again."""
    works, _, work, waits = await start(Payers(), "abc")
    assert works.under_way
    work.gate.set()
    assert await asyncio.gather(*waits.values()) == ["answer"] * 3
    assert not works.under_way


async def test_the_next_waiter_that_can_pay_pays():
    """Each payer that leaves hands over to the next that waits."""
    payers = Payers("b")
    _, shared, work, waits = await start(payers, "abcd")
    waits["a"].cancel()
    await asyncio.wait([waits["a"]])
    assert (shared.payer, payers.changes) == ("c", [("a", "c")])
    waits["c"].cancel()
    await asyncio.wait([waits["c"]])
    assert shared.payer == "d"
    work.gate.set()
    assert await waits["b"] == await waits["d"] == "answer"
    assert not work.was_cancelled


async def test_all_cancelled_at_once_cancels_the_work():
    """Waiters that are being cancelled too do not become the payer."""
    payers = Payers()
    works, _, work, waits = await start(payers, "abc")
    for task in waits.values():
        task.cancel()
    await asyncio.wait(waits.values())
    assert payers.changes == []
    assert work.was_cancelled
    assert not works.under_way


async def test_a_follower_that_leaves_changes_nothing():
    """Only when the payer leaves does it change."""
    payers = Payers()
    _, shared, work, waits = await start(payers, "ab")
    waits["b"].cancel()
    await asyncio.wait([waits["b"]])
    work.gate.set()
    assert await waits["a"] == "answer"
    assert (shared.payer, payers.changes) == ("a", [])


async def test_those_who_cannot_pay_are_refused_when_the_payer_leaves():
    """Everyone left gets their own refusal, and the work stops."""
    _, _, work, waits = await start(Payers("b", "c"), "abc")
    waits["a"].cancel()
    for name in "bc":
        with pytest.raises(CallRefused) as caught:
            await waits[name]
        assert caught.value.scope == name
    await asyncio.wait([waits["a"]])
    assert work.was_cancelled


async def test_a_leaving_payer_waits_until_the_work_has_come_to_rest():
    """What cancelled work has spent is known when the cancellation is raised."""
    rest = asyncio.Event()
    log = []

    async def slow_to_stop():
        try:
            await asyncio.Event().wait()
        finally:
            await rest.wait()
            log.append("settled")

    works = WorkByKey(Payers().take_over)
    task = asyncio.ensure_future(works.start("a", slow_to_stop()).wait("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    rest.set()
    await asyncio.wait([task])
    assert (log, task.cancelled()) == (["settled"], True)


async def test_a_second_cancellation_does_not_wait():
    """Work that will not stop cannot keep its caller for ever."""

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            await rest.wait()

    rest = asyncio.Event()
    works = WorkByKey(Payers().take_over)
    task = asyncio.ensure_future(works.start("a", stubborn()).wait("a"))
    for _ in range(2):
        await asyncio.sleep(0)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert task.cancelled()
    rest.set()
    await asyncio.sleep(0)


async def test_a_failure_reaches_everyone():
    """An error of the work is every waiter's error."""

    async def fail():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    works = WorkByKey(Payers().take_over)
    shared = works.start("a", fail())
    results = await asyncio.gather(*map(shared.wait, "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2

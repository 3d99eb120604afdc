"""Second attempts next to slow ones: when they begin, which of the two counts, and what is paid."""

import asyncio
import gc

import pytest

from callwise.budget import Budgeter, Limits, RetryPolicy, ScopeKind, VirtualClock
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Delivery, Endpoint, Message, Outcome, Priority, Purpose, Role
from callwise.calls.errors import ServerFailed
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.testing.fakes import ScriptedClient

ONCE = RetryPolicy(server_failed_attempts=1)


def slow(seconds, answer="ok"):
    """Return a client that takes so many seconds for each of its calls."""
    times = iter(seconds)

    async def wait(_call):
        await asyncio.sleep(next(times))
        return answer

    return ScriptedClient(wait)


def call(text="hi", **more):
    """Return a call."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", text),), **more)


def role_of(first, other=None, *, share=1.0, **knobs):
    """Return a budgeter that hedges, and options for another one."""
    alternatives = () if other is None else (Endpoint("b", "m", other),)
    options = {name: knobs.pop(name) for name in ("recorder", "retry") if name in knobs}
    load = LoadKnobs(route=RouteKnobs(hedge_share=share, **knobs))
    asked = Endpoint("a", "m", first, alternatives=alternatives)
    return Budgeter({Role.MAIN: asked}, clock=LoopClock(), load=load, **options)


def test_a_slow_attempt_is_overtaken_at_another_endpoint():
    """Both are counted, the slow one is cancelled and settled, and the row has the way."""

    async def main():
        a, b = slow([10]), slow([0.5])
        budgeter = role_of(a, b, hedge_seconds=1)
        assert (await budgeter.ask(call())).text == "ok"
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)
        (row,) = budgeter.ledger.rows
        assert (row.outcome, row.attempts, row.requests) == (Outcome.SERVED, 2, 2)
        assert (row.unknown_usage, row.usage.output_tokens) == (1, 5)
        assert row.delivery == Delivery(endpoint="b", model="m", hedges=1)
        assert (a.cancelled_calls, b.cancelled_calls) == (1, 0)
        assert budgeter.statistics()["hedge"] == {"hedged": 1, "won": 1}
        assert budgeter.run.counts().in_flight == 0
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_the_first_attempt_may_still_be_the_faster():
    """Then the second is cancelled; without another endpoint it is made at the same one."""

    async def main():
        client = slow([2, 10])
        budgeter = role_of(client, hedge_seconds=1)
        await budgeter.ask(call())
        assert asyncio.get_running_loop().time() == pytest.approx(2)
        (row,) = budgeter.ledger.rows
        assert (row.attempts, row.requests, row.delivery) == (2, 2, Delivery(hedges=1))
        assert client.cancelled_calls == 1
        assert budgeter.statistics()["hedge"] == {"hedged": 1, "won": 0}
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_a_quick_attempt_has_no_second_one():
    """Nothing is noted, and nothing is left behind."""

    async def main():
        budgeter = role_of(slow([0.9]), slow([]), hedge_seconds=1)
        await budgeter.ask(call())
        assert budgeter.ledger.rows[0].delivery == Delivery()
        assert len(asyncio.all_tasks()) == 1
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_only_a_success_wins():
    """An attempt that fails leaves the answer to the other; without any it is the first's error."""

    async def main():
        boom = ServerFailed("boom a")
        budgeter = role_of(slow([1.2], boom), slow([1]), hedge_seconds=1, retry=ONCE)
        assert (await budgeter.ask(call())).text == "ok"
        assert budgeter.ledger.rows[0].requests == 2
        both = role_of(
            slow([3], boom), slow([1], ServerFailed("boom b")), hedge_seconds=1, retry=ONCE
        )
        with pytest.raises(ServerFailed, match="boom a"):
            await both.ask(call())
        (row,) = both.ledger.rows
        assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.FAILED, 2, 2)
        both.ledger.check()

    run_in_virtual_time(main())


def test_limits_bind_second_attempts():
    """Without a request left there is none."""

    async def main():
        budgeter = role_of(slow([10]), slow([1]), hedge_seconds=1)
        with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_requests=1)):
            await budgeter.ask(call())
        assert budgeter.ledger.rows[0].requests == 1
        assert asyncio.get_running_loop().time() == pytest.approx(10)
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_a_background_call_has_no_second_attempt():
    """However slow it is, none waits for it; one of the next class has one."""

    async def main():
        for priority, hedged in ((Priority.BACKGROUND, 0), (Priority.LOW, 1)):
            budgeter = role_of(slow([10]), slow([0.5]), hedge_seconds=1)
            await budgeter.ask(call(priority=priority))
            assert budgeter.statistics()["hedge"] == {"hedged": hedged, "won": hedged}
            budgeter.ledger.check()

    run_in_virtual_time(main())


def test_what_a_listener_is_given_is_of_one_attempt():
    """A streamed call is not hedged."""

    class Ears:
        def on_piece(self, piece):
            """Take it."""

        def on_end(self, end):
            """Take it."""

    async def main():
        budgeter = role_of(slow([10]), slow([]), hedge_seconds=1)
        await budgeter.ask(call(stream=True, listener=Ears()))
        assert budgeter.ledger.rows[0].attempts == 1

    run_in_virtual_time(main())


def test_a_percentile_of_the_latest_attempts_decides():
    """Once there are 20 of them."""

    async def main():
        times = [30, *[1.0 + n / 100 for n in range(19)], 30]
        budgeter = role_of(slow(times), slow([1]), hedge_percentile=90)
        loop = asyncio.get_running_loop()
        for number in range(20):
            await budgeter.ask(call(str(number)))
        assert budgeter.statistics()["hedge"]["hedged"] == 0
        began = loop.time()
        await budgeter.ask(call("slow"))
        assert loop.time() - began == pytest.approx(1.18 + 1, abs=0.02)

    run_in_virtual_time(main())


def test_an_endpoint_that_hangs_is_not_asked_first_for_ever():
    """Attempts that are overtaken count for its breaker, and so do its trials."""

    async def main():
        hanging, good = slow([1000] * 20), slow([0.5] * 200)
        load = LoadKnobs(
            route=RouteKnobs(hedge_seconds=1, hedge_share=1),
            breaker=BreakerKnobs(min_attempts=3, open_seconds=20),
        )
        asked = Endpoint("a", "m", hanging, alternatives=(Endpoint("b", "m", good),))
        budgeter = Budgeter({Role.MAIN: asked}, clock=LoopClock(), load=load)
        loop, seconds = asyncio.get_running_loop(), []
        for number in range(100):
            began = loop.time()
            await budgeter.ask(call(str(number)))
            seconds.append(round(loop.time() - began, 3))
        assert seconds[:4] == [1.5, 1.5, 1.5, 0.5]
        trials = budgeter.breakers()[0].trips - 1
        assert 1 <= trials <= 3
        assert seconds.count(1.5) == len(hanging.calls) == 3 + trials
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_second_attempts_are_a_bounded_part_of_all():
    """An endpoint that is slow for all calls is not asked twice as often."""

    async def main():
        budgeter = role_of(slow([5] * 100), slow([1] * 100), hedge_seconds=1, share=0.1)
        for number in range(100):
            await budgeter.ask(call(str(number)))
        assert budgeter.statistics()["hedge"]["hedged"] == 10
        assert budgeter.run.counts().usage.requests == 110
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_a_caller_that_leaves_cancels_and_settles_both():
    """Two requests have left, and are counted as unknown."""

    async def main():
        a, b = slow([10]), slow([10])
        budgeter = role_of(a, b, hedge_seconds=1)
        asked = asyncio.ensure_future(budgeter.ask(call(share=True)))
        await asyncio.sleep(3)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        (row,) = budgeter.ledger.rows
        assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.CANCELLED, 2, 2)
        assert (a.cancelled_calls, b.cancelled_calls) == (1, 1)
        assert len(asyncio.all_tasks()) == 1
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_whichever_call_takes_over_pays_for_both():
    """When the payer of an equal call leaves, its reservations and usage go along."""

    async def main():
        budgeter = role_of(slow([4]), slow([10]), hedge_seconds=1)
        limits = Limits(max_requests=5, max_tokens=10_000)
        scopes = [
            budgeter.run.open(ScopeKind.TURN, str(n), limits=limits, after=()) for n in range(2)
        ]

        async def ask(scope):
            with scope:
                return await budgeter.ask(call(share=True))

        first, other = (asyncio.ensure_future(ask(scope)) for scope in scopes)
        await asyncio.sleep(2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await other).text == "ok"
        rows = {row.outcome: row for row in budgeter.ledger.rows}
        assert rows[Outcome.CANCELLED].requests == 0
        assert rows[Outcome.SERVED].requests == 2
        assert rows[Outcome.SERVED].delivery.hedges == 1
        budgeter.ledger.check()

    run_in_virtual_time(main())


def test_a_replay_has_the_second_attempt_and_sends_none(recorder):
    """Its usage and delivery are those of the recording."""

    async def main():
        budgeter = role_of(slow([10]), slow([1]), hedge_seconds=1, recorder=recorder)
        await budgeter.ask(call())
        replayed = Budgeter(
            dict(budgeter._endpoints), recorder=recorder.played(), clock=VirtualClock()
        )
        await replayed.ask(call())
        before, after = budgeter.ledger.rows[0], replayed.ledger.rows[0]
        assert after.outcome is Outcome.REPLAYED
        assert (after.delivery, after.requests) == (before.delivery, 2)
        assert after.usage.sent == 0
        assert after.usage.work_microseconds >= 0

    run_in_virtual_time(main())


async def test_on_a_virtual_clock_and_by_default_there_is_no_such_layer(make_budgeter):
    """Nothing waits there, so nothing is slow."""
    load = LoadKnobs(route=RouteKnobs(hedge_seconds=1))
    assert "hedge" not in make_budgeter(clock=VirtualClock(), load=load).statistics()
    assert "hedge" not in make_budgeter(load=LoadKnobs(route=RouteKnobs())).statistics()
    names = list(make_budgeter(load=load).statistics())
    assert names[names.index("hedge") + 1] == "reserve"


def test_no_error_of_a_second_attempt_is_left_unread():
    """Where both end in one step too: asyncio would report it long after."""
    reported = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, report: reported.append(report)
        )
        budgeter = role_of(slow([2]), slow([1], ServerFailed("boom")), hedge_seconds=1)
        assert (await budgeter.ask(call())).text == "ok"
        gc.collect()
        await asyncio.sleep(1)
        assert budgeter.ledger.rows[0].requests == 2

    run_in_virtual_time(main())
    gc.collect()
    assert reported == []


def test_the_wait_for_a_turn_is_not_slow():
    """Calls that queue for one place are answered once each, however long they queue."""

    async def answer(_call):
        await asyncio.sleep(1)
        return "ok"

    async def main():
        budgeter = queueing(Endpoint("a", "m", ScriptedClient(answer)), hedge_seconds=1.5)
        await asyncio.gather(*(budgeter.ask(call(f"{number}")) for number in range(6)))
        assert [row.requests for row in budgeter.ledger.rows] == [1] * 6
        assert asyncio.get_running_loop().time() == pytest.approx(6)
        assert budgeter.statistics()["hedge"] == {"hedged": 0, "won": 0}

    run_in_virtual_time(main())


def test_the_time_after_the_turn_decides():
    """An attempt that has queued, and is slow at its endpoint, gets its second one elsewhere."""

    async def answer(asked):
        await asyncio.sleep({"first": 4, "second": 20}[asked.messages[0].content])
        return "ok"

    async def main():
        other = Endpoint("b", "m", slow([1]))
        budgeter = queueing(
            Endpoint("a", "m", ScriptedClient(answer), alternatives=(other,)), hedge_seconds=5
        )
        await asyncio.gather(budgeter.ask(call("first")), budgeter.ask(call("second")))
        assert asyncio.get_running_loop().time() == pytest.approx(4 + 5 + 1)
        expected = Delivery(endpoint="b", model="m", hedges=1)
        assert [row.delivery for row in budgeter.ledger.rows] == [Delivery(), expected]

    run_in_virtual_time(main())


def queueing(endpoint, *, hedge_seconds):
    """Return a budgeter with one place at each endpoint."""
    route = RouteKnobs(hedge_seconds=hedge_seconds, hedge_share=1)
    load = LoadKnobs(route=route, schedule=ScheduleKnobs(max_concurrency=1))
    return Budgeter({Role.MAIN: endpoint}, clock=LoopClock(), load=load)

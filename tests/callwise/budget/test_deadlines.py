"""max_seconds, on a manual, a virtual and the system's clock."""

import asyncio

import pytest

from callwise.budget import Limits, ManualClock, RetryPolicy, ScopeKind, VirtualClock
from callwise.calls import CallRefused, Outcome, Reply
from callwise.calls.errors import BadRequest, CallTimeout, ServerFailed
from callwise.testing.fakes import FailingClient, ScriptedClient


async def test_a_call_after_the_deadline_is_refused(make_budgeter, ask_for):
    """Time that was used up is refused, and named."""
    clock = ManualClock()
    budgeter = make_budgeter(clock=clock)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=10)):
        clock.advance(9)
        await budgeter.ask(ask_for("a"))
        assert budgeter.advisory().seconds_left == 1
        clock.advance(1)
        assert budgeter.advisory().calls_left == 0
        with pytest.raises(CallRefused, match="run/turn:1 has max_seconds=10, 10 used"):
            await budgeter.ask(ask_for("b"))


async def test_an_attempts_timeout_is_cut_to_what_is_left(make_budgeter, ask_for):
    """The client is given the shorter of the call's timeout and the time left."""
    clock = ManualClock()
    client = ScriptedClient(lambda _: "ok")
    budgeter = make_budgeter(client, clock=clock)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=10)):
        clock.advance(4)
        await budgeter.ask(ask_for("a", timeout_seconds=60))
        await budgeter.ask(ask_for("b", timeout_seconds=3))
        await budgeter.ask(ask_for("c"))
    assert [call.timeout_seconds for call in client.calls] == [6, 3, 6]


async def test_a_client_that_ignores_its_timeout_is_cut(make_budgeter, ask_for):
    """The budgeter itself ends an attempt at the deadline; its usage is unknown."""
    client = ScriptedClient(lambda _: asyncio.Event().wait())
    budgeter = make_budgeter(client)
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=0.02)),
        pytest.raises(CallTimeout, match="deadline"),
    ):
        await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.FAILED, 1, 1)
    budgeter.ledger.check()


async def test_a_deadline_before_the_request_leaves_costs_none(make_budgeter, ask_for):
    """A client that still waits for a connection has sent nothing, and is charged nothing."""

    class Queued(ScriptedClient):
        async def answer(self, calls, *, model, on_sent=None):
            await asyncio.Event().wait()

    budgeter = make_budgeter(Queued(), limits=Limits(max_requests=1, max_tokens=2000))
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=0.2)),
        pytest.raises(CallTimeout, match="deadline") as caught,
    ):
        await budgeter.ask(ask_for())
    assert not caught.value.was_sent
    (row,) = budgeter.ledger.rows
    assert (row.attempts, row.requests, row.unknown_usage) == (1, 0, 0)
    assert budgeter.advisory().requests_left == 1
    assert budgeter.advisory().tokens_left == 2000


async def test_who_joins_a_call_keeps_its_own_deadline(make_budgeter, ask_for):
    """A follower leaves at its deadline, and the payer's work goes on."""
    gate = asyncio.Event()

    async def slow(call):
        await gate.wait()
        return "late"

    budgeter = make_budgeter(ScriptedClient(slow))
    payer = asyncio.ensure_future(budgeter.ask(ask_for()))
    await asyncio.sleep(0)
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=0.02)),
        pytest.raises(CallTimeout),
    ):
        await budgeter.ask(ask_for())
    gate.set()
    assert (await payer).text == "late"
    assert [row.requests for row in budgeter.ledger.rows] == [0, 1]


async def test_no_retry_waits_past_the_deadline(make_budgeter, ask_for):
    """A backoff that would not end in time is not begun."""
    clock = ManualClock()
    client = FailingClient(lambda: ServerFailed("busy", status=503))
    retry = RetryPolicy(first_wait_seconds=20, jitter=0)
    budgeter = make_budgeter(client, clock=clock, retry=retry)
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=10)),
        pytest.raises(ServerFailed) as caught,
    ):
        await budgeter.ask(ask_for())
    assert caught.value.__notes__ == ["not tried again: 10 seconds left"]
    assert clock.sleeper_count == 0


async def test_virtual_time_is_the_path(make_budgeter, ask_for):
    """On a virtual clock latencies use the time up, and a late answer is a timeout."""
    client = ScriptedClient(lambda _: Reply("ok", latency_seconds=4.0))
    budgeter = make_budgeter(client, clock=VirtualClock())
    retry_free = Limits(max_seconds=10)
    with budgeter.scope(ScopeKind.TURN, "1", limits=retry_free) as turn:
        await budgeter.ask(ask_for("a"))
        await budgeter.ask_all([ask_for("b"), ask_for("c")])
        assert budgeter.advisory().seconds_left == 2
        with pytest.raises(CallTimeout):
            await budgeter.ask(ask_for("d"))
        with pytest.raises(CallRefused):
            await budgeter.ask(ask_for("e"))
    assert turn.path_seconds == 10
    assert [row.outcome for row in budgeter.ledger.rows][-2:] == [Outcome.FAILED, Outcome.REFUSED]


async def test_a_slow_machine_refuses_nothing_that_was_recorded(make_budgeter, ask_for, recorder):
    """In a replay a deadline is held against recorded time, not against the clock."""
    limits = Limits(max_seconds=10)
    live = make_budgeter(recorder=recorder)
    with live.scope(ScopeKind.TURN, "1", limits=limits):
        await live.ask(ask_for())
    clock = ManualClock()
    replay = make_budgeter(ScriptedClient([]), recorder=recorder.played(), clock=clock)
    with replay.scope(ScopeKind.TURN, "1", limits=limits):
        clock.advance(3600)
        assert (await replay.ask(ask_for())).text == "echo hi"


async def test_durations_come_from_the_clock(make_budgeter, ask_for):
    """On a clock that advances, a call takes the time that passed."""
    clock = ManualClock()

    async def slow(call):
        clock.advance(2.5)
        return "ok"

    budgeter = make_budgeter(ScriptedClient(slow), clock=clock)
    await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.work_seconds, row.path_seconds, budgeter.run.path_seconds) == (2.5, 2.5, 2.5)


async def test_backoff_waits_on_the_clock(make_budgeter, ask_for, until):
    """A retry sleeps on the injected clock and is measured by it."""
    clock = ManualClock()
    client = FailingClient(lambda: ServerFailed("busy", status=503), failures=1)
    retry = RetryPolicy(first_wait_seconds=8, jitter=0)
    budgeter = make_budgeter(client, clock=clock, retry=retry)
    task = asyncio.ensure_future(budgeter.ask(ask_for()))
    await until(lambda: clock.sleeper_count)
    clock.advance(7)
    await asyncio.sleep(0)
    assert not task.done()
    clock.advance(1)
    await task
    (row,) = budgeter.ledger.rows
    assert (row.retry_seconds, row.path_seconds) == (8, 8)


async def test_time_reserved_by_a_lease_is_only_for_its_calls(make_budgeter, ask_for):
    """Other calls are refused and cut by it; the lease's call has all of it, and later all have."""
    clock = ManualClock()
    client = ScriptedClient(lambda _: "ok")
    budgeter = make_budgeter(client, clock=clock)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=10)) as turn:
        turn.hold("reply", seconds=6)
        await budgeter.ask(ask_for("a"))
        clock.advance(4)
        assert budgeter.advisory().seconds_left == 0
        with pytest.raises(CallRefused, match="max_seconds=10, 10 used or held back"):
            await budgeter.ask(ask_for("b"))
        await budgeter.ask(ask_for("c", lease="reply"))
        await budgeter.ask(ask_for("d"))
    assert [call.timeout_seconds for call in client.calls] == [4, 6, 6]


async def test_time_held_is_given_back_with_its_lease(make_budgeter, ask_for):
    """A released lease holds nothing back any more."""
    budgeter = make_budgeter(clock=ManualClock())
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=10)) as turn:
        turn.hold("reply", seconds=20)
        with pytest.raises(CallRefused, match="max_seconds"):
            await budgeter.ask(ask_for("a"))
        turn.release("reply")
        await budgeter.ask(ask_for("b"))


@pytest.mark.parametrize("deadline_seconds", [0, -3])
async def test_a_deadline_in_the_past_is_refused(make_budgeter, ask_for, deadline_seconds):
    """Nothing is sent for an answer that would be of no use, and the row names the limit."""
    client = ScriptedClient(lambda _: "ok")
    budgeter = make_budgeter(client, clock=ManualClock())
    with pytest.raises(CallRefused, match=f"run has deadline_seconds={deadline_seconds}"):
        await budgeter.ask(ask_for("a", deadline_seconds=deadline_seconds))
    assert client.calls == []
    assert budgeter.ledger.rows[0].outcome is Outcome.REFUSED
    budgeter.ledger.check()


async def test_a_deadline_cuts_attempts_and_ends_the_repetitions(make_budgeter, ask_for):
    """The nearer of the call's deadline and its scope's counts, from asking on."""
    clock = ManualClock()
    client = FailingClient(lambda: ServerFailed("busy"))
    retry = RetryPolicy(server_failed_attempts=9, first_wait_seconds=4, jitter=0)
    budgeter = make_budgeter(client, clock=clock, retry=retry)
    asking = asyncio.ensure_future(budgeter.ask(ask_for("a", deadline_seconds=10)))
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(4)
    with pytest.raises(ServerFailed) as failed:
        await asking
    assert "not tried again: 6 seconds left" in str(failed.value.__notes__)


async def test_a_call_that_joined_an_equal_one_has_its_own_deadline(make_budgeter, ask_for):
    """It leaves when its time is over, and the one that pays gets the answer."""
    may_answer = asyncio.Event()

    async def answer(_):
        await may_answer.wait()
        return "ok"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client)
    payer = asyncio.ensure_future(budgeter.ask(ask_for("a", share=True)))
    await asyncio.sleep(0)
    with pytest.raises(CallTimeout, match="before the deadline"):
        await budgeter.ask(ask_for("a", share=True, deadline_seconds=0.01))
    may_answer.set()
    assert (await payer).text == "ok"
    assert len(client.calls) == 1


async def test_the_deadline_of_one_caller_ends_no_equal_call(make_budgeter, ask_for):
    """An equal call that has more time is asked again where the one that paid ran out of it."""
    may_answer = asyncio.Event()

    async def answer(_):
        await may_answer.wait()
        return "ok"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client)
    hurried = asyncio.ensure_future(budgeter.ask(ask_for("a", share=True, deadline_seconds=0.01)))
    await asyncio.sleep(0)
    patient = [asyncio.ensure_future(budgeter.ask(ask_for("a", share=True))) for _ in range(2)]
    with pytest.raises(CallTimeout):
        await hurried
    may_answer.set()
    assert [(await each).text for each in patient] == ["ok", "ok"]
    assert len(client.calls) == 2
    outcomes = [row.outcome for row in budgeter.ledger.rows]
    assert sorted(outcomes) == [Outcome.COALESCED, Outcome.FAILED, Outcome.SERVED]


async def test_an_error_of_the_content_is_not_asked_again_for_others(make_budgeter, ask_for):
    """Only the payer's deadline and limits are its own; any other end is that of all."""
    client = FailingClient(lambda: BadRequest("no"))
    budgeter = make_budgeter(client)
    calls = [ask_for("a", share=True, deadline_seconds=9), ask_for("a", share=True)]
    ends = await asyncio.gather(*map(budgeter.ask, calls), return_exceptions=True)
    assert [type(end) for end in ends] == [BadRequest, BadRequest]
    assert len(client.calls) == 1


async def test_the_limits_of_one_caller_end_no_equal_call(make_budgeter, ask_for):
    """An equal call of another scope repeats what the limits of the payer's did not allow."""
    client = FailingClient(lambda: ServerFailed("no"), failures=1)
    budgeter = make_budgeter(client, retry=RetryPolicy(first_wait_seconds=0))

    async def ask_in(name: str, limits: Limits | None) -> Reply:
        with budgeter.scope(ScopeKind.TURN, name, limits=limits):
            return await budgeter.ask(ask_for("a", share=True))

    asked = [ask_in("0", Limits(max_requests=1)), ask_in("1", None)]
    limited, free = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(limited, ServerFailed)
    assert isinstance(free, Reply)
    assert len(client.calls) == 2

"""A run that stops: which calls are accepted, and how those under way end."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from callwise.budget import Budgeter, LedgerError, Limits, ManualClock, RetryPolicy, ScopeKind
from callwise.budget.breaker import Breakers
from callwise.budget.router import Router
from callwise.budget.run_gate import RunGate
from callwise.calls import Endpoint, Outcome, Reply, Role
from callwise.calls.client import OfflineClient
from callwise.calls.errors import (
    AuthFailed,
    CallRefused,
    ConfigError,
    ConnectionFailed,
    EndpointDown,
    QuotaExhausted,
    RunStopped,
)
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.testing.fakes import FailingClient, ScriptedClient

STOPPING = LoadKnobs(breaker=BreakerKnobs(stop_seconds=60, open_seconds=100))


async def waiting(client, count=None):
    """Wait until a client has been asked."""
    for _ in range(1000):
        if len(client.calls) >= (count or 1):
            return
        await asyncio.sleep(0)
    raise AssertionError("the client was never asked")


async def test_a_stopped_run_accepts_no_call_and_counts_none(make_budgeter, ask_for, recorder):
    """Its reason is named; when it is resumed, calls are accepted again."""
    client = ScriptedClient(["one", "two"])
    budgeter = make_budgeter(client, recorder=recorder)
    assert (await budgeter.ask(ask_for("1"))).text == "one"
    budgeter.stop("the disk is full")
    with pytest.raises(RunStopped, match="the disk is full") as caught:
        await budgeter.ask(ask_for("2"))
    assert caught.value.is_fatal
    assert budgeter.stopped_by == "the disk is full"
    assert (len(budgeter.ledger.rows), len(recorder.recorded), len(client.calls)) == (1, 1, 1)
    budgeter.resume()
    assert (await budgeter.ask(ask_for("2"))).text == "two"
    budgeter.ledger.check()


async def test_the_first_reason_of_a_stop_is_kept(make_budgeter, ask_for):
    """What comes after it follows from it."""
    budgeter = make_budgeter()
    budgeter.stop("the key is refused")
    budgeter.stop("the process ends")
    await budgeter.drain(0, reason="closed")
    with pytest.raises(RunStopped, match="the key is refused"):
        await budgeter.ask(ask_for())


async def test_a_drain_lets_accepted_calls_end_and_accepts_no_other(make_budgeter, ask_for):
    """They are answered and settled, and only then is it drained."""
    gate = asyncio.Event()

    async def answer(call):
        await gate.wait()
        return "late"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client, clock=ManualClock())
    asked = [asyncio.ensure_future(budgeter.ask(ask_for(str(n)))) for n in range(3)]
    await waiting(client, 3)
    draining = asyncio.ensure_future(budgeter.drain(30))
    await asyncio.sleep(0)
    with pytest.raises(RunStopped):
        await budgeter.ask(ask_for("new"))
    assert not draining.done()
    gate.set()
    assert await draining == (3, 0)
    assert [reply.text for reply in await asyncio.gather(*asked)] == ["late"] * 3
    assert budgeter.run.counts().in_flight == 0
    budgeter.ledger.check()


async def test_a_call_that_a_drain_refuses_cancels_none_of_its_turn(make_budgeter, ask_for):
    """Its turn hears of it once the calls next to it are answered; other turns hear immediately."""
    gate = asyncio.Event()

    async def answer(call):
        await gate.wait()
        return "late"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client, clock=ManualClock())
    with budgeter.scope(ScopeKind.TURN, "1"):
        asked = asyncio.ensure_future(budgeter.ask(ask_for("1")))
        await waiting(client)
        draining = asyncio.ensure_future(budgeter.drain(30))
        await asyncio.sleep(0)
        refused = asyncio.ensure_future(budgeter.ask(ask_for("2")))
    with budgeter.scope(ScopeKind.TURN, "2"), pytest.raises(RunStopped):
        await budgeter.ask(ask_for("3"))
    assert not refused.done()
    gate.set()
    with pytest.raises(RunStopped):
        await refused
    assert asked.done()
    assert (await asked).text == "late"
    assert await draining == (1, 0)
    assert (len(client.calls), len(budgeter.ledger.rows)) == (1, 1)
    budgeter.ledger.check()


async def test_a_call_that_waits_for_its_turn_to_rest_may_be_cancelled(make_budgeter, ask_for):
    """And it does not wait longer than the drain."""
    client = ScriptedClient(lambda call: asyncio.Event().wait())
    clock = ManualClock()
    budgeter = make_budgeter(client, clock=clock)
    with budgeter.scope(ScopeKind.TURN, "1"):
        asked = asyncio.ensure_future(budgeter.ask(ask_for("1")))
        await waiting(client)
        draining = asyncio.ensure_future(budgeter.drain(5))
        await asyncio.sleep(0)
        left, stays = (asyncio.ensure_future(budgeter.ask(ask_for("2"))) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    clock.advance(5)
    ends = await asyncio.gather(asked, left, stays, return_exceptions=True)
    assert [type(end) for end in ends] == [RunStopped, asyncio.CancelledError, RunStopped]
    assert await draining == (0, 1)
    budgeter.ledger.check()


async def test_a_drain_cancels_and_settles_what_is_left_when_its_time_is_over(
    make_budgeter, ask_for
):
    """The callers get a clear error, no cancellation of theirs; all quota is settled."""
    client = ScriptedClient(lambda call: asyncio.Event().wait())
    clock = ManualClock()
    budgeter = make_budgeter(client, clock=clock)

    async def ask(call):
        try:
            return await budgeter.ask(call)
        except RunStopped as stopped:
            await asyncio.sleep(0)  # its task goes on
            return stopped

    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=10_000)) as turn:
        equal, alone = ask_for("a"), ask_for("b", share=False)
        asked = [asyncio.ensure_future(ask(call)) for call in (equal, equal, alone)]
        await waiting(client, 2)
        draining = asyncio.ensure_future(budgeter.drain(5, reason="the process ends"))
        await asyncio.sleep(0)
        clock.advance(4.9)
        await asyncio.sleep(0)
        assert not draining.done()
        clock.advance(0.1)
        assert await draining == (0, 3)
        ends = await asyncio.gather(*asked)
        assert all("the process ends" in str(end) for end in ends)
        assert turn.counts().in_flight == 0
    assert {row.outcome for row in budgeter.ledger.rows} == {Outcome.CANCELLED}
    assert sum(row.requests for row in budgeter.ledger.rows) == client.sent_requests == 2
    budgeter.ledger.check()


async def test_a_drain_without_calls_ends_at_once(make_budgeter):
    """Twice too."""
    budgeter = make_budgeter()
    assert await budgeter.drain(5) == (0, 0)
    assert await budgeter.drain(5) == (0, 0)


async def test_a_caller_that_leaves_during_a_drain_is_cancelled_as_ever(make_budgeter, ask_for):
    """Its own cancellation is not taken for the drain's."""
    client = ScriptedClient(lambda call: asyncio.Event().wait())
    budgeter = make_budgeter(client, clock=ManualClock())
    asked = asyncio.ensure_future(budgeter.ask(ask_for()))
    await waiting(client)
    draining = asyncio.ensure_future(budgeter.drain(5))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await draining == (1, 0)


@pytest.mark.parametrize(
    "error", [AuthFailed("no key", status=401), QuotaExhausted("no credit", status=402)]
)
async def test_an_error_that_every_call_would_meet_stops_the_run(make_budgeter, ask_for, error):
    """The first call has the error itself, later ones name it; nothing more is sent."""
    client = FailingClient(lambda: error)
    budgeter = make_budgeter(client, load=STOPPING)
    with pytest.raises(type(error)):
        await budgeter.ask(ask_for("1"))
    for _ in range(3):
        with pytest.raises(RunStopped, match=str(error)):
            await budgeter.ask(ask_for("2"))
    assert client.sent_requests == 1


async def test_without_the_knob_a_fatal_error_stops_no_other_call(make_budgeter, ask_for):
    """As it was: each caller decides."""
    client = FailingClient(lambda: AuthFailed("no", status=401))
    for load in (None, LoadKnobs(breaker=BreakerKnobs(stop_seconds=None))):
        budgeter = make_budgeter(client, load=load)
        for _ in range(2):
            with pytest.raises(AuthFailed):
                await budgeter.ask(ask_for())


async def test_a_role_whose_endpoints_are_all_down_for_long_stops_the_run(ask_for, recorder):
    """Before that time its calls fail one by one; other roles go on until it is over."""
    clock = ManualClock()
    dead = FailingClient(lambda: ConnectionFailed("refused", was_sent=False))
    good = ScriptedClient(lambda call: "ok")
    both = Endpoint("a", "m", dead, alternatives=(Endpoint("b", "m", dead),))
    budgeter = Budgeter(
        {Role.MAIN: both, Role.JUDGE: Endpoint("c", "m", good)},
        retry=RetryPolicy(first_wait_seconds=0),
        load=STOPPING,
        clock=clock,
        recorder=recorder,
    )
    for _ in range(3):
        with pytest.raises(ConnectionFailed):
            await budgeter.ask(ask_for())
    clock.advance(59)
    with pytest.raises(EndpointDown):
        await budgeter.ask(ask_for())
    assert (await budgeter.ask(ask_for(role=Role.JUDGE))).text == "ok"
    clock.advance(1)
    with pytest.raises(RunStopped, match="every endpoint of the role main") as caught:
        await budgeter.ask(ask_for())
    assert "a, b" in str(caught.value)
    with pytest.raises(RunStopped):
        await budgeter.ask(ask_for(role=Role.JUDGE))
    errors = [each[2].error.type_name for each in recorder.recorded if each[2].error is not None]
    assert "RunStopped" not in errors  # a run that goes on must not meet it again
    rows = [row for row in budgeter.ledger.rows if row.error_name == "RunStopped"]
    assert [(row.attempts, row.requests) for row in rows] == [(0, 0)]
    hosts = {each.endpoint: each.state for each in budgeter.breakers() if not each.model}
    assert hosts == {"a": "open", "b": "open"}
    budgeter.ledger.check()


def test_a_role_with_an_endpoint_that_is_down_for_a_short_time_goes_on(ask_for):
    """However long the other one has been down."""
    clock = ManualClock()
    breakers, gate = Breakers(clock), RunGate(clock)
    router = Router(clock, breakers, lambda _endpoint: STOPPING, gate)
    second = Endpoint("b", "m", OfflineClient())
    asked = Endpoint("a", "m", OfflineClient(), alternatives=(second,))
    breakers.trip(asked, "503", seconds=1000)
    clock.advance(61)
    breakers.trip(second, "503", seconds=1000)
    work = SimpleNamespace(asked=asked, call=ask_for())
    with pytest.raises(EndpointDown):
        router.choose(work)
    assert gate.stopped_by is None
    clock.advance(60)
    with pytest.raises(RunStopped, match="main has been down for 60 s: a, b"):
        router.choose(work)


async def test_a_closed_scope_and_a_refusal_are_as_before(make_budgeter, ask_for):
    """The gate is before them, and is open."""
    budgeter = make_budgeter(ScriptedClient([Reply("x")]), limits=Limits(max_calls=0))
    with pytest.raises(CallRefused):
        await budgeter.ask(ask_for())
    scope = budgeter.scope(ScopeKind.TURN, "1")
    scope.close()
    with scope, pytest.raises(LedgerError):
        await budgeter.ask(ask_for())
    assert await budgeter.drain(0) == (0, 0)


async def test_a_budgeter_with_a_private_loop_is_drained_from_any_other(make_budgeter, ask_for):
    """Its calls are in its own thread's tasks."""
    asked = threading.Event()

    async def answer(call):
        asked.set()
        await asyncio.Event().wait()

    budgeter = make_budgeter(ScriptedClient(answer), own_loop=True)
    under_way = asyncio.ensure_future(budgeter.ask(ask_for()))
    await asyncio.to_thread(asked.wait, 10)
    assert await budgeter.drain(0) == (0, 1)
    with pytest.raises(RunStopped):
        await under_way
    assert budgeter.stopped_by is not None
    budgeter.ledger.check()
    await budgeter.aclose()


async def test_trials_that_fail_for_long_stop_the_run(make_budgeter, ask_for):
    """Calls that come so seldom that each is a trial are never refused, and show the same."""
    clock = ManualClock()
    client = FailingClient(lambda: ConnectionFailed("refused", was_sent=False))
    budgeter = make_budgeter(
        client,
        retry=RetryPolicy(connection_failed_attempts=1),
        load=LoadKnobs(breaker=BreakerKnobs(stop_seconds=60, open_seconds=10)),
        clock=clock,
    )
    for _ in range(4):
        with pytest.raises(ConnectionFailed):
            await budgeter.ask(ask_for())
        clock.advance(20)
    assert budgeter.stopped_by == "every endpoint of the role main has been down for 60 s: fake"
    with pytest.raises(RunStopped):
        await budgeter.ask(ask_for())
    budgeter.ledger.check()


@pytest.mark.parametrize("seconds", [-1, float("nan")])
async def test_a_drain_takes_a_time(make_budgeter, seconds):
    """A time that is none cancels nothing, and the run goes on."""
    budgeter = make_budgeter()
    with pytest.raises(ConfigError, match=f"got {seconds}. Write 0"):
        await budgeter.drain(seconds)
    assert budgeter.stopped_by is None


async def test_closing_ends_the_calls_under_way(make_budgeter, ask_for):
    """None of them is sent again over a new connection; later calls are accepted."""
    client = ScriptedClient(lambda call: asyncio.Event().wait())
    budgeter = make_budgeter(client, clock=ManualClock())
    asked = [asyncio.ensure_future(budgeter.ask(ask_for(str(number)))) for number in range(3)]
    await waiting(client, 3)
    await budgeter.aclose()
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(end, RunStopped) and "closed" in str(end) for end in ends)
    assert (client.sent_requests, client.cancelled_calls, budgeter.stopped_by) == (3, 3, None)
    budgeter.ledger.check()

"""Endpoints that have just failed: how often they are asked, and when they are asked again."""

import asyncio

import pytest

from callwise.budget import Budgeter, Limits, ManualClock, RetryPolicy, ScopeKind, VirtualClock
from callwise.calls import Endpoint, Outcome, Role
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallTimeout,
    ConnectionFailed,
    EndpointDown,
    ServerFailed,
)
from callwise.testing.fakes import FailingClient, ScriptedClient

RETRY = RetryPolicy(first_wait_seconds=0.0, down_seconds=20.0)


@pytest.fixture
def clock():
    """A clock that a test sets."""
    return ManualClock()


async def failed(budgeter, call):
    """Return the error that a call ends in."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - returned to be looked at
        await budgeter.ask(call)
    return caught.value


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(lambda: ConnectionFailed("refused", was_sent=False), 3), (lambda: CallTimeout("slow"), 2)],
)
async def test_a_dead_endpoint_costs_one_calls_attempts(
    make_budgeter, ask_for, clock, error, attempts
):
    """Further calls fail at once and send nothing, until its time is over."""
    client = FailingClient(error)
    budgeter = make_budgeter(client, retry=RETRY, clock=clock)
    assert type(await failed(budgeter, ask_for("0"))) is type(error())
    for prompt in "1234":
        down = await failed(budgeter, ask_for(prompt))
        assert type(down) is EndpointDown
        assert not down.was_sent
        assert str(error()) in str(down)
    assert len(client.calls) == attempts
    rows = budgeter.ledger.rows
    assert [row.outcome for row in rows] == [Outcome.FAILED] * 5
    assert [(row.attempts, row.requests) for row in rows[1:]] == [(0, 0)] * 4
    budgeter.ledger.check()


async def test_one_call_makes_one_attempt_when_the_time_is_over(make_budgeter, ask_for, clock):
    """Its failure puts the endpoint down again; its answer brings it back."""
    state = {"is_dead": True}

    def answer(call):
        return ConnectionFailed("refused") if state["is_dead"] else "ok"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client, retry=RETRY, clock=clock)
    await failed(budgeter, ask_for("0"))
    clock.advance(20)
    assert type(await failed(budgeter, ask_for("1"))) is ConnectionFailed
    assert type(await failed(budgeter, ask_for("2"))) is EndpointDown
    assert len(client.calls) == 3 + 1
    clock.advance(20)
    state["is_dead"] = False
    for prompt in "34":
        assert (await budgeter.ask(ask_for(prompt))).text == "ok"
    assert len(client.calls) == 3 + 1 + 2


async def test_only_one_call_finds_out(make_budgeter, ask_for, clock, until):
    """Others fail at once meanwhile; when it is cancelled, another may."""
    gate = asyncio.Event()
    state = {"is_dead": True}

    async def answer(call):
        if state["is_dead"]:
            return ConnectionFailed("refused")
        await gate.wait()
        return "ok"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client, retry=RETRY, clock=clock)
    await failed(budgeter, ask_for("0"))
    clock.advance(20)
    state["is_dead"] = False
    first = asyncio.ensure_future(budgeter.ask(ask_for("1")))
    await until(lambda: len(client.calls) == 4)
    assert type(await failed(budgeter, ask_for("2"))) is EndpointDown
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.ensure_future(budgeter.ask(ask_for("3")))
    await until(lambda: len(client.calls) == 5)
    gate.set()
    assert (await second).text == "ok"


async def test_a_model_that_fails_is_down_after_two_calls_and_alone(ask_for, clock):
    """One 5xx may be the request's own fault; other models of the host are not touched."""
    broken = FailingClient(lambda: ServerFailed("boom", status=500))
    good = ScriptedClient(lambda call: "ok")
    budgeter = Budgeter(
        {
            Role.MAIN: Endpoint("host", "large", broken),
            Role.FAST: Endpoint("host", "small", good),
        },
        retry=RETRY,
        clock=clock,
    )
    kinds = [type(await failed(budgeter, ask_for(prompt))) for prompt in "0123"]
    assert kinds == [ServerFailed, ServerFailed, EndpointDown, EndpointDown]
    assert len(broken.calls) == 6
    assert (await budgeter.ask(ask_for(role=Role.FAST))).text == "ok"


async def test_another_host_is_not_touched(ask_for, clock):
    """A dead judge is no dead main."""
    dead = FailingClient(lambda: ConnectionFailed("refused", was_sent=False))
    good = ScriptedClient(lambda call: "ok")
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("here", "m", good), Role.JUDGE: Endpoint("there", "m", dead)},
        retry=RETRY,
        clock=clock,
    )
    for _ in range(3):
        await failed(budgeter, ask_for(role=Role.JUDGE))
        assert (await budgeter.ask(ask_for())).text == "ok"
    assert len(dead.calls) == 3


@pytest.mark.parametrize("error", [AuthFailed("no", status=401), BadRequest("no", status=400)])
async def test_a_refusal_says_that_the_endpoint_is_there(make_budgeter, ask_for, clock, error):
    """It brings a failing one back, and puts none down."""
    script = [ServerFailed("boom")] * 3 + [error] + [ServerFailed("boom")] * 3 + ["ok"]
    budgeter = make_budgeter(ScriptedClient(script), retry=RETRY, clock=clock)
    for prompt in "012":
        assert type(await failed(budgeter, ask_for(prompt))) is not EndpointDown
    assert (await budgeter.ask(ask_for("3"))).text == "ok"


async def test_a_deadline_that_is_too_short_puts_no_endpoint_down(make_budgeter, ask_for, clock):
    """The endpoint may be slow, and is not dead."""
    client = ScriptedClient([CallTimeout("no answer before the deadline"), "ok"])
    budgeter = make_budgeter(client, retry=RetryPolicy(timeout_attempts=1), clock=clock)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=0.5)):
        assert type(await failed(budgeter, ask_for("0"))) is CallTimeout
    assert (await budgeter.ask(ask_for("1"))).text == "ok"


async def test_down_seconds_of_0_asks_every_time(make_budgeter, ask_for, clock):
    """As it was."""
    client = FailingClient(lambda: ConnectionFailed("refused"))
    retry = RetryPolicy(first_wait_seconds=0, down_seconds=0)
    budgeter = make_budgeter(client, retry=retry, clock=clock)
    for prompt in "01":
        await failed(budgeter, ask_for(prompt))
    assert len(client.calls) == 6


async def test_on_a_virtual_clock_nothing_is_ever_down(make_budgeter, ask_for):
    """No time passes there in which it could come back."""
    client = FailingClient(lambda: ConnectionFailed("refused"), failures=3)
    budgeter = make_budgeter(client, retry=RETRY, clock=VirtualClock())
    await failed(budgeter, ask_for("0"))
    assert (await budgeter.ask(ask_for("1"))).text == "ok"


async def test_an_error_knows_whose_call_it_was(make_budgeter, ask_for):
    """The text names the setting that would help."""
    budgeter = make_budgeter(FailingClient(lambda: AuthFailed("no", status=401)))
    error = await failed(budgeter, ask_for(role=Role.JUDGE))
    assert (error.role, error.endpoint.name) == (Role.JUDGE, "fake")

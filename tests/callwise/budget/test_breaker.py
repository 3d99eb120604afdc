"""Endpoints that have just failed: how often they are asked, and when they are asked again."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget import Budgeter, Limits, ManualClock, RetryPolicy, ScopeKind, VirtualClock
from callwise.budget.breaker import Breakers, BreakerState
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Outcome, Purpose, Role
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallTimeout,
    ConnectionFailed,
    EmptyAnswer,
    EndpointDown,
    ModelLoading,
    RateLimited,
    ServerFailed,
)
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
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


async def test_a_host_that_cannot_be_reached_is_down_for_all_its_models(ask_for, clock):
    """One that answers too slowly is down for that model alone."""
    refused = ConnectionFailed("refused", was_sent=False)
    for error, is_all in ((refused, True), (CallTimeout("slow"), False)):
        dead, other = FailingClient(lambda error=error: error), ScriptedClient(lambda call: "ok")
        budgeter = Budgeter(
            {Role.MAIN: Endpoint("host", "m", other), Role.JUDGE: Endpoint("host", "n", dead)},
            retry=RETRY,
            clock=clock,
        )
        await failed(budgeter, ask_for(role=Role.JUDGE))
        assert type(await failed(budgeter, ask_for(role=Role.JUDGE))) is EndpointDown
        (end,) = await asyncio.gather(budgeter.ask(ask_for()), return_exceptions=True)
        assert isinstance(end, EndpointDown) is is_all


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


KNOBS = BreakerKnobs(failure_rate=0.5, min_attempts=4, window_seconds=10, open_seconds=20)
ENDPOINT = Endpoint("host", "m", ScriptedClient())
BOOM = ServerFailed("boom", status=500)


def breakers_of(clock, knobs=KNOBS):
    """Return breakers that count a rate of failures."""
    return Breakers(clock, None, lambda _endpoint: knobs)


def attempt(breakers, error):
    """Let an attempt through and end it; return whether it was let through."""
    try:
        trial = breakers.admit(ENDPOINT)
    except EndpointDown:
        return False
    breakers.attempt_ended(ENDPOINT, error, trial)
    if trial is not None:
        trial.end_trial()
    return True


def test_a_breaker_opens_at_its_rate_of_failures_and_not_before_enough_attempts(clock):
    """Three failures are too few; of four attempts two are enough."""
    breakers = breakers_of(clock)
    for error in (BOOM, None, None):
        assert attempt(breakers, error)
    assert breakers.states()[0].state is BreakerState.CLOSED
    assert attempt(breakers, BOOM)
    (state,) = breakers.states()
    assert (state.endpoint, state.model, state.trips) == ("host", "m", 1)
    assert (state.state, state.reason) == (BreakerState.OPEN, "ServerFailed: boom")
    assert not attempt(breakers, None)
    assert breakers.statistics() == {"open": 1, "half_open": 0, "trips": 1, "refused": 1}


def test_failures_outside_of_the_window_are_forgotten(clock):
    """A failure every few seconds is no outage."""
    breakers = breakers_of(clock)
    for _ in range(50):
        assert attempt(breakers, BOOM)
        clock.advance(4)
    assert breakers.statistics()["trips"] == 0


@pytest.mark.parametrize(
    "error",
    [RateLimited("slow down"), BadRequest("wrong"), ModelLoading("loading"), EmptyAnswer("empty")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_fault_of_the_endpoint_opens_nothing(clock, error):
    """A limit of its rate is for the schedule, and a loading model is waited for."""
    breakers = breakers_of(clock)
    assert all(attempt(breakers, error) for _ in range(20))


def test_attempts_that_their_deadlines_have_cut_are_no_failures_of_the_endpoint():
    """However many: it may be slow, and answers a call that waits longer."""

    async def answer(_call):
        await asyncio.sleep(1.0)
        return "ok"

    async def main():
        endpoint = Endpoint("host", "m", ScriptedClient(answer))
        load = LoadKnobs(breaker=KNOBS)
        budgeter = Budgeter({Role.MAIN: endpoint}, retry=RETRY, load=load, clock=LoopClock())
        message = (Message("user", "hi"),)
        for _ in range(3 * KNOBS.min_attempts):
            hasty = Call(Role.MAIN, Purpose.OTHER, message, deadline_seconds=0.5)
            assert type(await failed(budgeter, hasty)) is CallTimeout
        assert (await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, message))).text == "ok"
        assert [each.trips for each in budgeter.breakers()] == [0]

    run_in_virtual_time(main())


def test_half_open_lets_trials_through_and_their_end_decides(clock):
    """One that fails opens it again for as long, one that succeeds closes it."""
    breakers = breakers_of(clock)
    while attempt(breakers, BOOM):
        pass
    clock.advance(19.9)
    assert not attempt(breakers, None)
    clock.advance(0.1)
    assert breakers.states()[0].state is BreakerState.HALF_OPEN
    trial = breakers.admit(ENDPOINT)
    with pytest.raises(EndpointDown):  # its trial is under way
        breakers.admit(ENDPOINT)
    breakers.attempt_ended(ENDPOINT, BOOM, trial)
    trial.end_trial()
    clock.advance(19.9)
    assert not attempt(breakers, None)
    clock.advance(0.1)
    assert attempt(breakers, None)
    assert breakers.states()[0].state is BreakerState.CLOSED
    for error in (BOOM, None, None, BOOM):  # what failed before is forgotten
        assert attempt(breakers, error)
    assert not attempt(breakers, None)


def test_an_answer_to_an_earlier_request_does_not_close_a_breaker(clock):
    """Of a failing endpoint some attempts succeed; only a trial shows that it is back."""
    breakers = breakers_of(clock)
    while attempt(breakers, BOOM):
        pass
    breakers.attempt_ended(ENDPOINT, None, None)
    breakers.call_answered(ENDPOINT)
    assert not attempt(breakers, None)


def test_an_endpoint_knows_how_long_it_has_been_down(clock):
    """From when it opened first, trials that failed included."""
    breakers = breakers_of(clock)
    assert breakers.down_seconds(ENDPOINT) == 0
    while attempt(breakers, BOOM):
        pass
    for _ in range(3):
        clock.advance(20)
        assert attempt(breakers, BOOM)
    assert breakers.down_seconds(ENDPOINT) == 60
    clock.advance(20)
    attempt(breakers, None)
    assert breakers.down_seconds(ENDPOINT) == 0


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200),
    st.integers(1, 3),
    st.floats(0.1, 1),
)
def test_nothing_is_sent_while_it_is_open_and_trials_are_bounded(steps, trials, rate):
    """However attempts end and whenever: per opening at most `trials` attempts are under way."""
    knobs = BreakerKnobs(
        failure_rate=rate, min_attempts=3, window_seconds=10, open_seconds=7, trials=trials
    )
    clock = ManualClock()
    breakers = breakers_of(clock, knobs)
    running = []
    for has_failed, seconds in steps:
        state = breakers.states()[0].state if breakers.states() else BreakerState.CLOSED
        try:
            running.append(breakers.admit(ENDPOINT))
        except EndpointDown:
            assert state is not BreakerState.CLOSED
        else:
            assert state is not BreakerState.OPEN
        assert sum(trial is not None for trial in running) <= trials or not running
        clock.advance(seconds)
        if running and has_failed:
            trial = running.pop(0)
            breakers.attempt_ended(ENDPOINT, BOOM if has_failed else None, trial)
            if trial is not None:
                trial.end_trial()
        elif len(running) > 1:
            trial = running.pop()
            breakers.attempt_ended(ENDPOINT, None, trial)
            if trial is not None:
                trial.end_trial()


def test_a_window_keeps_no_more_than_it_needs(clock):
    """However many attempts there are at one time."""
    breakers = breakers_of(clock)
    for _ in range(5000):
        attempt(breakers, None)
    (breaker,) = breakers._breakers.values()
    assert len(breaker._window) <= 1000


def dead_of_two(policy, *, hang_seconds, users=16, seconds=300.0, schedule=None):
    """Run users against two endpoints of which one dies at 60 s; return requests and latencies.

    Returns:
        The times of the requests to the one that died, the breaker's first opening, and
        (time of asking, latency) of all calls, in seconds.
    """
    clock = LoopClock()
    to_dead, latencies, outcomes = [], [], []

    async def answer(call, is_mortal):
        if is_mortal and clock.now() >= 60:
            to_dead.append(clock.now())
            await asyncio.sleep(hang_seconds)
            return CallTimeout("no answer")
        await asyncio.sleep(1.0)
        return "ok"

    async def main():
        mortal, healthy = (
            ScriptedClient(lambda call, is_mortal=is_mortal: answer(call, is_mortal))
            for is_mortal in (True, False)
        )
        asked = Endpoint("a", "m", mortal, alternatives=(Endpoint("b", "m", healthy),))
        route = RouteKnobs(policy=policy)
        load = LoadKnobs(route=route, breaker=BreakerKnobs(), schedule=schedule)
        budgeter = Budgeter({Role.MAIN: asked}, clock=clock, load=load)

        async def user(number):
            count = 0
            while clock.now() < seconds:
                began = clock.now()
                message = Message("user", f"{number} {count}")
                reply = await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (message,)))
                outcomes.append(reply.text)
                latencies.append((began, clock.now() - began))
                count += 1

        await asyncio.gather(*map(user, range(users)))
        budgeter.ledger.check()
        route = budgeter.statistics()["route"]
        sent = mortal.sent_requests + healthy.sent_requests
        assert budgeter.run.counts().usage.requests == sent
        return route

    route = run_in_virtual_time(main())
    assert set(outcomes) == {"ok"}
    return to_dead, latencies, route


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fallback", "least_busy", "weighted"])
@pytest.mark.parametrize("hang_seconds", [0.0, 2.0])
def test_a_dead_endpoint_of_two_costs_a_few_requests_and_no_call(policy, hang_seconds):
    """At most those under way when it opens, and one trial each time; later calls are as quick."""
    to_dead, latencies, route = dead_of_two(policy, hang_seconds=hang_seconds)
    users = 16
    assert len(to_dead) <= users + route["trips"]
    after = sorted(seconds for began, seconds in latencies if began > 60 + 2 * hang_seconds + 1)
    assert after[int(len(after) * 0.95)] <= 1.1 * 1.0
    assert len(after) > 1000


@pytest.mark.parametrize("policy", ["least_busy", "weighted"])
def test_what_waits_for_a_dead_endpoint_is_not_sent_to_it(policy):
    """64 users at 5 places each: only those that had a place when it died meet it."""
    knobs = ScheduleKnobs(max_concurrency=5)
    to_dead, latencies, route = dead_of_two(
        policy, hang_seconds=2.0, users=64, seconds=200.0, schedule=knobs
    )
    assert route["rerouted"] > 5
    assert len(to_dead) <= 5 + 5 + route["trips"]
    after = [seconds for began, seconds in latencies if began > 70]
    alone = 64 / 5  # all wait for the places of the one that is left
    assert sorted(after)[int(len(after) * 0.95)] <= 1.1 * alone

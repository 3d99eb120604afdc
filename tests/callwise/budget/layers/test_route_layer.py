"""Several endpoints for one role: which one serves an attempt, and what is noted of it."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget import Budgeter, Limits, ManualClock, RetryPolicy, ScopeKind, VirtualClock
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import (
    Call,
    ConfigError,
    Delivery,
    Endpoint,
    Message,
    Outcome,
    Prices,
    Purpose,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallError,
    CallTimeout,
    ConnectionFailed,
    ContentRefused,
    ContextTooLong,
    EmptyAnswer,
    EndpointDown,
    ParameterRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    StreamCut,
    UnknownModel,
)
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.load.timeout_knobs import TimeoutKnobs
from callwise.testing.fakes import FailingClient, ScriptedClient

FAST = RetryPolicy(first_wait_seconds=0.0)


def role_of(*clients, policy="fallback", weights=None, prices=None, **options):
    """Return a budgeter whose role main is served by several endpoints, `a` the asked one."""
    prices = prices or [None] * len(clients)
    weights = weights or [1.0] * len(clients)
    each = [
        Endpoint(name, "m", client, price, weight=weight)
        for name, client, price, weight in zip("abcd", clients, prices, weights, strict=False)
    ]
    asked = Endpoint("a", "m", clients[0], prices[0], weight=weights[0], alternatives=(*each[1:],))
    options.setdefault("retry", FAST)
    options.setdefault("load", LoadKnobs(route=RouteKnobs(policy=policy)))
    return Budgeter({Role.MAIN: asked}, **options)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailed("refused", was_sent=False),
        CallTimeout("slow"),
        StreamCut("cut"),
        RateLimited("slow down", retry_after_seconds=89),
        ServerFailed("boom"),
        BadResponse("HTML"),
        AuthFailed("no key"),
        UnknownModel("no such model"),
        QuotaExhausted("no credit"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_endpoint_that_fails_is_followed_by_another_at_once(ask_for, error):
    """Without a wait; the row has both attempts, and names who was asked and who served."""
    clock = ManualClock()
    good = ScriptedClient(["ok"])
    budgeter = role_of(FailingClient(lambda: error), good, clock=clock)
    reply = await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (reply.text, reply.delivery) == ("ok", row.delivery)
    assert (row.endpoint, row.attempts, row.outcome) == ("a", 2, Outcome.SERVED)
    assert row.requests == 1 + error.was_sent
    assert row.delivery == Delivery(endpoint="b", model="m")
    assert clock.now() == 0
    budgeter.ledger.check()


@pytest.mark.parametrize(
    "error",
    [
        ContentRefused("filtered", status=400),
        BadRequest("wrong", status=422),
        ContextTooLong("too long"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_content_is_asked_nowhere_else(ask_for, error):
    """Another model would be given what this one has refused."""
    other = ScriptedClient()
    budgeter = role_of(FailingClient(lambda: error), other)
    with pytest.raises(type(error)):
        await budgeter.ask(ask_for())
    assert other.calls == []


async def test_an_empty_answer_is_asked_for_again_where_it_came_from(ask_for):
    """By the policy's number of attempts, and nowhere else."""
    first, other = ScriptedClient([Reply("")] * 2), ScriptedClient()
    budgeter = role_of(first, other)
    with pytest.raises(EmptyAnswer):
        await budgeter.ask(ask_for())
    assert (len(first.calls), len(other.calls)) == (2, 0)


async def test_a_slow_reply_on_a_virtual_clock_goes_elsewhere_once(ask_for):
    """Its deadline is over then, and no further attempt is due."""
    slow = ScriptedClient(lambda call: Reply("late", latency_seconds=9.0))
    budgeter = role_of(slow, slow, clock=VirtualClock())
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_seconds=5)),
        pytest.raises(CallTimeout),
    ):
        await budgeter.ask(ask_for())
    assert len(slow.calls) == 1


async def test_what_was_learned_is_asked_where_it_was_learned(ask_for):
    """A refused field is left out at the endpoint that refused it."""
    first = ScriptedClient([ParameterRefused("no seed"), "ok"])
    budgeter = role_of(first, ScriptedClient())
    assert (await budgeter.ask(ask_for())).text == "ok"
    assert budgeter.ledger.rows[0].delivery == Delivery()


async def test_all_endpoints_are_tried_once_and_then_the_policy_decides(ask_for):
    """Attempts elsewhere are none of the policy's; after them there is a wait."""
    a, b = FailingClient(lambda: ServerFailed("a")), FailingClient(lambda: ServerFailed("b"))
    retry = RetryPolicy(server_failed_attempts=2, first_wait_seconds=4, jitter=0)
    budgeter = role_of(a, b, retry=retry, clock=VirtualClock())
    with pytest.raises(ServerFailed):
        await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (a.sent_requests, b.sent_requests) == (2, 1)
    assert (row.attempts, row.requests, row.retry_seconds) == (3, 3, 4)


async def test_a_fatal_error_of_every_endpoint_is_raised(ask_for):
    """The run can do nothing more."""
    clients = [FailingClient(lambda: AuthFailed("no", status=401)) for _ in range(3)]
    budgeter = role_of(*clients)
    with pytest.raises(AuthFailed):
        await budgeter.ask(ask_for())
    assert [client.sent_requests for client in clients] == [1, 1, 1]


async def test_an_endpoint_that_refuses_the_key_is_passed_over_and_reported_once(ask_for):
    """For `fatal_seconds`, then it is tried again."""
    clock, notices = ManualClock(), []
    bad = FailingClient(lambda: AuthFailed("wrong key", status=401))
    good = ScriptedClient(lambda call: "ok")
    budgeter = role_of(bad, good, clock=clock, notify=notices.append)
    for prompt in "abc":
        await budgeter.ask(ask_for(prompt))
    assert (bad.sent_requests, good.sent_requests) == (1, 3)
    clock.advance(300)
    await budgeter.ask(ask_for("d"))
    assert (bad.sent_requests, len(notices)) == (2, 1)
    assert "a is passed over: wrong key" in notices[0]
    (state,) = budgeter.breakers()
    assert (state.endpoint, state.state, state.trips) == ("a", "open", 2)


async def test_an_endpoint_that_names_a_time_is_spared_until_then(ask_for):
    """Calls that another endpoint can serve are no request thrown away."""
    clock = ManualClock()
    script = [RateLimited("slow down", retry_after_seconds=30), "a"]
    a, b = ScriptedClient(script), ScriptedClient(lambda call: "b")
    budgeter = role_of(a, b, clock=clock)
    assert [(await budgeter.ask(ask_for(prompt))).text for prompt in "123"] == ["b", "b", "b"]
    clock.advance(30)
    assert (await budgeter.ask(ask_for("4"))).text == "a"


async def test_the_least_busy_endpoint_is_asked(ask_for, until):
    """By its attempts under way for its weight: of nine, six at the one of weight 2."""
    gate = asyncio.Event()

    async def answer(call):
        await gate.wait()
        return "ok"

    a, b = ScriptedClient(answer), ScriptedClient(answer)
    budgeter = role_of(a, b, policy="least_busy", weights=[1, 2])
    asked = [asyncio.ensure_future(budgeter.ask(ask_for(str(n)))) for n in range(9)]
    await until(lambda: len(a.calls) + len(b.calls) == 9)
    assert (len(a.calls), len(b.calls)) == (3, 6)
    gate.set()
    await asyncio.gather(*asked)


@given(st.lists(st.sampled_from([0.5, 1, 2, 3]), min_size=2, max_size=4), st.integers(1, 60))
def test_endpoints_are_asked_by_their_weights(weights, count):
    """At every moment each is less than one call away from its share, times the endpoints."""
    clients = [ScriptedClient(lambda call: "ok") for _ in weights]
    budgeter = role_of(*clients, policy="weighted", weights=weights)

    async def ask():
        for number in range(count):
            message = Message("user", str(number))
            await budgeter.ask(Call(Role.MAIN, Purpose.OTHER, (message,)))

    asyncio.run(ask())
    for client, weight in zip(clients, weights, strict=True):
        share = count * weight / sum(weights)
        assert abs(len(client.calls) - share) < len(weights)


async def test_a_replay_decides_nothing_again(ask_for, recorder):
    """The recorded endpoint is in the row of the replay, and no endpoint is asked."""
    budgeter = role_of(FailingClient(lambda: ServerFailed("boom")), ScriptedClient(["ok"]))
    recorded = Budgeter(dict(budgeter._endpoints), retry=FAST, recorder=recorder)
    await recorded.ask(ask_for())
    clients = [ScriptedClient(), ScriptedClient()]
    replayed = role_of(*clients, recorder=recorder.played())
    reply = await replayed.ask(ask_for())
    assert (reply.text, reply.delivery.endpoint) == ("ok", "b")
    rows = recorded.ledger.rows[0], replayed.ledger.rows[0]
    assert rows[0].delivery == rows[1].delivery == Delivery(endpoint="b", model="m")
    assert rows[1].outcome is Outcome.REPLAYED
    assert rows[1].usage.requests == rows[0].usage.requests == 2
    assert not any(client.calls for client in clients)


DEAR, CHEAP = Prices(2.0, 4.0), Prices(1.0, 2.0)


async def test_the_dearest_endpoint_is_reserved_and_the_serving_one_charged(ask_for):
    """A limit in USD is kept whichever serves; what is not used is given back."""
    usage = ReportedUsage(10, 5)
    cheap = ScriptedClient(lambda call: "ok", usage=usage)
    dear = ScriptedClient(lambda call: "ok", usage=usage)
    budgeter = role_of(cheap, dear, prices=[CHEAP, DEAR])
    call = ask_for(sampling=Sampling(max_tokens=100))
    most = budgeter.estimate(call).picodollars * 2 / 1e12
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_usd=most * 0.99)),
        pytest.raises(CallError, match="max_usd"),
    ):
        await budgeter.ask(call)
    with budgeter.scope(ScopeKind.TURN, "2", limits=Limits(max_usd=most)) as turn:
        await budgeter.ask(call)
        assert turn.counts().usd == pytest.approx(20e-6)
    dead = FailingClient(lambda: ConnectionFailed("refused", was_sent=False))
    budgeter = role_of(dead, dear, prices=[CHEAP, DEAR])
    await budgeter.ask(ask_for(sampling=Sampling(max_tokens=100)))
    assert budgeter.run.counts().usd == pytest.approx(40e-6)


def test_a_limit_in_usd_needs_the_prices_of_every_endpoint():
    """An alternative without prices could not be limited."""
    with pytest.raises(ConfigError, match="b has no prices"):
        role_of(ScriptedClient(), ScriptedClient(), prices=[CHEAP, None], limits=Limits(max_usd=1))


async def test_an_alternative_is_sent_its_own_fields_and_timeout(ask_for):
    """Not those of the endpoint that was asked; what the call has itself stays."""
    good = ScriptedClient(["ok"])
    other = Endpoint("b", "n", good, extra_body={"top_k": 5}, timeout_seconds=7)
    asked = Endpoint(
        "a",
        "m",
        FailingClient(lambda: ServerFailed("boom")),
        extra_body={"think": True},
        timeout_seconds=3,
        alternatives=(other,),
    )
    budgeter = Budgeter({Role.MAIN: asked}, retry=FAST)
    await budgeter.ask(ask_for(sampling=Sampling(extra_body={"mine": 1})))
    (sent,) = good.calls
    assert (sent.sampling.extra_body, sent.timeout_seconds) == ({"mine": 1, "top_k": 5}, 7)
    assert good.models == ["n"]
    assert budgeter.ledger.rows[0].model == "m"


async def test_all_clients_are_closed():
    """Those of alternatives too."""
    clients = [ScriptedClient() for _ in range(3)]
    budgeter = role_of(*clients)
    await budgeter.aclose()
    assert all(client.is_closed for client in clients)


async def test_an_attempt_that_waits_goes_elsewhere_when_its_endpoint_goes_down(ask_for, until):
    """Nothing of it was sent, so it is the same attempt with the same reservation."""
    load = LoadKnobs(breaker=BreakerKnobs(min_attempts=1))
    queue = asyncio.Event()
    dead = FailingClient(lambda: ConnectionFailed("refused", was_sent=False))
    good = ScriptedClient(lambda call: "ok")
    budgeter = role_of(dead, good, load=load, clock=ManualClock())
    route = budgeter._call_path.layers["route"]
    send = route._next

    async def queueing(work):
        if work.endpoint.name == "a" and work.call.messages[0].content != "first":
            await queue.wait()
        return await send(work)

    route._next = queueing
    asked = [asyncio.ensure_future(budgeter.ask(ask_for(str(n)))) for n in range(5)]
    await until(lambda: len(route._waiting) == 5)
    assert (await budgeter.ask(ask_for("first"))).text == "ok"
    assert [reply.text for reply in await asyncio.gather(*asked)] == ["ok"] * 5
    assert len(dead.calls) == 1
    assert route.statistics()["rerouted"] == 5
    rows = [row for row in budgeter.ledger.rows if row.attempts == 1]
    assert len(rows) == 5
    assert {row.requests for row in rows} == {1}
    assert budgeter.run.counts().in_flight == 0
    budgeter.ledger.check()


async def test_without_alternatives_what_waits_for_a_dead_endpoint_is_not_sent(ask_for, until):
    """It ends in `EndpointDown`, settled and not counted as a request."""
    load = LoadKnobs(breaker=BreakerKnobs(min_attempts=2, wait_seconds=0))
    queue = asyncio.Event()
    dead = FailingClient(lambda: CallTimeout("slow"))
    retry = RetryPolicy(timeout_attempts=1, down_seconds=0)
    budgeter = role_of(dead, load=load, retry=retry, clock=ManualClock())
    route = budgeter._call_path.layers["route"]
    send = route._next

    async def queueing(work):
        if work.call.messages[0].content.isdigit():
            await queue.wait()
        return await send(work)

    route._next = queueing
    asked = [asyncio.ensure_future(budgeter.ask(ask_for(str(n)))) for n in range(3)]
    await until(lambda: len(route._waiting) == 3)
    for prompt in "ab":
        with pytest.raises(CallTimeout):
            await budgeter.ask(ask_for(prompt))
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [EndpointDown] * 3
    assert len(dead.calls) == 2
    counts = Counter((row.attempts, row.requests) for row in budgeter.ledger.rows)
    assert counts == {(0, 0): 3, (1, 1): 2}
    budgeter.ledger.check()


async def test_a_call_that_is_cancelled_leaves_nothing_behind(ask_for, until):
    """No attempt under way, no trial taken."""
    client = ScriptedClient(lambda call: asyncio.Event().wait())
    budgeter = role_of(client, ScriptedClient(), policy="least_busy")
    asked = asyncio.ensure_future(budgeter.ask(ask_for(share=False)))
    await until(lambda: client.calls)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    route = budgeter._call_path.layers["route"]
    assert set(route._router._under_way.values()) == {0}
    assert not route._waiting
    budgeter.ledger.check()


async def test_replies_of_one_endpoint_pass_unchanged(ask_for):
    """Without alternatives nothing is noted."""
    budgeter = role_of(ScriptedClient([Reply("x")]))
    assert (await budgeter.ask(ask_for())).text == "x"
    assert budgeter.ledger.rows[0].delivery == Delivery()
    assert "delivery" not in budgeter.ledger.rows[0].as_dict()


def test_calls_in_one_request_go_elsewhere_together_when_their_endpoint_fails():
    """And have the time of a request with several calls, at both."""

    async def main():
        down, good = FailingClient(lambda: ServerFailed("boom")), ScriptedClient(lambda call: "")
        asked = Endpoint("a", "m", down, alternatives=(Endpoint("b", "m", good),))
        load = LoadKnobs(batch=BatchKnobs(), timeout=TimeoutKnobs())
        budgeter = Budgeter({Role.EMBED: asked}, retry=FAST, load=load, clock=LoopClock())
        texts = [Call(Role.EMBED, Purpose.EMBED, inputs=(f"{n}" * n,)) for n in range(1, 5)]
        replies = await asyncio.gather(*map(budgeter.ask, texts))
        assert [reply.vectors for reply in replies] == [((float(n), 1.0),) for n in range(1, 5)]
        assert {row.delivery.endpoint for row in budgeter.ledger.rows} == {"b"}
        sent = budgeter.run.counts().usage.requests
        assert sent == down.sent_requests + good.sent_requests
        budgeter.ledger.check()
        return down, good

    down, good = run_in_virtual_time(main())
    assert [len(call.inputs) for call in down.calls] == [4]
    assert down.calls[0].timeout_seconds == 300
    assert sum(len(call.inputs) for call in good.calls) == 4


def test_calls_that_find_no_place_at_an_endpoint_go_to_another():
    """A full queue is no failure of its endpoint, and its breaker stays closed."""

    async def main():
        async def answer(call):
            await asyncio.sleep(1)
            return "ok"

        a, b = ScriptedClient(answer), ScriptedClient(answer)
        full = ScheduleKnobs(max_concurrency=1, max_waiting=1, overload="refuse")
        own = LoadKnobs(schedule=full, breaker=BreakerKnobs(min_attempts=1))
        asked = Endpoint("a", "m", a, load=own, alternatives=(Endpoint("b", "m", b),))
        budgeter = Budgeter({Role.MAIN: asked}, retry=FAST, clock=LoopClock())
        texts = [Call(Role.MAIN, Purpose.OTHER, (Message("user", str(n)),)) for n in range(6)]
        await asyncio.gather(*map(budgeter.ask, texts))
        assert (len(a.calls), len(b.calls)) == (2, 4)
        assert budgeter.run.counts().usage.requests == 6
        assert {state.state for state in budgeter.breakers()} == {"closed"}
        budgeter.ledger.check()

    run_in_virtual_time(main())


async def test_what_was_sent_to_an_endpoint_that_is_down_now_may_still_be_answered(ask_for, until):
    """Its breaker opens for later attempts: this one is neither cut nor sent again."""
    may_answer = asyncio.Event()

    async def answer(call):
        if call.messages[0].content != "slow":
            return ConnectionFailed("refused", was_sent=False)
        await may_answer.wait()
        return "late"

    first, second = ScriptedClient(answer), ScriptedClient(lambda call: "ok")
    budgeter = role_of(first, second, clock=ManualClock())
    slow = asyncio.ensure_future(budgeter.ask(ask_for("slow")))
    await until(lambda: first.calls)
    for number in range(3):
        assert (await budgeter.ask(ask_for(f"{number}"))).text == "ok"
    assert [each.state for each in budgeter.breakers() if not each.model] == ["open"]
    may_answer.set()
    assert (await slow).text == "late"
    assert first.cancelled_calls == 0
    budgeter.ledger.check()

"""Attempts: what is retried, what is charged, what is given back."""

import asyncio

import pytest

from callwise.budget import Budgeter, Limits, ManualClock, RetryPolicy, ScopeKind, VirtualClock
from callwise.calls import (
    Call,
    CallRefused,
    Endpoint,
    Outcome,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.errors import (
    BadResponse,
    CallTimeout,
    ConnectionFailed,
    ContentRefused,
    EmptyAnswer,
    ModelLoading,
    ParameterRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    UnknownModel,
)
from callwise.testing.fakes import FailingClient, ScriptedClient

FAST = RetryPolicy(first_wait_seconds=0.0)


async def test_an_unused_reservation_is_given_back(make_budgeter, ask_for):
    """After settling, the quota that a call reserved and did not use serves others."""
    budgeter = make_budgeter(ScriptedClient(lambda _: "ok", usage=ReportedUsage(5, 5)))
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=130)):
        for prompt in "ab":
            await budgeter.ask(ask_for(prompt, sampling=Sampling(max_tokens=100)))
        assert budgeter.advisory().tokens_left == 110
        await budgeter.ask(ask_for("c", sampling=Sampling(max_tokens=98)))
        with pytest.raises(CallRefused):
            await budgeter.ask(ask_for("d", sampling=Sampling(max_tokens=98)))


async def test_unknown_usage_keeps_the_reservation_charged(make_budgeter, ask_for):
    """A sent attempt without usage is marked unknown and stays charged in full."""
    budgeter = make_budgeter(ScriptedClient(["ok"], usage=ReportedUsage()))
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=1000)):
        await budgeter.ask(ask_for(sampling=Sampling(max_tokens=100)))
        assert budgeter.advisory().tokens_left == 1000 - 112
    (row,) = budgeter.ledger.rows
    assert (row.unknown_usage, row.unknown_usd, row.usd) == (1, 1, None)
    assert row.input_tokens == row.output_tokens == 0


async def test_retries_are_counted_as_attempts_and_requests(make_budgeter, ask_for):
    """A call served at its third attempt is one call, three attempts, three requests."""
    client = FailingClient(lambda: ServerFailed("busy", status=503), failures=2)
    budgeter = make_budgeter(client, retry=FAST)
    await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.attempts, row.requests) == (Outcome.SERVED, 3, 3)
    assert client.sent_requests == 3
    assert row.unknown_usage == 2


async def test_an_attempt_that_never_left_is_no_request(make_budgeter, ask_for):
    """A refused connection counts as an attempt, and takes no quota."""
    client = FailingClient(lambda: ConnectionFailed("refused", was_sent=False), failures=1)
    budgeter = make_budgeter(client, retry=FAST)
    limits = Limits(max_requests=1, max_tokens=2000)
    with budgeter.scope(ScopeKind.TURN, "1", limits=limits):
        await budgeter.ask(ask_for())
        assert budgeter.advisory().tokens_left == 2000 - 15
    (row,) = budgeter.ledger.rows
    assert (row.attempts, row.requests, row.unknown_usage) == (2, 1, 0)


async def test_a_retry_without_quota_ends_in_the_error_of_the_last_attempt(make_budgeter, ask_for):
    """max_requests binds retries too, and the error has a note on why it was not tried again."""
    client = FailingClient(lambda: ServerFailed("busy", status=503))
    budgeter = make_budgeter(client, retry=FAST)
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_requests=2)),
        pytest.raises(ServerFailed) as caught,
    ):
        await budgeter.ask(ask_for())
    assert "max_requests=2" in caught.value.__notes__[0]
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.requests, client.sent_requests) == (Outcome.FAILED, 2, 2)


async def test_a_turned_away_request_is_charged_no_tokens(make_budgeter, ask_for):
    """A 429 is a request, and its tokens are known: none."""
    client = FailingClient(lambda: RateLimited("slow down"), failures=1)
    budgeter = make_budgeter(client, retry=FAST)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=2000)):
        await budgeter.ask(ask_for())
        assert budgeter.advisory().tokens_left == 2000 - 15
    (row,) = budgeter.ledger.rows
    assert (row.requests, row.unknown_usage) == (2, 0)


async def test_a_bug_in_a_client_fails_the_call_and_is_raised(make_budgeter, ask_for):
    """A plain exception leaves a failed row behind, the counters right, and propagates."""

    def broken(call: Call) -> str:
        raise ZeroDivisionError("oops")

    budgeter = make_budgeter(ScriptedClient(broken))
    with pytest.raises(ZeroDivisionError):
        await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.error) == (Outcome.FAILED, "ZeroDivisionError: oops")
    budgeter.ledger.check()


async def test_a_cancelled_call_settles_as_unknown(make_budgeter, ask_for, until):
    """Cancelling the only caller cancels the request, which stays charged as unknown."""
    client = ScriptedClient(lambda _: asyncio.Event().wait())
    budgeter = make_budgeter(client)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=2000)):
        task = asyncio.ensure_future(budgeter.ask(ask_for(sampling=Sampling(max_tokens=100))))
        await until(lambda: client.calls)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budgeter.advisory().tokens_left == 2000 - 112
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.CANCELLED, 1, 1)
    assert client.cancelled_calls == 1
    assert budgeter.in_flight == 0
    budgeter.ledger.check()


async def test_a_call_cancelled_before_it_left_is_no_request(make_budgeter, ask_for):
    """Cancelled before the client has sent it, a call gives everything back."""

    class Queueing(ScriptedClient):
        """Waits for a connection before it sends."""

        async def answer(self, calls, *, model, on_sent=None):
            """Wait for ever."""
            await asyncio.Event().wait()

    client = Queueing()
    budgeter = make_budgeter(client)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_requests=1)):
        task = asyncio.ensure_future(budgeter.ask(ask_for()))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budgeter.advisory().requests_left == 1
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.CANCELLED, 0, 0)
    assert client.sent_requests == 0


async def test_an_endpoint_that_times_out_is_charged_and_tried_again(make_budgeter, ask_for):
    """A timeout is a sent request of unknown usage."""
    client = FailingClient(lambda: CallTimeout("slow"), failures=1)
    budgeter = make_budgeter(client, retry=FAST)
    await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.requests, row.unknown_usage, row.input_tokens) == (2, 1, 10)


async def test_retries_elsewhere_cannot_eat_the_replys_request(make_budgeter, ask_for):
    """A lease holds back a request with its call."""
    client = ScriptedClient(lambda call: "ok" if call.lease else ServerFailed("busy", status=503))
    budgeter = make_budgeter(client, retry=FAST)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_requests=2)) as turn:
        turn.hold("reply")
        with pytest.raises(ServerFailed):
            await budgeter.ask(ask_for("search"))
        assert (await budgeter.ask(ask_for("reply", lease="reply"))).text == "ok"


async def test_replies_have_their_virtual_time(make_budgeter, ask_for):
    """A virtual clock causes no waiting, and the path has the time that it would have taken."""
    client = ScriptedClient(
        [
            Reply("a", latency_seconds=2.0),
            ServerFailed("busy", latency_seconds=0.5),
            Reply("b", latency_seconds=1.0),
        ]
    )
    retry = RetryPolicy(first_wait_seconds=4.0, jitter=0.0)
    budgeter = make_budgeter(client, clock=VirtualClock(), retry=retry)
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        await budgeter.ask(ask_for("a"))
        await budgeter.ask(ask_for("b"))
    assert (turn.rounds, turn.path_seconds) == (2, 7.5)
    row = budgeter.ledger.rows[1]
    assert (row.work_seconds, row.retry_seconds, row.path_seconds) == (1.5, 4.0, 5.5)


async def test_what_a_client_learned_is_sent_at_once_and_counted(make_budgeter, ask_for):
    """Refused fields take no time and none of the other attempts; each is a request."""
    script = [ParameterRefused("no"), ServerFailed("boom"), ParameterRefused("no")]
    script += [ServerFailed("boom"), ParameterRefused("no"), "ok"]
    clock = ManualClock()
    budgeter = make_budgeter(ScriptedClient(script), retry=FAST, clock=clock)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_requests=6)):
        assert (await budgeter.ask(ask_for())).text == "ok"
        assert budgeter.advisory().requests_left == 0
    (row,) = budgeter.ledger.rows
    assert (row.attempts, row.requests, row.unknown_usage) == (6, 6, 2)
    assert clock.now() == 0


async def test_a_client_that_never_stops_learning_is_stopped(make_budgeter, ask_for):
    """A paid loop has a cap."""
    client = FailingClient(lambda: ParameterRefused("no"))
    budgeter = make_budgeter(client, retry=FAST)
    with pytest.raises(ParameterRefused):
        await budgeter.ask(ask_for())
    assert client.sent_requests == 24


async def test_a_server_that_loads_its_model_is_waited_for(make_budgeter, ask_for, until):
    """Each look is a counted request without tokens; a person is notified, not at every look."""
    clock, notices = ManualClock(), []
    script = [*[ModelLoading("loading", status=503)] * 5, ServerFailed("boom"), "ok"]
    budgeter = make_budgeter(ScriptedClient(script), retry=FAST, clock=clock, notify=notices.append)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=2000)):
        task = asyncio.ensure_future(budgeter.ask(ask_for(sampling=Sampling(max_tokens=5))))
        for seconds in (2, 3, 4, 5, 5):
            await until(lambda: clock.sleeper_count)
            clock.advance(seconds)
        assert (await task).text == "ok"
    (row,) = budgeter.ledger.rows
    assert (row.attempts, row.requests, row.unknown_usage) == (7, 7, 1)
    assert row.retry_seconds == 19
    assert len(notices) == 3
    assert "fake" in notices[0]
    assert notices[2].endswith("attempt 1 of 3 failed (ServerFailed); next in 0.0 s")


async def test_a_server_that_never_loads_is_given_up(make_budgeter, ask_for):
    """After the time that settings allow."""
    client = FailingClient(lambda: ModelLoading("loading", status=503))
    retry = RetryPolicy(model_loading_seconds=10)
    budgeter = make_budgeter(client, retry=retry, clock=VirtualClock())
    with pytest.raises(ModelLoading):
        await budgeter.ask(ask_for())
    assert client.sent_requests == 4  # at 0, 2, 5 and 9 seconds


async def test_an_answer_cut_before_it_began_is_asked_for_with_more_tokens(make_budgeter, ask_for):
    """Doubled each time, four times at most, and reserved for; the call stays the same."""
    empty = Reply("", finish_reason="length", usage=ReportedUsage(5, 100))
    client = ScriptedClient([empty, empty, empty, empty, "ok"])
    retry = RetryPolicy(first_wait_seconds=0, cut_answer_attempts=5)
    budgeter = make_budgeter(client, retry=retry)
    await budgeter.ask(ask_for(sampling=Sampling(max_tokens=100)))
    assert [call.sampling.max_tokens for call in client.calls] == [100, 200, 400, 400, 400]
    (row,) = budgeter.ledger.rows
    assert (row.attempts, row.requests) == (5, 5)


async def test_more_tokens_are_reserved_before_they_are_asked_for(make_budgeter, ask_for):
    """A limit on tokens binds them too."""
    client = ScriptedClient([Reply("", finish_reason="length", usage=ReportedUsage(5, 100))])
    budgeter = make_budgeter(client, retry=FAST)
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=250)),
        pytest.raises(EmptyAnswer) as caught,
    ):
        await budgeter.ask(ask_for(sampling=Sampling(max_tokens=100)))
    assert caught.value.is_cut
    assert "max_tokens=250" in caught.value.__notes__[0]
    assert client.sent_requests == 1


async def test_an_odd_answer_is_asked_for_again_a_few_times(make_budgeter, ask_for):
    """A page of a gateway once is survived; one that stays fails the call, not the run."""
    budgeter = make_budgeter(FailingClient(lambda: BadResponse("HTML"), failures=2), retry=FAST)
    assert (await budgeter.ask(ask_for())).text == "ok"
    client = FailingClient(lambda: BadResponse("HTML"))
    with pytest.raises(BadResponse) as caught:
        await make_budgeter(client, retry=FAST).ask(ask_for())
    assert not caught.value.is_fatal
    assert client.sent_requests == 3


@pytest.mark.parametrize(
    "error",
    [
        QuotaExhausted("no", status=429),
        UnknownModel("no", status=404),
        ContentRefused("no", status=403),
    ],
)
async def test_what_no_model_has_run_for_costs_nothing(make_budgeter, ask_for, error):
    """One request, and its tokens are known: none."""
    budgeter = make_budgeter(ScriptedClient([error]))
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=2000)):
        with pytest.raises(type(error)):
            await budgeter.ask(ask_for())
        assert budgeter.advisory().tokens_left == 2000
    (row,) = budgeter.ledger.rows
    assert (row.requests, row.unknown_usage) == (1, 0)


async def test_an_endpoints_own_policy_goes_before_the_runs(ask_for):
    """A slow local server may be tried otherwise than a host."""
    client = FailingClient(lambda: ServerFailed("boom"))
    own = RetryPolicy(first_wait_seconds=0, server_failed_attempts=7)
    endpoint = Endpoint("here", "m", client, retry=own)
    budgeter = Budgeter({Role.MAIN: endpoint}, retry=FAST)
    with pytest.raises(ServerFailed):
        await budgeter.ask(ask_for())
    assert client.sent_requests == 7


async def test_a_person_is_shown_each_attempt_and_no_secret(make_budgeter, ask_for, until):
    """Endpoint, number, kind of error and wait; equal lines of other calls are not repeated."""
    clock, notices = ManualClock(), []
    error = ServerFailed("boom: sk-secret", status=503)
    script = [error, error, error, error, "ok", "ok"]
    retry = RetryPolicy(preset="patient", jitter=0.0)
    budgeter = make_budgeter(
        ScriptedClient(script), retry=retry, clock=clock, notify=notices.append
    )
    tasks = [asyncio.ensure_future(budgeter.ask(ask_for(prompt))) for prompt in "ab"]
    for _ in range(2):
        await until(lambda: clock.sleeper_count == 2)
        clock.advance(1.0)
    assert {reply.text for reply in await asyncio.gather(*tasks)} == {"ok"}
    assert [notice.partition(": ")[2] for notice in notices] == [
        "attempt 1 of 5 failed (ServerFailed, status 503); next in 1.0 s",
        "attempt 2 of 5 failed (ServerFailed, status 503); next in 1.0 s",
    ]
    assert "secret" not in "".join(notices)


async def test_a_long_wait_is_shown_until_the_answer_comes(make_budgeter, ask_for, until):
    """Each fifteen seconds."""
    clock, notices = ManualClock(), []

    async def answer(_):
        await clock.sleep(40.0)
        return "ok"

    budgeter = make_budgeter(ScriptedClient(answer), clock=clock, notify=notices.append)
    task = asyncio.ensure_future(budgeter.ask(ask_for()))
    for seconds in (15.0, 15.0, 10.0):
        await until(lambda: clock.sleeper_count)
        clock.advance(seconds)
    await task
    assert [notice.partition(": ")[2] for notice in notices] == [
        "no answer for 15 s, still waiting",
        "no answer for 30 s, still waiting",
    ]

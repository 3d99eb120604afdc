"""The budgeter as its callers see it: outcomes, caps, sharing, repairs."""

import asyncio
from collections import Counter

import pytest
from pydantic import BaseModel

from turnwise.budget import LedgerError, Limits, RetryPolicy, RoleLimits, ScopeKind, VirtualClock
from turnwise.budget.cache import MemoryCache
from turnwise.calls import Call, CallRefused, ConfigError, Outcome, Reply, Role, Sampling, Usage
from turnwise.calls.errors import (
    AuthFailed,
    CallTimeout,
    ConnectionFailed,
    EmptyAnswer,
    InvalidAnswer,
    RateLimited,
    ServerFailed,
    UnknownRole,
)
from turnwise.testing.clients import FailingClient, ScriptedClient

FAST = RetryPolicy(first_wait_seconds=0.0)


class Score(BaseModel):
    """An answer with a form."""

    points: int


def outcomes(budgeter):
    """Return how many rows have each outcome."""
    return Counter(row.outcome for row in budgeter.ledger.rows)


async def test_a_served_call_settles_with_its_real_usage(make_budgeter, ask_for):
    """One served call has one row with the tokens and the price of its response."""
    budgeter = make_budgeter(ScriptedClient(["hello"], usage=Usage(100, 50, 20)))
    with budgeter.scope(ScopeKind.TURN, "1"), budgeter.scope(ScopeKind.NODE, "reasoner"):
        reply = await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert reply.text == "hello"
    assert (row.outcome, row.attempts, row.requests) == (Outcome.SERVED, 1, 1)
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (100, 50, 20)
    assert row.usd == pytest.approx(200e-6)
    assert (row.scope, row.turn, row.node) == ("run/turn:1/node:reasoner", "1", "reasoner")
    budgeter.ledger.check()


@pytest.mark.parametrize("askers", [32, 256])
@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_calls=5),
        Limits(max_requests=5),
        # 12 input tokens (10 times the margin of 1.2) and 100 of output are reserved.
        Limits(max_tokens=5 * 112),
        Limits(max_usd=5 * (12 * 1e-6 + 100 * 2e-6)),
        Limits(roles={Role.MAIN: RoleLimits(max_calls=5)}),
    ],
    ids=["calls", "requests", "tokens", "usd", "role"],
)
async def test_no_limit_is_passed_by_concurrent_askers(make_budgeter, ask_for, limits, askers):
    """However many ask at once against room for 5, exactly 5 are served and sent."""
    client = ScriptedClient(
        lambda call: asyncio.sleep(0, Reply("ok", usage=Usage(12, 100, usd=None)))
    )
    budgeter = make_budgeter(client)
    with budgeter.scope(ScopeKind.TURN, "1", limits=limits) as turn:
        answers = await asyncio.gather(
            *(
                budgeter.ask(ask_for(f"{n}", sampling=Sampling(max_tokens=100)))
                for n in range(askers)
            ),
            return_exceptions=True,
        )
    assert outcomes(budgeter) == {Outcome.SERVED: 5, Outcome.REFUSED: askers - 5}
    assert client.sent_requests == 5
    assert sum(isinstance(answer, CallRefused) for answer in answers) == askers - 5
    assert turn.statistics().counts.asked == askers
    budgeter.ledger.check()


async def test_a_refusal_names_scope_limit_value_and_what_was_asked(make_budgeter, ask_for):
    """A refusal says which limit of which scope had how much left for what."""
    budgeter = make_budgeter()
    limits = Limits(roles={Role.JUDGE: RoleLimits(max_calls=1)})
    with budgeter.scope(ScopeKind.TURN, "3", limits=limits):
        await budgeter.ask(ask_for("one", Role.JUDGE))
        with pytest.raises(CallRefused) as caught:
            await budgeter.ask(ask_for("two", Role.JUDGE))
        await budgeter.ask(ask_for("three", Role.MAIN))
    error = caught.value
    assert (error.scope, error.limit) == ("run/turn:3", "max_calls[judge]")
    assert (error.limit_value, error.used_value, error.asked_value) == (1, 1, 1)


async def test_an_unused_reservation_is_given_back(make_budgeter, ask_for):
    """After settling, the room that a call reserved and did not use serves others."""
    budgeter = make_budgeter(ScriptedClient(lambda _: "ok", usage=Usage(5, 5)))
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=130)):
        for prompt in "ab":
            await budgeter.ask(ask_for(prompt, sampling=Sampling(max_tokens=100)))
        assert budgeter.advisory().tokens_left == 110
        await budgeter.ask(ask_for("c", sampling=Sampling(max_tokens=98)))
        with pytest.raises(CallRefused):
            await budgeter.ask(ask_for("d", sampling=Sampling(max_tokens=98)))


async def test_unknown_usage_keeps_the_reservation_charged(make_budgeter, ask_for):
    """A sent attempt without usage is marked unknown and stays charged in full."""
    budgeter = make_budgeter(ScriptedClient(["ok"], usage=Usage()))
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=1000)):
        await budgeter.ask(ask_for(sampling=Sampling(max_tokens=100)))
        assert budgeter.advisory().tokens_left == 1000 - 112
    (row,) = budgeter.ledger.rows
    assert (row.unknown_usage, row.unknown_usd, row.usd) == (1, 1, None)
    assert row.input_tokens == row.output_tokens == 0


async def test_equal_calls_in_flight_are_paid_once(make_budgeter, ask_for):
    """Ten equal calls at once are one request; nine are coalesced and cost nothing."""
    client = ScriptedClient(lambda _: asyncio.sleep(0, '{"points": 3}'))
    budgeter = make_budgeter(client)
    call = ask_for(response_model=Score)
    replies = await asyncio.gather(*(budgeter.ask(call) for _ in range(10)))
    assert outcomes(budgeter) == {Outcome.SERVED: 1, Outcome.COALESCED: 9}
    assert client.sent_requests == 1
    assert sum(row.requests for row in budgeter.ledger.rows) == 1
    assert {reply.parsed.points for reply in replies} == {3}
    assert len({id(reply.parsed) for reply in replies}) == 10


async def test_intended_resamples_are_never_merged(make_budgeter, ask_for):
    """Resamples of one prompt are sent one by one, also with a cache."""
    client = ScriptedClient(lambda call: asyncio.sleep(0, f"sample {call.sample}"))
    budgeter = make_budgeter(client, cache=MemoryCache())
    calls = [ask_for().resample(n) for n in range(4)]
    texts = {reply.text for reply in await budgeter.ask_all(calls)}
    assert client.sent_requests == len(texts) == 4


async def test_an_equal_call_comes_from_the_cache_and_is_counted(make_budgeter, ask_for):
    """A cached call counts against max_calls, and costs no request and no tokens."""
    client = ScriptedClient(["once"])
    budgeter = make_budgeter(client, cache=MemoryCache())
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=2)):
        await budgeter.ask(ask_for())
        assert (await budgeter.ask(ask_for())).text == "once"
        with pytest.raises(CallRefused):
            await budgeter.ask(ask_for())
    served, cached, _ = budgeter.ledger.rows
    assert (served.requests, cached.outcome, cached.requests) == (1, Outcome.CACHED, 0)
    assert cached.input_tokens == 0


async def test_refusals_errors_empty_and_invalid_answers_are_not_cached(make_budgeter, ask_for):
    """Only an answer that can be used is ever kept."""
    cache = MemoryCache()
    script = [AuthFailed("no", status=401), Reply(""), Reply(" "), "no json", "still none"]
    budgeter = make_budgeter(ScriptedClient(script), cache=cache, retry=FAST)
    with pytest.raises(AuthFailed):
        await budgeter.ask(ask_for("a"))
    with pytest.raises(EmptyAnswer):
        await budgeter.ask(ask_for("b"))
    with pytest.raises(InvalidAnswer):
        await budgeter.ask(ask_for("c", response_model=Score))
    with (
        budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=0)),
        pytest.raises(CallRefused),
    ):
        await budgeter.ask(ask_for("d"))
    assert len(cache) == 0


async def test_an_answer_that_does_not_fit_is_asked_again_and_counted(make_budgeter, ask_for):
    """A repair is a call of its own, with its own row and its own round."""
    budgeter = make_budgeter(ScriptedClient(["nonsense", '{"points": 7}']))
    reply = await budgeter.ask(ask_for(response_model=Score))
    assert reply.parsed == Score(points=7)
    first, repair = budgeter.ledger.rows
    assert (first.outcome, first.repair, repair.repair) == (Outcome.SERVED, 0, 1)
    assert first.error is not None
    assert repair.error is None
    assert (first.end_round, repair.end_round, budgeter.run.rounds) == (1, 2, 2)


async def test_a_model_that_never_fits_ends_in_invalid_answer(make_budgeter, ask_for):
    """The asking again is bounded by `max_repairs`, and the last problem is raised."""
    budgeter = make_budgeter(ScriptedClient(["one", "two", '{"points": "x"}']))
    with pytest.raises(InvalidAnswer, match="points"):
        await budgeter.ask(ask_for(response_model=Score, max_repairs=2))
    assert outcomes(budgeter) == {Outcome.SERVED: 3}
    budgeter.ledger.check()


async def test_an_answer_that_calls_tools_needs_no_form(make_budgeter, ask_for):
    """A reply with tool calls and no text is not parsed."""
    reply = Reply("", tool_calls=({"id": "1", "function": {"name": "f"}},))
    budgeter = make_budgeter(ScriptedClient([reply]))
    assert (await budgeter.ask(ask_for(response_model=Score))).tool_calls == reply.tool_calls


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
    """A refused connection counts as an attempt, and takes no room."""
    client = FailingClient(lambda: ConnectionFailed("refused", was_sent=False), failures=1)
    budgeter = make_budgeter(client, retry=FAST)
    limits = Limits(max_requests=1, max_tokens=2000)
    with budgeter.scope(ScopeKind.TURN, "1", limits=limits):
        await budgeter.ask(ask_for())
        assert budgeter.advisory().tokens_left == 2000 - 15
    (row,) = budgeter.ledger.rows
    assert (row.attempts, row.requests, row.unknown_usage) == (2, 1, 0)


async def test_a_retry_without_room_ends_in_the_error_of_the_last_attempt(make_budgeter, ask_for):
    """max_requests binds retries too, and the error says why it was not tried again."""
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
    """A plain exception leaves a failed row behind, the books balanced, and propagates."""

    def broken(call: Call) -> str:
        raise ZeroDivisionError("oops")

    budgeter = make_budgeter(ScriptedClient(broken))
    with pytest.raises(ZeroDivisionError):
        await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.outcome, row.error) == (Outcome.FAILED, "ZeroDivisionError: oops")
    budgeter.ledger.check()


async def test_a_cancelled_call_settles_as_unknown(make_budgeter, ask_for):
    """Cancelling the only asker cancels the request, which stays charged as unknown."""
    client = ScriptedClient(lambda _: asyncio.Event().wait())
    budgeter = make_budgeter(client)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=2000)):
        task = asyncio.ensure_future(budgeter.ask(ask_for(sampling=Sampling(max_tokens=100))))
        while not client.calls:
            await asyncio.sleep(0)
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


async def test_the_next_waiter_takes_over_from_a_cancelled_payer(make_budgeter, ask_for):
    """When the payer leaves, the next one pays, and nothing is sent twice."""
    gate = asyncio.Event()

    async def slow(call: Call) -> str:
        await gate.wait()
        return "late"

    client = ScriptedClient(slow)
    budgeter = make_budgeter(client)
    turns = [budgeter.scope(ScopeKind.TURN, str(n), limits=Limits(max_requests=1)) for n in "123"]
    tasks = []
    for turn in turns:
        with turn.entered():
            tasks.append(asyncio.ensure_future(budgeter.ask(ask_for())))
    while not client.calls:
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(result, "text", type(result).__name__) for result in results] == [
        "CancelledError",
        "late",
        "late",
    ]
    assert [(row.turn, row.outcome, row.requests) for row in budgeter.ledger.rows] == [
        ("1", Outcome.CANCELLED, 0),
        ("2", Outcome.SERVED, 1),
        ("3", Outcome.COALESCED, 0),
    ]
    assert client.sent_requests == 1
    lefts = []
    for turn in turns:
        with turn.entered():
            lefts.append(budgeter.advisory().requests_left)
        turn.close()
    assert lefts == [1, 0, 1]
    budgeter.ledger.check()


async def test_a_waiter_that_cannot_pay_is_refused_when_nobody_else_can(make_budgeter, ask_for):
    """If nobody left can pay, the work is cancelled and those who waited are refused."""
    client = ScriptedClient(lambda _: asyncio.Event().wait())
    budgeter = make_budgeter(client)
    rich = budgeter.scope(ScopeKind.TURN, "rich")
    poor = budgeter.scope(ScopeKind.TURN, "poor", limits=Limits(max_requests=0))
    with rich.entered():
        payer = asyncio.ensure_future(budgeter.ask(ask_for()))
    with poor.entered():
        waiter = asyncio.ensure_future(budgeter.ask(ask_for()))
    while not client.calls:
        await asyncio.sleep(0)
    payer.cancel()
    with pytest.raises(CallRefused, match="max_requests=0"):
        await waiter
    with pytest.raises(asyncio.CancelledError):
        await payer
    assert {(row.turn, row.outcome, row.requests) for row in budgeter.ledger.rows} == {
        ("rich", Outcome.CANCELLED, 1),
        ("poor", Outcome.REFUSED, 0),
    }
    budgeter.ledger.check()


async def test_who_takes_over_reserves_what_its_own_limits_need(make_budgeter, ask_for):
    """A payer without a token limit reserved none; one with a limit does when it takes over."""
    gate = asyncio.Event()

    async def slow(call: Call) -> str:
        await gate.wait()
        return "late"

    client = ScriptedClient(slow)
    budgeter = make_budgeter(client)
    tasks = []
    for name, limits in (
        ("free", None),
        ("tight", Limits(max_tokens=111)),
        ("wide", Limits(max_tokens=112)),
    ):
        with budgeter.scope(ScopeKind.TURN, name, limits=limits).entered():
            tasks.append(
                asyncio.ensure_future(budgeter.ask(ask_for(sampling=Sampling(max_tokens=100))))
            )
    while not client.calls:
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait(tasks)
    assert {row.turn: row.outcome for row in budgeter.ledger.rows} == {
        "free": Outcome.CANCELLED,
        "tight": Outcome.COALESCED,
        "wide": Outcome.SERVED,
    }


async def test_followers_of_a_failed_call_fail_without_a_request(make_budgeter, ask_for):
    """A shared error fails every asker, and its requests stand on the payer's row alone."""

    async def fail(call: Call) -> ServerFailed:
        await asyncio.sleep(0)
        return ServerFailed("down", status=500)

    budgeter = make_budgeter(ScriptedClient(fail), retry=FAST)
    results = await budgeter.ask_all([ask_for(), ask_for()])
    assert [type(result) for result in results] == [ServerFailed, ServerFailed]
    assert [row.requests for row in budgeter.ledger.rows] == [3, 0]
    assert outcomes(budgeter) == {Outcome.FAILED: 2}


async def test_max_usd_without_prices_is_refused_when_it_is_set(make_budgeter):
    """A limit in USD that could not bind is an error, at the root and in any scope."""
    with pytest.raises(ConfigError, match=r"run: max_usd.*'?fake"):
        make_budgeter(prices=None, limits=Limits(max_usd=1))
    budgeter = make_budgeter(prices=None)
    limits = Limits(roles={Role.JUDGE: RoleLimits(max_usd=1)})
    with pytest.raises(ConfigError, match=r"run/turn:1: roles.judge.max_usd"):
        budgeter.scope(ScopeKind.TURN, "1", limits=limits)


async def test_an_endpoint_that_times_out_is_charged_and_tried_again(make_budgeter, ask_for):
    """A timeout is a sent request of unknown usage."""
    client = FailingClient(lambda: CallTimeout("slow"), failures=1)
    budgeter = make_budgeter(client, retry=FAST)
    await budgeter.ask(ask_for())
    (row,) = budgeter.ledger.rows
    assert (row.requests, row.unknown_usage, row.input_tokens) == (2, 1, 10)


async def test_secrets_reach_neither_rows_nor_errors(make_budgeter, ask_for):
    """A key that a foreign client puts into its error is taken out of it."""
    key = "super-secret-value-123"

    def leak(call: Call) -> str:
        raise RuntimeError(f"header was {key}")

    budgeter = make_budgeter(ScriptedClient(leak), secrets=[key])
    with pytest.raises(RuntimeError) as caught:
        await budgeter.ask(ask_for())
    assert key not in str(caught.value)
    assert key not in str(budgeter.ledger.rows[0].as_dict())


async def test_a_role_without_endpoint_is_not_counted(ask_for, make_budgeter):
    """Asking a role that nobody serves is a mistake in the settings, not a call."""
    budgeter = make_budgeter()
    del budgeter._endpoints[Role.EMBED]
    with pytest.raises(UnknownRole, match="embed"):
        await budgeter.ask(ask_for(role=Role.EMBED))
    assert budgeter.ledger.counts().asked == 0


async def test_nothing_is_asked_in_a_closed_scope(make_budgeter, ask_for):
    """A call in a scope that was closed is a bug of the caller and says so."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        pass
    with turn.entered(), pytest.raises(LedgerError, match="run/turn:1 is closed"):
        await budgeter.ask(ask_for())


async def test_two_budgeters_do_not_mix_their_scopes(make_budgeter, ask_for):
    """A call asked of a budgeter inside another one's scope is counted in its own run."""
    one, other = make_budgeter(), make_budgeter()
    with one.scope(ScopeKind.TURN, "1") as turn:
        await other.ask(ask_for())
    assert turn.statistics().counts.asked == 0
    assert other.ledger.rows[0].scope == "run"


async def test_a_lease_is_kept_for_its_own_call(make_budgeter, ask_for):
    """With a call held back for the reply, the search runs dry first and the reply comes."""
    budgeter = make_budgeter()
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=3)) as turn:
        assert turn.hold("reply") == 1
        assert budgeter.advisory().calls_left == 2
        with budgeter.scope(ScopeKind.NODE, "lats_search"):
            results = await budgeter.ask_all([ask_for(f"{n}") for n in range(5)])
        assert [isinstance(result, CallRefused) for result in results] == [False] * 2 + [True] * 3
        with budgeter.scope(ScopeKind.NODE, "processor"):
            assert (await budgeter.ask(ask_for("r", lease="reply"))).text == "echo r"
            with pytest.raises(CallRefused):
                await budgeter.ask(ask_for("again", lease="reply"))
    budgeter.ledger.check()


async def test_retries_elsewhere_cannot_eat_the_replys_request(make_budgeter, ask_for):
    """A lease holds back a request with its call."""
    client = ScriptedClient(lambda call: "ok" if call.lease else ServerFailed("busy", status=503))
    budgeter = make_budgeter(client, retry=FAST)
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_requests=2)) as turn:
        turn.hold("reply")
        with pytest.raises(ServerFailed):
            await budgeter.ask(ask_for("search"))
        assert (await budgeter.ask(ask_for("reply", lease="reply"))).text == "ok"


async def test_replies_say_their_virtual_time(make_budgeter, ask_for):
    """On a virtual clock nobody waits, and the path has the time that it would have taken."""
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

"""Budgeters of one name: their calls stay within limits of all, and the counts are the ledgers'."""

import asyncio
import time
from collections import deque

import pytest

from callwise.budget import Budgeter, Limits, ManualClock, ScopeKind, SystemClock, VirtualClock
from callwise.budget.limits import NOTHING, Amounts
from callwise.calls import Call, Purpose, Reply, ReportedUsage, Role, Sampling
from callwise.calls.call import Outcome
from callwise.calls.errors import (
    BudgetStoreLost,
    CallRefused,
    CallTimeout,
    ConfigError,
    EndpointDown,
    RunStopped,
    ServerFailed,
)
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.retry import RetryPolicy
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.conftest import MemoryRecorder
from tests.callwise.budget.fleet.conftest import knobs, until


def outcomes(budgeter):
    """Return how the calls ended, and only those ways that occurred."""
    return {key.value: n for key, n in budgeter.run.counts().outcomes.items() if n}


def spent(budgeter):
    """Return what the ledger of a budgeter comes to."""
    counts = budgeter.run.counts()
    usage = counts.usage
    calls = counts.asked - counts.outcomes[Outcome.REFUSED]
    return Amounts(calls, usage.requests, usage.charged_tokens, usage.charged_picodollars)


async def settled(*budgeters):
    """Return what the shared budget counts, once all that was reported has arrived."""
    return [await budgeter._fleet.budget.used() for budgeter in budgeters][-1]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_calls": 5},
        {"max_requests": 5},
        {"max_tokens": 5 * 17},
        {"max_usd": 5 * 22e-6},
        {"roles": {"main": {"max_calls": 5}}},
    ],
)
async def test_exactly_the_limit_is_served(make_fleet_budgeter, ask_for, limits):
    """4 budgeters with 64 calls each and a quota of 5: 5 served, the others refused."""
    # As many tokens as an attempt reserves: 12 and 5. A simulated model teaches no other estimate.
    usage = ReportedUsage(input_tokens=12, output_tokens=5)
    client = ScriptedClient(lambda call: "an answer", usage=usage, is_simulated=True)
    budgeters = [make_fleet_budgeter(client, fleet={"limits": limits}) for _ in range(4)]
    results = await asyncio.gather(
        *(
            budgeter.ask(ask_for(f"{index} {number}", sampling=Sampling(max_tokens=5)))
            for index, budgeter in enumerate(budgeters)
            for number in range(64)
        ),
        return_exceptions=True,
    )
    errors = [each for each in results if isinstance(each, Exception)]
    assert {type(each) for each in errors} == {CallRefused}
    assert len(results) - len(errors) == len(client.calls) == 5
    total = sum(map(spent, budgeters), NOTHING)
    assert total.calls == 5
    assert await settled(*budgeters, budgeters[0]) == total
    assert all(set(outcomes(each)) <= {"served", "refused"} for each in budgeters)


async def test_a_user_has_a_quota_in_all_processes_together(make_fleet_budgeter, ask_for):
    """Another user's is left as it is; the refusal names the user."""
    limits = {"each_user": {"max_calls": 3}, "each_tenant": {"max_tokens": 10**6}}
    budgeters = [make_fleet_budgeter(fleet={"limits": limits}) for _ in range(2)]
    ends = []
    for user in ("Ann & co", "bob"):
        for budgeter in budgeters:
            with budgeter.run.open(ScopeKind.CONVERSATION, user, user=user, tenant="t").entered():
                asking = [budgeter.ask(ask_for(f"{number}", sample=number)) for number in range(4)]
                ends += await asyncio.gather(*asking, return_exceptions=True)
    refusals = [str(each) for each in ends if isinstance(each, CallRefused)]
    assert len(refusals) == 16 - 6
    assert all("has max_calls[user:" in each for each in refusals)
    assert "max_calls[user:Ann & co]=3" in refusals[0]
    assert (await budgeters[0]._fleet.budget.used("tenant:t")).calls == 6


async def test_a_call_is_not_refused_by_the_limits_of_another_user(make_fleet_budgeter, ask_for):
    """Calls that had joined one whose user has no quota left are sent for their own users."""
    budgeter = make_fleet_budgeter(fleet={"limits": {"each_user": {"max_requests": 1}}})
    scopes = {
        user: budgeter.run.open(ScopeKind.CONVERSATION, user, user=user) for user in ("ann", "bob")
    }

    async def ask(user, prompt):
        with scopes[user].entered():
            return await budgeter.ask(ask_for(prompt))

    await ask("ann", "hers")
    users = ("ann", "ann", "bob", "bob")
    ends = await asyncio.gather(*(ask(user, "of both") for user in users), return_exceptions=True)
    assert [getattr(end, "text", "refused") for end in ends] == ["refused"] * 2 + [
        "echo of both"
    ] * 2
    assert "user:ann" in str(ends[1])
    assert outcomes(budgeter) == {"served": 2, "coalesced": 1, "refused": 2}
    assert await settled(budgeter) == spent(budgeter)


async def test_what_is_answered_without_a_request_counts_as_a_call(make_fleet_budgeter, ask_for):
    """A call that joins another is a call and no request."""
    budgeter = make_fleet_budgeter(fleet={"limits": {"max_calls": 3}})
    results = await asyncio.gather(
        *(budgeter.ask(ask_for()) for _ in range(4)), return_exceptions=True
    )
    assert outcomes(budgeter) == {"served": 1, "coalesced": 2, "refused": 1}
    assert isinstance(results[3], CallRefused)
    used = await settled(budgeter)
    assert (used.calls, used.requests) == (3, 1)


async def test_a_refused_attempt_gives_all_back(make_fleet_budgeter, ask_for):
    """Neither the limits of the process nor the shared ones keep anything of it."""
    limits = {"max_requests": 1}
    budgeter = make_fleet_budgeter(fleet={"limits": limits}, limits=Limits(max_calls=10))
    await budgeter.ask(ask_for("first"))
    results = await asyncio.gather(
        *(budgeter.ask(ask_for("second")) for _ in range(3)), return_exceptions=True
    )
    assert {type(each) for each in results} == {CallRefused}
    assert outcomes(budgeter) == {"served": 1, "refused": 3}
    assert budgeter.advisory().calls_left == 9
    assert await settled(budgeter) == spent(budgeter)


async def test_a_retry_without_quota_ends_by_the_error_before(make_fleet_budgeter, ask_for):
    """The note names the shared limit; what was sent stays counted."""
    client = ScriptedClient([ServerFailed("broken", status=500)] * 2)
    budgeter = make_fleet_budgeter(
        client,
        fleet={"limits": {"max_requests": 1}},
        retry=RetryPolicy(first_wait_seconds=0.0, max_wait_seconds=0.0),
    )
    with pytest.raises(ServerFailed) as failed:
        await budgeter.ask(ask_for())
    assert "not tried again: refused: fleet:" in failed.value.__notes__[0]
    assert outcomes(budgeter) == {"failed": 1}
    used = await settled(budgeter)
    assert used == spent(budgeter)
    assert (used.calls, used.requests) == (1, 1)


async def test_cancelled_calls_leave_the_counts_of_the_ledger(make_fleet_budgeter, ask_for):
    """Whatever they were waiting for."""
    came, never = asyncio.Event(), asyncio.Event()

    async def answer(call):
        came.set()
        await never.wait()
        return "late"

    budgeter = make_fleet_budgeter(ScriptedClient(answer), fleet={"limits": {"max_calls": 100}})
    for turns in (1, 3, 10, None):
        asking = [asyncio.ensure_future(budgeter.ask(ask_for(f"{turns}"))) for _ in range(2)]
        if turns is None:
            await came.wait()
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        for each in asking:
            each.cancel()
        await asyncio.wait(asking)
    used = await settled(budgeter)
    total = spent(budgeter)
    assert used.requests == total.requests > 0
    assert used.tokens == total.tokens
    assert used.calls <= total.calls == 8
    assert budgeter.statistics()["admit_fleet"]["open"] == 0


async def test_a_recording_replays_without_a_server(
    make_fleet_budgeter, make_budgeter, ask_for, name, monkeypatch
):
    """What the others left is repeated as it was, with and without the knobs."""
    recorder = MemoryRecorder()
    budgeter = make_fleet_budgeter(fleet={"limits": {"max_calls": 2}}, recorder=recorder)
    prompts = [f"prompt {index}" for index in range(4)]

    async def ends(asked):
        results = await asyncio.gather(
            *(asked.ask(ask_for(each)) for each in prompts), return_exceptions=True
        )
        return [getattr(each, "text", None) or str(each) for each in results]

    first = await ends(budgeter)
    assert sum("refused: fleet:" in each for each in first) == 2
    monkeypatch.delenv("CALLWISE_REDIS_URL")
    for load in (None, knobs(name, limits={"max_calls": 2})):
        replayed = MemoryRecorder(is_strict=True)
        replayed.lanes = {key: deque([exchange]) for key, _, exchange in recorder.recorded}
        client = ScriptedClient()
        again = make_budgeter(client, recorder=replayed, load=load, clock=VirtualClock())
        assert await ends(again) == first
        assert client.calls == []
        await again.aclose()


async def test_a_lost_server_ends_calls_before_they_are_sent(
    make_budgeter, make_server, ask_for, name, monkeypatch
):
    """The error is fatal and names the server; the calls are refused, and cost nothing."""
    server = make_server()
    monkeypatch.setenv("CALLWISE_REDIS_URL", server.url)
    client = ScriptedClient(lambda call: "answer")
    budgeter = make_budgeter(client, load=knobs(name, heartbeat_seconds=0.1))
    await budgeter.ask(ask_for("before"))
    server.stop()
    for _ in range(2):
        with pytest.raises(BudgetStoreLost, match=str(server.port)) as lost:
            await budgeter.ask(ask_for("while it is lost"))
        assert lost.value.is_fatal
    assert outcomes(budgeter) == {"served": 1, "refused": 2}
    assert len(client.calls) == 1
    server.start()
    await until(lambda: not budgeter.statistics()["admit_fleet"]["is_lost"])
    await budgeter.ask(ask_for("after"))
    assert await settled(budgeter) == spent(budgeter)
    await budgeter.aclose()


async def test_a_server_that_is_lost_for_long_stops_the_run(
    make_budgeter, make_server, ask_for, name, monkeypatch
):
    """As endpoints that are down for long do; the message has the way to go on."""
    server = make_server()
    monkeypatch.setenv("CALLWISE_REDIS_URL", server.url)
    load = knobs(name, heartbeat_seconds=0.1).model_copy(
        update={"breaker": BreakerKnobs(stop_seconds=0.05)}
    )
    budgeter = make_budgeter(load=load)
    await budgeter.ask(ask_for("before"))
    server.stop()

    async def has_stopped():
        with pytest.raises((BudgetStoreLost, RunStopped)):
            await budgeter.ask(ask_for("while it is lost"))
        return budgeter.stopped_by is not None

    await until(has_stopped)
    with pytest.raises(RunStopped, match=r"shared budget has been lost for .* to go on"):
        await budgeter.ask(ask_for("after"))
    await budgeter.aclose()


async def test_a_process_that_was_stopped_sends_nothing_under_its_old_lease(
    make_budgeter, redis_url, ask_for, name, monkeypatch
):
    """It notices before it sends, reserves again, and finds that another one has taken the rest."""
    monkeypatch.setenv("CALLWISE_REDIS_URL", redis_url)
    load = knobs(name, limits={"max_requests": 2}, heartbeat_seconds=0.2).model_copy(
        update={"schedule": ScheduleKnobs(max_concurrency=1)}
    )
    may_answer = asyncio.Event()

    async def answer(call):
        if call.messages[0].content == "sent":
            await may_answer.wait()
        return "answer"

    client, clock = ScriptedClient(answer), StoppedClock()
    stopped, other = make_budgeter(client, load=load, clock=clock), make_budgeter(load=load)
    asking = [asyncio.ensure_future(stopped.ask(ask_for(each))) for each in ("sent", "in a queue")]
    await until(lambda: stopped.statistics()["schedule"].get("waiting") == 1)
    clock.stop()
    served = []

    async def others_are_served():
        try:
            served.append(await other.ask(ask_for(f"with what was free {len(served)}")))
        except CallRefused:
            return False
        return len(served) == 2

    await until(others_are_served)
    may_answer.set()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert ends[0].text == "answer"
    assert isinstance(ends[1], CallRefused)
    assert "max_requests=2" in str(ends[1])
    assert len(client.calls) == 1
    assert await settled(stopped, other) == spent(stopped) + spent(other)
    clock.go_on()
    await stopped.aclose()
    await other.aclose()


class StoppedClock(SystemClock):
    """A clock on which no sleeper wakes while its process is stopped; time goes on."""

    def __init__(self):
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()

    async def sleep(self, seconds):
        """Wait, and for the end of the stop."""
        await asyncio.sleep(seconds)
        await self._may_go_on.wait()

    def stop(self):
        """Let none wake."""
        self._may_go_on.clear()

    def go_on(self):
        """Let all wake whose time is over."""
        self._may_go_on.set()


async def test_a_batch_counts_as_one_request(make_budgeter, redis_url, name, monkeypatch):
    """Each of its texts is a call, and the counts are those of the ledger."""
    monkeypatch.setenv("CALLWISE_REDIS_URL", redis_url)
    load = knobs(name, limits={"max_requests": 5, "max_tokens": 10**6}).model_copy(
        update={"batch": BatchKnobs(), "rate": RateLimits(requests_per_minute=600)}
    )
    client = EmbeddingClient()
    budgeter = make_budgeter(client, load=load)
    calls = [Call(Role.EMBED, Purpose.EMBED, inputs=(f"text {number}",)) for number in range(5)]
    replies = await asyncio.gather(*map(budgeter.ask, calls))
    assert [reply.vectors for reply in replies] == [((float(number),),) for number in range(5)]
    assert client.requests == 1
    used = await settled(budgeter)
    assert used == spent(budgeter)
    assert (used.calls, used.requests) == (5, 1)
    await budgeter.aclose()


class EmbeddingClient:
    """Answers lists of texts in one request."""

    is_simulated = False

    def __init__(self):
        self.requests = 0

    async def answer(self, calls, *, model, on_sent=None, **_):
        """Return a vector with the number in each text."""
        self.requests += 1
        on_sent(0)
        return [
            Reply(
                "",
                vectors=tuple((float(text.split()[1]),) for text in call.inputs),
                usage=ReportedUsage(3, 0),
            )
            for call in calls
        ]

    async def aclose(self):
        """Do nothing."""


def test_a_limit_in_usd_needs_prices(make_budgeter, name):
    """As every limit in USD does."""
    load = knobs(name, limits={"max_usd": 1})
    with pytest.raises(ConfigError, match=r"load\.fleet\.limits: max_usd cannot bind"):
        make_budgeter(prices=None, load=load)
    budgeter = Budgeter(load=load)
    with pytest.raises(ConfigError, match=r"load\.fleet\.limits: max_usd cannot bind"):
        budgeter.add_endpoint(Role.MAIN, make_budgeter(prices=None).endpoint(Role.MAIN))


def test_nothing_is_shared_where_no_time_passes(make_budgeter, name):
    """In process simulation and in replay the layers are left out."""
    layers = make_budgeter(load=knobs(name), clock=VirtualClock()).statistics()
    assert not {"admit_fleet", "reserve_fleet"} & layers.keys()
    layers = list(make_budgeter(load=knobs(name)).statistics())
    assert layers[layers.index("admit") + 1] == "admit_fleet"
    assert layers[layers.index("reserve") - 1] == "reserve_fleet"


FAST = RateLimits(requests_per_minute=1200, burst_seconds=0.0)
"""One request each 50 ms."""


async def test_processes_keep_to_a_rate_together(make_fleet_budgeter, ask_for):
    """Six requests of two budgeters leave one by one: the last five times 50 ms after the first."""
    left = []

    def answer(call):
        left.append(time.monotonic())
        return "answer"

    client = ScriptedClient(answer)
    budgeters = [make_fleet_budgeter(client, fleet={"rate": FAST}) for _ in range(2)]
    began = time.monotonic()
    await asyncio.gather(
        *(each.ask(ask_for(f"{number} of {each!r}")) for each in budgeters for number in range(3))
    )
    # On a busy machine they leave later, and never earlier.
    assert len(left) == 6
    for turn, seconds in enumerate(left):
        assert seconds - began >= turn * 0.05 - 0.001


async def test_the_wait_for_a_turn_is_counted(make_fleet_budgeter, ask_for):
    """As time in a queue: the minute until the turn after that of another process."""
    clock, slow = ManualClock(), RateLimits(requests_per_minute=1)
    client = ScriptedClient(lambda call: "answer")
    await make_fleet_budgeter(client, fleet={"rate": slow}).ask(ask_for("first"))
    fleet = {"rate": slow, "heartbeat_seconds": 3600}
    budgeter = make_fleet_budgeter(client, fleet=fleet, clock=clock)
    asking = asyncio.ensure_future(budgeter.ask(ask_for("second")))
    await until(lambda: budgeter.statistics()["rate_fleet"]["waited_seconds"] > 0)
    await until(lambda: clock.sleeper_count >= 2)  # it, and the heartbeats
    assert len(client.calls) == 1
    clock.advance(60)
    await asking
    assert budgeter.run.counts().usage.queue_microseconds == 60 * 10**6


async def test_a_turn_after_the_deadline_is_not_waited_for(make_fleet_budgeter, ask_for):
    """Nothing is sent, and the turn is given back."""
    slow = RateLimits(requests_per_minute=1)
    client = ScriptedClient(lambda call: "answer")
    budgeter = make_fleet_budgeter(client, fleet={"rate": slow})
    other = make_fleet_budgeter(client, fleet={"rate": slow})
    await budgeter.ask(ask_for("first"))
    for _ in range(2):
        with pytest.raises(CallTimeout, match=r"not sent: its turn .* is in [456]\d(\.\d)? s"):
            await other.ask(ask_for("second", deadline_seconds=5.0))
    assert len(client.calls) == 1


async def test_without_the_server_each_process_keeps_to_its_part_of_a_rate(
    make_budgeter, make_server, ask_for, name, monkeypatch
):
    """`local`: a half of the rate for each of two."""
    server = make_server()
    monkeypatch.setenv("CALLWISE_REDIS_URL", server.url)
    load = knobs(name, rate=FAST, on_lost="local", heartbeat_seconds=0.3)
    budgeters = [make_budgeter(load=load) for _ in range(2)]
    for budgeter in budgeters:
        await budgeter.ask(ask_for("before"))
    await until(lambda: budgeters[0].statistics()["admit_fleet"]["processes"] == 2)
    server.stop()
    began = time.monotonic()
    await asyncio.gather(*(budgeters[0].ask(ask_for(f"{number}")) for number in range(4)))
    # Never earlier, however busy the machine is.
    assert time.monotonic() - began >= 3 * 0.1 - 0.02
    assert budgeters[0].statistics()["rate_fleet"]["turns"] <= 2
    for budgeter in budgeters:
        await budgeter.aclose()


async def test_a_breaker_that_opens_in_one_process_is_open_in_the_others(
    make_fleet_budgeter, ask_for
):
    """The other process asks the dead endpoint not once, and the reason is that of the first."""
    dead = ScriptedClient(lambda call: CallTimeout("no answer", latency_seconds=1.0))
    untouched = ScriptedClient(lambda call: "answer")
    policy = RetryPolicy(timeout_attempts=2, first_wait_seconds=0.0, max_wait_seconds=0.0)
    first = make_fleet_budgeter(dead, retry=policy)
    second = make_fleet_budgeter(untouched, retry=policy)
    await second.ask(ask_for("before"))
    with pytest.raises(CallTimeout):
        await first.ask(ask_for("the first finds out"))
    for _ in range(3):
        with pytest.raises(EndpointDown, match="in another process: CallTimeout: no answer"):
            await second.ask(ask_for("the second need not"))
    assert len(untouched.calls) == 1
    assert second._fleet.breakers.opened_elsewhere == 1
    assert await settled(first, second) == spent(first) + spent(second)

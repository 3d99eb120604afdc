"""Budgeters of one name: their calls stay within limits of all, and the counts are the ledgers'."""

import asyncio
from collections import deque

import pytest

from callwise.budget import Budgeter, Limits, VirtualClock
from callwise.budget.limits import NOTHING, Amounts
from callwise.calls import ReportedUsage, Role, Sampling
from callwise.calls.call import Outcome
from callwise.calls.errors import (
    BudgetStoreLost,
    CallRefused,
    ConfigError,
    ServerFailed,
)
from callwise.calls.load.fleet_knobs import FleetKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.conftest import MemoryRecorder
from tests.callwise.budget.fleet.conftest import until


def knobs(name, **fleet):
    """Load knobs of a fleet."""
    fleet = {"heartbeat_seconds": 2.0, **fleet}
    return LoadKnobs(fleet=FleetKnobs.model_validate({"name": name, **fleet}))


@pytest.fixture
async def make_fleet_budgeter(make_budgeter, redis_url, name, monkeypatch):
    """Return a function that makes budgeters which share; they are closed after the test."""
    made: list[Budgeter] = []
    monkeypatch.setenv("CALLWISE_REDIS_URL", redis_url)

    def make(client=None, *, fleet=None, **changes):
        made.append(make_budgeter(client, load=knobs(name, **(fleet or {})), **changes))
        return made[-1]

    yield make
    for budgeter in made:
        await budgeter.aclose()
        budgeter.ledger.check()


def outcomes(budgeter):
    """Return how the calls ended, and only those ways that occurred."""
    return {key.value: n for key, n in budgeter.run.counts().outcomes.items() if n}


def spent(budgeter):
    """Return what the ledger of a budgeter comes to."""
    counts = budgeter.run.counts()
    usage = counts.usage
    calls = counts.asked - counts.outcomes[Outcome.REFUSED]
    return Amounts(calls, usage.requests, usage.charged_tokens, usage.charged_picodollars)


async def settled(budgeter):
    """Return what the shared budget counts."""
    return await budgeter._fleet.budget.used()


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
    assert await settled(budgeters[0]) == total
    assert all(set(outcomes(each)) <= {"served", "refused"} for each in budgeters)


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
    never = asyncio.Event()

    async def answer(call):
        await never.wait()
        return "late"

    budgeter = make_fleet_budgeter(ScriptedClient(answer), fleet={"limits": {"max_calls": 100}})
    for turns in (3, 10, 30, 100):
        asking = [asyncio.ensure_future(budgeter.ask(ask_for(f"{turns}"))) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0.0005)
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

"""Rates of users, tenants, keys, purposes and kinds of work: budgeters of one name share them."""

import asyncio
import re

import pytest

from callwise.budget import ScopeKind
from callwise.calls import Call, Purpose, Role
from callwise.calls.errors import CallTimeout
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.rate_limits import RateLimits, Rates
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.fleet.conftest import knobs, until
from tests.callwise.budget.fleet.test_fleet_budgeter import EmbeddingClient

TWO = Rates(requests_per_minute=2)
WITHIN_SECONDS = 20.0
"""Time within which no further request fits a limit of two per minute."""


async def ask_as(budgeter, call, **ids):
    """Return the text of the answer, or what its turn waits for."""
    with budgeter.run.open(ScopeKind.CONVERSATION, "a conversation", **ids).entered():
        try:
            return (await budgeter.ask(call)).text
        except CallTimeout as error:
            (bound,) = re.findall(
                r"under the rate limits of all processes of (.*) is in", str(error)
            )
            return bound


CASES = {
    "user": (
        {"users": {"ann": TWO}},
        {"user": "ann"},
        [{"user": "bob"}, {}],
        "user ann",
    ),
    "each user": ({"user": TWO}, {"user": "ann"}, [{"user": "bob"}, {"user": "cy"}], "user ann"),
    "tenant": ({"tenant": TWO}, {"tenant": "a b"}, [{"tenant": "c"}, {}], "tenant a%20b"),
    "key": ({"key": TWO}, {"user": "ann"}, [], "key fake"),
    "purpose": ({"purposes": {"other": TWO}}, {}, [], "purpose other of fake/model-1"),
    "kind": ({"kinds": {"llm_inference": TWO}}, {}, [], "kind llm_inference of fake/model-1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CASES)
async def test_processes_share_each_kind_of_rate(make_fleet_budgeter, ask_for, what):
    """Two budgeters send two requests together; calls that the limit does not cover go on."""
    limits, ids, others, bound = CASES[what]
    rate = RateLimits.model_validate({"window": "sliding", **limits})
    client = ScriptedClient(lambda call: "answer")
    budgeters = [make_fleet_budgeter(client, fleet={"rate": rate}) for _ in range(2)]
    ends = [
        await ask_as(budgeters[n % 2], ask_for(str(n), deadline_seconds=WITHIN_SECONDS), **ids)
        for n in range(4)
    ]
    assert ends == ["answer", "answer", bound, bound]
    for other in others:
        assert await ask_as(budgeters[1], ask_for("of another"), **other) == "answer"
    assert len(client.calls) == 2 + len(others)


async def test_requests_that_were_not_sent_are_given_back_to_every_limit(
    make_fleet_budgeter, ask_for
):
    """One that is cancelled while it waits for its user leaves the endpoint's limit as it was."""
    rate = RateLimits(window="sliding", requests_per_minute=3, users={"ann": TWO})
    budgeter = make_fleet_budgeter(ScriptedClient(lambda call: "answer"), fleet={"rate": rate})
    other = make_fleet_budgeter(ScriptedClient(lambda call: "answer"), fleet={"rate": rate})
    for number in range(2):
        assert await ask_as(budgeter, ask_for(str(number)), user="ann") == "answer"
    waiting = asyncio.ensure_future(ask_as(other, ask_for("third"), user="ann"))
    await until(lambda: other.statistics()["rate_fleet"].get("rate_delayed_by_user") == 1)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert await ask_as(other, ask_for("of bob"), user="bob") == "answer"
    call = ask_for("no more", deadline_seconds=WITHIN_SECONDS)
    assert await ask_as(budgeter, call, user="cy") == "fake/model-1"


async def test_without_the_server_each_process_has_its_part_of_the_rate_of_a_user(
    make_budgeter, make_server, ask_for, name, monkeypatch
):
    """`local`: a half for each of two; `fail` is as for every limit that is shared."""
    server = make_server()
    monkeypatch.setenv("CALLWISE_REDIS_URL", server.url)
    rate = RateLimits(window="sliding", users={"ann": Rates(requests_per_minute=4)})
    load = knobs(name, rate=rate, on_lost="local", heartbeat_seconds=60, timeout_seconds=30)
    first, second = budgeters = [make_budgeter(load=load) for _ in range(2)]
    for budgeter in budgeters:
        await ask_as(budgeter, ask_for("before"), user="bob")
    assert [each.statistics()["admit_fleet"]["processes"] for each in budgeters] == [1, 2]
    server.stop()
    ends = [
        await ask_as(second, ask_for(str(n), deadline_seconds=WITHIN_SECONDS), user="ann")
        for n in range(3)
    ]
    assert ends == ["echo 0", "echo 1", "user ann"]
    assert await ask_as(second, ask_for("of another"), user="bob") == "echo of another"
    # The first does not know of the second yet: it may use all.
    assert await ask_as(first, ask_for("of the first"), user="ann") == "echo of the first"
    for budgeter in budgeters:
        await budgeter.aclose()


async def test_a_batch_takes_from_the_limit_of_each_user_that_is_in_it(make_fleet_budgeter):
    """The request counts for both users, its tokens by what is asked for each."""
    users = {"ann": Rates(requests_per_minute=1), "bob": TWO, "cy": Rates(tokens_per_minute=1)}
    rate = RateLimits(window="sliding", users=users)
    client = EmbeddingClient()
    first, second = (
        make_fleet_budgeter(client, fleet={"rate": rate, "batch": BatchKnobs()}) for _ in range(2)
    )

    def ask(budgeter, user):
        call = Call(Role.EMBED, Purpose.EMBED, inputs=(f"text {len(user)}",), deadline_seconds=20.0)
        return ask_as(budgeter, call, user=user)

    together = [ask(first, "ann"), ask(first, "bob"), ask(first, "cy")]
    assert await asyncio.gather(*together) == ["", "", ""]
    assert client.requests == 1
    assert await ask(second, "ann") == "user ann"
    assert await ask(second, "cy") == "user cy"
    assert await ask(second, "bob") == ""
    assert client.requests == 2


async def test_a_user_that_waits_takes_one_place_of_those_under_way(make_fleet_budgeter, ask_for):
    """Calls of another user go on, though more of the first wait than may be under way."""
    rate = RateLimits(window="sliding", users={"ann": Rates(requests_per_minute=3)})
    load = {"rate": rate, "schedule": ScheduleKnobs(max_concurrency=2)}
    client = ScriptedClient(lambda call: "answer")
    other, budgeter = (make_fleet_budgeter(client, fleet=load) for _ in range(2))
    for number in range(3):
        assert await ask_as(other, ask_for(f"of another process {number}"), user="ann") == "answer"
    asking = [
        asyncio.ensure_future(ask_as(budgeter, ask_for(str(n)), user="ann")) for n in range(5)
    ]
    await until(lambda: budgeter.statistics()["rate_fleet"].get("rate_delayed_by_user") == 1)
    for number in range(4):
        assert await ask_as(budgeter, ask_for(f"of bob {number}"), user="bob") == "answer"
    schedule, turns = budgeter.statistics()["schedule"], budgeter.statistics()["rate_fleet"]
    for each in asking:
        each.cancel()
    await asyncio.wait(asking)
    assert (schedule["running"], schedule["waiting"], turns["turns"]) == (1, 4, 1)
    assert len(client.calls) == 3 + 4


async def test_a_call_that_is_cancelled_as_its_turn_comes_delays_no_other(
    make_fleet_budgeter, ask_for
):
    """Whenever that is: the next one of its user asks for its own turn."""
    rate = RateLimits(user=Rates(requests_per_minute=100_000))
    load = {"rate": rate, "schedule": ScheduleKnobs(max_concurrency=1)}
    budgeter = make_fleet_budgeter(ScriptedClient(lambda call: "answer"), fleet=load)
    for turns in range(30):
        asking = [
            asyncio.ensure_future(ask_as(budgeter, ask_for(f"{turns} {n}"), user="ann"))
            for n in range(3)
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for each in asking[:2]:
            each.cancel()
        assert await asking[2] == "answer"
        await asyncio.wait(asking)
    assert budgeter.statistics()["schedule"]["running"] == 0

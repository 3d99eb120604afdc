"""Answers that are shared: equal calls in flight, and the cache."""

import asyncio
import sys
from collections import Counter

import pytest
from pydantic import BaseModel

from callwise.budget import Limits, RetryPolicy, ScopeKind
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import Call, CallRefused, Message, Outcome, Purpose, Reply, Role, Sampling
from callwise.calls.errors import (
    AuthFailed,
    EmptyAnswer,
    InvalidAnswer,
    ServerFailed,
)
from callwise.testing.fakes import ScriptedClient

FAST = RetryPolicy(first_wait_seconds=0.0)


class Score(BaseModel):
    """An answer with a form."""

    points: int


def outcomes(budgeter):
    """Return how many rows have each outcome."""
    return Counter(row.outcome for row in budgeter.ledger.rows)


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


async def test_the_next_waiter_takes_over_from_a_cancelled_payer(make_budgeter, ask_for, until):
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
    await until(lambda: client.calls)
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


async def test_who_takes_over_reserves_what_its_own_limits_need(make_budgeter, ask_for, until):
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
    await until(lambda: client.calls)
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
    """A shared error fails every caller, and its requests are on the payer's row alone."""

    async def fail(call: Call) -> ServerFailed:
        await asyncio.sleep(0)
        return ServerFailed("down", status=500)

    budgeter = make_budgeter(ScriptedClient(fail), retry=FAST)
    results = await budgeter.ask_all([ask_for(), ask_for()])
    assert [type(result) for result in results] == [ServerFailed, ServerFailed]
    assert [row.requests for row in budgeter.ledger.rows] == [3, 0]
    assert outcomes(budgeter) == {Outcome.FAILED: 2}


@pytest.mark.parametrize(
    ("changes", "requests"),
    [
        ({}, 5),
        ({"sampling": Sampling(temperature=0.7)}, 5),
        ({"sampling": Sampling(temperature=0.0)}, 1),
        ({"sampling": Sampling(extra_body={"temperature": 0})}, 1),
        ({"share": True}, 1),
        ({"share": False, "sampling": Sampling(temperature=0.0)}, 5),
    ],
)
async def test_equal_calls_share_where_it_is_meant(make_budgeter, changes, requests):
    """In flight and from the cache alike: at a temperature of 0, or where the call allows it."""
    client = ScriptedClient(lambda call: f"answer {client.sent_requests}")
    budgeter = make_budgeter(client, cache=MemoryCache())
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),), **changes)
    replies = await asyncio.gather(*(budgeter.ask(call) for _ in range(4)))
    replies.append(await budgeter.ask(call))
    assert client.sent_requests == requests
    assert len({reply.text for reply in replies}) == requests
    assert budgeter.run.counts().requests == requests


async def test_embeddings_share(make_budgeter):
    """Equal texts have equal vectors."""
    client = ScriptedClient(lambda call: Reply("", vectors=((1.0,),)))
    budgeter = make_budgeter(client)
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("hi",))
    await asyncio.gather(budgeter.ask(call), budgeter.ask(call))
    assert client.sent_requests == 1


async def test_repairs_follow_their_call(make_budgeter):
    """Five callers whose answers do not fit are repaired five times."""
    client = ScriptedClient(lambda call: "none" if call.repair == 0 else Score(points=1))
    budgeter = make_budgeter(client)
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),), response_model=Score)
    await asyncio.gather(*(budgeter.ask(call) for _ in range(5)))
    assert client.sent_requests == 10


async def test_equal_calls_are_replayed_in_the_order_in_which_they_were_asked(
    make_budgeter, recorder, until
):
    """Each of them gets its own answer again, whichever came first."""
    gates = [asyncio.Event() for _ in range(5)]

    async def answer(call):
        number = client.sent_requests - 1
        await gates[number].wait()
        return f"answer {number}"

    client = ScriptedClient(answer)
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),))
    budgeter = make_budgeter(client, recorder=recorder)
    tasks = [asyncio.create_task(budgeter.ask(call)) for _ in range(5)]
    await until(lambda: client.sent_requests == 5)
    tasks[2].cancel()
    for number in (3, 1, 0, 4):
        gates[number].set()
        await until(tasks[number].done)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    texts = [end.text for end in ends if not isinstance(end, BaseException)]
    assert texts == ["answer 0", "answer 1", "answer 3", "answer 4"]
    assert len({key for key, _, _ in recorder.recorded}) == 1
    replaying = make_budgeter(ScriptedClient(), recorder=recorder.played())
    again = [asyncio.create_task(replaying.ask(call)) for _ in range(5)]
    await until(again[4].done)
    again[2].cancel()
    ends = await asyncio.gather(*again, return_exceptions=True)
    assert [end.text for end in ends if not isinstance(end, BaseException)] == texts
    assert replaying.run.counts().in_flight == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_in_eager_tasks_calls_share_alike(make_budgeter, ask_for):
    """The work is known to the others before it begins, whatever the loop makes of tasks."""
    client = ScriptedClient(lambda call: "yes")
    budgeter = make_budgeter(client)
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    await asyncio.gather(*(asyncio.create_task(budgeter.ask(ask_for())) for _ in range(5)))
    assert client.sent_requests == 1
    assert budgeter.run.counts().outcomes["coalesced"] == 4

"""A replay answers, fails and refuses exactly as the recorded run did, and sends nothing."""

import asyncio

import pytest
from pydantic import BaseModel

from callwise.budget import Limits, RecordedExchange, RetryPolicy, ScopeKind
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import CallRefused, Outcome, Reply, ReportedUsage, Sampling
from callwise.calls.errors import AuthFailed, CallError, CassetteMiss, RateLimited, ServerFailed
from callwise.testing.fakes import FailingClient, ScriptedClient

FAST = RetryPolicy(first_wait_seconds=0.0)


class Score(BaseModel):
    """An answer with a form."""

    points: int


def spent(budgeter):
    """Return what each call in order of asking spent, outcome left out."""
    return [
        (row.scope, row.attempts, row.requests, row.input_tokens, row.output_tokens, row.usd)
        for row in sorted(budgeter.ledger.rows, key=lambda row: row.sequence)
    ]


def flaky(call):
    """Answer, or fail once with what the prompt names."""
    return asyncio.sleep(0, f"answer to {call.messages[-1].content}")


async def test_a_replay_gives_equal_answers_counts_and_charges(make_budgeter, ask_for, recorder):
    """Answers, tokens, requests and repairs come back, and no client is needed."""

    async def drive(budgeter):
        with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=10_000)) as turn:
            scored = await budgeter.ask(ask_for("score", response_model=Score))
            texts = await budgeter.ask_all([ask_for(prompt) for prompt in "aab"])
            left = budgeter.advisory().tokens_left
        return scored, [reply.text for reply in texts], left, turn.rounds

    script = ["rubbish", '{"points": 4}', Reply("A", usage=ReportedUsage(3, 4)), Reply("B")]
    live = make_budgeter(ScriptedClient(script), recorder=recorder, cache=MemoryCache())
    first = await drive(live)
    replay = make_budgeter(ScriptedClient([]), recorder=recorder.played(), cache=MemoryCache())
    assert await drive(replay) == first
    assert spent(replay) == spent(live)
    assert {row.outcome for row in replay.ledger.rows} == {Outcome.REPLAYED}
    for budgeter in (live, replay):
        marks = [(row.is_unreadable, row.repair) for row in budgeter.ledger.rows]
        assert marks == [(True, 0), (False, 1), *[(False, 0)] * 3]
        assert budgeter.run.counts().unreadable == 1
    replay.ledger.check()


@pytest.mark.parametrize(
    "error",
    [
        AuthFailed("no", status=401),
        RateLimited("slow", retry_after_seconds=900.0),
        ServerFailed("down", status=503),
    ],
)
async def test_a_replayed_failure_is_the_same_error(make_budgeter, ask_for, recorder, error):
    """A failure comes back as its own class, with its fields and its requests."""
    live = make_budgeter(FailingClient(lambda: error), recorder=recorder, retry=FAST)
    with pytest.raises(type(error)):
        await live.ask(ask_for())
    replay = make_budgeter(ScriptedClient([]), recorder=recorder.played())
    with pytest.raises(type(error)) as caught:
        await replay.ask(ask_for())
    assert str(caught.value) == str(error)
    assert caught.value.status == error.status
    assert getattr(caught.value, "retry_after_seconds", None) == getattr(
        error, "retry_after_seconds", None
    )
    assert replay.ledger.rows[0].outcome is Outcome.REPLAYED
    assert spent(replay) == spent(live)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_calls=5),
        Limits(max_requests=5),
        Limits(max_tokens=5 * 112),
        Limits(max_usd=0.00106),
    ],
    ids=["calls", "requests", "tokens", "usd"],
)
async def test_a_replay_refuses_exactly_the_same_calls(make_budgeter, ask_for, recorder, limits):
    """Though nothing is in flight in a replay, the same calls are refused, in any order."""
    calls = [ask_for(f"{n}", sampling=Sampling(max_tokens=100)) for n in range(12)]

    async def drive(budgeter, order):
        with budgeter.scope(ScopeKind.TURN, "1", limits=limits):
            answers = await budgeter.ask_all([calls[n] for n in order])
            again = await budgeter.ask_all([calls[n].resample(1) for n in order])
        return {
            (n, attempt): getattr(answer, "text", str(answer))
            for attempt, part in enumerate((answers, again))
            for n, answer in zip(order, part, strict=True)
        }

    live = make_budgeter(ScriptedClient(flaky), recorder=recorder)
    expected = await drive(live, range(12))
    assert sum("refused" in text for text in expected.values()) >= 15
    replay = make_budgeter(ScriptedClient([]), recorder=recorder.played())
    assert await drive(replay, list(reversed(range(12)))) == expected


async def test_a_recorded_refusal_does_not_bind_under_another_limit(
    make_budgeter, ask_for, recorder
):
    """Under a higher limit a refused call is not recorded: sent, or missed when strict."""

    async def drive(budgeter, max_calls):
        with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=max_calls)):
            await budgeter.ask(ask_for("a"))
            return await budgeter.ask(ask_for("b"))

    with pytest.raises(CallRefused):
        await drive(make_budgeter(recorder=recorder), 1)
    relaxed = make_budgeter(recorder=recorder.played(is_strict=False))
    assert (await drive(relaxed, 2)).text == "echo b"
    assert [row.outcome for row in relaxed.ledger.rows] == [Outcome.REPLAYED, Outcome.SERVED]
    with pytest.raises(CassetteMiss):
        await drive(make_budgeter(recorder=recorder.played()), 2)


async def test_a_lower_limit_binds_a_replay_too(make_budgeter, ask_for, recorder):
    """Replayed calls are charged what the recording paid, against the limits of now."""
    live = make_budgeter(recorder=recorder)
    for prompt in "ab":
        await live.ask(ask_for(prompt))
    replay = make_budgeter(recorder=recorder.played(), limits=Limits(max_tokens=29))
    await replay.ask(ask_for("a"))
    with pytest.raises(CallRefused, match="max_tokens=29, 15 used"):
        await replay.ask(ask_for("b"))
    replay.ledger.check()


async def test_a_strict_miss_is_fatal_and_fails_the_call(make_budgeter, ask_for, recorder):
    """A call that is not recorded is missed, counted as failed, and not recorded."""
    strict = recorder.played()
    budgeter = make_budgeter(recorder=strict)
    with pytest.raises(CassetteMiss, match="run"):
        await budgeter.ask(ask_for())
    assert budgeter.ledger.rows[0].outcome is Outcome.FAILED
    assert not strict.recorded


async def test_a_cancelled_prefetch_is_cancelled_again(make_budgeter, ask_for, recorder):
    """A prefetch that was cancelled has spent the same in the replay, and ends the same."""
    gate = asyncio.Event()

    async def script(call):
        if call.speculative:
            await gate.wait()
        return "judged"

    async def drive(budgeter):
        prefetch = asyncio.ensure_future(budgeter.ask(ask_for("expand", speculative=True)))
        await budgeter.ask(ask_for("judge"))
        prefetch.cancel()
        await asyncio.wait([prefetch])

    live = make_budgeter(ScriptedClient(script), recorder=recorder)
    await drive(live)
    replay = make_budgeter(ScriptedClient([]), recorder=recorder.played())
    await drive(replay)
    assert spent(replay) == spent(live)
    assert sorted(row.outcome for row in replay.ledger.rows) == ["cancelled", "replayed"]
    replay.ledger.check()


@pytest.mark.parametrize("is_strict", [True, False])
async def test_a_cancelled_call_that_is_awaited_now_has_no_answer(
    make_budgeter, ask_for, recorder, is_strict
):
    """It is not cancelled this time: it is sent, or in a strict replay missed."""
    live = make_budgeter(ScriptedClient(lambda _: asyncio.Event().wait()), recorder=recorder)
    task = asyncio.ensure_future(live.ask(ask_for()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    replay = make_budgeter(recorder=recorder.played(is_strict=is_strict))
    if is_strict:
        with pytest.raises(CassetteMiss):
            await replay.ask(ask_for())
    else:
        assert (await replay.ask(ask_for())).text == "echo hi"
    replay.ledger.check()


async def test_an_answer_recorded_after_a_cancellation_is_preferred(
    make_budgeter, ask_for, recorder
):
    """A turn that was broken off and run again is replayed by its answers."""
    live = make_budgeter(ScriptedClient(lambda _: asyncio.Event().wait()), recorder=recorder)
    task = asyncio.ensure_future(live.ask(ask_for()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await make_budgeter(recorder=recorder).ask(ask_for())
    replay = make_budgeter(recorder=recorder.played())
    assert (await replay.ask(ask_for())).text == "echo hi"


async def test_every_call_is_recorded_once_with_its_outcome(make_budgeter, ask_for, recorder):
    """Served, coalesced, cached, refused and failed calls each leave one exchange."""
    script = ["one", AuthFailed("no", status=401)]
    budgeter = make_budgeter(ScriptedClient(script), recorder=recorder, cache=MemoryCache())
    with budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_calls=4)):
        await budgeter.ask_all([ask_for("a"), ask_for("a")])
        await budgeter.ask(ask_for("a"))
        for _ in range(2):
            with pytest.raises(CallError):
                await budgeter.ask(ask_for("b"))
    exchanges: list[RecordedExchange] = [exchange for _, _, exchange in recorder.recorded]
    assert [exchange.outcome for exchange in exchanges] == [
        Outcome.SERVED,
        Outcome.COALESCED,
        Outcome.CACHED,
        Outcome.FAILED,
        Outcome.REFUSED,
    ]
    assert [exchange.usage.requests for exchange in exchanges] == [1, 0, 0, 1, 0]
    assert {where.turn for _, where, _ in recorder.recorded} == {"1"}

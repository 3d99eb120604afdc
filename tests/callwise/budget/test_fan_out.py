"""Several calls in one round: order, width, rounds, fatal errors, cancellation."""

import asyncio

import pytest

from callwise.budget import RetryPolicy, ScopeKind, VirtualClock
from callwise.calls import Outcome, Reply
from callwise.calls.errors import AuthFailed, ServerFailed
from callwise.testing.fakes import ScriptedClient


class Meter:
    """A client function that measures how many calls are under way."""

    def __init__(self, turns: int = 3) -> None:
        self.turns = turns
        self.now = self.most = 0

    async def __call__(self, call):
        """Take a few turns of the loop."""
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        self.now -= 1
        return call.messages[-1].content


@pytest.mark.parametrize(("width", "rounds"), [(None, 1), (1, 7), (2, 4), (3, 3), (7, 1), (99, 1)])
async def test_width_limits_concurrency_and_gives_the_rounds(make_budgeter, ask_for, width, rounds):
    """Answers keep their order, and i // width is the round that the i-th starts in."""
    meter = Meter()
    budgeter = make_budgeter(ScriptedClient(meter))
    with budgeter.scope(ScopeKind.TURN, "1") as turn:
        await budgeter.ask(ask_for("before"))
        replies = await budgeter.ask_all([ask_for(f"{n}") for n in range(7)], max_concurrency=width)
    assert [reply.text for reply in replies] == [f"{n}" for n in range(7)]
    assert meter.most == min(width or 7, 7)
    assert turn.rounds == 1 + rounds
    ends = {row.sequence - 1: row.end_round for row in budgeter.ledger.rows}
    assert ends == {0: 1} | {n + 1: 2 + n // min(width or 7, 7) for n in range(7)}


async def test_seconds_are_those_of_a_schedule(make_budgeter, ask_for):
    """The time of a fan-out is what its latencies take on so many places."""
    seconds = [4.0, 1.0, 1.0, 1.0, 2.0]
    client = ScriptedClient(
        lambda call: Reply("x", latency_seconds=seconds[int(call.messages[-1].content)])
    )
    budgeter = make_budgeter(client, clock=VirtualClock())
    await budgeter.ask_all([ask_for(f"{n}") for n in range(5)], max_concurrency=2)
    assert budgeter.run.path_seconds == 5.0


async def test_errors_are_in_their_place(make_budgeter, ask_for):
    """A call that fails does not take the others' answers with it."""
    script = ["one", ServerFailed("no", status=500), "three"]
    retry = RetryPolicy(server_failed_attempts=1)
    budgeter = make_budgeter(ScriptedClient(script), retry=retry)
    one, two, three = await budgeter.ask_all(
        [ask_for(prompt) for prompt in "abc"], max_concurrency=1
    )
    assert (one.text, type(two), three.text) == ("one", ServerFailed, "three")


async def test_a_fatal_error_is_raised_and_starts_nothing_more(make_budgeter, ask_for):
    """A wrong key is wrong for all: calls under way end, the others are never asked."""

    async def answer(call):
        await asyncio.sleep(0)
        return AuthFailed("no", status=401) if call.messages[-1].content == "0" else "ok"

    client = ScriptedClient(answer)
    budgeter = make_budgeter(client)
    with pytest.raises(AuthFailed):
        await budgeter.ask_all([ask_for(f"{n}") for n in range(9)], max_concurrency=2)
    assert len(client.calls) < 5
    assert budgeter.ledger.counts().in_flight == 0
    budgeter.ledger.check()


async def test_a_bug_is_raised_once_all_have_ended(make_budgeter, ask_for):
    """A plain exception of a client propagates, and leaves no call behind."""

    async def answer(call):
        await asyncio.sleep(0)
        if call.messages[-1].content == "0":
            raise ZeroDivisionError
        return "ok"

    budgeter = make_budgeter(ScriptedClient(answer))
    with pytest.raises(ZeroDivisionError):
        await budgeter.ask_all([ask_for("0"), ask_for("1")])
    assert [row.outcome for row in budgeter.ledger.rows] == [Outcome.FAILED, Outcome.SERVED]


async def test_cancelling_a_fan_out_ends_all_its_calls_first(make_budgeter, ask_for, until):
    """Every call under way has settled by the time that the cancellation comes out."""
    client = ScriptedClient(lambda _: asyncio.Event().wait())
    budgeter = make_budgeter(client)
    task = asyncio.ensure_future(
        budgeter.ask_all([ask_for(f"{n}") for n in range(6)], max_concurrency=3)
    )
    await until(lambda: len(client.calls) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row.outcome for row in budgeter.ledger.rows] == [Outcome.CANCELLED] * 3
    assert client.cancelled_calls == 3
    budgeter.ledger.check()


async def test_no_calls_are_no_round(make_budgeter):
    """Nothing asked, nothing waited for."""
    budgeter = make_budgeter()
    assert await budgeter.ask_all([]) == []
    assert budgeter.run.rounds == 0


async def test_a_width_below_one_is_refused(make_budgeter, ask_for):
    """A width of 0 could never end."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        await make_budgeter().ask_all([ask_for()], max_concurrency=0)

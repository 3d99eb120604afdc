"""Charges beyond the reservation: counted, reported, taken off the quota, replayed."""

import asyncio

import pytest

from callwise.budget import Budgeter, Limits, ScopeKind
from callwise.budget.limits import NOTHING, Amounts, Quota, Reservation
from callwise.calls import CallRefused, Endpoint, Message, Reply, Role, Sampling
from callwise.calls.reply import ReportedUsage
from callwise.testing.fakes import ScriptedClient

from .conftest import PRICES, MemoryRecorder

SAMPLING = Sampling(max_tokens=20)
"""Each call reserves 12 input tokens (10 by the counter, times the margin) and 20."""

RESERVED = 32


def answering(*usages: ReportedUsage) -> ScriptedClient:
    """Return a client whose answers report these usages in order."""
    return ScriptedClient([Reply("ok", usage=usage, finish_reason="stop") for usage in usages])


async def test_charges_beyond_the_reservation_are_counted_and_taken_off(make_budgeter, ask_for):
    """The row has the excess, the counts add it up, and so much less is left."""
    client = answering(ReportedUsage(50, 30), ReportedUsage(5, 5))
    budgeter = make_budgeter(client, limits=Limits(max_tokens=200, max_usd=1.0))
    await budgeter.ask(ask_for("one", sampling=SAMPLING))
    (row,) = budgeter.ledger.rows
    assert row.over_tokens == 80 - RESERVED
    assert row.over_picodollars == (50 + 60 - (12 + 40)) * 10**6
    assert budgeter.advisory().tokens_left == 200 - 80
    await budgeter.ask(ask_for("two", sampling=SAMPLING))
    counts = budgeter.ledger.counts()
    assert (counts.over_calls, counts.over_tokens, counts.over_usd) == (1, 48, 58e-6)
    assert row.as_dict()["over_usd"] == 58e-6
    budgeter.ledger.check()


async def test_an_overshoot_is_one_call_and_everything_after_it_is_refused(make_budgeter, ask_for):
    """A limit is passed by what one call was billed beyond, and by nothing after that."""
    budgeter = make_budgeter(answering(ReportedUsage(900, 90)), limits=Limits(max_tokens=100))
    await budgeter.ask(ask_for("one", sampling=SAMPLING))
    with pytest.raises(CallRefused) as refused:
        await budgeter.ask(ask_for("two", sampling=SAMPLING))
    assert (refused.value.used_value, refused.value.limit_value) == (990, 100)


async def test_nothing_is_over_where_nothing_was_reserved(make_budgeter, ask_for):
    """Without a limit in tokens or USD there is no reservation to pass."""
    budgeter = make_budgeter(answering(ReportedUsage(900, 90)), limits=Limits(max_calls=3))
    await budgeter.ask(ask_for("one", sampling=SAMPLING))
    assert budgeter.ledger.rows[0].over_tokens == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_a_replay_admits_what_was_admitted_in_any_order(make_budgeter, ask_for, order):
    """Three calls of which two passed the cap together are replayed, in any order."""
    limits = Limits(max_tokens=100)
    calls = [ask_for(text, sampling=SAMPLING) for text in ("one", "two", "three")]
    recorder = MemoryRecorder()
    usages = {
        "one": ReportedUsage(90, 20),
        "two": ReportedUsage(70, 20),
        "three": ReportedUsage(5, 5),
    }
    arrived = asyncio.Event()
    waiting = []

    async def answer(call):
        waiting.append(call)
        if len(waiting) == 3:
            arrived.set()
        await arrived.wait()
        return Reply("ok", usage=usages[call.messages[-1].content], finish_reason="stop")

    live = make_budgeter(ScriptedClient(answer), limits=limits, recorder=recorder)
    await live.ask_all(calls)
    with pytest.raises(CallRefused):
        await live.ask(ask_for("four", sampling=SAMPLING))
    replay = make_budgeter(answering(), limits=limits, recorder=recorder.played())
    for place in order:
        await replay.ask(calls[place])
    with pytest.raises(CallRefused):
        await replay.ask(ask_for("four", sampling=SAMPLING))
    counts = [budgeter.ledger.counts() for budgeter in (live, replay)]
    assert counts[0].over_tokens == counts[1].over_tokens == 110 + 90 - 2 * RESERVED
    assert counts[1].outcomes["refused"] == 1
    assert {budgeter.advisory().tokens_left for budgeter in (live, replay)} == {0}


async def test_a_live_call_after_a_replay_is_limited_by_all_that_was_charged(
    make_budgeter, ask_for
):
    """What was recorded beyond its reservation leaves no quota for calls that are sent."""
    limits = Limits(max_tokens=100)
    recorder = MemoryRecorder()
    live = make_budgeter(answering(ReportedUsage(90, 20)), limits=limits, recorder=recorder)
    await live.ask(ask_for("one", sampling=SAMPLING))
    client = answering(ReportedUsage(5, 5))
    mixed = make_budgeter(client, limits=limits, recorder=recorder.played(is_strict=False))
    await mixed.ask(ask_for("one", sampling=SAMPLING))
    with pytest.raises(CallRefused):
        await mixed.ask(ask_for("fresh", sampling=SAMPLING))
    assert client.sent_requests == 0


async def test_every_attempt_counts_its_charges_beyond_the_reservation(make_budgeter, ask_for):
    """An empty answer that was billed is over its own reservation, and the repeat is not."""
    client = ScriptedClient(
        [Reply("", usage=ReportedUsage(80, 10), finish_reason="stop"), "ok"],
        usage=ReportedUsage(5, 5),
    )
    budgeter = make_budgeter(client)
    with budgeter.scope(ScopeKind.CONVERSATION, "a", limits=Limits(max_tokens=200)) as scope:
        await budgeter.ask(ask_for("one", sampling=SAMPLING))
    assert scope.counts().over_tokens == 90 - RESERVED
    assert scope.counts().requests == 2


def test_taking_over_work_takes_over_its_excess():
    """The excess limits live calls in the quotas of the payer, and there only."""
    left, taken = (Quota(name, Limits(max_tokens=100)) for name in ("left", "taken"))
    payer, other = Reservation([left]), Reservation([taken])
    payer.take(Amounts(tokens=30))
    payer.charge(Amounts(tokens=50))
    payer.pass_reservation(Amounts(tokens=50))
    assert payer.move_to(other) is None
    ask = Amounts(tokens=60)
    assert [quota.used.tokens for quota in (left, taken)] == [0, 80]
    assert taken.refusal(ask, NOTHING) is not None
    assert taken.refusal(ask, NOTHING, is_recorded=True) is None
    assert left.refusal(Amounts(tokens=101), NOTHING, is_recorded=True) is not None


TWO_TOKENS_A_CHARACTER = 2.2


class Chinese:
    """An endpoint whose tokenizer takes 2.2 tokens for each character beyond ASCII."""

    def __init__(self) -> None:
        self.reported: list[int] = []

    def __call__(self, call):
        """Answer with the usage of such a tokenizer."""
        text = "".join(message.content for message in call.messages)
        others = sum(not char.isascii() for char in text)
        tokens = round(TWO_TOKENS_A_CHARACTER * others + (len(text) - others) / 4) + 7
        self.reported.append(tokens)
        return Reply("好", usage=ReportedUsage(tokens, 5), finish_reason="stop")


def chinese_budgeter(model: str, limit: int) -> Budgeter:
    """Return a budgeter with the real estimator under a limit in tokens."""
    endpoint = Endpoint("fake", model, ScriptedClient(Chinese()), PRICES)
    return Budgeter(dict.fromkeys(Role, endpoint), limits=Limits(max_tokens=limit))


SENTENCE = "今天天气很好，我们去公园散步吧。"


@pytest.mark.parametrize("model", ["smollm2", "gpt-4o", "deepseek-chat"])
@pytest.mark.parametrize("mix", [SENTENCE, f"The user says: {SENTENCE} ", SENTENCE * 6])
async def test_a_cap_in_tokens_is_passed_by_the_first_call_at_most(ask_for, model, mix):
    """The endpoint's first answer teaches how much its tokenizer takes."""
    budgeter = chinese_budgeter(model, 1000)
    calls = [ask_for(f"{number} {mix}", sampling=Sampling(max_tokens=10)) for number in range(200)]
    ends = await budgeter.ask_all(calls, max_concurrency=1)
    assert isinstance(ends[-1], CallRefused)
    rows = [row for row in budgeter.ledger.rows if row.requests]
    spent = sum(row.input_tokens + row.output_tokens for row in rows)
    assert len(rows) > 1
    assert spent <= 1000 + rows[0].over_tokens
    assert not any(row.over_tokens for row in rows[1:])


async def test_what_an_unknown_tokenizer_takes_at_first_is_reserved_for_it(ask_for):
    """Until its first answer, an unknown model reserves as the worst one that was measured."""
    budgeter = chinese_budgeter("smollm2", 10_000)
    await budgeter.ask(ask_for(SENTENCE * 20, sampling=Sampling(max_tokens=10)))
    known = chinese_budgeter("gpt-4o", 10_000)
    await known.ask(ask_for(SENTENCE * 20, sampling=Sampling(max_tokens=10)))
    assert budgeter.ledger.rows[0].over_tokens < known.ledger.rows[0].over_tokens / 3


async def test_a_run_that_goes_on_has_not_forgotten_the_tokenizer(ask_for):
    """Recorded charges teach as an answer does, so no second first call passes."""
    recorder = MemoryRecorder()
    endpoint = Endpoint("fake", "gpt-4o", ScriptedClient(Chinese()), PRICES)
    first = ask_for(SENTENCE * 6, sampling=Sampling(max_tokens=10))
    rows = []
    for played in (recorder, recorder):
        budgeter = Budgeter(
            dict.fromkeys(Role, endpoint),
            limits=Limits(max_tokens=10_000),
            recorder=played if not recorder.recorded else recorder.played(is_strict=False),
        )
        await budgeter.ask(first)
        await budgeter.ask(ask_for(SENTENCE * 7, sampling=Sampling(max_tokens=10)))
        rows += budgeter.ledger.rows
    assert rows[0].over_tokens == rows[2].over_tokens > 0
    assert rows[1].over_tokens == rows[3].over_tokens == 0


async def test_a_simulated_model_teaches_nothing(ask_for):
    """Its usage is an estimate itself: decisions stay the same at any concurrency."""
    client = ScriptedClient(Chinese(), is_simulated=True)
    endpoint = Endpoint("fake", "simulated", client, PRICES)
    budgeter = Budgeter(dict.fromkeys(Role, endpoint), limits=Limits(max_tokens=100_000))
    call = ask_for(SENTENCE * 6)
    before = budgeter.estimate(call)
    await budgeter.ask(call)
    assert budgeter.estimate(call) == before
    assert call.messages == (Message("user", SENTENCE * 6),)

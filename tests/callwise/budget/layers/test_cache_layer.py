"""The exact cache: what answers a call, what is kept, for how long, and how hits are counted."""

import asyncio
from collections import Counter
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget import ManualClock, VirtualClock
from callwise.budget.cache_tiers import TieredCache
from callwise.budget.layers.cache import ENDLESS, Lifetime, MemoryCache
from callwise.calls import Call, CallKey, Outcome, Purpose, Reply, Role, Sampling
from callwise.calls.kinds import WorkKind
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.cache.slow_tier import SlowTier


def outcomes(budgeter):
    """Return how often calls ended how."""
    return Counter(row.outcome for row in budgeter.ledger.rows)


def embed(text, **changes):
    """Return an embedding call."""
    return Call(Role.EMBED, Purpose.EMBED, inputs=(text,), **changes)


@pytest.mark.parametrize(
    ("purpose", "seconds"),
    [(Purpose.REASON, 3_600), (Purpose.RETRIEVE, 300), (Purpose.SUMMARIZE, 3_600)],
)
async def test_an_answer_is_kept_as_long_as_its_kind_of_work_says(
    purpose, seconds, make_budgeter, ask_for
):
    """A second before the end it answers an equal call; at the end it is asked for again."""
    clock = ManualClock()
    budgeter = make_budgeter(cache=MemoryCache(clock=clock), clock=clock)
    for pause in (0, seconds - 1, 1):
        clock.advance(pause)
        await budgeter.ask(ask_for(purpose=purpose))
    ended = [row.outcome for row in budgeter.ledger.rows]
    assert ended == [Outcome.SERVED, Outcome.CACHED, Outcome.SERVED]


async def test_an_embedding_is_kept_for_a_day_and_a_call_may_name_its_time(make_budgeter):
    """The time that a call names goes before that of its kind; 0 keeps nothing."""
    tier = SlowTier()
    budgeter = make_budgeter(ScriptedClient(lambda call: Reply("", vectors=((1.0,),))), cache=tier)
    for text, named in (("a", None), ("b", 7.0), ("c", 0.0), ("d", -1.0), ("e", inf), ("f", nan)):
        await budgeter.ask(embed(text, cache_ttl_seconds=named))
    kept = [lifetime for _, lifetime in tier.replies.values()]
    assert kept == [Lifetime(86_400.0), Lifetime(7.0, is_fixed=True), Lifetime(inf, is_fixed=True)]


async def test_settings_go_before_the_times_of_kinds(make_budgeter, ask_for):
    """A kind that is not named keeps its time."""
    tier = SlowTier()
    cache = TieredCache([tier], ttl_seconds={WorkKind.LLM_INFERENCE: 5.0})
    budgeter = make_budgeter(cache=cache)
    await budgeter.ask(ask_for())
    await budgeter.ask(ask_for("sum up", purpose=Purpose.SUMMARIZE))
    assert [lifetime.seconds for _, lifetime in tier.replies.values()] == [5.0, 3_600.0]


async def test_on_a_virtual_clock_nothing_ends(make_budgeter, ask_for):
    """No time passes in a simulation or a replay."""
    tier = SlowTier()
    budgeter = make_budgeter(cache=tier, clock=VirtualClock())
    await budgeter.ask(ask_for(cache_ttl_seconds=1.0))
    assert [lifetime for _, lifetime in tier.replies.values()] == [ENDLESS]


async def test_equal_calls_share_one_reading_and_one_request(make_budgeter, ask_for):
    """Of a slow tier one reading is made for all that wait for it, hit or miss."""
    tier = SlowTier()
    client = ScriptedClient(lambda call: "answer")
    budgeter = make_budgeter(client, cache=tier)
    for expected in ({Outcome.SERVED: 1, Outcome.COALESCED: 31}, {Outcome.CACHED: 32}):
        before = outcomes(budgeter)
        await asyncio.gather(*(budgeter.ask(ask_for()) for _ in range(32)))
        assert outcomes(budgeter) - before == expected
    assert list(tier.reads.values()) == [2]
    assert budgeter.statistics()["cache"]["disk_hits"] == 32


async def test_a_caller_that_leaves_does_not_end_the_reading_of_others(make_budgeter, ask_for):
    """The first of two equal calls is cancelled while the tier is read."""
    tier = SlowTier(5)
    await tier.put("any", Reply("x"))
    budgeter = make_budgeter(cache=tier)
    await budgeter.ask(ask_for())
    first, second = (asyncio.create_task(budgeter.ask(ask_for())) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).text == "echo hi"
    assert outcomes(budgeter) == {Outcome.SERVED: 1, Outcome.CACHED: 1, Outcome.CANCELLED: 1}
    budgeter.ledger.check()


asked = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([Purpose.REASON, Purpose.JUDGE]), st.booleans()),
    max_size=40,
)


@given(asked, st.sampled_from(["memory", "slow", "both"]), st.integers(1, 7))
def test_hits_by_tier_and_purpose_add_up_to_the_cached_rows(asks, tiers, together):
    """And misses to the calls that may share and were not answered by the cache."""

    async def run():
        from callwise.budget import Budgeter
        from callwise.calls import Endpoint, Message

        parts = {"memory": [MemoryCache(2)], "slow": [SlowTier()]}
        parts["both"] = [*parts["memory"], *parts["slow"]]
        endpoint = Endpoint("fake", "m", ScriptedClient(lambda call: call.messages[0].content))
        budgeter = Budgeter({Role.MAIN: endpoint}, cache=TieredCache(parts[tiers]))
        calls = [
            Call(Role.MAIN, purpose, (Message("user", f"{prompt}"),), share=share)
            for prompt, purpose, share in asks
        ]
        for start in range(0, len(calls), together):
            group = calls[start : start + together]
            replies = await budgeter.ask_all(group)
            texts = [call.messages[0].content for call in group]
            assert [reply.text for reply in replies] == texts
        budgeter.ledger.check()
        return budgeter

    budgeter = asyncio.run(run())
    counts = budgeter.statistics()["cache"]
    rows = budgeter.ledger.rows
    cached = [row for row in rows if row.outcome is Outcome.CACHED]
    by_tier = {name: counts.get(f"{name}_hits", 0) for name in ("memory", "disk")}
    assert counts["hits"] == len(cached) == sum(by_tier.values())
    for purpose in (Purpose.REASON, Purpose.JUDGE):
        hits = sum(counts.get(f"{name}_hits_{purpose}", 0) for name in by_tier)
        assert hits == sum(row.purpose is purpose for row in cached)
    assert counts["hits"] + counts["misses"] == sum(share for _, _, share in asks)


class Form(BaseModel):
    """A form of answers."""

    text: str


async def test_a_kept_reply_that_does_not_fit_is_asked_for_again(make_budgeter, ask_for):
    """As one that was put in from outside may not; the answer that fits replaces it."""
    cache = MemoryCache()
    client = ScriptedClient(lambda call: '{"text": "fits"}')
    budgeter = make_budgeter(client, cache=cache)
    call = ask_for(response_model=Form, sampling=Sampling(temperature=0))
    await budgeter.ask(call)
    (key,) = {row.key for row in budgeter.ledger.rows}
    await cache.put(key, Reply("not a form"))
    assert (await budgeter.ask(call)).parsed == Form(text="fits")
    assert (await budgeter.ask(call)).parsed == Form(text="fits")
    assert outcomes(budgeter) == {Outcome.SERVED: 2, Outcome.CACHED: 1}


async def test_what_was_used_longest_ago_goes_first():
    """A full cache drops by last use, not by age."""
    cache = MemoryCache(2)
    for key in "ab":
        await cache.put(CallKey(key), Reply(key))
    assert (await cache.get(CallKey("a"))).reply.text == "a"
    await cache.put(CallKey("c"), Reply("c"))
    assert cache.peek(CallKey("b")) is None
    assert cache.peek(CallKey("a")).text == "a"
    assert len(cache) == 2
    await cache.aclose()


def test_a_cache_keeps_at_least_one_reply():
    """A size below 1 is a mistake in the settings."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        MemoryCache(0)

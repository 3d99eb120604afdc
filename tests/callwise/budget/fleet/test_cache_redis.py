"""The cache tier in a real Redis server."""

from dataclasses import replace

import pytest

from callwise.budget import Budgeter
from callwise.budget.cache_redis import MAX_SECONDS, RedisCache
from callwise.budget.cache_tiers import TieredCache
from callwise.budget.clock import ManualClock
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.layers.cache import Lifetime, MemoryCache
from callwise.calls import Call, CallKey, Endpoint, Message, Outcome, Purpose, Reply, Role
from callwise.calls.reply import ReportedUsage
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.fleet.conftest import until

KEY, OTHER = CallKey("ab" * 32), CallKey("cd" * 32)
REPLY = Reply("你好 \ud800", vectors=((0.5, -2.0),), usage=ReportedUsage(3, 4, 1, 0.25), model="m")


async def test_replies_come_back_whole_and_end_by_the_servers_clock(redis_url, name):
    """With what is left of their time; what no call limited is kept twice as long."""
    cache = RedisCache(RedisLink(redis_url, timeout_seconds=60), name)
    assert await cache.get(KEY) is None
    await cache.put(KEY, REPLY, Lifetime(1_000.0))
    await cache.put(OTHER, replace(REPLY, text="other"), Lifetime(0.05, is_fixed=True))
    kept = await cache.get(KEY)
    assert kept.reply == REPLY
    assert 1_990 < kept.lifetime.seconds <= 2_000

    async def has_ended():
        return await cache.get(OTHER) is None

    await until(has_ended)
    await cache.put(KEY, REPLY)
    assert (await cache.get(KEY)).lifetime.seconds <= MAX_SECONDS
    assert cache.statistics() == (0, 0, 0)
    await cache.aclose()


async def test_processes_of_one_name_share_their_answers(redis_url, name):
    """The second pays nothing for what the first paid; one of another name does."""
    outcomes, sent = [], 0
    for each in (name, name, f"{name}-other"):
        redis = RedisCache(RedisLink(redis_url, timeout_seconds=60), each)
        cache = TieredCache([MemoryCache(), redis], written_back=[redis])
        client = ScriptedClient(lambda call: "answer")
        budgeter = Budgeter({Role.MAIN: Endpoint("fake", "m", client)}, cache=cache)
        call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),), share=True)
        await budgeter.ask(call)
        outcomes.append(budgeter.ledger.rows[0].outcome)
        sent += len(client.calls)
        await budgeter.aclose()
    assert outcomes == [Outcome.SERVED, Outcome.CACHED, Outcome.SERVED]
    assert sent == 2


async def test_a_foreign_value_under_a_name_of_the_cache_is_a_miss(redis_url, name):
    """A list cannot be read as a reply; it is counted, and the call is asked."""
    link = RedisLink(redis_url, timeout_seconds=60)
    cache = RedisCache(link, name)
    await cache.put(KEY, REPLY)
    (key,) = await link.command("KEYS", f"{name}:cache:*")
    await link.command("DEL", key)
    await link.command("RPUSH", key, "x")
    assert await cache.get(KEY) is None
    assert cache.statistics().failed_reads == 1
    await cache.aclose()


@pytest.mark.parametrize("end", ["stop", "freeze"])
async def test_a_server_that_is_gone_costs_one_wait_and_no_answer(make_server, name, end):
    """Calls are asked as if nothing were kept, and the server is left alone for a while."""
    server = make_server()
    link = RedisLink(server.url, timeout_seconds=60)
    cache = RedisCache(link, name, clock=ManualClock())
    await cache.put(KEY, REPLY)
    assert (await cache.get(KEY)).reply == REPLY
    getattr(server, end)()
    link._timeout_seconds = 0.2
    for _ in range(200):
        assert await cache.get(KEY) is None
        await cache.put(OTHER, REPLY)
    assert cache.statistics().failed_reads == 1
    assert cache.statistics().left_out == 399
    await cache.aclose()

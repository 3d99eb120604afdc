"""The contract of every cache tier, and of several together."""

import asyncio
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget import ManualClock
from callwise.budget.cache_disk import DiskCache
from callwise.budget.cache_redis import MAX_SECONDS, PAUSE_SECONDS, RedisCache
from callwise.budget.cache_tiers import MAX_PENDING_WRITES, TieredCache
from callwise.budget.layers.cache import ENDLESS, Lifetime, MemoryCache
from callwise.calls import CallKey, Reply, ReportedUsage
from callwise.calls.errors import ConfigError

KEY, OTHER = CallKey("ab" * 32), CallKey("cd" * 32)
REPLY = Reply("你好 \ud800", vectors=((0.5, -2.0),), usage=ReportedUsage(3, 4, 1, 0.25), model="m")


class RedisInMemory:
    """Answers the commands of the cache as a Redis server does, by a clock of the test."""

    def __init__(self, clock):
        self._clock, self._values = clock, {}
        self.is_down = False
        self.commands = 0

    async def command(self, name, key, *arguments):
        """Perform a command."""
        self.commands += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise ConfigError("no server")
        if name == "SET":
            data, *ends = arguments
            assert isinstance(data, bytes)
            assert not ends or ends[0] == "PX"
            ends_at = self._clock.now() + ends[1] / 1000 if ends else inf
            self._values[key] = data, ends_at
            return b"OK"
        data, ends_at = self._values.get(key, (None, 0.0))
        left_seconds = ends_at - self._clock.now()
        if left_seconds <= 0:
            return None if name == "GET" else -2
        if name == "GET":
            return data
        assert name == "PTTL"
        return -1 if left_seconds == inf else round(left_seconds * 1000)

    async def aclose(self):
        """Do nothing."""


class Tiers:
    """Makes tiers on one clock."""

    def __init__(self, folder):
        self.clock = ManualClock(1_000.0)
        self.server = RedisInMemory(self.clock)
        self._folder = folder

    def memory(self, **changes):
        """Return a tier in memory."""
        return MemoryCache(clock=self.clock, **changes)

    def disk(self, ttl_multiplier=1.0):
        """Return a tier on disk."""
        wall_clock = self.clock.now
        return DiskCache(self._folder, ttl_multiplier=ttl_multiplier, wall_clock=wall_clock)

    def redis(self, ttl_multiplier=1.0):
        """Return a tier in Redis."""
        return RedisCache(self.server, clock=self.clock, ttl_multiplier=ttl_multiplier)

    def tiered(self):
        """Return all of them together."""
        redis = self.redis()
        return TieredCache([self.memory(), self.disk(), redis], written_back=[redis])


@pytest.fixture
def tiers(tmp_path):
    """Return a maker of tiers."""
    return Tiers(tmp_path / "cache")


KINDS = ["memory", "disk", "redis", "tiered"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tier_returns_what_was_put_in_until_its_time_is_over(tiers, kind):
    """A reply comes back whole with the time that is left of it, and never later."""
    cache = getattr(tiers, kind)()
    assert await cache.get(KEY) is None
    await cache.put(KEY, REPLY, Lifetime(60.0))
    await cache.put(OTHER, replace(REPLY, text="other"))
    tiers.clock.advance(45.0)
    kept = await cache.get(KEY)
    assert kept.reply == REPLY
    assert kept.lifetime.seconds == pytest.approx(15.0, abs=0.001)
    tiers.clock.advance(15.0)
    assert cache.peek(KEY) is None
    assert await cache.get(KEY) is None
    tiers.clock.advance(10.0**6)
    kept = await cache.get(OTHER)
    most = MAX_SECONDS - 60.0 - 10.0**6 if kind == "redis" else inf
    assert (kept.reply.text, kept.lifetime.seconds) == ("other", most)
    await cache.put(KEY, REPLY, Lifetime(60.0))
    assert (await cache.get(KEY)).reply == REPLY
    await cache.aclose()
    await cache.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_last_reply_that_was_put_in_counts(tiers, kind):
    """A reply replaces the one before it, and its time."""
    cache = getattr(tiers, kind)()
    await cache.put(KEY, REPLY, Lifetime(10.0))
    await cache.put(KEY, replace(REPLY, text="new"), Lifetime(100.0))
    tiers.clock.advance(50.0)
    assert (await cache.get(KEY)).reply.text == "new"
    await cache.aclose()


async def test_a_hot_reply_is_kept_five_times_as_long(tiers):
    """After ten uses; nine are not enough, and a time that a call named is not extended."""
    cache = tiers.memory()
    for key, lifetime, uses in (
        ("cold", Lifetime(100.0), 9),
        ("hot", Lifetime(100.0), 10),
        ("fixed", Lifetime(100.0, is_fixed=True), 50),
    ):
        await cache.put(CallKey(key), REPLY, lifetime)
        for _ in range(uses):
            assert cache.peek(CallKey(key)) is not None
    tiers.clock.advance(100.0)
    assert [cache.peek(CallKey(key)) is None for key in ("cold", "hot", "fixed")] == [
        True,
        False,
        True,
    ]
    tiers.clock.advance(400.0)
    assert cache.peek(CallKey("hot")) is None


@pytest.mark.parametrize("kind", ["disk", "redis"])
@pytest.mark.parametrize("multiplier", [0.5, 2.0, None])
async def test_a_slow_tier_keeps_longer_what_no_call_limited(tiers, kind, multiplier):
    """Its multiplier is for the times by kind of work; None has no end."""
    cache = getattr(tiers, kind)(multiplier)
    await cache.put(KEY, REPLY, Lifetime(100.0))
    await cache.put(OTHER, REPLY, Lifetime(100.0, is_fixed=True))
    endless = MAX_SECONDS if kind == "redis" else inf
    seconds = endless if multiplier is None else 100.0 * multiplier
    assert (await cache.get(KEY)).lifetime.seconds == seconds
    assert (await cache.get(OTHER)).lifetime.seconds == 100.0
    await cache.aclose()


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_a_clock_that_is_set_back_far_ends_replies(tiers, kind):
    """A step of some seconds is none; after a long one the age of a reply is not known."""
    cache = getattr(tiers, kind)()
    await cache.put(KEY, REPLY, Lifetime(3_600.0))
    tiers.clock._now_seconds -= 30.0
    assert (await cache.get(KEY)).lifetime.seconds == 3_600.0
    tiers.clock._now_seconds -= 3_600.0
    assert await cache.get(KEY) is None
    await cache.aclose()


async def test_a_reply_that_was_kept_without_end_stays_readable(tiers):
    """A document without times, as older versions wrote it, does not end."""
    cache = tiers.disk(None)
    await cache.put(KEY, REPLY, Lifetime(60.0))
    await cache.aclose()
    again = tiers.disk()
    tiers.clock.advance(10.0**9)
    assert (await again.get(KEY)).lifetime == ENDLESS
    await again.aclose()


async def test_a_slow_tier_fills_the_quick_ones_for_the_time_that_is_left(tiers):
    """A reply that another process kept is read from Redis once, and ends when it ends there."""
    await tiers.redis(2.0).put(KEY, REPLY, Lifetime(50.0))
    cache = tiers.tiered()
    tiers.clock.advance(60.0)
    kept = await cache.get(KEY)
    assert (kept.tier, kept.lifetime.seconds) == ("redis", 40.0)
    commands = tiers.server.commands
    assert all(cache.peek(KEY) == REPLY for _ in range(20))
    disk = tiers.disk()
    assert (await disk.get(KEY)).lifetime.seconds == 40.0
    assert tiers.server.commands == commands
    tiers.clock.advance(40.0)
    assert await cache.get(KEY) is None
    await disk.aclose()
    await cache.aclose()


async def test_no_reply_waits_for_redis(tiers):
    """What is written back is in memory immediately, and in Redis after `aclose`."""
    redis = tiers.redis()
    cache = TieredCache([tiers.memory(), redis], written_back=[redis])
    putting = cache.put(KEY, REPLY, Lifetime(60.0))
    with pytest.raises(StopIteration):
        putting.send(None)
    assert cache.peek(KEY) == REPLY
    assert tiers.server.commands == 0
    await cache.aclose()
    assert len(tiers.server._values) == 1
    assert (await tiers.redis().get(KEY)).reply == REPLY


async def test_a_reply_waits_where_too_many_are_being_written_back(tiers):
    """So that a slow server does not fill the memory; it goes on once one of them is written."""
    may_write = asyncio.Event()

    class SlowServer(RedisInMemory):
        async def command(self, *arguments):
            await may_write.wait()
            return await super().command(*arguments)

    redis = RedisCache(SlowServer(tiers.clock), clock=tiers.clock)
    cache = TieredCache([tiers.memory(), redis], written_back=[redis])
    for number in range(MAX_PENDING_WRITES):
        await cache.put(CallKey(f"{number:064d}"), REPLY)
    putting = asyncio.ensure_future(cache.put(KEY, REPLY))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (cache.peek(KEY), putting.done()) == (REPLY, False)
    may_write.set()
    await putting
    await cache.aclose()


async def test_redis_that_is_away_costs_one_command_in_a_while(tiers):
    """While it cannot be reached nothing is kept there, and no call fails."""
    cache = tiers.redis()
    await cache.put(KEY, REPLY, ENDLESS)
    tiers.server.is_down = True
    commands = tiers.server.commands
    for _ in range(50):
        assert await cache.get(KEY) is None
        await cache.put(OTHER, REPLY)
    assert tiers.server.commands == commands + 2  # GET and PTTL of the first read
    assert cache.statistics() == (1, 0, 99)
    tiers.server.is_down = False
    tiers.clock.advance(PAUSE_SECONDS)
    assert (await cache.get(KEY)).reply == REPLY


async def test_something_else_in_redis_is_a_miss(tiers):
    """What another program wrote under a name of the cache is counted, logged and not used."""
    cache = tiers.redis()
    await cache.put(KEY, REPLY)
    (name,) = tiers.server._values
    for data in (b"{", b"[1]", b'{"text": 3}', b"\xff\xfe"):
        tiers.server._values[name] = data, inf
        assert await cache.get(KEY) is None
    assert cache.statistics().failed_reads == 4
    await cache.put(KEY, REPLY)
    assert (await cache.get(KEY)).reply == REPLY


@given(
    st.floats(0.0, 1e7) | st.just(inf),
    st.floats(-1e7, 1e7),
    st.booleans(),
)
def test_nothing_is_left_beyond_a_lifetime(seconds, age_seconds, is_fixed):
    """What is left at an age is never more than the whole, nor anything after its end."""
    left = Lifetime(seconds, is_fixed).left_at(age_seconds)
    if seconds == inf:
        assert left == Lifetime(inf, is_fixed)
    elif age_seconds >= seconds:
        assert left is None
    elif left is not None:
        assert 0 < left.seconds <= seconds
        assert left.is_fixed is is_fixed


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: MemoryCache(hot_hits=0), "hot_hits is at least 1, got 0"),
        (lambda: MemoryCache(hot_ttl_multiplier=0.5), "at least 1, got 0.5"),
        (lambda: DiskCache(".", ttl_multiplier=0.0), "above 0, or None; got 0.0"),
        (lambda: RedisCache(None, ttl_multiplier=-1.0), "above 0, or None; got -1.0"),
        (lambda: TieredCache([]), "at least one tier"),
    ],
)
def test_a_wrong_setting_is_named(make, problem):
    """A number out of its range is an error that names it."""
    with pytest.raises(ValueError, match=problem):
        make()

"""Breakers of several processes: what is read from the server, and when."""

from callwise.budget.breaker import Breakers, BreakerState
from callwise.budget.clock import ManualClock
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_breakers import SharedBreakers


async def test_only_what_is_open_now_is_opened_and_only_a_new_version_is_read(redis_url, name):
    """A breaker whose time is over, by the server's clock, is dropped there."""
    link = RedisLink(redis_url)
    breakers = Breakers(ManualClock())
    shared = SharedBreakers(name, lambda: link)
    shared.connect(breakers)
    about, stored = shared._keys
    seconds, _ = await link.command("TIME")
    now = int(seconds) * 1000
    await link.command("HSET", stored, "old m", f"{now - 1} timeout", "new m", f"{now + 10**6} 503")
    await link.command("HSET", about, "breakers", "2")
    await shared.see(b"2")
    states = {each.endpoint: each.state for each in breakers.states()}
    assert states == {"new": BreakerState.OPEN}
    assert shared.opened_elsewhere == 1
    assert await link.command("HKEYS", stored) == [b"new m"]
    commands = link.statistics()["commands"]
    await shared.see(b"2")
    assert link.statistics()["commands"] == commands
    await link.aclose()

"""Breakers of several processes: opened together, by the server's time, whatever is there."""

import pytest

from callwise.budget import ManualClock
from callwise.budget.breaker import Breakers
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_breakers import MAX_REASON, SharedBreakers
from callwise.calls import Endpoint
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.fleet.conftest import until


class Process:
    """The breakers of one process."""

    def __init__(self, name: str, link: RedisLink) -> None:
        self.breakers = Breakers(ManualClock())
        self.shared = SharedBreakers(name, lambda: link)
        self.shared.connect(self.breakers)

    def is_open(self, name: str) -> bool:
        """Return whether calls to an endpoint are refused."""
        endpoint = Endpoint(name, "model-1", ScriptedClient([]), None)
        return self.breakers.refuses(endpoint)

    def trip(self, name: str, reason: str = "dead") -> None:
        """Open the breaker of an endpoint."""
        endpoint = Endpoint(name, "model-1", ScriptedClient([]), None)
        self.breakers.trip(endpoint, reason, seconds=30)


@pytest.fixture
async def link(redis_url):
    """A link that is closed after the test."""
    opened = RedisLink(redis_url, timeout_seconds=60)
    yield opened
    await opened.aclose()


async def version_of(link, name):
    """Return the version of the breakers on the server, as a heartbeat brings it."""
    return await link.command("HGET", f"callwise:{{{name}}}:about", "breakers") or b"0"


async def test_names_and_reasons_are_passed_on_whatever_is_in_them(link, name):
    """Spaces, line ends and long texts."""
    first, second = (Process(name, link) for _ in range(2))
    first.trip("an endpoint/%20", "two\nlines " + "x" * 1000)
    await second.shared.see(await version_of(link, name))
    assert second.is_open("an endpoint/%20")
    assert not second.is_open("another")
    (state,) = (each for each in second.breakers.states() if each.reason)
    assert state.reason.startswith("in another process: two lines x")
    assert len(state.reason) < MAX_REASON + 30


async def test_a_server_that_was_emptied_opens_nothing_and_is_read_again(link, name):
    """Versions begin again, and what opens afterwards is seen."""
    first, second = (Process(name, link) for _ in range(2))
    first.trip("a")
    await second.shared.see(await version_of(link, name))
    assert second.is_open("a")
    await link.command("FLUSHALL")
    await second.shared.see(await version_of(link, name))
    first.trip("b")
    await second.shared.see(await version_of(link, name))
    assert second.is_open("b")


async def test_what_the_server_refuses_is_in_the_log_and_ends_no_call(link, name, caplog):
    """A key of another program under our name is left as it is."""
    key = f"callwise:{{{name}}}:breakers"
    await link.command("SET", key, "theirs")
    process = Process(name, link)
    process.trip("a")
    await until(lambda: "not informed of a breaker that opened" in caplog.text)
    await process.shared.see(b"7")
    assert "cannot read the breakers of other processes" in caplog.text
    assert process.is_open("a")
    assert await link.command("GET", key) == b"theirs"


async def test_breakers_whose_time_is_over_are_forgotten(link, name):
    """By the server's time."""
    await link.command("HSET", f"callwise:{{{name}}}:breakers", "a model-1", "1000 dead")
    process = Process(name, link)
    await process.shared.see(b"1")
    assert not process.is_open("a")
    assert await link.command("HLEN", f"callwise:{{{name}}}:breakers") == 0

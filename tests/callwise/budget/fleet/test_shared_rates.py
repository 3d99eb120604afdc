"""Rate limits of several processes: never passed, and not waited for longer than needed."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_rates import RateScripts, SharedRates
from callwise.calls.load.rate_limits import RateLimits

WINDOWS = [
    {"window": "bucket", "burst_seconds": 60.0},
    {"window": "bucket", "burst_seconds": 0.0},
    {"window": "bucket", "burst_seconds": 10.0},
    {"window": "sliding"},
]


class World:
    """Two processes, a server whose time is set, and the provider's own count."""

    def __init__(self, url: str, **limits: object) -> None:
        self.limits = RateLimits.model_validate({"slack_seconds": 0.0, **limits})
        self.link = RedisLink(url, timeout_seconds=60)
        self.name = f"rates-{time.monotonic_ns()}"
        clock = f"callwise:{{{self.name}}}:now"
        self.scripts = RateScripts(
            f"local function microseconds() return tonumber(redis.call('GET', '{clock}')) end"
        )
        self._clock = clock
        self.processes = [
            SharedRates(self.name, lambda: self.link, scripts=self.scripts) for _ in range(2)
        ]
        self.now = 1_000_000.0
        self.sent: list[tuple[float, float, float]] = []

    async def at(self, now: float) -> None:
        """Set the time of the server."""
        self.now = now
        await self.link.command("SET", self._clock, f"{now * 1e6:.0f}")

    async def send(self, process: int, tokens: float, used: float | None = None) -> float:
        """Take a turn and settle it; return when it leaves."""
        rates = self.processes[process]
        turn = await rates.take("fake/model", self.limits, (1, tokens, 0, 0))
        used = tokens if used is None else used
        rates.settle(turn, (1, used, 0, 0))
        self.sent.append((self.now + turn.wait_seconds, 1, used))
        return turn.wait_seconds

    def most_over(self) -> float:
        """Return the most by which any limit was passed at the provider, in parts of it."""
        limits = self.limits
        worst = 0.0
        per_minute = (limits.requests_per_minute, limits.tokens_per_minute)
        for place, limit in enumerate(per_minute, 1):
            if limit is not None:
                amounts = [(each[0], each[place]) for each in sorted(self.sent)]
                over = _over_window if limits.window == "sliding" else _over_bucket
                worst = max(worst, over(amounts, limit, limits.burst_seconds))
        return worst


def _over_window(amounts: list[tuple[float, float]], limit: float, _: float) -> float:
    worst = 0.0
    for end, _amount in amounts:
        within = [a for at, a in amounts if end - 60 + 1e-4 < at <= end]
        if len(within) > 1:  # one alone may be larger than the window
            worst = max(worst, sum(within) / limit - 1)
    return worst


def _over_bucket(amounts: list[tuple[float, float]], limit: float, burst_seconds: float) -> float:
    capacity, level, before = limit / 60 * burst_seconds, 0.0, 0.0
    worst = 0.0
    for at, amount in amounts:
        level = max(level - (at - before) * limit / 60, 0.0)
        if level > 1e-3 * limit / 60:  # one alone may be larger than the bucket
            worst = max(worst, (level + amount - capacity) / limit)
        level, before = level + amount, at
    return worst


@pytest.mark.parametrize("window", WINDOWS)
async def test_two_processes_send_as_fast_as_one_may_and_no_faster(redis_url, window):
    """300 requests under both limits: 0 over at the provider, and the binding one is used up."""
    world = World(redis_url, requests_per_minute=60, tokens_per_minute=3000, **window)
    await world.at(1_000_000.0)
    last = 0.0
    for number in range(300):
        wait = await world.send(number % 2, 40 if number % 3 else 100)
        assert wait >= last  # in the order of asking
        last = wait
    assert world.most_over() < 1e-4
    tokens = sum(each[2] for each in world.sent)
    burst = {"sliding": 60.0}.get(window["window"], window.get("burst_seconds", 0.0))
    bound = max((300 - burst) / 60, (tokens - 50 * burst) / 3000) * 60
    if burst == 0:  # each one waits until nothing is in use
        bound = sum(max(1.0, each[2] / 50) for each in world.sent[:-1])
    assert last <= bound * 1.02 + (60 if window["window"] == "sliding" else 0)
    await world.link.aclose()


@given(
    window=st.sampled_from(WINDOWS),
    steps=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.floats(0, 30),
            st.integers(1, 150),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=40,
    ),
)
async def test_what_was_not_used_is_given_back_and_never_too_much(redis_url, window, steps):
    """Whatever is asked when, and however little of it is used: the provider's limit is kept."""
    world = World(redis_url, requests_per_minute=30, tokens_per_minute=300, **window)
    now = 1_000_000.0
    open_turns = []
    for process, pause, tokens, part in steps:
        now += pause
        await world.at(now)
        for until, rates, turn, used in [each for each in open_turns if each[0] <= now]:
            rates.settle(turn, (1, used, 0, 0))
            open_turns.remove((until, rates, turn, used))
        rates = world.processes[process]
        turn = await rates.take("fake/model", world.limits, (1, tokens, 0, 0))
        leaves = now + turn.wait_seconds
        world.sent.append((leaves, 1, tokens * part))
        open_turns.append((leaves + 2.0, rates, turn, tokens * part))
    assert world.most_over() < 1e-3
    await world.link.aclose()


@pytest.mark.parametrize("window", WINDOWS[::3])
async def test_what_was_not_used_lets_others_go_earlier(redis_url, window):
    """A request that was given up before it left takes nothing."""
    world = World(redis_url, tokens_per_minute=600, **window)
    await world.at(1_000_000.0)
    rates = world.processes[0]
    turn = await rates.take("fake/model", world.limits, (1, 600, 0, 0))
    rates.settle(turn, (0, 0, 0, 0))
    assert await world.send(1, 600) == 0
    assert await world.send(1, 600) == pytest.approx(60)
    await world.link.aclose()


async def test_more_than_was_estimated_is_a_debt(redis_url):
    """Later ones wait for it."""
    world = World(redis_url, tokens_per_minute=600)
    await world.at(1_000_000.0)
    assert await world.send(0, 300, used=1200) == 0
    assert await world.send(1, 300) == pytest.approx(90)
    await world.link.aclose()


async def test_a_turn_that_is_asked_twice_is_one(redis_url):
    """As after a connection that broke before the reply came."""
    world = World(redis_url, requests_per_minute=1)
    await world.at(1_000_000.0)
    await world.send(0, 1)
    for window in ("bucket", "sliding"):
        limits = world.limits.model_copy(update={"window": window})
        turn = await world.processes[0].take("other", limits, (1, 1, 0, 0))
        script = world.scripts.take[window]
        again = await world.processes[0]._run(script, turn, turn.amounts)
        assert float(again) / 1e6 == turn.wait_seconds == 0
        later = await world.processes[1].take("other", limits, (1, 1, 0, 0))
        assert later.wait_seconds == pytest.approx(60)
    await world.link.aclose()


async def test_the_server_gives_the_time(redis_url):
    """With its own clock: three requests a tenth of a second apart."""
    link = RedisLink(redis_url, timeout_seconds=60)
    rates = SharedRates(f"real-{time.monotonic_ns()}", lambda: link)
    limits = RateLimits(requests_per_minute=600, burst_seconds=0.0)

    async def server_seconds():
        seconds, microseconds = await link.command("TIME")
        return int(seconds) + int(microseconds) / 1e6

    began = await server_seconds()
    turns = await asyncio.gather(*(rates.take("e", limits, (1, 0, 0, 0)) for _ in range(3)))
    elapsed = await server_seconds() - began
    waits = sorted(turn.wait_seconds for turn in turns)
    for wait, longest in zip(waits, [0.0, 0.1, 0.2], strict=True):
        assert longest - elapsed - 1e-4 <= wait <= longest + 1e-4
    assert rates.statistics()["turns"] == 3
    await link.aclose()

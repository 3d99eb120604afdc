"""Rate limits of several processes: never passed, and not waited for longer than needed."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.fleet.rate_lines import RateLine
from callwise.budget.fleet.rate_scripts import RateScripts
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_rates import SharedRates
from callwise.calls.errors import ConfigError
from callwise.calls.load.rate_limits import RateLimits, Rates

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

    def line(self, tokens: float, name: str = "fake/model", limits: object = None) -> RateLine:
        """Return what a request takes of a limit; by default that of the endpoint."""
        return RateLine(name, (limits or self.limits).per_minute, (1, tokens, 0, 0))

    async def send(self, process: int, tokens: float, used: float | None = None) -> float:
        """Take a turn and settle it; return when it leaves."""
        rates = self.processes[process]
        turn = await rates.take(self.limits, [self.line(tokens)])
        used = tokens if used is None else used
        rates.settle(turn, [(1, used, 0, 0)])
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


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
async def test_two_processes_send_as_fast_as_one_may_and_no_faster(redis_url, window):
    """300 requests under both limits: 0 over at the provider, and the binding one is used up."""
    world = World(redis_url, requests_per_minute=60, tokens_per_minute=3000, **window)
    await world.at(1_000_000.0)
    waits = {40: [0.0], 100: [0.0]}
    for number in range(300):
        tokens = 40 if number % 3 else 100
        waits[tokens].append(await world.send(number % 2, tokens))
    assert all(each == sorted(each) for each in waits.values())  # in the order of asking
    last = max(map(max, waits.values()))
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
            st.sampled_from(["ann", "bob"]),
        ),
        min_size=1,
        max_size=40,
    ),
)
async def test_what_was_not_used_is_given_back_and_never_too_much(redis_url, window, steps):
    """Whatever is asked when, for which user, and however little of it is used: no limit is passed.

    Neither the endpoint's nor a user's, though a request may leave before earlier ones of others.
    """
    world = World(redis_url, requests_per_minute=30, tokens_per_minute=300, **window)
    of_user = Rates(requests_per_minute=15, tokens_per_minute=200)
    sent: dict[str, list[tuple[float, float, float]]] = {"ann": [], "bob": []}
    now = 1_000_000.0
    open_turns = []
    for process, pause, tokens, part, user in steps:
        now += pause
        await world.at(now)
        for until, rates, turn, used in [each for each in open_turns if each[0] <= now]:
            rates.settle(turn, [(1, used, 0, 0)] * 2)
            open_turns.remove((until, rates, turn, used))
        rates = world.processes[process]
        lines = [world.line(tokens), world.line(tokens, f"user {user}", of_user)]
        turn = await rates.take(world.limits, lines)
        leaves = now + turn.wait_seconds
        sent[user].append((leaves, 1, tokens * part))
        open_turns.append((leaves + 2.0, rates, turn, tokens * part))
    world.sent = sent["ann"] + sent["bob"]
    assert world.most_over() < 1e-3
    world.limits = world.limits.model_copy(update=of_user.model_dump())
    for world.sent in sent.values():
        assert world.most_over() < 1e-3
    await world.link.aclose()


@pytest.mark.parametrize("window", WINDOWS[::3])
async def test_a_wait_for_the_limit_of_a_user_delays_no_other_user(redis_url, window):
    """The turns of one user are a minute apart; another one asked later and leaves now."""
    world = World(redis_url, requests_per_minute=10, **window)
    await world.at(1_000_000.0)
    slow = Rates(requests_per_minute=1)

    async def wait_of(process, user):
        lines = [world.line(1), world.line(1, f"user {user}", slow)]
        turn = await world.processes[process].take(world.limits, lines)
        return round(turn.wait_seconds, 3), turn.bound

    assert [await wait_of(number % 2, "ann") for number in range(4)] == [
        (0.0, ""),
        *((60.0 * number, "user ann") for number in (1, 2, 3)),
    ]
    assert [await wait_of(number, f"user-{number}") for number in (0, 1)] == [(0.0, "")] * 2
    assert [await wait_of(number % 2, f"other-{number}") for number in range(7)] == [(0.0, "")] * 7
    wait, bound = await wait_of(0, "the eleventh")
    assert wait > 0
    assert bound == "fake/model"
    assert world.processes[0].statistics()["rate_delayed_by_user"] == 1
    await world.link.aclose()


@pytest.mark.parametrize("window", WINDOWS[::3])
async def test_a_turn_is_not_delayed_by_one_that_is_given_later(redis_url, window):
    """A small one leaves before a large one that waits, unless that would have to wait longer."""
    world = World(redis_url, tokens_per_minute=600, **window)
    await world.at(1_000_000.0)
    assert await world.send(0, 500) == 0
    is_sliding = window["window"] == "sliding"
    large = await world.send(0, 600)
    assert large == pytest.approx(60 if is_sliding else 50)
    small = await world.send(1, 100)
    # 60 s after both the window is empty; but what drains in 50 s are the 500.
    assert small == 0 if is_sliding else small > large
    assert world.most_over() < 1e-6
    await world.link.aclose()


async def test_a_request_that_would_be_in_the_minute_of_a_later_one_waits(redis_url):
    """It fits the window now, and the one that was given its time before would not fit then."""
    world = World(redis_url, tokens_per_minute=600, window="sliding")
    await world.at(1_000_000.0)
    assert await world.send(0, 500) == 0
    assert await world.send(0, 600) == pytest.approx(60)
    await world.at(1_000_001.0)
    assert await world.send(1, 100) == pytest.approx(119)
    assert world.most_over() < 1e-6
    await world.link.aclose()


async def test_what_a_bucket_had_refilled_is_not_given_back(redis_url):
    """It was used little, and what it took has been refilled since: others have taken that."""
    world = World(redis_url, tokens_per_minute=600)
    rates, line = world.processes[0], world.line(600)
    await world.at(1_000_000.0)
    early = await rates.take(world.limits, [line])
    await world.at(1_000_060.0)
    assert (await rates.take(world.limits, [line])).wait_seconds == 0
    rates.settle(early, [(1, 0, 0, 0)])
    assert await world.send(1, 600) == pytest.approx(60)
    await world.link.aclose()


@pytest.mark.parametrize("window", WINDOWS[::3])
async def test_users_have_more_while_the_endpoint_is_little_used(redis_url, window):
    """Twice their limit below a half of the endpoint's own; from there on their limit alone."""
    world = World(
        redis_url, requests_per_minute=8, burst_factor=2.0, adaptive_threshold=0.5, **window
    )
    await world.at(1_000_000.0)
    line = world.line(1, "user ann", Rates(requests_per_minute=2))._replace(factor=2.0)

    async def wait():
        return (await world.processes[0].take(world.limits, [world.line(1), line])).wait_seconds

    assert [await wait() for _ in range(4)] == [0.0] * 4
    assert await wait() > 0
    await world.link.aclose()


@pytest.mark.parametrize("window", WINDOWS[::3])
async def test_what_was_not_used_lets_others_go_earlier(redis_url, window):
    """A request that was given up before it left takes nothing."""
    world = World(redis_url, tokens_per_minute=600, **window)
    await world.at(1_000_000.0)
    rates = world.processes[0]
    turn = await rates.take(world.limits, [world.line(600)])
    rates.settle(turn, [(0, 0, 0, 0)])
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
        line = world.line(1, "other")
        turn = await world.processes[0].take(limits, [line])
        script = world.scripts.take
        again = await world.processes[0]._run(script, turn, [line.amounts], (1.0, 0.8))
        assert float(again[0]) / 1e6 == turn.wait_seconds == 0
        later = await world.processes[1].take(limits, [line])
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
    turns = await asyncio.gather(
        *(rates.take(limits, [RateLine("e", limits.per_minute, (1, 0, 0, 0))]) for _ in range(3))
    )
    elapsed = await server_seconds() - began
    waits = sorted(turn.wait_seconds for turn in turns)
    for wait, longest in zip(waits, [0.0, 0.1, 0.2], strict=True):
        assert longest - elapsed - 1e-4 <= wait <= longest + 1e-4
    assert rates.statistics()["turns"] == 3
    await link.aclose()


@pytest.mark.parametrize("theirs", [("SET", "theirs"), ("LPUSH", "theirs"), ("SET", "\x93")])
async def test_a_key_of_another_program_is_named_and_left_as_it_is(redis_url, theirs):
    """Whatever its type."""
    world = World(redis_url, requests_per_minute=60)
    await world.at(1_000_000.0)
    key = f"callwise:{{{world.name}}}:rate:fake/model:bucket"
    command, value = theirs
    await world.link.command(command, key, value)
    kept = await world.link.command("DUMP", key)
    with pytest.raises(ConfigError, match=r"refuses a command for .*rate:fake/model:bucket"):
        await world.send(0, 1)
    assert await world.link.command("DUMP", key) == kept
    await world.link.aclose()


@pytest.mark.parametrize("window", WINDOWS[::3])
async def test_a_server_that_was_emptied_counts_from_nothing(redis_url, window):
    """What was given before is settled without an effect on what is given afterwards."""
    world = World(redis_url, requests_per_minute=2, **window)
    await world.at(1_000_000.0)
    rates, line = world.processes[0], world.line(1)
    turns = [await rates.take(world.limits, [line]) for _ in range(3)]
    assert turns[2].wait_seconds > 0
    await world.link.command("FLUSHALL")
    await world.at(1_000_001.0)
    again = [await rates.take(world.limits, [line]) for _ in range(2)]
    assert [turn.wait_seconds for turn in again] == [0.0, 0.0]
    for turn in turns:
        rates.settle(turn, [(0, 0, 0, 0)])
    assert (await rates.take(world.limits, [line])).wait_seconds > 0
    await world.link.aclose()


async def test_a_request_that_its_process_never_settles_counts_in_full(redis_url):
    """As of a process that was killed: the limit is kept, and is free again after its minute."""
    world = World(redis_url, requests_per_minute=2, tokens_per_minute=100)
    await world.at(1_000_000.0)
    await world.processes[0].take(world.limits, [world.line(100)])
    assert await world.send(1, 100) == pytest.approx(60)
    await world.at(1_000_000.0 + 2000)
    assert await world.send(1, 100) == 0
    key = f"callwise:{{{world.name}}}:rate:fake/model:bucket"
    stored = await world.link.command("STRLEN", key)
    assert stored < 400  # the request of the dead process is forgotten
    await world.link.aclose()

"""Budget of several processes: exact under races, deaths, lost replies and lost servers."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.clock import ManualClock, SystemClock
from callwise.budget.fleet.budget_scripts import RESERVE, SETTLE
from callwise.budget.fleet.redis_link import RedisLink
from callwise.budget.fleet.shared_budget import LEASE_HEARTBEATS, RETRY_SECONDS, SharedBudget
from callwise.budget.limits import NOTHING, Amounts
from callwise.calls import Role
from callwise.calls.errors import BudgetStoreLost, CallRefused, ConfigError
from callwise.calls.load.fleet_knobs import FleetKnobs, FleetLimits
from tests.callwise.budget.fleet.conftest import age_leases, until

ONE = Amounts(1, 1, 100, 10**12)
RUN = ("run",)


async def take(budget, amounts=ONE, scopes=RUN):
    """Reserve and settle; return whether there was quota."""
    try:
        reservation = await budget.reserve(scopes, amounts)
    except CallRefused:
        return False
    budget.settle(reservation, amounts)
    return True


async def die(budget):
    """End all signs of life of a budget, as if its process had been killed."""
    beating, budget._beating = budget._beating, None
    beating.cancel()
    await asyncio.wait((beating,))


@pytest.mark.parametrize(
    "limits", [{"max_calls": 5}, {"max_requests": 5}, {"max_tokens": 500}, {"max_usd": 5.0}]
)
async def test_processes_together_get_exactly_the_limit(redis_url, make_budget, limits):
    """4 processes with 64 calls each and a quota of 5: 5, whichever quantity is limited."""
    budgets = [make_budget(redis_url, limits=limits) for _ in range(4)]
    taken = await asyncio.gather(*(take(budget) for budget in budgets for _ in range(64)))
    assert taken.count(True) == 5
    assert await budgets[0].used() == Amounts(5, 5, 500, 5 * 10**12)
    assert sum((budget.spent() for budget in budgets), NOTHING) == await budgets[3].used()


async def test_a_reservation_is_in_all_scopes_or_in_none(redis_url, make_budget):
    """A role without quota takes nothing from the run."""
    roles = {"judge": {"max_calls": 1}}
    budget = make_budget(redis_url, limits={"max_calls": 10, "roles": roles})
    assert budget.limits.scopes_of(Role.MAIN) == ("run",)
    scopes = budget.limits.scopes_of(Role.JUDGE)
    assert scopes == ("run", "role:judge")
    assert await take(budget, scopes=scopes)
    with pytest.raises(CallRefused, match=r"fleet:.* has max_calls\[judge\]=1, 1 used"):
        await budget.reserve(scopes, ONE)
    assert (await budget.used("run")).calls == (await budget.used("role:judge")).calls == 1


async def test_amounts_are_exact_beyond_the_numbers_of_the_server(redis_url, make_budget):
    """9,000 USD are 9e15 picodollars: one of them more or less decides."""
    budget = make_budget(redis_url, limits={"max_usd": 99999.0})
    large = Amounts(0, 0, 0, 99999 * 10**12 - 1)
    assert await take(budget, large)
    assert not await take(budget, Amounts(picodollars=2))
    assert await take(budget, Amounts(picodollars=1))
    assert not await take(budget, Amounts(picodollars=1))
    assert (await budget.used()).picodollars == 99999 * 10**12


def test_a_limit_that_the_server_cannot_count_is_refused(name):
    """The error names it."""
    knobs = FleetKnobs(name=name, limits=FleetLimits(max_tokens=10**18))
    with pytest.raises(ConfigError, match="max_tokens of run"):
        SharedBudget(knobs, lambda: RedisLink("redis://localhost"), SystemClock())


async def test_a_reservation_is_settled_once_at_what_was_spent(redis_url, make_budget):
    """More than was reserved is charged too; a second settlement does nothing."""
    budget = make_budget(redis_url)
    reservation = await budget.reserve(RUN, ONE)
    assert await budget.used() == ONE
    more = Amounts(1, 3, 250, 7)
    budget.settle(reservation, more)
    budget.settle(reservation, more)
    assert await budget.used() == more == budget.spent()


async def test_a_reservation_that_is_sent_twice_is_one(redis_url, make_budget):
    """As after a connection that broke before the reply came."""
    budget = make_budget(redis_url, limits={"max_calls": 5})
    reservation = await budget.reserve(RUN, ONE)
    arguments = budget._reserve_arguments(budget._token, reservation)
    state, *_ = await budget._run(RESERVE, *arguments)
    assert state == b"reserved"
    assert await budget.used() == ONE
    budget.settle(reservation, NOTHING)
    assert await budget.used() == NOTHING


async def test_a_report_that_comes_late_changes_nothing(redis_url, make_budget):
    """An older sum, such as a broken connection sends a second time, after a newer one."""
    budget = make_budget(redis_url)
    for _ in range(2):
        assert await take(budget)
    spent = await budget.used()
    assert spent.calls == 2
    scope = ("run", *map(str, ONE))
    await budget._run(SETTLE, budget._token, "", budget._process, 1, 1, *scope)
    assert await budget.used() == spent


async def test_what_a_dead_process_had_reserved_is_free_after_two_heartbeats(
    redis_url, make_budget, name
):
    """Not before its lease ends, and without anything being asked of it; what it spent stays."""
    limits = {"max_calls": 2}
    dead, living = (make_budget(redis_url, limits=limits, heartbeat_seconds=60) for _ in range(2))
    assert await take(dead)
    await dead.reserve(RUN, ONE)
    await die(dead)
    link = RedisLink(redis_url, timeout_seconds=60)
    seconds, microseconds = map(int, await link.command("TIME"))
    (_, end) = await link.command("ZRANGE", f"callwise:{{{name}}}:leases", 0, 0, "WITHSCORES")
    await link.aclose()
    left_seconds = float(end) / 1000 - (seconds + microseconds / 1e6)
    assert left_seconds <= 2 * 60
    assert not await take(living)
    await age_leases(redis_url, name, left_seconds + 0.01)
    assert await take(living)
    assert (await living.used()).calls == 2


async def test_a_reservation_is_a_sign_of_life(redis_url, make_budget, name):
    """It extends the lease to its whole length, by the server's time."""
    budget = make_budget(redis_url, heartbeat_seconds=3600)
    assert await take(budget)
    link, leases = RedisLink(redis_url), f"callwise:{{{name}}}:leases"
    now = int((await link.command("TIME"))[0]) * 1000
    await link.command("ZADD", leases, now + 600_000, budget._token)
    assert await take(budget)
    assert float(await link.command("ZSCORE", leases, budget._token)) > now + 3_600_000
    await link.aclose()


async def test_a_lease_ends_by_the_time_of_the_server(redis_url, make_budget, name):
    """The last tenth of a second or so of it passes with no help of a test."""
    limits = {"max_calls": 1}
    dead, living = (make_budget(redis_url, limits=limits, heartbeat_seconds=60) for _ in range(2))
    await dead.reserve(RUN, ONE)
    await die(dead)
    await age_leases(redis_url, name, 60 * LEASE_HEARTBEATS - 0.1)
    await until(lambda: take(living))


async def test_a_living_process_keeps_what_it_has_reserved(redis_url, make_budget, name):
    """For many heartbeats, each of which extends its lease."""
    limits = {"max_calls": 1}
    clock = ManualClock()
    budget, other = (
        make_budget(redis_url, limits=limits, heartbeat_seconds=60, clock=clock) for _ in range(2)
    )
    reservation = await budget.reserve(RUN, ONE)
    assert not await take(other)
    for _ in range(3):
        await until(lambda: clock.sleeper_count == 2)
        await age_leases(redis_url, name, 60)
        clock.advance(60)
        await until(lambda: clock.sleeper_count == 2)
        assert not await take(other)
    assert [each.statistics()["joined"] for each in (budget, other)] == [1, 1]
    budget.settle(reservation, NOTHING)
    await until(lambda: take(other))


async def test_a_process_that_was_taken_for_dead_is_fenced_and_counts_right(
    redis_url, make_budget, name
):
    """Its settlement frees nothing a second time, and what it spent in the end is counted."""
    limits = {"max_calls": 3}
    stopped, other = (make_budget(redis_url, limits=limits, heartbeat_seconds=60) for _ in range(2))
    reservations = [await stopped.reserve(RUN, ONE) for _ in range(3)]
    await die(stopped)
    await age_leases(redis_url, name, 2 * 60)
    others = []
    assert await take_open(other, others)
    # It goes on as if nothing had happened.
    stopped.settle(reservations[0], ONE)
    await until(lambda: used_is(other, calls=2))  # one spent, one reserved by the other
    assert not await take(stopped, ONE._replace(calls=2))
    # Now it has a lease again, under which its open reservations count.
    assert (await other.used()).calls == 4
    for reservation in reservations[1:]:
        stopped.settle(reservation, NOTHING)
    other.settle(others[0], ONE)
    await until(lambda: used_is(other, calls=2))
    assert stopped.statistics()["joined"] == 2


async def test_a_heartbeat_does_not_bring_back_a_lease_that_has_ended(redis_url, make_budget, name):
    """What was reserved under it is free by then: it is reserved again under another one."""
    knobs, clock = {"limits": {"max_calls": 1}, "heartbeat_seconds": 60}, ManualClock()
    stopped, other = (make_budget(redis_url, clock=clock, **knobs) for _ in range(2))
    await stopped.reserve(RUN, ONE)
    await die(stopped)
    await age_leases(redis_url, name, 2 * 60)
    assert await take_open(other, [])
    stopped._beating = asyncio.ensure_future(stopped._beat())
    await until(lambda: clock.sleeper_count == 2)
    clock.advance(60)
    await until(lambda: stopped.statistics()["joined"] == 2)
    assert (await other.used()).calls == 2


async def take_open(budget, reservations):
    """Reserve one and leave it open; return whether there was quota."""
    try:
        reservations.append(await budget.reserve(RUN, ONE))
    except CallRefused:
        return False
    return True


async def used_is(budget, *, calls):
    """Return whether so many calls are counted."""
    return (await budget.used()).calls == calls


async def test_a_cancelled_reservation_leaves_nothing(redis_url, make_budget):
    """Whether its reply comes before, with or after the cancellation."""
    budget = make_budget(redis_url, limits={"max_calls": 1000})
    assert await take(budget)
    for turns in range(8):
        asking = asyncio.ensure_future(budget.reserve(RUN, ONE))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        result = (await asyncio.gather(asking, return_exceptions=True))[0]
        if not isinstance(result, BaseException):
            budget.settle(result, NOTHING)
    assert await budget.used() == ONE
    assert budget.statistics()["open"] == 0


async def test_other_limits_under_the_same_name_are_refused(redis_url, make_budget):
    """The error names both, and the way out."""
    first = make_budget(redis_url, limits={"max_calls": 5})
    assert await take(first)
    with pytest.raises(ConfigError, match=r"other limits .*5.*6.*another load\.fleet\.name"):
        await make_budget(redis_url, limits={"max_calls": 6}).reserve(RUN, ONE)
    same = make_budget(redis_url, limits={"max_calls": 5})
    assert [await take(same) for _ in range(5)].count(True) == 4


@pytest.mark.parametrize("key", ["about", "counts", "leases"])
async def test_keys_of_another_program_are_left_alone(redis_url, make_budget, name, key):
    """Our names with another type of value: an error that names the key, and no change."""
    link = RedisLink(redis_url, timeout_seconds=60)
    full = f"callwise:{{{name}}}:{key}"
    await link.command("SET", full, "theirs")
    with pytest.raises(ConfigError, match="is a string of another program") as refused:
        await make_budget(redis_url).reserve(RUN, ONE)
    assert full in str(refused.value)
    assert await link.command("GET", full) == b"theirs"
    await link.aclose()


async def test_a_budget_of_another_version_is_refused(redis_url, make_budget, name):
    """The error names the format that was found."""
    link = RedisLink(redis_url, timeout_seconds=60)
    await link.command("HSET", f"callwise:{{{name}}}:about", "format", "99")
    with pytest.raises(ConfigError, match="format 99, here 1"):
        await make_budget(redis_url).reserve(RUN, ONE)
    await link.aclose()


async def test_without_the_server_nothing_is_reserved(make_server, make_budget):
    """`fail`: an error that names the server. Once it is back, and empty, the counts are right."""
    server = make_server()
    budget = make_budget(server.url, limits={"max_calls": 4}, heartbeat_seconds=0.05)
    assert await take(budget)
    reservation = await budget.reserve(RUN, ONE)
    server.stop()
    for _ in range(3):
        with pytest.raises(BudgetStoreLost, match=str(server.port)):
            await budget.reserve(RUN, ONE)
    budget.settle(reservation, ONE)
    server.start()

    async def is_back():
        try:
            return await take(budget)
        except BudgetStoreLost:
            return False

    await until(is_back)
    assert await budget.used() == budget.spent() == Amounts(3, 3, 300, 3 * 10**12)
    assert [await take(budget) for _ in range(3)] == [True, False, False]


async def test_without_the_server_each_process_goes_on_with_its_part(make_server, make_budget):
    """`local`: limit / n each, and of what was left no more; afterwards all is counted."""
    server, clock = make_server(), ManualClock()
    knobs = {"limits": {"max_calls": 11}, "heartbeat_seconds": 60, "on_lost": "local"}
    budgets = [make_budget(server.url, clock=clock, **knobs) for _ in range(2)]
    assert [await take(budgets[0]) for _ in range(3)] == [True] * 3
    assert [await take(budget) for budget in budgets] == [True] * 2
    clock.advance(60)
    await until(lambda: budgets[0].statistics()["processes"] == 2)
    server.stop()
    # 11 // 2 = 5 each: the first has 4 of them. Of the 6 left 3 are the second's.
    assert [await take(budgets[0]) for _ in range(3)] == [True, False, False]
    assert [await take(budgets[1]) for _ in range(4)] == [True, True, True, False]
    server.start()
    await until(lambda: clock.sleeper_count == 2)
    clock.advance(60)
    await until(lambda: not any(each.statistics()["is_lost"] for each in budgets))
    spent = budgets[0].spent() + budgets[1].spent()
    assert await budgets[0].used() == spent == Amounts(9, 9, 900, 9 * 10**12)
    assert [await take(budgets[1]) for _ in range(3)] == [True, True, False]


async def test_a_process_that_never_reached_the_server_has_no_part(make_budget, make_server):
    """It cannot know with how many it shares: an error even with `local`, until it has one."""
    server = make_server()
    server.stop()
    clock = ManualClock()
    budget = make_budget(server.url, limits={"max_calls": 5}, on_lost="local", clock=clock)
    for _ in range(2):
        with pytest.raises(BudgetStoreLost, match=r"cannot be reached .* has reached it once"):
            await budget.reserve(RUN, ONE)
    assert budget.part_of_processes is None
    server.start()
    clock.advance(RETRY_SECONDS)
    assert await take(budget)
    assert (budget.part_of_processes, budget.statistics()["lost"]) == (1, 1)


class LostLink:
    """A link whose server never answers."""

    address = "nowhere"

    def __init__(self):
        self.given = 0

    def run(self, script, keys, arguments):
        """Return a future that has failed."""
        self.given += 1
        reply = asyncio.get_running_loop().create_future()
        reply.set_exception(BudgetStoreLost("no answer"))
        return reply


async def test_a_lost_server_is_asked_again_after_a_while_and_not_by_each_call(name):
    """A hundred calls in that time cost one wait for it."""
    link, clock = LostLink(), ManualClock()
    budget = SharedBudget(FleetKnobs(name=name), lambda: link, clock)
    for asked in (1, 2):
        for _ in range(100):
            with pytest.raises(BudgetStoreLost, match="no answer"):
                await budget.reserve(RUN, ONE)
        assert link.given == asked
        clock.advance(RETRY_SECONDS)


async def test_what_could_not_be_reported_is_when_a_budget_is_closed(redis_url, make_budget):
    """As after a server that was lost when a call ended, and is there again."""
    budget, other = make_budget(redis_url), make_budget(redis_url)
    reservation = await budget.reserve(RUN, ONE)
    budget._token = None
    budget.settle(reservation, ONE)
    await budget.aclose()
    assert await other.used() == ONE


async def test_a_budget_that_is_closed_gives_its_lease_back(redis_url, make_budget):
    """What it has left open is free immediately, and what it has spent stays."""
    budget = make_budget(redis_url, limits={"max_calls": 2})
    other = make_budget(redis_url, limits={"max_calls": 2})
    assert await take(budget)
    await budget.reserve(RUN, ONE)
    assert not await take(other)
    await budget.aclose()
    assert await take(other)
    assert (await other.used()).calls == 2


async def test_a_lease_that_ends_as_a_reservation_is_made_loses_nothing(redis_url, make_budget):
    """What was granted under the old lease is reserved under the next one too."""
    limits = {"max_calls": 1}
    budget, other = (make_budget(redis_url, limits=limits) for _ in range(2))
    may_go_on, has_come = asyncio.Event(), asyncio.Event()

    async def wait(version):
        has_come.set()
        await may_go_on.wait()

    budget.on_version = wait
    reserving = asyncio.ensure_future(budget.reserve(RUN, ONE))
    await has_come.wait()
    budget._token = None  # as a heartbeat does that finds the lease ended
    assert not await take(budget)
    may_go_on.set()
    reservation = await reserving
    assert not await take(other)
    budget.settle(reservation, ONE)
    assert await other.used() == ONE


async def test_a_server_whose_memory_is_full_loses_no_count(make_server, make_budget):
    """`fail` ends what is asked meanwhile; what was settled meanwhile is counted afterwards."""
    server = make_server()
    budget, other = (
        make_budget(server.url, limits={"max_calls": 3}, heartbeat_seconds=5) for _ in range(2)
    )
    reservations = [await budget.reserve(RUN, ONE) for _ in range(2)]
    assert await take(other)
    link = RedisLink(server.url, timeout_seconds=60)
    await link.command("CONFIG", "SET", "maxmemory", "1")
    budget.settle(reservations[0], ONE)
    with pytest.raises(BudgetStoreLost, match="memory is full"):
        await budget.reserve(RUN, ONE)
    budget.settle(reservations[1], NOTHING)
    await link.command("CONFIG", "SET", "maxmemory", "0")
    await link.aclose()

    async def is_back():
        try:
            return await take(budget)
        except BudgetStoreLost:
            return False

    await until(is_back)
    assert await budget.used() == budget.spent() + other.spent()
    assert (await budget.used()).calls == 3
    assert not await take(budget)


async def test_a_replica_counts_nothing(make_server, make_budget):
    """The error names the way out."""
    primary = make_server()
    replica = make_server("--replicaof", "127.0.0.1", str(primary.port))
    with pytest.raises(BudgetStoreLost, match="use the URL of its primary"):
        await make_budget(replica.url).reserve(RUN, ONE)


async def test_scripts_that_are_flushed_lose_nothing(redis_url, make_budget):
    """Not even a call: they are sent again."""
    budget = make_budget(redis_url, limits={"max_calls": 3})
    link = RedisLink(redis_url, timeout_seconds=60)
    for number in range(3):
        reservation = await budget.reserve(RUN, ONE)
        await link.command("SCRIPT", "FLUSH")
        budget.settle(reservation, ONE)
        await link.command("SCRIPT", "FLUSH")
        assert (await budget.used()).calls == number + 1
    assert not await take(budget)
    assert budget.statistics()["lost"] == 0
    await link.aclose()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "settle", "fence", "forget", "lose"]),
        st.integers(0, 1),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(steps=STEPS)
async def test_used_is_spent_and_reserved_after_any_history(redis_url, steps):
    """Leases that end, servers that forget all, tokens that are dropped: the counts come right."""
    link = RedisLink(redis_url, timeout_seconds=60)
    name = f"history-{time.monotonic_ns()}"
    knobs = FleetKnobs(name=name, limits=FleetLimits(max_calls=4), heartbeat_seconds=60)
    budgets = [SharedBudget(knobs, lambda: link, SystemClock()) for _ in range(2)]
    still_open = [[], []]
    try:
        for step, who, amount in steps:
            budget, mine = budgets[who], still_open[who]
            if step == "reserve":
                try:
                    mine.append(await budget.reserve(RUN, Amounts(1, amount, 0, 0)))
                except CallRefused:
                    assert (await budget.used()).calls >= 4
            elif step == "settle" and mine:
                budget.settle(mine.pop(), Amounts(1, 2 * amount, 0, 0))
            elif step == "fence":
                await link.command("ZREMRANGEBYSCORE", f"callwise:{{{name}}}:leases", 0, "+inf")
            elif step == "forget":
                await link.command("FLUSHALL")
            elif step == "lose":
                budget._lose(BudgetStoreLost("a test"))
                budget._retry_at_seconds = 0.0
        for budget, mine in zip(budgets, still_open, strict=True):
            budget._token = None  # joins again, as after a heartbeat that found it fenced
            mine.append(await reserved(budget))
        reserved_now = sum((each.amounts for mine in still_open for each in mine), NOTHING)
        spent = budgets[0].spent() + budgets[1].spent()
        assert await budgets[0].used() == spent + reserved_now
    finally:
        for budget in budgets:
            await budget.aclose()
        await link.aclose()


async def reserved(budget):
    """Return a reservation of nothing."""
    return await budget.reserve(RUN, NOTHING)


def test_one_event_loop_after_another(redis_url, name):
    """Each takes a lease for itself; what was spent before stays counted."""
    knobs = FleetKnobs(name=name, limits=FleetLimits(max_calls=6))
    link = RedisLink(redis_url, timeout_seconds=60)
    budget = SharedBudget(knobs, lambda: link, SystemClock())

    async def take_four():
        taken = await asyncio.gather(*(take(budget) for _ in range(4)))
        used = await budget.used()
        await budget.aclose()
        await link.aclose()
        return taken.count(True), used.calls

    assert asyncio.run(take_four()) == (4, 4)
    assert asyncio.run(take_four()) == (2, 6)
    assert budget.statistics()["joined"] == 2

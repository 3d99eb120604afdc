"""The schedule of hours, in virtual time: which slots are fired, and when."""

import asyncio
import logging
import math
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.clock import LoopClock, VirtualClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import ConfigError
from callwise.wake.hours import LEAST_SLEEP_SECONDS, MOST_CAUGHT_UP, run_hours, slot_of

HOUR = 3600.0
START = datetime(2026, 3, 28, 9, 20, tzinfo=UTC).timestamp()
FIRST = datetime(2026, 3, 28, 10, tzinfo=UTC).timestamp()


class Day:
    """A wall clock that can be set, claims in memory, and the wakes that came.

    Attributes:
        offset: what the wall clock was set forward by, in seconds.
        fired: hours of the wakes, counted from the first whole one after the start.
        late: time from the beginning of each slot to its wake.
        claimed: the slots that were claimed, in their order.
    """

    def __init__(self, start=START, claimed=()):
        self.start = start
        self.offset = 0.0
        self.fired = []
        self.late = []
        self.claimed = list(claimed)

    def wall(self):
        """Return the time that the wall clock shows."""
        return self.start + asyncio.get_running_loop().time() + self.offset

    def claim(self, slot):
        """Claim a slot, unless it was claimed."""
        if slot in self.claimed:
            return False
        self.claimed.append(slot)
        return True

    async def wake(self, at):
        """Note a wake."""
        self.fired.append((at - FIRST) / HOUR)
        self.late.append(self.wall() - at)

    def run(self, wake=None, **changes):
        """Return the coroutine of a scheduler."""
        given = {"clock": LoopClock(), "wall": self.wall, "claim": self.claim, **changes}
        return run_hours(wake or self.wake, **given)


def run(main):
    """Run a coroutine function in virtual time."""
    return run_in_virtual_time(main())


def blocking(seconds):
    """Block the loop, as code that does not await."""
    asyncio.get_running_loop().pass_time(seconds)


def test_two_days_have_48_wakes_without_drift():
    """Each within a millisecond of its hour, and given the exact hour."""
    day = Day()
    assert run(lambda: day.run(count=48)) == 48
    assert day.fired == list(range(48))
    assert max(day.late) <= LEAST_SLEEP_SECONDS
    assert min(day.late) >= 0.0


def test_a_slot_that_begins_now_is_fired():
    """And the one before it is not."""
    day = Day(FIRST)
    run(lambda: day.run(count=2))
    assert day.fired == [0, 1]
    assert day.late[0] == 0.0


@pytest.mark.parametrize("seconds", [1.0, 7.5, 60.0, 86_400.0])
def test_slots_have_any_length(seconds):
    """They are whole multiples of it since 1970."""
    day, seen = Day(), []

    async def wake(at):
        seen.append(at)

    run(lambda: day.run(wake, every_seconds=seconds, count=10))
    assert seen == [seen[0] + index * seconds for index in range(10)]
    assert seen[0] % seconds == 0.0
    assert 0.0 <= seen[0] - START < seconds


@pytest.mark.parametrize(
    ("missed", "fired"),
    [("one", [0, 1, 3, 4, 5]), ("each", [0, 1, 2, 3, 4]), ("none", [0, 1, 4, 5, 6])],
)
def test_a_wake_that_lasts_longer_than_the_hour_delays_the_next_one(missed, fired):
    """Two and a half hours from hour 1: hours 2 and 3 have begun when it ends."""
    day = Day()

    async def wake(at):
        await day.wake(at)
        if day.fired[-1] == 1:
            await asyncio.sleep(2.5 * HOUR)

    assert run(lambda: day.run(wake, missed=missed, count=5)) == 5
    assert day.fired == fired


@pytest.mark.parametrize(
    ("missed", "fired"),
    [("one", [0, 1, 5, 6]), ("each", [0, 1, 2, 3, 4, 5, 6]), ("none", [0, 1, 6])],
)
def test_a_loop_that_is_blocked_for_hours_wakes_once_after_it(missed, fired):
    """For four hours from 11:20; no wake is lost without being accounted for."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(missed=missed))
        await asyncio.sleep(2 * HOUR)
        blocking(4 * HOUR)
        await asyncio.sleep(1 * HOUR)
        hours.cancel()
        await asyncio.wait([hours])

    run(main)
    assert day.fired == fired


def test_a_block_within_the_hour_makes_its_wake_late():
    """`none` leaves it out where it is later than a minute."""
    for missed, minutes, fired in (
        ("one", 40, [0, 1]),
        ("none", 40, [0, 2]),
        ("none", 0.5, [0, 1]),
    ):
        day = Day()

        async def main(day=day, missed=missed, minutes=minutes):
            hours = asyncio.ensure_future(day.run(missed=missed, count=2))
            await asyncio.sleep(1.66 * HOUR)  # 10:59:36
            blocking(24 + minutes * 60)
            await hours

        run(main)
        assert day.fired == fired


def test_a_wall_clock_that_is_set_back_fires_no_hour_again():
    """Three hours back after hour 2: the next wake is hour 3, when the clock shows it."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(count=5))
        await asyncio.sleep(3 * HOUR)  # 12:20
        day.offset -= 3 * HOUR
        await asyncio.sleep(3.5 * HOUR)  # 12:50 again
        assert day.fired == [0, 1, 2]
        await hours

    run(main)
    assert day.fired == [0, 1, 2, 3, 4]
    assert max(day.late) <= LEAST_SLEEP_SECONDS


@pytest.mark.parametrize(
    ("missed", "fired"),
    [("one", [0, 1, 7, 8]), ("each", [0, 1, 2, 3, 4, 5, 6, 7, 8]), ("none", [0, 1, 8])],
)
def test_a_wall_clock_that_is_set_forward_is_noticed_within_a_minute(missed, fired):
    """Five hours, 50 minutes before the next wake was due, and half an hour more."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(missed=missed))
        await asyncio.sleep(1.75 * HOUR)  # 11:05
        day.offset += 6 * HOUR  # 17:05
        await asyncio.sleep(60.0)
        if missed == "one":
            assert day.fired == [0, 1, 7]
        await asyncio.sleep(HOUR)
        hours.cancel()
        await asyncio.wait([hours])

    run(main)
    assert day.fired == fired


def test_back_by_three_hours_and_forward_by_five():
    """No hour is fired twice, 9:00 comes when the clock shows it, and the loop goes on."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(count=6))
        await asyncio.sleep(2.5 * HOUR)  # 11:50
        day.offset -= 3 * HOUR  # 8:50
        await asyncio.sleep(HOUR)  # 9:50
        day.offset += 5 * HOUR  # 14:50
        await hours

    run(main)
    assert day.fired == [0, 1, -1, 4, 5, 6]


def test_a_wall_clock_that_is_corrected_does_not_delay_the_next_hour():
    """Set back by three days, and right again ten minutes later."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(count=3))
        await asyncio.sleep(HOUR)  # 10:20
        day.offset -= 72 * HOUR
        await asyncio.sleep(600.0)
        day.offset += 72 * HOUR
        await hours

    run(main)
    assert day.fired == [0, 1, 2]
    assert max(day.late) <= LEAST_SLEEP_SECONDS


@pytest.mark.parametrize(
    ("place", "day_of_change", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 25),
    ],
)
def test_daylight_saving_changes_no_hour(place, day_of_change, hours):
    """A local day of 23 or 25 hours has as many wakes; one of 24.5 has those of both its ends."""
    zone = ZoneInfo(place)
    midnight = datetime.combine(day_of_change, time(), zone).timestamp()
    day = Day(midnight)
    run(lambda: day.run(count=30))
    assert day.fired == [day.fired[0] + index for index in range(30)]
    local = [datetime.fromtimestamp(FIRST + hour * HOUR, zone) for hour in day.fired]
    assert sum(each.date() == day_of_change for each in local) == hours


def test_one_of_two_schedulers_wakes():
    """The other one goes on to the next hour; together they have each once."""
    day = Day()

    async def main():
        both = [asyncio.ensure_future(day.run()) for _ in range(2)]
        await asyncio.sleep(24.5 * HOUR)
        for each in both:
            each.cancel()
        await asyncio.wait(both)

    run(main)
    assert day.fired == list(range(24))


def test_another_scheduler_takes_over_where_one_ends():
    """Within its slot; what was claimed stays so."""
    day = Day()

    async def main():
        first = asyncio.ensure_future(day.run())
        second = asyncio.ensure_future(day.run(count=4))
        await asyncio.sleep(3 * HOUR)
        first.cancel()
        await asyncio.wait([first])
        assert await second == 4

    run(main)
    assert day.fired == list(range(7))


def test_a_later_claim_of_another_process_is_respected():
    """Its clock goes ahead: that hour is left out, and those before it come."""
    day = Day(claimed=[int(FIRST + 2 * HOUR)])
    run(lambda: day.run(count=4))
    assert day.fired == [0, 1, 3, 4]


@pytest.mark.parametrize("missed", ["one", "each", "none"])
@pytest.mark.parametrize("ahead", [5, 366 * 24])
def test_a_wall_clock_that_was_ahead_stops_no_hour_once_it_is_right(missed, ahead):
    """It fires one too early, which does not come again; the others come in their time."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(missed=missed))
        await asyncio.sleep(1.75 * HOUR)  # 11:05
        day.offset += (ahead - 1) * HOUR + 54.5 * 60  # half a minute before an hour
        await asyncio.sleep(120.0)
        day.offset = 0.0  # 11:07
        early = list(day.fired)
        await asyncio.sleep(3 * HOUR)
        assert day.fired[len(early) :] == [hour for hour in (2, 3, 4) if hour not in early]
        if ahead < 10:
            await asyncio.sleep(4 * HOUR)
        hours.cancel()
        await asyncio.wait([hours])

    run(main)
    assert day.fired[:2] == [0, 1]
    assert 1 + ahead in day.fired
    assert len(day.fired) == len(set(day.fired))
    if ahead < 10:
        assert sorted(day.fired) == [*range(9)]


def test_a_failing_wake_is_logged_and_the_next_hour_comes(caplog):
    """In one line with its hour, whatever the error contains; it is counted."""
    day = Day()

    async def wake(at):
        await day.wake(at)
        if day.fired[-1] == 1:
            raise ValueError("no\n\x1b[31mERROR forged" + "x" * 10_000)

    with caplog.at_level(logging.ERROR):
        assert run(lambda: day.run(wake, count=4)) == 4
    assert day.fired == [0, 1, 2, 3]
    [record] = caplog.records
    first, *places = record.getMessage().splitlines()
    assert "in wake" in places[-2]
    assert first.startswith("the wake of 2026-03-28T11:00:00+00:00 failed: ValueError('no")
    assert "\x1b" not in first
    assert len(first) < 600


def test_a_failing_claim_leaves_its_slot_out(caplog):
    """It may be claimed by another one."""
    day, broken = Day(), [int(FIRST + HOUR)]

    def claim(slot):
        if slot in broken:
            raise OSError("the store is busy")
        return day.claim(slot)

    assert run(lambda: day.run(claim=claim, count=3)) == 3
    assert day.fired == [0, 2, 3]
    assert "the store is busy" in caplog.text


def test_each_catches_up_a_day_at_most():
    """After a month without wakes it does not pay for a month."""
    day = Day()
    after = START - 30 * 24 * HOUR
    run(lambda: day.run(missed="each", count=MOST_CAUGHT_UP + 1, after=after))
    assert day.fired == list(range(-MOST_CAUGHT_UP, 1))


@pytest.mark.parametrize(
    ("missed", "fired"), [("one", [-1, 0, 1]), ("each", [-3, -2, -1]), ("none", [0, 1, 2])]
)
def test_a_later_process_goes_on_after_an_earlier_one(missed, fired):
    """That has fired 6:00; it is 9:20."""
    day = Day()
    run(lambda: day.run(missed=missed, count=3, after=FIRST - 4 * HOUR))
    assert day.fired == fired


def test_cancellation_ends_the_sleep_and_the_wake():
    """The wake sees it, and nothing is fired after it."""
    day, ends = Day(), []

    async def wake(at):
        try:
            await asyncio.sleep(10 * HOUR)
        finally:
            ends.append(at)

    async def main(seconds):
        hours = asyncio.ensure_future(day.run(wake))
        await asyncio.sleep(seconds)
        hours.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hours
        await asyncio.sleep(5 * HOUR)

    run_in_virtual_time(main(60.0))
    assert ends == []
    run_in_virtual_time(main(HOUR))
    assert ends == [FIRST]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"every_seconds": 0.0}, "every_seconds is from 1"),
        ({"every_seconds": float("nan")}, "every_seconds is from 1"),
        ({"every_seconds": float("inf")}, "every_seconds is from 1"),
        ({"missed": "all"}, "missed is one of one, each, none; got 'all'"),
        ({"clock": VirtualClock()}, "no hour passes"),
    ],
)
def test_arguments_that_cannot_work_are_refused(changes, words):
    """Before anything waits."""
    with pytest.raises(ConfigError, match=words):
        run(lambda: Day().run(**changes))


def test_no_wakes_are_none():
    """It returns immediately."""
    assert run(lambda: Day().run(count=0)) == 0


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.floats(-1_000 * HOUR, 1_000 * HOUR)),
        st.tuples(st.sampled_from(["set", "block", "wait"]), st.floats(-10 * HOUR, 10 * HOUR)),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.sampled_from(["one", "each", "none"]))
def test_whatever_the_clocks_do_no_hour_comes_twice_or_early(changes, missed):
    """And the loop goes on: the next hour comes in time, unless it was fired before."""
    day = Day()

    async def main():
        hours = asyncio.ensure_future(day.run(missed=missed))
        for kind, seconds in changes:
            if kind == "set":
                day.offset += seconds
            elif kind == "block":
                blocking(abs(seconds))
            else:
                await asyncio.sleep(abs(seconds))
        await asyncio.sleep(61.0)
        before = set(day.fired)
        following = (day.wall() - FIRST) // HOUR + 1
        await asyncio.sleep(HOUR)
        assert not hours.done()
        assert following in before or day.fired[-1] == following
        hours.cancel()
        await asyncio.wait([hours])

    run(main)
    assert len(day.fired) == len(set(day.fired))
    assert min(day.late) >= 0.0


@given(st.floats(min_value=1.0, max_value=366 * 86_400.0), st.integers(0, 10**9))
def test_a_multiple_of_the_interval_begins_its_slot(every, number):
    """Rounded as it is; the time just before it is in the slot before."""
    at = number * every
    assert slot_of(at, every) == number
    before = math.nextafter(at, -math.inf)
    assert slot_of(before, every) == number - 1

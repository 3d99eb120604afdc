"""Meters against a plain model of what a provider counts."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callwise.budget.rate.meters import (
    BucketMeter,
    Charge,
    Meter,
    SharedMeters,
    WindowMeter,
    meter_of,
)
from callwise.calls.load.rate_limits import RateLimits, Rates

EXACT = RateLimits(slack_seconds=0)
SLIDING = RateLimits(slack_seconds=0, window="sliding")


class ProviderBucket:
    """A token bucket that counts real amounts at their arrival."""

    def __init__(self, per_minute: float, capacity: float) -> None:
        self.per_second, self.capacity = per_minute / 60, capacity
        self.level, self.at = capacity, 0.0
        self.lowest = capacity

    def arrive(self, amount: float, now: float) -> None:
        """Count an amount."""
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_second)
        self.at = now
        self.level -= amount
        self.lowest = min(self.lowest, self.level)


def most_in_a_minute(arrivals: list[tuple[float, float]], window_seconds: float = 60.0) -> float:
    """Return the largest sum of amounts within any window of this length."""
    return max(
        sum(amount for at, amount in arrivals if begin <= at < begin + window_seconds - 1e-5)
        for begin, _ in arrivals
    )


SCHEDULES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 20.0]) | st.floats(0, 40),  # pause before the next one is wanted
        st.sampled_from([5.0, 30.0]) | st.floats(0.1, 60),  # its estimate
        st.sampled_from([0.0, 1.0]) | st.floats(0, 1),  # part of it that is really used
        st.sampled_from([0.0, 25.0]) | st.floats(0, 90),  # time until that is known
    ),
    min_size=1,
    max_size=60,
)


def drive(
    meter: Meter, schedule: list[tuple[float, float, float, float]]
) -> list[tuple[float, float]]:
    """Send as soon as the meter allows; return the times and the real amounts."""
    now, arrivals = 0.0, []
    open_charges: list[tuple[float, Charge, float]] = []
    for pause, estimate, part, latency in schedule:
        now += pause
        while True:
            ending = min((each[0] for each in open_charges), default=float("inf"))
            wait = meter.wait_seconds(estimate, now)
            if ending <= now + wait:
                done = min(open_charges, key=lambda each: each[0])
                open_charges.remove(done)
                now = max(now, ending)
                meter.settle(done[1], done[2], now)
            elif wait:
                now += wait
            else:
                break
        real = estimate * part
        open_charges.append((now + latency, meter.charge(estimate, now), real))
        arrivals.append((now, real))
    return arrivals


@given(SCHEDULES)
def test_a_bucket_never_allows_more_than_the_providers(
    schedule: list[tuple[float, float, float, float]],
) -> None:
    """Refunds of any order and delay never let more out than a bucket of real amounts has."""
    provider = ProviderBucket(60, 60)
    for at, amount in drive(meter_of(60, EXACT), schedule):
        provider.arrive(amount, at)
    assert provider.lowest >= -1e-6


@given(SCHEDULES)
def test_a_window_never_allows_more_than_the_providers(
    schedule: list[tuple[float, float, float, float]],
) -> None:
    """No minute has more than the limit, whenever real amounts become known."""
    arrivals = drive(meter_of(60, SLIDING), schedule)
    assert most_in_a_minute(arrivals) <= 60 + 1e-6


@given(SCHEDULES)
def test_a_window_is_safe_for_a_bucket(
    schedule: list[tuple[float, float, float, float]],
) -> None:
    """What fits a sliding window fits a bucket that has a minute of its rate."""
    provider = ProviderBucket(60, 60)
    for at, amount in drive(meter_of(60, SLIDING), schedule):
        provider.arrive(amount, at)
    assert provider.lowest >= -1e-6


@pytest.mark.parametrize("limits", [EXACT, SLIDING])
def test_nothing_waits_longer_than_needed(limits: RateLimits) -> None:
    """Of 180 requests at 60 per minute the last leaves after two minutes: 60 fit at once."""
    meter = meter_of(60, limits)
    arrivals = drive(meter, [(0.0, 1.0, 1.0, 0.0)] * 180)
    assert arrivals[59][0] == 0
    assert arrivals[-1][0] == pytest.approx(120, abs=1e-3)


def test_without_a_burst_requests_are_spaced_evenly() -> None:
    """A bucket that keeps nothing lets one request out for each interval."""
    meter = BucketMeter(60, burst_seconds=0, slack_seconds=0.25)
    times = [at for at, _ in drive(meter, [(0.0, 1.0, 1.0, 0.0)] * 10)]
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([1.0] * 9)


@pytest.mark.parametrize("limits", [RateLimits(), RateLimits(window="sliding")])
@given(delays=st.lists(st.floats(0, 0.25), min_size=200, max_size=200))
@example(delays=[0.25] * 60 + [0.0] * 140)  # the burst comes late, and what follows does not
def test_slack_allows_for_requests_that_arrive_late(
    limits: RateLimits, delays: list[float]
) -> None:
    """Requests that reach the provider up to a quarter second late are still within its limit."""
    sent = drive(meter_of(60, limits), [(0.0, 1.0, 1.0, 0.0)] * 200)
    arrivals = sorted(
        (at + delay, amount) for (at, amount), delay in zip(sent, delays, strict=True)
    )
    if limits.window == "sliding":
        assert most_in_a_minute(arrivals) <= 60 + 1e-6
    provider = ProviderBucket(60, 60)
    for at, amount in arrivals:
        provider.arrive(amount, at)
    assert provider.lowest >= -1e-6


@pytest.mark.parametrize("limits", [EXACT, SLIDING])
def test_more_than_ever_fits_goes_alone(limits: RateLimits) -> None:
    """An amount above the limit fits once nothing else is in use, and delays what follows."""
    meter = meter_of(60, limits)
    assert meter.wait_seconds(100, 0.0) == 0
    meter.settle(meter.charge(100, 0.0), 100, 0.0)
    wait = meter.wait_seconds(1, 0.0)
    assert wait > 30
    assert meter.wait_seconds(1, wait) == 0


@pytest.mark.parametrize("limits", [EXACT, SLIDING])
def test_more_used_than_estimated_delays_later_ones(limits: RateLimits) -> None:
    """A debt is paid off: the meter is as if the real amount had been charged at once."""
    early, late = meter_of(60, limits), meter_of(60, limits)
    early.settle(early.charge(50, 0.0), 50, 0.0)
    charge = late.charge(10, 0.0)
    late.settle(charge, 50, 5.0)
    assert late.wait_seconds(30, 5.0) == pytest.approx(early.wait_seconds(30, 5.0))


@pytest.mark.parametrize("limits", [EXACT, SLIDING])
def test_a_clock_that_goes_back_freezes_nothing(limits: RateLimits) -> None:
    """After a jump of an hour, in either direction, waits are those of a minute at most."""
    meter = meter_of(60, limits)
    meter.charge(60, 3600.0)
    assert meter.wait_seconds(1, 3600.0) > 0
    wait = meter.wait_seconds(1, 10.0)
    assert 0 < wait <= 60
    assert meter.wait_seconds(1, 10.0 + wait) == 0
    assert meter.wait_seconds(60, 7200.0) == 0


@pytest.mark.parametrize("limits", [EXACT, SLIDING])
def test_left_is_never_more_than_was_said(limits: RateLimits) -> None:
    """What a provider says is left lowers what fits, and never raises it."""
    meter = meter_of(60, limits)
    meter.leave(3, 0.0)
    assert meter.wait_seconds(3, 0.0) == 0
    assert meter.wait_seconds(4, 0.0) > 0
    meter.leave(50, 0.0)
    assert meter.wait_seconds(4, 0.0) > 0


@given(
    used=st.floats(0, 60), left=st.floats(0, 60), factor=st.floats(0.1, 1), pause=st.floats(0, 50)
)
def test_a_lower_limit_delays_by_its_rate_alone(
    used: float, left: float, factor: float, pause: float
) -> None:
    """Use of a larger bucket delays nothing beyond the smaller one."""
    meter = meter_of(60, EXACT)
    meter.settle(meter.charge(used, 0.0), used, 0.0)
    meter.leave(left, 0.0)
    meter.limit_to(60 * factor, pause)
    assert meter.wait_seconds(factor, pause) <= 1.001
    assert meter.used_part(pause) <= 1.001


@given(left=st.floats(0, 30), factor=st.floats(0.1, 1), pause=st.floats(0, 50))
def test_what_others_used_of_a_minute_delays_no_lower_limit(
    left: float, factor: float, pause: float
) -> None:
    """Of what others may have used no more stays than the lower limit; own charges stay."""
    meter = meter_of(60, SLIDING)
    meter.leave(left, 0.0)
    meter.limit_to(60 * factor, pause)
    assert meter.wait_seconds(factor, pause) <= 3  # one or two parts of what was used
    own = meter_of(60, SLIDING)
    own.charge(60, 0.0)
    own.limit_to(60 * factor, pause)
    assert own.wait_seconds(factor, pause) == pytest.approx(60 - pause)


def test_a_limit_without_anything_left_goes_on_at_its_rate() -> None:
    """A response states that nothing is left of a sliding minute, which others have used."""
    meter = meter_of(60, SLIDING)
    meter.leave(0, 0.0)
    for second in range(1, 30):
        assert meter.wait_seconds(1, second - 0.01) == pytest.approx(0.01)
        meter.charge(1, second)


def test_a_bucket_that_was_full_gives_back_less() -> None:
    """What was reserved while the provider's bucket was full has not filled that one further."""
    meter, provider = meter_of(60, EXACT), ProviderBucket(60, 60)
    unused = meter.charge(30, 0.0)
    provider.arrive(0, 0.0)
    meter.settle(meter.charge(50, 20.0), 50, 20.0)
    provider.arrive(50, 20.0)
    meter.settle(unused, 0, 20.0)
    assert meter.wait_seconds(10, 20.0) == 0
    assert meter.wait_seconds(10.1, 20.0) > 0
    assert provider.level == 10


def test_meters_of_many_users_do_not_pile_up() -> None:
    """Meters that are not in use are dropped; those in use stay."""
    shared, rates = SharedMeters(), Rates(requests_per_minute=60)
    busy = shared.of("user", "busy", rates, EXACT, 0.0)
    assert busy[0] is not None
    busy[0].charge(30, 0.0)
    for number in range(20_000):
        shared.of("user", str(number), rates, EXACT, number / 1e4)
    assert len(shared._meters) <= 4096
    assert shared.of("user", "busy", rates, EXACT, 2.0) is busy


def test_a_window_forgets() -> None:
    """A charge that is settled after its minute changes nothing."""
    meter = WindowMeter(60, slack_seconds=0)
    charge = meter.charge(60, 0.0)
    assert meter.wait_seconds(60, 61.0) == 0
    meter.settle(charge, 1, 61.0)
    assert meter.used_part(61.0) == 0

"""The limits of an endpoint itself: what its meters count later, and what is the same by that."""

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.rate.meters import Meter, meters_of
from callwise.budget.rate.need import RateNeed, RatePart
from callwise.budget.rate.own_limits import OwnLimits
from callwise.calls.load.rate_limits import RateLimits


class Step(NamedTuple):
    """A request after a wait, how many of those before it end then, and what they have used."""

    wait_seconds: float
    tokens: int
    ended: int
    used: float | None
    is_sent: bool


STEPS = st.builds(
    Step,
    st.sampled_from([0.0, 0.01, 0.4, 3.0, 50.0]),
    st.integers(0, 400),
    st.integers(0, 3),
    st.none() | st.integers(0, 400).map(float),
    st.booleans(),
)


def as_charged(
    limits: RateLimits, taken: Sequence[tuple[float, RateNeed]]
) -> Sequence[Meter | None]:
    """Return meters that have counted what is known of each request when it was taken."""
    meters = meters_of(limits, limits)
    for at_seconds, need in taken:
        for meter, amount in zip(meters, need.amounts, strict=True):
            if meter is not None and amount:
                meter.count(amount, at_seconds)
    return meters


@given(
    steps=st.lists(STEPS, max_size=60),
    requests=st.sampled_from([30, 3_000]),
    tokens=st.sampled_from([600, 200_000]),
    window=st.sampled_from(["bucket", "sliding"]),
)
@settings(max_examples=100)
def test_requests_that_are_counted_later_count_as_of_their_times(
    steps: list[Step], requests: int, tokens: int, window: Literal["bucket", "sliding"]
) -> None:
    """Not less is in use than was charged, and not more than where each is counted when taken."""
    limits = RateLimits(requests_per_minute=requests, tokens_per_minute=tokens, window=window)
    both = [OwnLimits(limits, "host", None) for _ in range(2)]
    at_each_step, later = both
    now = 0.0
    under_way: deque[list[RateNeed]] = deque()
    taken: list[tuple[float, RateNeed]] = []
    for step in steps:
        now += step.wait_seconds
        used = None if step.used is None else (1.0, step.used, step.used, 0.0)
        for _ in range(min(step.ended, len(under_way))):
            for own, need in zip(both, under_way.popleft(), strict=True):
                own.settle(need, used if step.is_sent else (0.0, 0.0, 0.0, 0.0), now)
        amounts = (1.0, float(step.tokens), float(step.tokens), 0.0)
        assert at_each_step.meters
        if later.fits(amounts, now):
            for meter, amount in zip(as_charged(limits, taken), amounts, strict=True):
                assert meter is None or meter.wait_seconds(amount, now) == 0
        else:
            assert not at_each_step.fits(amounts, now)
            continue
        needs = [RateNeed([RatePart(step.tokens, 0)]) for _ in both]
        for own, need in zip(both, needs, strict=True):
            need.amounts = amounts
            own.take(need, now)
        under_way.append(needs)
        taken.append((now, needs[1]))
    all_meters = as_charged(limits, taken), later.meters, at_each_step.meters
    for least, meter, most in zip(*all_meters, strict=True):
        if least is not None and meter is not None and most is not None:
            parts = [each.used_part(now) for each in (least, meter, most)]
            assert parts[0] - 1e-9 <= parts[1] <= parts[2] + 1e-9


@pytest.mark.parametrize("is_counted", [False, True])
def test_more_than_was_estimated_is_in_use_when_it_is_known(is_counted: bool) -> None:
    """Whether the meters have counted the request by then or not."""
    own = OwnLimits(RateLimits(tokens_per_minute=600, slack_seconds=0), "host", None)
    need = RateNeed([RatePart(10, 0)])
    need.amounts = (1.0, 10.0, 10.0, 0.0)
    assert own.fits(need.amounts, 0.0)
    own.take(need, 0.0)
    if is_counted:
        assert own.used_part(0.0) == pytest.approx(10 / 600)
    assert own.fits((1.0, 590.0, 590.0, 0.0), 0.0)
    own.settle(need, (1.0, 500.0, 500.0, 0.0), 0.0)
    assert not own.fits((1.0, 101.0, 101.0, 0.0), 0.0)
    assert own.fits((1.0, 100.0, 100.0, 0.0), 0.0)

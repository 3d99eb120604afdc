"""The limits of an endpoint itself: what its meters count later, and what is the same by that."""

from collections import deque
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@given(
    steps=st.lists(STEPS, max_size=80),
    requests=st.sampled_from([30, 3_000]),
    tokens=st.sampled_from([600, 200_000]),
    window=st.sampled_from(["bucket", "sliding"]),
)
@settings(max_examples=100)
def test_requests_that_are_counted_later_wait_as_if_each_was_counted(
    steps: list[Step], requests: int, tokens: int, window: Literal["bucket", "sliding"]
) -> None:
    """Some meters count each request when it is taken, the others when they have to."""
    limits = RateLimits(requests_per_minute=requests, tokens_per_minute=tokens, window=window)
    both = [OwnLimits(limits, "host", None) for _ in range(2)]
    at_each_step, later = both
    now = 0.0
    under_way: deque[list[RateNeed]] = deque()
    for step in steps:
        now += step.wait_seconds
        used = None if step.used is None else (1.0, step.used, step.used, 0.0)
        for _ in range(min(step.ended, len(under_way))):
            for own, taken in zip(both, under_way.popleft(), strict=True):
                own.settle(taken, used if step.is_sent else (0.0, 0.0, 0.0, 0.0), now)
        amounts = (1.0, float(step.tokens), float(step.tokens), 0.0)
        assert at_each_step.meters
        fits = at_each_step.fits(amounts, now)
        assert later.fits(amounts, now) is fits
        if fits:
            wanted = [RateNeed([RatePart(step.tokens, 0)]) for _ in both]
            for own, need in zip(both, wanted, strict=True):
                need.amounts = amounts
                own.take(need, now)
            under_way.append(wanted)
    for exact, meter in zip(at_each_step.meters, later.meters, strict=True):
        assert (exact is None) == (meter is None)
        if exact is not None and meter is not None:
            assert meter.used_part(now) == pytest.approx(exact.used_part(now), abs=1e-9)
            wait_seconds = exact.wait_seconds(200.0, now)
            assert meter.wait_seconds(200.0, now) == pytest.approx(wait_seconds, abs=1e-6)

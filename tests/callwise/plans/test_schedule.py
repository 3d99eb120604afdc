"""Rounds and seconds of a plan."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.call import Purpose, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.plans import (
    Assumptions,
    InParallel,
    InSequence,
    Network,
    PlannedCall,
    Step,
    Wave,
)
from callwise.plans.bound import flatten, rounds
from callwise.plans.makespan import makespan

CALL = PlannedCall("a", Role.MAIN, Purpose.PLAN)


def _compose(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    steps = st.lists(inner, max_size=4).map(tuple)
    waves = st.builds(Wave, steps=steps, max_concurrency=st.integers(1, 3))
    return st.builds(InSequence, steps) | st.builds(InParallel, steps) | waves


PLANS = st.recursive(st.just(CALL), _compose, max_leaves=12)


def _rounds(step: Step) -> float:
    return rounds(flatten(step), reply_part="").turn


def _evenly(rpm: float) -> LoadKnobs:
    """Return knobs of a rate without bursts: one request for each interval."""
    rate = RateLimits(requests_per_minute=rpm, burst_seconds=0.0, slack_seconds=0.0)
    return LoadKnobs(rate=rate)


def _seconds(step: Step, latency_seconds: float, rpm: float | None) -> float:
    load = LoadKnobs() if rpm is None else _evenly(rpm)
    assumptions = Assumptions(latency_seconds=latency_seconds, load=load)
    return makespan(flatten(step), assumptions, reply_part="").seconds


def test_an_empty_plan_takes_no_time() -> None:
    """Nothing asked is nothing waited."""
    assert _rounds(InSequence()) == 0
    assert _seconds(InParallel((InSequence(), Wave((), 2))), 1.0, 60.0) == 0


@given(PLANS, PLANS)
def test_serial_adds_and_parallel_takes_the_longer(first: Step, second: Step) -> None:
    """Rounds of steps in line add up; of steps side by side the longest counts."""
    assert _rounds(InSequence((first, second))) == _rounds(first) + _rounds(second)
    assert _rounds(InParallel((first, second))) == max(_rounds(first), _rounds(second))


@given(st.integers(0, 12), st.integers(1, 5))
def test_a_wave_goes_in_turns(calls: int, max_concurrency: int) -> None:
    """Equal calls, so many at a time, take as many rounds as there are groups."""
    assert _rounds(Wave((CALL,) * calls, max_concurrency)) == math.ceil(calls / max_concurrency)


@given(PLANS, st.floats(0.0, 5.0))
def test_without_a_rate_seconds_are_rounds(plan: Step, latency_seconds: float) -> None:
    """Only the latency counts where nothing limits the rate."""
    assert _seconds(plan, latency_seconds, None) == pytest.approx(_rounds(plan) * latency_seconds)


@given(PLANS, st.floats(1.0, 600.0))
def test_a_rate_limits_from_below(plan: Step, rpm: float) -> None:
    """The last of n requests cannot start before n - 1 slots have passed."""
    calls = len(flatten(plan).tasks)
    least = 1.0 + (calls - 1) * 60.0 / rpm if calls else 0.0
    limited = _seconds(plan, 1.0, rpm)
    assert limited >= max(least, _rounds(plan)) - 1e-6
    assert limited <= _rounds(plan) + calls * 60.0 / rpm + 1e-6


def test_slots_go_to_the_call_that_is_ready_first() -> None:
    """In parallel at one request per second, the third starts at second two."""
    plan = InSequence((InParallel((CALL, CALL, CALL)), CALL))
    assert _seconds(plan, 0.5, 60.0) == pytest.approx(3.5)


def test_a_network_waits_for_what_it_names() -> None:
    """The reply is out when its part has ended, whatever else goes on."""
    parts = {
        "first": CALL,
        "beside": InSequence((CALL, CALL)),
        "reply": InSequence(),
        "after": CALL,
        "last": CALL,
    }
    waits = {"reply": ("first",), "after": ("reply",), "last": ("after", "beside")}
    flat = flatten(Network(parts, waits))
    moments = rounds(flat, reply_part="reply")
    assert (moments.reply, moments.turn) == (1, 3)
    assert rounds(flat, reply_part="no such part").reply == 3


@pytest.mark.parametrize(
    ("latency_seconds", "rpm"),
    [(-1.0, None), (math.nan, None), (1e308, 60.0), (1.0, 0.0), (1.0, math.nan)],
)
def test_impossible_assumptions_are_refused(latency_seconds: float, rpm: float | None) -> None:
    """Negative time and no rate at all are mistakes."""
    with pytest.raises(ValueError, match=r"a latency is from 0 to|requests_per_minute"):
        _seconds(CALL, latency_seconds, rpm)

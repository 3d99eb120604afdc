"""Predicted seconds of recorded calls, and of calls that a recording lacks."""

from typing import NamedTuple

import pytest

from callwise.budget.usage import Usage
from callwise.calls.call import Purpose, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.plans import Assumptions, recorded_json, recorded_rows
from callwise.plans.recorded import recorded_makespan, seconds_to_buy


class Row(NamedTuple):
    """A recorded row."""

    end_round: int
    conversation: str | None = "c"
    turn: int | None = 0
    usage: Usage = Usage(attempts=1, requests=1, work_microseconds=2_000_000, input_tokens=100)
    purpose: Purpose = Purpose.PLAN
    node: str | None = "node"
    role: Role = Role.MAIN
    is_virtual: bool = False


SENT = Assumptions().with_record([Row(1)])


def test_latency_and_tokens_are_the_means_of_each_purpose() -> None:
    """Of what was sent: an answer from a cache took no time, unknown usage teaches nothing."""
    slow = Usage(attempts=2, requests=2, work_microseconds=8_000_000, input_tokens=500)
    rows = [
        Row(1),
        Row(1, usage=slow),
        Row(1, usage=Usage()),
        Row(1, usage=Usage(attempts=1, requests=1, unknown_usage=1)),
        Row(1, purpose=Purpose.JUDGE, usage=Usage(1, 1, 1, 10, 5, work_microseconds=500_000)),
    ]
    found = Assumptions(latency_seconds=7.0).with_record(rows)
    assert found.latencies == {Purpose.PLAN: pytest.approx(10 / 3), Purpose.JUDGE: 0.5}
    assert found.tokens == {Purpose.PLAN: (200, 0), Purpose.JUDGE: (10, 5)}
    assert found.latency_of(Purpose.EXPAND) == 7.0


def test_rounds_follow_each_other_and_conversations_do_not() -> None:
    """Two rounds of 2 s in one conversation, one in another; a call that was not sent has none."""
    rows = [Row(1), Row(1), Row(2), Row(3, usage=Usage()), Row(1, conversation="d")]
    found = recorded_makespan(rows, SENT)
    assert found.turn_seconds == (4.0, 2.0)
    assert found.seconds == 4.0


def test_turns_follow_each_other() -> None:
    """A later turn waits for the one before; calls outside of turns are left out."""
    rows = [Row(1), Row(1, turn=1), Row(1, turn=None), Row(1, conversation=None)]
    assert recorded_makespan(rows, SENT).turn_seconds == (2.0, 2.0)


def test_calls_of_unknown_rounds_are_sent_one_by_one() -> None:
    """As a run that kept no rounds has them."""
    assert recorded_makespan([Row(0), Row(0), Row(0)], SENT).seconds == 6.0


def test_limits_bind_recorded_calls() -> None:
    """The sentence and the JSON name the limit that was waited for."""
    rate = RateLimits(requests_per_minute=60, burst_seconds=0)
    limited = Assumptions(load=LoadKnobs(rate=rate)).with_record([Row(1)])
    (row,) = recorded_rows([Row(1)] * 10, limited)
    assert "10 requests in 1 turn take 11.0 seconds (waited for: requests_per_minute 9)" in row
    assert recorded_json([Row(1)] * 10, limited) == {
        "recorded": {"seconds": 11.0, "delayed": {"requests_per_minute": 9}}
    }
    (virtual,) = recorded_rows([Row(1, is_virtual=True)], limited)
    assert "1 turn take 2.0 virtual seconds" in virtual
    assert recorded_rows([], limited) == []
    assert recorded_json([], limited) == {}


def test_a_purchase_takes_its_turns_side_by_side() -> None:
    """12 calls on 4 turns, two turns at a time, of 2 s each: 12 s; and no faster than the limit."""
    assert seconds_to_buy(12, 4, 1_200, 2, SENT) == pytest.approx(12.0)
    knobs = LoadKnobs(
        schedule=ScheduleKnobs(max_concurrency=1, max_tasks=1),
        rate=RateLimits(tokens_per_minute=600, burst_seconds=0),
    )
    limited = Assumptions(load=knobs).with_record([Row(1)])
    assert seconds_to_buy(12, 4, 1_200, 2, limited) == pytest.approx(112, rel=0.1)

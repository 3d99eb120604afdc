"""Which failures are tried again, how often, and after how long."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from turnwise.budget import RetryPolicy
from turnwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallTimeout,
    ConnectionFailed,
    ContentRefused,
    EmptyAnswer,
    RateLimited,
    ServerFailed,
    StreamCut,
)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (RateLimited("x"), 5),
        (ServerFailed("x"), 3),
        (ConnectionFailed("x"), 3),
        (CallTimeout("x"), 2),
        (StreamCut("x"), 3),
        (EmptyAnswer("x"), 2),
        (AuthFailed("x"), 1),
        (BadRequest("x"), 1),
        (ContentRefused("x"), 1),
    ],
)
def test_each_kind_of_failure_has_its_number_of_attempts(error, attempts):
    """The last attempt of a kind is not followed by another."""
    policy = RetryPolicy()
    waits = [policy.wait_seconds(error, attempt=n, draw=Random(0)) for n in range(1, 8)]
    assert [wait is not None for wait in waits] == [n < attempts for n in range(1, 8)]


@given(st.integers(1, 99), st.floats(0, 1), st.integers())
def test_a_wait_grows_to_its_cap_and_jitter_only_shortens_it(attempt, jitter, seed):
    """A wait lies between the part that is sure and the doubling, under the cap."""
    policy = RetryPolicy(
        server_failed_attempts=100, first_wait_seconds=1, max_wait_seconds=60, jitter=jitter
    )
    wait = policy.wait_seconds(ServerFailed("x"), attempt=attempt, draw=Random(seed))
    longest = min(2.0 ** (attempt - 1), 60)
    assert longest * (1 - jitter) <= wait <= longest


def test_the_same_seed_waits_the_same():
    """Jitter is drawn from what it is given, and from nothing else."""
    policy = RetryPolicy()
    waits = {policy.wait_seconds(ServerFailed("x"), attempt=1, draw=Random("7")) for _ in range(5)}
    assert len(waits) == 1


def test_retry_after_is_honoured_up_to_a_cap():
    """The server's word is kept exactly; one that is too long ends the call."""
    policy = RetryPolicy(max_retry_after_seconds=30)
    asked = RateLimited("x", retry_after_seconds=30)
    assert policy.wait_seconds(asked, attempt=1, draw=Random(0)) == 30
    too_long = RateLimited("x", retry_after_seconds=31)
    assert policy.wait_seconds(too_long, attempt=1, draw=Random(0)) is None


def test_a_first_wait_above_the_cap_is_refused():
    """Settings that contradict each other are an error."""
    with pytest.raises(ValidationError, match="at most max_wait_seconds"):
        RetryPolicy(first_wait_seconds=9, max_wait_seconds=1)

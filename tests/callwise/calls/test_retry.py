"""Failures that are tried again: number of attempts, and waits."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.budget import RetryPolicy
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallTimeout,
    ConnectionFailed,
    ContentRefused,
    ContextTooLong,
    EmptyAnswer,
    EndpointDown,
    ModelLoading,
    ParameterRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    StreamCut,
    UnknownModel,
)
from callwise.calls.retry import MAX_LEARNING_ATTEMPTS


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (RateLimited("x"), 5),
        (ServerFailed("x"), 3),
        (ConnectionFailed("x"), 3),
        (CallTimeout("x"), 2),
        (StreamCut("x"), 3),
        (EmptyAnswer("x"), 2),
        (EmptyAnswer("x", is_cut=True), 3),
        (BadResponse("x"), 3),
        (EndpointDown("x"), 1),
        (ContextTooLong("x"), 1),
        (QuotaExhausted("x"), 1),
        (UnknownModel("x"), 1),
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

    def waits(*seeds):
        return {
            policy.wait_seconds(ServerFailed("x"), attempt=1, draw=Random(seed)) for seed in seeds
        }

    assert len(waits(*("7" * 5))) == 1
    assert len(waits(*"1234567")) == 7


def test_retry_after_is_honoured_up_to_a_cap():
    """The server's word is kept exactly; one that is too long ends the call."""
    policy = RetryPolicy(max_retry_after_seconds=30)
    asked = RateLimited("x", retry_after_seconds=30)
    assert policy.wait_seconds(asked, attempt=1, draw=Random(0)) == 30
    too_long = RateLimited("x", retry_after_seconds=31)
    assert policy.wait_seconds(too_long, attempt=1, draw=Random(0)) is None
    (note,) = too_long.__notes__
    assert note.endswith("asks to wait for 31 s, and retry.max_retry_after_seconds is 30")
    assert not hasattr(asked, "__notes__")


def test_a_first_wait_above_the_cap_is_refused():
    """Settings that contradict each other are an error."""
    with pytest.raises(ValidationError, match="at most max_wait_seconds"):
        RetryPolicy(first_wait_seconds=9, max_wait_seconds=1)


def test_what_was_learned_is_tried_at_once_and_not_for_ever():
    """Whatever other attempts there were."""
    policy, refused = RetryPolicy(), ParameterRefused("x")
    waits = [policy.wait_seconds(refused, attempt=9, draw=Random(0), alike=n) for n in (1, 23, 24)]
    assert waits == [0.0, 0.0, None]
    assert MAX_LEARNING_ATTEMPTS == 24


def test_a_server_that_loads_is_looked_at_every_few_seconds_for_so_long():
    """2 seconds at first, 5 at last, and not beyond its time."""
    policy, loading = RetryPolicy(model_loading_seconds=20), ModelLoading("x")
    waits, waited = [], 0.0
    for look in range(1, 20):
        wait = policy.wait_seconds(
            loading, attempt=1, draw=Random(0), alike=look, waited_seconds=waited
        )
        if wait is None:
            break
        waits.append(wait)
        waited += wait
    assert waits == [2, 3, 4, 5, 5]
    none = RetryPolicy(model_loading_seconds=0)
    assert none.wait_seconds(loading, attempt=1, draw=Random(0)) is None


def test_the_most_attempts_are_those_of_the_most_patient_failure():
    """What a plan multiplies its calls by."""
    assert RetryPolicy().most_attempts == 5
    assert RetryPolicy(bad_response_attempts=9).most_attempts == 9
    assert RetryPolicy(total_attempts=3).most_attempts == 3
    assert RetryPolicy(preset="patient").most_attempts == 10


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (CallTimeout("x"), [1, 2, None]),
        (ServerFailed("x"), [1, 1, 1, 1, None]),
        (ConnectionFailed("x"), [1, 1, 1, 1, None]),
        (RateLimited("x"), [1, 2, 3, 4, 5, 6, 7, 8, 9, None]),
        (RateLimited("x", retry_after_seconds=7), [7] * 9 + [None]),
        (AuthFailed("x"), [None]),
        (StreamCut("x"), [1, 2, None]),
    ],
)
def test_the_patient_preset_waits_by_the_kind_of_failure(error, waits):
    """3 attempts that double, 5 of a second each, 10 that grow by one; a wrong key has 1."""
    policy = RetryPolicy(preset="patient", jitter=0)
    assert [
        policy.wait_seconds(error, attempt=n, draw=Random(0)) for n in range(1, len(waits) + 1)
    ] == waits


def test_a_preset_fills_in_what_is_left_out():
    """What is given goes before it, and it goes before the defaults."""
    policy = RetryPolicy(preset="patient", timeout_attempts=7)
    assert (policy.timeout_attempts, policy.server_failed_attempts) == (7, 5)
    assert RetryPolicy.model_validate(policy.model_dump()) == policy
    with pytest.raises(ValidationError, match="standard"):
        RetryPolicy(preset="hasty")


def test_attempts_and_time_are_limited_in_total():
    """Whatever failed, and however patient its kind is."""
    policy = RetryPolicy(total_attempts=2)
    waits = [policy.wait_seconds(RateLimited("x"), attempt=n, draw=Random(0)) for n in (1, 2)]
    assert waits[1] is None
    assert waits[0] is not None
    timed = RetryPolicy(total_seconds=10, jitter=0, first_wait_seconds=4)
    spent = [
        timed.wait_seconds(ServerFailed("x"), attempt=1, draw=Random(0), spent_seconds=seconds)
        for seconds in (0, 5.9, 6, 60)
    ]
    assert spent == [4, 4, None, None]
    asked = RateLimited("x", retry_after_seconds=30)
    assert timed.wait_seconds(asked, attempt=1, draw=Random(0)) is None


@given(
    st.sampled_from(["exponential", "linear", "fixed"]),
    st.integers(1, 99),
    st.floats(0, 100),
    st.floats(1, 10),
)
def test_no_wait_is_shorter_than_the_one_before_nor_longer_than_the_longest(
    growth, attempt, first, factor
):
    """However waits grow."""
    policy = RetryPolicy(
        server_failed_attempts=100,
        server_failed_growth=growth,
        first_wait_seconds=first,
        max_wait_seconds=100,
        backoff_factor=factor,
        jitter=0,
    )
    now, later = (
        policy.wait_seconds(ServerFailed("x"), attempt=n, draw=Random(0))
        for n in (attempt, attempt + 1)
    )
    assert later is None or first <= now <= later <= 100

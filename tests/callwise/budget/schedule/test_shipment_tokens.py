"""Tokens that a provider counts for a request, as the limits of its rate are settled with."""

from types import SimpleNamespace

import pytest

from callwise.budget.schedule.task import provider_view
from callwise.calls import Reply, ReportedUsage
from callwise.calls.errors import (
    BadRequest,
    BatchFailed,
    CallTimeout,
    ConnectionFailed,
    RateLimited,
    ServerFailed,
)

UNSENT = SimpleNamespace(works=())
REPLY = Reply("hi", usage=ReportedUsage(5, 2))


def failed(cause, usage=None):
    """Return the end of a call whose batch has failed."""
    error = BatchFailed.by(cause)
    error.usage = usage
    return error


@pytest.mark.parametrize(
    ("result", "error", "expected"),
    [
        (REPLY, None, ReportedUsage(5, 2)),
        (None, RateLimited("slow down"), ReportedUsage(0, 0)),
        (None, CallTimeout("late"), None),
        (None, None, None),
        (None, KeyError("bug"), None),
        ([REPLY, REPLY], None, ReportedUsage(10, 4)),
        ([REPLY, BadRequest("no")], None, ReportedUsage(5, 2)),
        ([REPLY, failed(BadRequest("no"))], None, ReportedUsage(5, 2)),
        ([REPLY, failed(ServerFailed("boom"))], None, None),
        ([REPLY, failed(ServerFailed("boom"), ReportedUsage(3, 0))], None, ReportedUsage(8, 2)),
        ([REPLY, Reply("hi", usage=ReportedUsage(5, None))], None, None),
    ],
)
def test_a_request_counts_what_its_calls_are_known_to_have_used(result, error, expected):
    """Nothing for what was turned away, and nothing known where one is unknown."""
    assert provider_view(UNSENT, result, error).used == expected


def test_a_batch_that_never_left_is_no_request():
    """Its calls end in errors of the way, which are given back whole."""
    unsent = ConnectionFailed("no route", was_sent=False)
    assert not provider_view(UNSENT, [unsent, unsent], None).was_sent
    assert provider_view(UNSENT, [unsent, REPLY], None).was_sent

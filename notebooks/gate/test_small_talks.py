"""A gate as a test: the shipped recording may not cost a call more than its baseline."""

import pytest

from callwise.testing.fixture import CallwiseFixture


@pytest.mark.max_calls(turn=13, detection=1)
def test_small_talks_cost_no_more_calls(callwise: CallwiseFixture) -> None:
    """Every turn asks what the committed baseline says, and none more than 13."""
    run = callwise.replay(
        "../data/small_talks.jsonl",
        preset="balanced",
        overrides=["search.max_calls=11"],
        cassette="../data/small_talks.cassette.jsonl.gz",
    )
    callwise.check(run, "small_talks")

"""What providers' failures mean, and that keys do not stand in them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.calls.failures import describe_body, retry_after_seconds, scrub

NOW = datetime(2026, 11, 20, tzinfo=UTC)
keys = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=8)


@given(st.text(), keys, st.text())
def test_a_key_is_never_left(before, key, after):
    """Whatever stands around it."""
    assert key not in scrub(f"{before} {key} {after}", key).replace("[key]", "")


@given(st.text())
def test_a_scrubbed_text_is_short_and_on_one_line(text):
    """So that it fits a log."""
    scrubbed = scrub(text)
    assert len(scrubbed) <= 501
    assert "\n" not in scrubbed


def test_ordinary_words_stay():
    """A short key does not blank out the message."""
    assert scrub("the test failed at a task", "test", None) == "the test failed at a task"


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b"", "", "an empty body"),
        (b" <HTML>", "", "an HTML page"),
        (b"x", "text/html; charset=utf-8", "an HTML page"),
        (b"\xff\x00", "", "2 bytes of no content type that are not JSON, starting '\ufffd\\x00'"),
    ],
)
def test_a_body_is_described(content, content_type, words):
    """In a few words, whatever it is."""
    assert describe_body(content, content_type) == words


@given(st.text(max_size=40))
def test_any_retry_after_is_a_wait_or_unknown(value):
    """Never negative, never infinite, never an exception."""
    seconds = retry_after_seconds({"retry-after": value}, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("value", ["Fri, 99 Nov 2026 00:00:00 GMT", "-3", "inf", "", "1e400"])
def test_a_wrong_retry_after_is_unknown(value):
    """The budgeter then uses its own wait."""
    assert retry_after_seconds({"retry-after": value}, now=NOW) is None


def test_a_date_without_a_zone_is_in_gmt():
    """As the standard says that it must be."""
    headers = {"retry-after": "Fri, 20 Nov 2026 00:00:05 -0000"}
    assert retry_after_seconds(headers, now=NOW) == 5.0

"""The bubbles that came with a reply."""

import pytest

from lats.draft import Draft
from nodes.records import StyleVector
from nodes.search_bubbles import MAX_PLANNED_BUBBLES, MAX_PLANNED_DELAY_SECONDS, planned_bubbles


def _bubbles(reply="Hello there. Tea?", **payload):
    return planned_bubbles(Draft(reply=reply, payload=payload), StyleVector())


def _plan(*bubbles):
    return {"bubbles": [{"text": text, "delay_seconds": delay} for text, delay in bubbles]}


def test_a_plan_that_says_the_reply_is_taken():
    """Up to the longest delay."""
    plan = _plan((" Hello there", 1.0), ("Tea?", MAX_PLANNED_DELAY_SECONDS))
    bubbles = _bubbles(processor_plan=plan)
    assert [bubble.text for bubble in bubbles] == ["Hello there", "Tea?"]


def test_bubbles_without_delays_are_timed():
    """What is blank is left out."""
    bubbles = _bubbles(bubbles=["Hello there.", " ", "Tea?"])
    assert [bubble.text for bubble in bubbles] == ["Hello there.", "Tea?"]
    assert all(bubble.delay_seconds > 0 for bubble in bubbles)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"goal": "make peace"},
        {"bubbles": None},
        {"bubbles": "Hello there. Tea?"},
        {"bubbles": ["Hello."]},
        {"processor_plan": _plan(("Hello there. Tea?", MAX_PLANNED_DELAY_SECONDS + 1))},
        {"processor_plan": _plan(("Other words.", 1.0))},
    ],
)
def test_what_cannot_be_used_is_left_to_the_processor(payload):
    """Other words, too long a wait, nothing at all."""
    assert _bubbles(**payload) is None


def test_too_many_bubbles_are_not_used():
    """A bubble a letter is no way to talk."""
    letters = list("abcdefghijklmnop")[: MAX_PLANNED_BUBBLES + 1]
    assert _bubbles(reply="".join(letters), bubbles=letters) is None
    assert _bubbles(reply="".join(letters[1:]), bubbles=letters[1:]) is not None
